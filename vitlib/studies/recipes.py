"""Recipes: named settings of a training run, each a file in ``studies/recipes/`` that says what it is for.

A recipe holds ``purpose``, ``cost``, ``expected`` and ``command`` for a reader, and ``settings``: what it changes of
`TrainConfig`'s defaults, by name, the network's under ``model``.
"""

from pathlib import Path
from typing import Any

import yaml

from vitlib import paths
from vitlib.config import TrainConfig

FOLDER = paths.ROOT / "studies" / "recipes"
KEYS = ("purpose", "cost", "expected", "command", "settings")


class _OnceLoader(yaml.SafeLoader):
    """Refuses a name that is there twice: YAML keeps the last of them in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if (key.tag, str(key.value)) in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} is there twice", problem_mark=key.start_mark)
            seen.add((key.tag, str(key.value)))
        return super().construct_mapping(node, deep)


def names(folder: Path = FOLDER) -> list[str]:
    """Return the names of the recipes there are."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def load(name: str, folder: Path = FOLDER) -> TrainConfig:
    """Return the settings of a recipe, with seed 0.

    Raises:
        ValueError: there is no such recipe, or its file is not a recipe; one sentence says what is wrong.
    """
    if name not in names(folder):
        raise ValueError(f"recipe is {name!r}, but has to be one of {', '.join(names(folder))}.")
    path = folder / f"{name}.yaml"
    values = read(path, KEYS)
    try:
        return changed(TrainConfig(), values["settings"])
    except ValueError as error:
        raise ValueError(f"{paths.show(path)}: {error}") from error


def read(path: Path, keys: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return what a YAML file holds, known to have each of `keys` and nothing but those and the `optional` ones."""
    shown = paths.show(path)
    try:
        loader = _OnceLoader(path.read_text())
        try:
            values = loader.get_single_data()
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{shown} is not valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(values, dict):
        raise ValueError(f"{shown} holds {values!r}, but has to hold name: value for {', '.join(keys)}.")
    for key in keys:
        if values.get(key) is None:
            raise ValueError(f"{shown} has no {key!r}, but has to say {', '.join(keys)}.")
    for key in values:
        if key not in (*keys, *optional):
            raise ValueError(f"{shown} has {key!r}, but knows only {', '.join((*keys, *optional))}.")
    return values


def changed(config: TrainConfig, settings: object) -> TrainConfig:
    """Return `config` with some settings changed, those of the network under ``model``.

    Raises:
        ValueError: a setting is unknown or out of range, or is the seed, which a study or the caller names.
    """
    if not isinstance(settings, dict):
        raise ValueError(f"settings is {settings!r}, but has to be name: value.")
    if "seed" in settings:
        raise ValueError(f"seed is {settings['seed']!r}, but has to be left to the study, which names its seeds.")
    model = settings.get("model", {})
    if not isinstance(model, dict):
        raise ValueError(f"model is {model!r}, but has to be name: value.")
    values = config.to_dict()
    return TrainConfig.from_dict(values | settings | {"model": values["model"] | model})
