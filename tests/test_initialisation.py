import pytest
import torch

from vitlib import ViT, ViTConfig
from vitlib.training.initialisation import initialise

CONFIG = ViTConfig(embed_dim=48, num_heads=1, depth=3)


def drawn(initialisation, config=CONFIG):
    torch.manual_seed(0)
    return initialise(config, initialisation)


def test_xavier_is_what_the_network_draws_itself():
    torch.manual_seed(0)
    own = ViT(CONFIG)
    assert all(torch.equal(a, b) for a, b in zip(own.parameters(), drawn("xavier").parameters(), strict=True))


def test_truncated_weights_lie_within_two_deviations():
    weights = torch.cat(
        [p.flatten() for name, p in drawn("truncated").named_parameters() if name.endswith("fc1.weight")]
    )
    assert weights.abs().max() <= 0.04
    assert weights.std().item() == pytest.approx(0.0176, rel=0.03)  # a normal's 0.02, cut at twice that


def test_mimetic_products_are_near_the_identity_and_near_minus_it():
    for layer in drawn("mimetic").encoder:
        attention = layer.attention
        product = attention.query.weight.T @ attention.key.weight
        assert product.diagonal().mean().item() == pytest.approx(0.7, abs=0.06)
        assert (product - 0.7 * torch.eye(48)).std().item() == pytest.approx(0.7 / 48**0.5, rel=0.1)
        product = attention.output.weight @ attention.value.weight
        assert product.diagonal().mean().item() == pytest.approx(-0.4, abs=0.04)


def test_mimetic_heads_each_attend_to_what_is_alike():
    attention = drawn("mimetic", ViTConfig(embed_dim=48, num_heads=6)).encoder[0].attention
    for head in range(6):
        rows = slice(8 * head, 8 * head + 8)
        product = attention.query.weight[rows].T @ attention.key.weight[rows]
        assert product.diagonal().mean() > 0.1  # of rank 8, the largest directions of a matrix near 0.7 I
