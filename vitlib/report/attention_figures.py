"""Figures of what the network attends to: small maps, distances, rollout, the deletion test, and worked examples."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from vitlib.data import CLASSES
from vitlib.report.image_figures import show
from vitlib.report.output import BLUE, GREEN, GREY, ORANGE, WIDTH, attach_csv, legend_above


def plot_maps(
    maps: Tensor, titles: Sequence[str], columns: int, low: float, high: float, colours: str, named: bool = True
) -> Figure:
    """Draw small square maps in rows of `columns` with one colour bar.

    Args:
        maps: (M, R, R).
        titles: one for each map.
        columns: maps in a row.
        low: the value at the colour bar's lower end.
        high: the value at its upper end.
        colours: the name of a colour map.
        named: whether to draw the titles; the CSV has them in any case.
    """
    rows = -(-len(maps) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(WIDTH, (WIDTH - 0.8) / columns * rows + 0.24 * rows * named))
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, values, title in zip(axes.flat, maps, titles, strict=False):
        drawn = ax.imshow(values, vmin=low, vmax=high, cmap=colours, interpolation="nearest")
        if named:
            ax.set_title(title, loc="center", fontsize=9)
    figure.colorbar(drawn, ax=axes, fraction=0.04)
    head = ["map", *(f"cell {i + 1}" for i in range(maps[0].numel()))]
    attach_csv(figure, head, ([title, *values.flatten().tolist()] for values, title in zip(maps, titles, strict=True)))
    return figure


def plot_distances(distances: Sequence[Sequence[float]], uniform: float, *, ax: Axes | None = None) -> Axes:
    """Draw the mean attention distance in pixels of each head (a dot) by layer, and that of uniform attention."""
    ax = ax or plt.subplots(figsize=(WIDTH, 2.8))[1]
    for layer, heads in enumerate(distances, 1):
        ax.plot([layer] * len(heads), heads, "o", color=BLUE, markersize=7, alpha=0.7)
    ax.axhline(uniform, color=GREY, linestyle="--", label="even attention")
    ax.set(xlabel="layer", ylabel="mean distance (pixels)", xticks=range(1, len(distances) + 1))
    ax.set_ylim(0, 1.15 * max(uniform, *(max(heads) for heads in distances)))
    ax.legend(loc="lower right")
    rows = [(layer, head, value) for layer, heads in enumerate(distances, 1) for head, value in enumerate(heads, 1)]
    attach_csv(ax.figure, ["layer", "head", "pixels"], [*rows, ("uniform", "", uniform)])
    return ax


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


def plot_answers(images: Tensor, titles: Sequence[str], maps: Tensor, probabilities: Tensor) -> Figure:
    """Draw images in two rows, each with a map of attention and its three most probable classes.

    Args:
        images: uint8 (M, L, L), M even.
        titles: one for each image.
        maps: (M, R, R).
        probabilities: (M, Y), 0 to 1.
    """
    figure = plt.figure(figsize=(WIDTH, 4.1), layout="none")
    parts: Any = figure.subfigures(2, len(images) // 2)
    for i, part in enumerate(parts.flat):
        picture, attended = part.add_axes((0.04, 0.38, 0.44, 0.4)), part.add_axes((0.52, 0.38, 0.44, 0.4))
        bars = part.add_axes((0.4, 0.06, 0.36, 0.27))
        part.text(0.5, 0.97, titles[i], fontsize=9, ha="center", va="top")
        show(picture, images[i])
        attended.imshow(maps[i], vmin=0, cmap="Oranges", interpolation="nearest")
        attended.set_axis_off()
        shares, classes = probabilities[i].topk(3)
        bars.barh([2, 1, 0], shares, color=[BLUE, GREY, GREY], height=0.6)
        bars.set_yticks([2, 1, 0], [CLASSES[c] for c in classes], fontsize=8)
        bars.set(xlim=(0, 1), xticks=[])
        bars.spines[:].set_visible(False)
        bars.tick_params(length=0)
        bars.grid(visible=False)
        for y, share in zip((2, 1, 0), shares.tolist(), strict=True):
            bars.text(share + 0.06, y, f"{100 * share:.1f} %", va="center", fontsize=8)
    head = ["image", *CLASSES, *(f"patch {i + 1}" for i in range(maps[0].numel()))]
    rows = zip(titles, probabilities.tolist(), maps.flatten(1).tolist(), strict=True)
    attach_csv(figure, head, ([title.replace("\n", " "), *shares, *values] for title, shares, values in rows))
    return figure
