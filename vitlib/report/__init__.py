"""Figures, tables and analyses that the pages show."""
