"""What a trained Vision Transformer looks at: its attention weights, how far they reach, and whether they matter.

All of it is float64, so that it prints the same digits everywhere. Axes: B images, L layers, H heads, N tokens (the
class token first, then R R patches row by row).
"""

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from vitlib import data
from vitlib.evaluate import evaluate
from vitlib.model import MultiHeadAttention, ViT, patchify, unpatchify


def weights(layer: MultiHeadAttention, x: Tensor) -> Tensor:
    """Return how much each token (row) takes from each token (column), softmax(Q Kᵀ / √K).

    Args:
        layer: the attention, of any type.
        x: what enters it (B, N, D), of the same type.

    Returns:
        (B, H, N, N); each row sums to 1.
    """
    q, k = (
        projection(x).unflatten(-1, (layer.num_heads, -1)).transpose(1, 2) for projection in (layer.query, layer.key)
    )
    return (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(dim=-1)


def observe(model: ViT, images: Tensor, batch_size: int = 250) -> Iterator[Tensor]:
    """Classify images without dropout, and yield the attention weights of all layers, batch by batch.

    A copy of the model does the work; the model itself stays as it was.

    Args:
        model: the network.
        images: uint8 (N, 28, 28).
        batch_size: images at a time; the result does not depend on it.

    Yields:
        float64 (B, L, H, N, N).
    """
    network = copy.deepcopy(model).double().eval()
    seen: list[Tensor] = []
    for block in network.encoder:
        block.attention.register_forward_pre_hook(lambda layer, inputs: seen.append(weights(layer, *inputs)))
    for batch in images.split(batch_size):
        with torch.inference_mode():
            network(data.normalise(batch).double().unsqueeze(1))
        yield torch.stack(seen, dim=1)
        seen.clear()


def distances(side: int, patch_size: int) -> Tensor:
    """Return how far the centres of the patches lie apart, in pixels: float64 (R R, R R), where R is `side`."""
    rows, columns = torch.meshgrid(*[torch.arange(side).double() * patch_size] * 2, indexing="ij")
    centres = torch.stack([rows.flatten(), columns.flatten()], dim=1)
    return (centres[:, None] - centres).square().sum(dim=-1).sqrt()


def mean_distance(attention: Tensor, apart: Tensor) -> Tensor:
    """Return how far the patches look: the mean distance to what they take from, weighted by how much they take.

    What goes to or comes from the class token, which has no place, does not count.

    Args:
        attention: (..., N, N), rows that sum to 1.
        apart: of the patches, as of `distances`: (N - 1, N - 1).

    Returns:
        (...), in the unit of `apart`.
    """
    among = attention[..., 1:, 1:]
    return ((among * apart).sum(dim=-1) / among.sum(dim=-1)).mean(dim=-1)


def rollout(attention: Tensor) -> Tensor:
    """Return each patch's share in the class token at the end, as attention alone would pass it on.

    Heads are averaged, half of each layer is its residual branch, and the layers are multiplied (Abnar and Zuidema,
    2020).

    Args:
        attention: (B, L, H, N, N), rows that sum to 1.

    Returns:
        (B, N - 1), each row summing to 1.
    """
    N = attention.shape[-1]
    passed = torch.eye(N, dtype=attention.dtype).expand(len(attention), N, N)
    for layer in attention.mean(dim=2).unbind(dim=1):
        passed = (layer + torch.eye(N, dtype=layer.dtype)) / 2 @ passed
    shares = passed[:, 0, 1:]
    return shares / shares.sum(dim=-1, keepdim=True)


def blank(images: Tensor, order: Tensor, count: int, patch_size: int) -> Tensor:
    """Return images with `count` patches each set to 0, the background, the first of `order` first.

    Args:
        images: uint8 (B, L, L).
        order: int64 (B, R R), of each image the numbers of its patches.
        count: 0 to R R.
        patch_size: in pixels.

    Raises:
        ValueError: there are not so many patches.
    """
    if not 0 <= count <= order.shape[1]:
        raise ValueError(f"count is {count}, but has to be 0 to {order.shape[1]}, the number of patches.")
    patches = patchify(images.unsqueeze(1), patch_size).clone()
    patches[torch.arange(len(images))[:, None], order[:, :count]] = 0
    return unpatchify(patches, patch_size, channels=1).squeeze(1)


def deletion(model: ViT, images: Tensor, labels: Tensor, order: Tensor, counts: Sequence[int]) -> Tensor:
    """Return which images are still right after each of `counts` patches is blanked in their `order`.

    Args:
        model: the network.
        images: uint8 (B, L, L).
        labels: int64 (B,).
        order: int64 (B, R R), as of `blank`.
        counts: how many patches, each 0 to R R.

    Returns:
        bool (len(counts), B).
    """
    size = model.config.patch_size
    answers = [evaluate(model, blank(images, order, count, size), labels).predictions for count in counts]
    return torch.stack(answers) == labels


def paired_distance(first: Tensor, second: Tensor) -> float:
    """Return by how many standard errors `first` has fewer right answers than `second` to the same images.

    Only images on which the two differ say anything (McNemar, 1947).

    Args:
        first: bool (B,).
        second: bool (B,).
    """
    lost, won = int((second & ~first).sum()), int((first & ~second).sum())
    return (lost - won) / max(1, lost + won) ** 0.5
