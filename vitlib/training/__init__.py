"""Training: the engine that takes steps, the loop around it, checkpoints, optimizers and augmentation."""

from vitlib.training.loop import train, train_seeds

__all__ = ["train", "train_seeds"]
