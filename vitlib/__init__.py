"""A small Vision Transformer on Fashion-MNIST: the model, its training, its cost and its evaluation."""

from vitlib.config import TrainConfig, ViTConfig
from vitlib.model import ViT
from vitlib.runs import Run, load_run
from vitlib.train import train, train_seeds

__all__ = ["Run", "TrainConfig", "ViT", "ViTConfig", "load_run", "train", "train_seeds"]
