"""Figures of what the network attends to: its positions, rollout, and the deletion test."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from vitlib.report.image_figures import show
from vitlib.report.output import BLUE, GREEN, GREY, ORANGE, WIDTH, attach_csv, legend_above


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


def plot_deletion(counts: Sequence[int], curves: Mapping[str, Sequence[float]], *, ax: Axes | None = None) -> Axes:
    """Draw the accuracy (0 to 1) against the number of blanked patches, one curve for each named order."""
    ax = ax or plt.subplots(figsize=(WIDTH, 3.6))[1]
    looks = zip((BLUE, GREEN, ORANGE, GREY, "black"), ("o", "s", "^", "v", "D"), strict=True)
    for (name, accuracies), (colour, marker) in zip(curves.items(), looks, strict=False):
        ax.plot(counts, [100 * a for a in accuracies], marker=marker, markersize=4, color=colour, label=name)
    ax.set(xlabel="patches blanked", ylabel="accuracy (%)", ylim=(0, 100))
    legend_above(ax)
    attach_csv(ax.figure, ["patches", *curves], zip(counts, *curves.values(), strict=True))
    return ax


def plot_rollouts(images: Tensor, maps: Tensor, titles: Sequence[str], columns: int) -> Figure:
    """Draw images, each above its map of attention rollout.

    Args:
        images: uint8 (M, L, L).
        maps: (M, R, R).
        titles: one for each image.
        columns: images in a row.
    """
    height = -(-len(images) // columns)
    figure, axes = plt.subplots(2 * height, columns, figsize=(WIDTH, 2.9 * height), squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for i, (image, values, title) in enumerate(zip(images, maps, titles, strict=True)):
        upper, lower = axes[2 * (i // columns), i % columns], axes[2 * (i // columns) + 1, i % columns]
        show(upper, image)
        upper.set_title(title, loc="center", fontsize=9)
        lower.imshow(values, vmin=0, vmax=float(maps.max()), cmap="Oranges", interpolation="nearest")
    head = ["image", *(f"patch {i + 1}" for i in range(maps[0].numel()))]
    rows = ([title.replace("\n", " "), *m.flatten().tolist()] for title, m in zip(titles, maps, strict=True))
    attach_csv(figure, head, rows)
    return figure
