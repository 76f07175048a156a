"""A small Vision Transformer on Fashion-MNIST: its model, training, evaluation and cost.

The core is `config`, `model`, `data`, `cost`, `evaluate`, `runs`, `homework` and `paths`. `training` builds on it,
then `studies` and `report`; `counting` holds what other tools count. Imports go only in that direction.
"""

from vitlib.config import TrainConfig, ViTConfig
from vitlib.model import ViT
from vitlib.runs import Run, load_run
from vitlib.training import train, train_seeds

__all__ = ["Run", "TrainConfig", "ViT", "ViTConfig", "load_run", "train", "train_seeds"]
