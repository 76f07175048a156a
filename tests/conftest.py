"""What several tests share."""

import pytest
import torch

from vitlib import TrainConfig, ViTConfig, data

TINY = ViTConfig(patch_size=14, embed_dim=8, depth=2, num_heads=2, mlp_ratio=2)


@pytest.fixture(scope="session")
def test_set():
    return data.load("test")


@pytest.fixture
def quick():
    """Return settings of a run that takes a second or two."""
    return TrainConfig(model=TINY, epochs=2, batch_size=64, train_images=512, validation_images=100, crop=2)


@pytest.fixture(autouse=True)
def _same_numbers_every_time():
    torch.manual_seed(0)
