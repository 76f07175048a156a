"""What a trained Vision Transformer attends to: its attention weights, how far they reach, and whether they matter.

All arithmetic is float64, so that every machine prints the same digits. Axes: B images, L layers, H heads, N tokens
(the class token first, then R R patches row by row).
"""

import copy
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from vitlib import data
from vitlib.evaluate import BATCH, Evaluation, evaluate
from vitlib.model import MultiHeadAttention, ViT, patchify, unpatchify


def observe(model: ViT, images: Tensor) -> Iterator[Tensor]:
    """Classify images with a copy of the model, without dropout, and yield all attention weights batch by batch.

    Args:
        model: the network, which stays as it is.
        images: uint8 (N, 28, 28).

    Yields:
        float64 (B, L, H, N, N): how much each token (row) takes from each token (column); each row sums to 1.
    """
    data.require_images(images)
    observed: list[Tensor] = []

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        weights = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-1)
        observed.append(weights)
        return weights @ v

    network = copy.deepcopy(model).double().eval()
    for module in network.modules():
        if isinstance(module, MultiHeadAttention):
            module.attend = attend
    for batch in images.split(BATCH["cpu"]):
        with torch.inference_mode():
            network(data.normalise(batch).double().unsqueeze(1))
        yield torch.stack(observed, dim=1)
        observed.clear()


def distances(side: int, patch_size: int) -> Tensor:
    """Return the distances between the centres of R by R patches, in pixels: float64 (R R, R R); R is `side`."""
    rows, columns = torch.meshgrid(*[torch.arange(side).double() * patch_size] * 2, indexing="ij")
    centres = torch.stack([rows.flatten(), columns.flatten()], dim=1)
    return (centres[:, None] - centres).square().sum(dim=-1).sqrt()


def mean_distance(attention: Tensor, apart: Tensor) -> Tensor:
    """Return the mean distance between a patch and the patches it attends to, weighted by attention.

    The class token, which has no position in the image, is left out (Dosovitskiy et al., 2021, figure 7).

    Args:
        attention: (..., N, N), rows that sum to 1.
        apart: what `distances` returns: (N - 1, N - 1).

    Returns:
        (...), in the unit of `apart`.
    """
    patches = attention[..., 1:, 1:]
    return ((patches * apart).sum(dim=-1) / patches.sum(dim=-1)).mean(dim=-1)


def rollout(attention: Tensor) -> Tensor:
    """Return each patch's share in the final class token by attention rollout (Abnar and Zuidema, 2020).

    Heads are averaged, the residual branch counts as half of each layer, and the layers' matrices are multiplied.

    Args:
        attention: (B, L, H, N, N), rows that sum to 1.

    Returns:
        (B, N - 1), each row summing to 1.
    """
    N = attention.shape[-1]
    identity = torch.eye(N, dtype=attention.dtype)
    mixed = identity.expand(len(attention), N, N)
    for layer in attention.mean(dim=2).unbind(dim=1):
        mixed = (layer + identity) / 2 @ mixed
    shares = mixed[:, 0, 1:]
    return shares / shares.sum(dim=-1, keepdim=True)


def blank(images: Tensor, order: Tensor, count: int, patch_size: int) -> Tensor:
    """Return images with their first `count` patches in `order` set to 0, the background.

    Args:
        images: uint8 (B, L, L).
        order: int64 (B, R R), the indices of each image's patches.
        count: 0 to R R.
        patch_size: in pixels.
    """
    patches = patchify(images.unsqueeze(1), patch_size).clone()
    patches[torch.arange(len(images))[:, None], order[:, :count]] = 0
    return unpatchify(patches, patch_size, channels=1).squeeze(1)


def deletion(model: ViT, images: Tensor, labels: Tensor, order: Tensor, counts: Sequence[int]) -> Tensor:
    """Return which images are classified correctly with the first patches in `order` blanked.

    Args:
        model: the network.
        images: uint8 (B, L, L).
        labels: int64 (B,).
        order: int64 (B, R R), as for `blank`.
        counts: numbers of blanked patches, each 0 to R R.

    Returns:
        bool (len(counts), B).
    """
    size = model.config.patch_size
    answers = [evaluate(model, blank(images, order, count, size), labels).predictions for count in counts]
    return torch.stack(answers) == labels


def position_similarity(model: ViT) -> Tensor:
    """Return the cosine similarity of each pair of learned position vectors, without the class token's: (R R, R R)."""
    positions = torch.nn.functional.normalize(model.positions[0, 1:].detach().double(), dim=1)
    return positions @ positions.T


def orders(images: Tensor, shares: Tensor, patch_size: int) -> dict[str, Tensor]:
    """Return five orders in which to blank the patches of each image, by name: int64 (B, R R), first to last.

    Args:
        images: uint8 (B, L, L).
        shares: the rollout (B, R R).
        patch_size: in pixels.
    """
    brightness = patchify(images.unsqueeze(1), patch_size).double().mean(dim=-1)
    chance = torch.rand(shares.shape, generator=torch.Generator().manual_seed(0))
    scores = {
        "most rollout first": shares.round(decimals=9),  # the same order on every machine
        "brightest first": brightness,
        "random": chance,
        "random, garment first": chance + (brightness > 0),
        "least rollout first": -shares.round(decimals=9),
    }
    return {name: score.argsort(dim=1, descending=True, stable=True) for name, score in scores.items()}


def most_confident(result: Evaluation) -> list[int]:
    """Return the images answered right with most confidence, one a class, then those answered wrong.

    The classes are the four with the most mistakes. A class without a right or a wrong answer is left out.
    """
    confidence, answers = result.probabilities.max(dim=1)
    wrong = answers != result.labels
    mistakes = torch.bincount(result.labels[wrong], minlength=result.logits.shape[1])
    ranking = [
        label
        for label in mistakes.argsort(descending=True, stable=True).tolist()
        if mistakes[label] and (~wrong)[result.labels == label].any()
    ][:4]
    return [
        int(torch.where((result.labels == label) & group, confidence, -1).argmax())
        for group in (~wrong, wrong)
        for label in ranking
    ]
