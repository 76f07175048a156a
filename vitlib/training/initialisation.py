"""Initial weights other than those that `vitlib.model` draws itself."""

import torch
from torch import Tensor, nn

from vitlib.config import ViTConfig
from vitlib.model import Attention, MultiHeadAttention, ViT, attention

# Trockman and Kolter, 2023, section 4: weight of the random part and of the identity in the product of two layers
QUERY_KEY, VALUE_OUTPUT = (0.7, 0.7), (0.4, -0.4)


def initialise(config: ViTConfig, initialisation: str, attend: Attention = attention) -> ViT:
    """Return a network with weights drawn from PyTorch's global generator.

    Args:
        config: its dimensions.
        initialisation: ``"xavier"``: as `ViT` draws them; ``"truncated"``: matrices from a normal distribution with
            standard deviation 0.02, truncated at two of them; ``"mimetic"``: the attention's matrices have the
            structure that training gives them (Trockman and Kolter, 2023, without their sinusoidal positions).
        attend: how the network computes attention.
    """
    network = ViT(config, attend)
    if initialisation == "truncated":
        for module in network.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02, a=-0.04, b=0.04)
    elif initialisation == "mimetic":
        for module in network.modules():
            if isinstance(module, MultiHeadAttention):
                _mimetic(module, config)
    return network


@torch.no_grad()
def _mimetic(attention: MultiHeadAttention, config: ViTConfig) -> None:
    """Make query times key close to the identity, and output times value close to its negative."""
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
    """Return A and B (D, D) with A Bᵀ = random Z + identity I, Z normal of variance 1 / D, by descending importance."""
    product = random * torch.randn(D, D) / D**0.5 + identity * torch.eye(D)
    left, sizes, right = torch.linalg.svd(product)
    return left * sizes.sqrt(), right.T * sizes.sqrt()
