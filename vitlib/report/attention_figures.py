"""Figures of what the network attends to: its positions, rollout, the deletion test, and worked examples."""

from collections.abc import Mapping, Sequence
from html import escape
from itertools import cycle

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from vitlib.data import CLASSES
from vitlib.report.image_figures import in_percent, picture
from vitlib.report.output import BLUE, GREEN, GREY, ORANGE, WIDTH, Output, attach_csv, legend_above, to_csv


def plot_similarity(similarity: Tensor) -> Figure:
    """Draw for each position a map of its similarity with all others, where the position is in the image.

    Args:
        similarity: (R R, R R), each -1 to 1.
    """
    side = round(len(similarity) ** 0.5)
    figure, axes = plt.subplots(side, side, figsize=(WIDTH, WIDTH - 0.8))
    for ax, values in zip(axes.flat, similarity, strict=True):
        drawn = ax.imshow(values.view(side, side), vmin=-1, vmax=1, cmap="PuOr_r", interpolation="nearest")
        ax.set_axis_off()
    figure.colorbar(drawn, ax=axes, fraction=0.04, label="cosine similarity")
    head = ["position", *(f"with {i + 1}" for i in range(len(similarity)))]
    attach_csv(figure, head, ([i + 1, *row.tolist()] for i, row in enumerate(similarity)))
    return figure


def plot_deletion(counts: Sequence[int], curves: Mapping[str, Sequence[float]]) -> Axes:
    """Draw the accuracy (0 to 1) against the number of blanked patches, one curve for each named order."""
    ax = plt.subplots(figsize=(WIDTH, 3.6))[1]
    looks = cycle(zip((BLUE, GREEN, ORANGE, GREY, "black"), "os^vD", strict=True))
    for (name, accuracies), (colour, marker) in zip(curves.items(), looks, strict=False):
        ax.plot(counts, [100 * a for a in accuracies], marker=marker, markersize=4, color=colour, label=name)
    ax.set(xlabel="patches blanked", ylabel="accuracy (%)", ylim=(0, 100))
    legend_above(ax)
    attach_csv(ax.figure, ["patches", *curves], zip(counts, *curves.values(), strict=True))
    return ax


def rollouts(images: Tensor, maps: Tensor, labels: Tensor, answers: Tensor) -> Output:
    """Return a gallery of images, each above its map of attention rollout.

    Args:
        images: uint8 (M, L, L).
        maps: (M, R, R).
        labels: int64 (M,).
        answers: int64 (M,), the network's.
    """
    pairs = [*zip(labels.tolist(), answers.tolist(), strict=True)]
    captions = ["right" if label == answer else f"→ {CLASSES[answer]}" for label, answer in pairs]
    html = _gallery(images, maps, [CLASSES[label] for label, _ in pairs], captions, columns=4)
    rows = [[CLASSES[label], CLASSES[answer], *row] for (label, answer), row in zip(pairs, _values(maps), strict=True)]
    return Output("text/html", html, to_csv(["label", "answer", *_patches(maps)], rows))


def answers(images: Tensor, maps: Tensor, names: Sequence[str], probabilities: Tensor) -> Output:
    """Return a gallery of images, each above its map of attention and its three most probable classes.

    Args:
        images: uint8 (M, L, L).
        maps: (M, R, R).
        names: one for each image.
        probabilities: (M, Y), 0 to 1.
    """
    captions = []
    for row in probabilities:
        best = zip(*(part.tolist() for part in row.topk(3)), strict=True)
        captions.append(", ".join(f"{CLASSES[label]} {in_percent(share)}" for share, label in best))
    html = _gallery(images, maps, names, captions, columns=2)
    rows = zip(names, probabilities.tolist(), _values(maps), strict=True)
    head = ["image", *CLASSES, *_patches(maps)]
    return Output("text/html", html, to_csv(head, ([name, *shares, *row] for name, shares, row in rows)))


def _gallery(images: Tensor, maps: Tensor, names: Sequence[str], remarks: Sequence[str], columns: int) -> str:
    """Return images above their maps as HTML: in a map black is 0, and bright orange the largest value of all maps."""
    orange = torch.tensor([255, 150, 50]) / maps.max()
    items = []
    for image, values, name, remark in zip(images, maps, names, remarks, strict=True):
        colours = (values[:, :, None] * orange).byte()
        pictures = picture(image, f"The image as the network sees it: {name}") + picture(
            colours, f"Attention to its patches: {name}, {remark}"
        )
        items.append(f"<li>{pictures}<span>{escape(name)}</span> <b>{escape(remark)}</b></li>")
    style = f"grid-template-columns: repeat({columns}, minmax(0, 1fr)); max-width: 30rem; margin-inline: auto"
    return f'<ul class="gallery" style="{style}">\n' + "\n".join(items) + "\n</ul>"


def _values(maps: Tensor) -> list[list[float]]:
    return maps.flatten(1).tolist()


def _patches(maps: Tensor) -> list[str]:
    return [f"patch {i + 1}" for i in range(maps[0].numel())]
