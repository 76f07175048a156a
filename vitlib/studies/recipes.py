"""Recipes: named settings of a training run, a file each in ``studies/recipes/``.

A recipe has the ``settings`` that it changes of `TrainConfig`'s defaults, those of the network under ``model``.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict

from vitlib import paths
from vitlib.config import TrainConfig, require
from vitlib.yaml_file import read_yaml

FOLDER = paths.ROOT / "studies" / "recipes"


class Recipe(BaseModel):
    """What a recipe's file holds."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    settings: dict[str, Any]


def names() -> list[str]:
    """Return the names of all recipes."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load(name: str) -> TrainConfig:
    """Return the settings of a recipe, with seed 0.

    Raises:
        ValueError: there is no such recipe, or its file is wrong; one sentence says how.
    """
    require(name in names(), "recipe", name, f"one of {', '.join(names())}")
    path = FOLDER / f"{name}.yaml"
    recipe = read_yaml(path, Recipe)
    try:
        return override(TrainConfig(), recipe.settings)
    except ValueError as error:
        raise ValueError(f"{paths.relative(path)}: {error}") from error


def override(config: TrainConfig, settings: dict[str, Any]) -> TrainConfig:
    """Return `config` with some settings changed, those of the network under ``model``.

    Raises:
        ValueError: a setting is unknown or out of range, or is the seed, which a study or the caller sets.
    """
    require("seed" not in settings, "seed", settings.get("seed"), "left to the study, which lists its seeds")
    model = settings.get("model", {})
    require(isinstance(model, dict), "model", model, "settings by name")
    values = config.to_dict()
    return TrainConfig.from_dict(values | settings | {"model": values["model"] | model})
