"""A small Vision Transformer on Fashion-MNIST: its model, training, evaluation and cost.

The core is `config`, `model`, `data`, `cost`, `evaluate`, `runs`, `homework`, `paths`, `printed` and `yaml_file`.
`training` builds on it, then `studies` and `report`. `counting` holds what other tools count, `checking` the check of a
homework. Imports go only in that direction.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitlib.config import TrainConfig, ViTConfig
    from vitlib.model import ViT
    from vitlib.runs import Run, load_run
    from vitlib.training import train, train_seeds

__all__ = ["Run", "TrainConfig", "ViT", "ViTConfig", "load_run", "train", "train_seeds"]

_HOMES = {"TrainConfig": "config", "ViTConfig": "config", "ViT": "model", "Run": "runs", "load_run": "runs"}


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Import a public name at its first use: PyTorch takes seconds, which the cost and a check do not need."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'training')}"), name)
