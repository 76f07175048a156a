"""Recipes: named settings of a training run, a file each in ``studies/recipes/``.

A recipe says what it is for (``purpose``, ``cost``, ``expected``, ``command``) and has the ``settings`` that it changes
of `TrainConfig`'s defaults, those of the network under ``model``.
"""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints

from vitlib import paths
from vitlib.config import TrainConfig, require
from vitlib.yaml_file import read_yaml

FOLDER = paths.ROOT / "studies" / "recipes"

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Recipe(BaseModel):
    """What a recipe's file holds."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    purpose: Text
    cost: Text
    expected: Text
    command: Text
    settings: dict[str, Any]


def names(folder: Path = FOLDER) -> list[str]:
    """Return the names of all recipes."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def read(name: str, folder: Path = FOLDER) -> Recipe:
    """Return a recipe; raises ValueError if there is none of that name, or its file is not a recipe."""
    require(name in names(folder), "recipe", name, f"one of {', '.join(names(folder))}")
    return read_yaml(folder / f"{name}.yaml", Recipe)


def load(name: str, folder: Path = FOLDER) -> TrainConfig:
    """Return the settings of a recipe, with seed 0.

    Raises:
        ValueError: there is no such recipe, or its file is wrong; one sentence says how.
    """
    recipe = read(name, folder)
    try:
        return override(TrainConfig(), recipe.settings)
    except ValueError as error:
        raise ValueError(f"{paths.relative(folder / name)}.yaml: {error}") from error


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
