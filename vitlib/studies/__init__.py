"""Recipes, studies over seeds, and the statistics that their results need."""
