"""Other ways to draw a network's first weights than `vitlib.model` draws them."""

import torch
from torch import Tensor, nn

from vitlib.config import ViTConfig
from vitlib.model import ViT

# Trockman and Kolter, 2023, section 4: how random, and how much of the identity, the products of two layers are
QUERY_KEY, VALUE_OUTPUT = (0.7, 0.7), (0.4, -0.4)


def build(config: ViTConfig, initialisation: str) -> ViT:
    """Return a network with weights drawn from PyTorch's global generator.

    Args:
        config: its dimensions.
        initialisation: ``"xavier"`` as `ViT` itself; ``"truncated"``: matrices from a normal distribution of
            deviation 0.02 cut at twice that; ``"mimetic"``: attention begins as trained attention looks, each token
            at what is like it (Trockman and Kolter, 2023; their sinusoidal positions are left out).
    """
    network = ViT(config)
    if initialisation == "truncated":
        for module in network.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02, a=-0.04, b=0.04)
    elif initialisation == "mimetic":
        for layer in network.encoder:
            _mimic(layer.attention, config)
    return network


@torch.no_grad()
def _mimic(attention: nn.Module, config: ViTConfig) -> None:
    """Draw the four matrices so that query times key is near the identity, and output times value near minus it."""
    D, H = config.embed_dim, config.num_heads
    K = D // H
    for head in range(H):
        left, right = _factors(D, *QUERY_KEY)
        rows = slice(head * K, (head + 1) * K)
        attention.query.weight[rows] = left[:, :K].T
        attention.key.weight[rows] = right[:, :K].T
    left, right = _factors(D, *VALUE_OUTPUT)
    attention.output.weight.copy_(left)
    attention.value.weight.copy_(right.T)


def _factors(D: int, random: float, identity: float) -> tuple[Tensor, Tensor]:
    """Return A and B (D, D) with A Bᵀ = random Z + identity I, Z normal of variance 1 / D, largest directions first."""
    product = random * torch.randn(D, D) / D**0.5 + identity * torch.eye(D)
    left, sizes, right = torch.linalg.svd(product)
    return left * sizes.sqrt(), right.T * sizes.sqrt()
