import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from vitlib import ViT, ViTConfig
from vitlib.model import TransformerEncoder, attention, patchify, unpatchify


@given(rows=st.integers(1, 5), patch_size=st.sampled_from([2, 3, 5]), channels=st.integers(1, 3))
def test_unpatchify_inverts_patchify(rows, patch_size, channels):
    images = torch.rand(2, channels, rows * patch_size, rows * patch_size)
    assert torch.equal(unpatchify(patchify(images, patch_size), patch_size, channels), images)


def test_patchify_reads_row_by_row():
    image = torch.arange(4 * 6).view(1, 1, 4, 6)
    patches = patchify(image, 2)
    assert patches.shape == (1, 6, 4)
    assert patches[0, 0].tolist() == [0, 1, 6, 7]
    assert patches[0, 1].tolist() == [2, 3, 8, 9]
    assert patches[0, 3].tolist() == [12, 13, 18, 19]


def test_attention_equals_pytorchs():
    q, k, v = torch.randn(3, 2, 3, 5, 7).double()
    torch.testing.assert_close(attention(q, k, v), F.scaled_dot_product_attention(q, k, v))


def test_encoder_layer_equals_pytorchs():
    config = ViTConfig(embed_dim=10, num_heads=2, mlp_ratio=3, share_norm=False)
    ours = TransformerEncoder(config)
    theirs = nn.TransformerEncoderLayer(10, 2, 30, 0.0, "gelu", batch_first=True, norm_first=True)
    attend = ours.attention
    with torch.no_grad():
        parts = (attend.query, attend.key, attend.value)
        theirs.self_attn.in_proj_weight.copy_(torch.cat([p.weight for p in parts]))
        theirs.self_attn.in_proj_bias.copy_(torch.cat([p.bias for p in parts]))
        theirs.self_attn.out_proj.load_state_dict(attend.output.state_dict())
        theirs.linear1.load_state_dict(ours.mlp.fc1.state_dict())
        theirs.linear2.load_state_dict(ours.mlp.fc2.state_dict())
        for norm, other in ((ours.norm1.norm, theirs.norm1), (ours.norm2.norm, theirs.norm2)):
            norm.weight.uniform_()
            other.load_state_dict(norm.state_dict())
    x = torch.randn(3, 5, 10)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


def test_encoder_layer_by_hand_on_a_tiny_case():
    # Identity norms of a two-wide token (1, -1); zero attention output and an MLP that doubles positive numbers' GELU.
    config = ViTConfig(embed_dim=2, num_heads=1, mlp_ratio=1)
    layer = TransformerEncoder(config)
    with torch.no_grad():
        for p in layer.parameters():
            p.zero_()
        layer.norm1.norm.weight.fill_(1)
        layer.mlp.fc1.weight.copy_(torch.eye(2))
        layer.mlp.fc2.weight.copy_(2 * torch.eye(2))
    x = torch.tensor([[[1.0, -1.0]]])  # mean 0, variance 1: its own LayerNorm, up to epsilon
    gelu = [0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in (1, -1)]
    torch.testing.assert_close(layer(x), torch.tensor([[[1 + 2 * gelu[0], -1 + 2 * gelu[1]]]]), rtol=0, atol=1e-4)


def test_shared_norm_is_one_module_and_two_norms_are_two():
    shared, separate = (TransformerEncoder(ViTConfig(share_norm=share)) for share in (True, False))
    assert shared.norm1 is shared.norm2
    assert separate.norm1 is not separate.norm2


def test_image_does_not_see_its_neighbours_in_the_batch():
    model = ViT(ViTConfig(depth=1)).double()
    images = torch.randn(3, 1, 28, 28).double()
    torch.testing.assert_close(model(images)[1:2], model(images[1:2]))


def test_order_of_patches_matters():
    model = ViT(ViTConfig(depth=1))
    patches = patchify(torch.randn(1, 1, 28, 28), 4)
    images, moved = (unpatchify(p, 4, 1) for p in (patches, patches.roll(1, dims=1)))
    assert not torch.allclose(model(images), model(moved), atol=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_logits_have_a_row_per_image_and_a_column_per_class(channels):
    model = ViT(ViTConfig(channels=channels, num_classes=7, image_size=14, patch_size=7, depth=1))
    assert model(torch.randn(5, channels, 14, 14)).shape == (5, 7)
