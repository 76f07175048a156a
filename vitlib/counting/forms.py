"""The network's mathematics in different code: a tool's count depends on how attention is written."""

from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitlib import model as library
from vitlib.config import ViTConfig
from vitlib.model import ViT

CONFIG = ViTConfig()


def torch_matmul(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Compute attention with ``torch.matmul``, which tools can intercept where they miss the operator ``@``."""
    scores = torch.matmul(q, k.transpose(-2, -1)) / q.shape[-1] ** 0.5
    return torch.matmul(scores.softmax(dim=-1), v)


def torch_einsum(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Compute attention with ``torch.einsum``."""
    scores = torch.einsum("bhnk,bhmk->bhnm", q, k) / q.shape[-1] ** 0.5
    return torch.einsum("bhnm,bhmk->bhnk", scores.softmax(dim=-1), v)


class ModuleAttention(nn.Module):
    """Attention as ``nn.MultiheadAttention``."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.core = nn.MultiheadAttention(config.embed_dim, config.num_heads, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Attend from every token to all tokens: (B, N, D) -> (B, N, D)."""
        return self.core(x, x, x, need_weights=False)[0]


def module_layer(config: ViTConfig, drop_path: float) -> nn.Module:  # drop_path is 0
    """Return a whole encoder layer as ``nn.TransformerEncoderLayer``, which has two norms."""
    return nn.TransformerEncoderLayer(
        config.embed_dim,
        config.num_heads,
        config.hidden_dim,
        dropout=0.0,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    )


def ours_with(name: str, replacement: Any) -> nn.Module:  # noqa: ANN401
    """Return the network with one name of `vitlib.model` replaced, when it is built and when it runs."""
    with mock.patch.object(library, name, replacement):
        model = ViT(CONFIG).eval()
    forward = model.forward

    def replaced(images: Tensor) -> Tensor:
        with mock.patch.object(library, name, replacement):
            return forward(images)

    model.forward = replaced  # type: ignore[method-assign]
    return model


def timm_vit() -> nn.Module:
    """Return timm's VisionTransformer of the same dimensions, which has two norms a layer."""
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        img_size=CONFIG.image_size,
        patch_size=CONFIG.patch_size,
        in_chans=CONFIG.channels,
        num_classes=CONFIG.num_classes,
        embed_dim=CONFIG.embed_dim,
        depth=CONFIG.depth,
        num_heads=CONFIG.num_heads,
        mlp_ratio=CONFIG.mlp_ratio,
    ).eval()


FORMS: dict[str, Callable[[], nn.Module]] = {
    "q @ k": lambda: ViT(CONFIG).eval(),
    "torch.matmul": lambda: ours_with("attention", torch_matmul),
    "torch.einsum": lambda: ours_with("attention", torch_einsum),
    "scaled_dot_product_attention": lambda: ours_with("attention", F.scaled_dot_product_attention),
    "nn.MultiheadAttention": lambda: ours_with("MultiHeadAttention", ModuleAttention),
    "nn.TransformerEncoderLayer": lambda: ours_with("TransformerEncoder", module_layer),
    "timm": timm_vit,
}
