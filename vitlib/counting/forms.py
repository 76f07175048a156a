"""The network's mathematics in different code: a tool's count depends on how attention is written."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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


def module_attention() -> nn.Module:
    """Return the network with `ModuleAttention` in each encoder layer."""
    model = ViT(CONFIG)
    for layer in model.encoder:
        layer.attention = ModuleAttention(CONFIG)
    return model.eval()


def module_layers() -> nn.Module:
    """Return the network with ``nn.TransformerEncoderLayer`` as its encoder layers, which have two norms."""
    model = ViT(CONFIG)
    for i in range(CONFIG.depth):
        model.encoder[i] = nn.TransformerEncoderLayer(
            CONFIG.embed_dim,
            CONFIG.num_heads,
            CONFIG.hidden_dim,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
    return model.eval()


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
    "torch.matmul": lambda: ViT(CONFIG, torch_matmul).eval(),
    "torch.einsum": lambda: ViT(CONFIG, torch_einsum).eval(),
    "scaled_dot_product_attention": lambda: ViT(CONFIG, F.scaled_dot_product_attention).eval(),
    "nn.MultiheadAttention": module_attention,
    "nn.TransformerEncoderLayer": module_layers,
    "timm": timm_vit,
}
