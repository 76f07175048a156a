"""The Vision Transformer (Dosovitskiy et al., 2021), written as in the paper's equations.

Axes: B batch, C channels, N tokens (patches and one class token), D width, H heads, d = D / H width of a head,
P patch size, F width of the MLP's hidden layer.

The modules are those of the homework's summary, row for row: one LayerNorm per block, applied before the attention and
again before the MLP, four separate projections, and no module for patches, positions or the attention itself.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from vitlib.config import ViTConfig

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]  # queries, keys and values to heads, as `attention`


def patchify(images: Tensor, patch_size: int) -> Tensor:
    """Cut images into square patches, row by row, and flatten each.

    Args:
        images: (B, C, R P, S P), any type.
        patch_size: P, in pixels; it divides both sides.

    Returns:
        (B, R S, P P C): pixel by pixel, the channels of a pixel next to each other.
    """
    B, C, height, width = images.shape
    P = patch_size
    patches = images.reshape(B, C, height // P, P, width // P, P)  # (B, C, R, P, S, P)
    return patches.permute(0, 2, 4, 3, 5, 1).reshape(B, -1, P * P * C)


def unpatchify(patches: Tensor, patch_size: int, channels: int) -> Tensor:
    """Assemble square images from their patches: the inverse of `patchify`.

    Args:
        patches: (B, R R, P P C).
        patch_size: P, in pixels.
        channels: C.

    Returns:
        (B, C, R P, R P).
    """
    P, C, R = patch_size, channels, math.isqrt(patches.shape[1])
    images = patches.reshape(-1, R, R, P, P, C).permute(0, 5, 1, 3, 2, 4)  # (B, C, R, P, R, P)
    return images.reshape(-1, C, R * P, R * P)


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Scaled dot-product attention, softmax(Q Kᵀ / √d) V (Vaswani et al., 2017, equation 1).

    Args:
        q: queries (B, H, N, d).
        k: keys (B, H, N, d).
        v: values (B, H, N, d).

    Returns:
        (B, H, N, d).
    """
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (B, H, N, N)
    return scores.softmax(dim=-1) @ v


class Norm(nn.Module):
    """A LayerNorm over the width: (B, N, D) -> (B, N, D)."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised tokens."""
        return self.norm(x)


class MultiHeadAttention(nn.Module):
    """Self-attention with H heads: (B, N, D) -> (B, N, D) (Vaswani et al., 2017, section 3.2.2)."""

    def __init__(self, config: ViTConfig, attend: Attention = attention) -> None:
        super().__init__()
        D = config.embed_dim
        self.num_heads, self.attend = config.num_heads, attend
        self.query = nn.Linear(D, D)
        self.key = nn.Linear(D, D)
        self.value = nn.Linear(D, D)
        self.output = nn.Linear(D, D)

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted values that each token gathers from all tokens."""
        projected = self.query(x), self.key(x), self.value(x)  # three of (B, N, D)
        q, k, v = (self.split(each) for each in projected)  # (B, H, N, d)
        heads = self.attend(q, k, v).transpose(1, 2).flatten(2)  # (B, N, D)
        return self.output(heads)

    def split(self, x: Tensor) -> Tensor:
        """Split the width into heads: (B, N, D) -> (B, H, N, d)."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class MLP(nn.Module):
    """Two linear layers with a GELU in between, token by token: (B, N, D) -> (B, N, F) -> (B, N, D)."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.embed_dim, config.hidden_dim)
        self.gelu = nn.GELU()
        self.fc2 = nn.Linear(config.hidden_dim, config.embed_dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return the tokens, each transformed on its own."""
        return self.dropout(self.fc2(self.gelu(self.fc1(x))))


class TransformerEncoder(nn.Module):
    """One encoder layer: (B, N, D) -> (B, N, D) (Dosovitskiy et al., 2021, equations 2 and 3)."""

    def __init__(self, config: ViTConfig, attend: Attention = attention) -> None:
        super().__init__()
        self.norm1 = Norm(config)
        self.attention = MultiHeadAttention(config, attend)
        self.norm2 = self.norm1 if config.share_norm else Norm(config)
        self.mlp = MLP(config)

    def forward(self, x: Tensor) -> Tensor:
        """Return the tokens after attention and MLP, each added to its input."""
        x = x + self.attention(self.norm1(x))  # equation 2
        return x + self.mlp(self.norm2(x))  # equation 3


class ViT(nn.Module):
    """A Vision Transformer that classifies from its class token (Dosovitskiy et al., 2021, section 3.1).

    Args:
        config: the dimensions.
        attend: how attention is computed; the default is the readable form, and every form gives the same result.

    The input is (B, C, image_size, image_size) normalised float, the output (B, num_classes) logits.
    """

    def __init__(self, config: ViTConfig, attend: Attention = attention) -> None:
        super().__init__()
        self.config = config
        D = config.embed_dim
        self.embedding = nn.Linear(config.patch_dim, D)
        self.class_token = nn.Parameter(torch.zeros(1, 1, D))
        self.positions = nn.Parameter(torch.zeros(1, config.num_tokens, D))
        layers = [TransformerEncoder(config, attend) for _ in range(config.depth)]
        self.encoder = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(D)
        self.head = nn.Linear(D, config.num_classes)
        self._initialise()

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of each image."""
        patches = patchify(images, self.config.patch_size)  # (B, N - 1, P P C)
        patches = self.embedding(patches)  # (B, N - 1, D)
        class_token = self.class_token.expand(len(patches), -1, -1)  # (B, 1, D)
        x = torch.cat([class_token, patches], dim=1)  # (B, N, D)
        x = x + self.positions  # equation 1
        for layer in self.encoder:
            x = layer(x)  # equations 2 and 3
        return self.head(self.norm(x[:, 0]))  # (B, num_classes), equation 4

    def _initialise(self) -> None:
        """Draw matrices uniformly after Glorot and Bengio (2010), token and positions with standard deviation 0.02."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.class_token, std=0.02)
        nn.init.trunc_normal_(self.positions, std=0.02)
