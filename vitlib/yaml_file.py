"""YAML files that people write: read strictly, checked against a pydantic model."""

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from vitlib import paths
from vitlib.config import complaint

LIMIT = 10**6  # bytes of a file

Model = TypeVar("Model", bound=BaseModel)


def read_yaml(path: Path, model: type[Model]) -> Model:
    """Return a YAML file's content as a pydantic model.

    Raises:
        ValueError: the file is not YAML or does not fit the model; one sentence names the file and what is wrong.
    """
    shown = paths.relative(path)
    if path.stat().st_size > LIMIT:
        raise ValueError(f"{shown} has {path.stat().st_size:,} bytes, but must have at most {LIMIT:,}.")
    try:
        values = _StrictLoader(path.read_text(encoding="utf-8-sig")).get_single_data()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{shown} is not valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(values, dict):
        raise ValueError(f"{shown} holds {values!r}, but must hold {', '.join(model.model_fields)}.")
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ValueError(f"{shown}: {complaint(error, model.model_fields)}") from error


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that is given twice, of which YAML keeps the last, and aliases, which can grow without bound."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(
                problem="aliases (*name) are not allowed", problem_mark=self.peek_event().start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if (key.tag, str(key.value)) in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} is given twice", problem_mark=key.start_mark)
            seen.add((key.tag, str(key.value)))
        return super().construct_mapping(node, deep)
