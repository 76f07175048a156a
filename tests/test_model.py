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


@pytest.mark.parametrize("share_norm", [True, False])
def test_encoder_layer_equals_pytorchs(share_norm):
    config = ViTConfig(embed_dim=10, num_heads=2, mlp_ratio=3, share_norm=share_norm)
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
        for norm in (ours.norm1, ours.norm2):
            norm.norm.weight.uniform_()
        theirs.norm1.load_state_dict(ours.norm1.norm.state_dict())
        theirs.norm2.load_state_dict(ours.norm2.norm.state_dict())
    x = torch.randn(3, 5, 10)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


def test_image_does_not_see_its_neighbours_in_the_batch():
    model = ViT(ViTConfig(depth=1)).double()
    images = torch.randn(3, 1, 28, 28).double()
    torch.testing.assert_close(model(images)[1:2], model(images[1:2]))
