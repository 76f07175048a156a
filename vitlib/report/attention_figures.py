"""Figures of what the network attends to: its positions, rollout, the deletion test, and worked examples."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from io import BytesIO
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from vitlib.data import CLASSES
from vitlib.report.image_figures import show
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


def rollouts(images: Tensor, maps: Tensor, labels: Tensor, answers: Tensor) -> Output:
    """Return a gallery of images, each above its map of attention rollout: black is 0, bright orange the largest share.

    Args:
        images: uint8 (M, L, L).
        maps: (M, R, R).
        labels: int64 (M,).
        answers: int64 (M,), the network's.
    """
    orange = torch.tensor([255, 150, 50]) / maps.max()
    items, rows = [], []
    for image, values, label, answer in zip(images, maps, labels.tolist(), answers.tolist(), strict=True):
        name = escape(CLASSES[label])
        said = "right" if label == answer else f"→ {escape(CLASSES[answer])}"
        colours = (values[:, :, None] * orange).byte()
        pictures = _picture(image, f"A picture of the class {name}") + _picture(colours, f"Its rollout: {name}, {said}")
        items.append(f"<li>{pictures}<span>{name}</span> <b>{said}</b></li>")
        rows.append([CLASSES[label], CLASSES[answer], *values.flatten().tolist()])
    head = ["label", "answer", *(f"patch {i + 1}" for i in range(maps[0].numel()))]
    columns = "grid-template-columns: repeat(4, minmax(0, 1fr)); max-width: 30rem; margin-inline: auto"
    html = f'<ul class="gallery" style="{columns}">\n' + "\n".join(items) + "\n</ul>"
    return Output("text/html", html, to_csv(head, rows))


def _picture(pixels: Tensor, alt: str) -> str:
    """Return an image, uint8 (H, W) or (H, W, 3), as HTML: light on dark in both themes."""
    content = BytesIO()
    Image.fromarray(pixels.numpy()).save(content, format="png", compress_level=0)  # the same bytes everywhere
    data = b64encode(content.getvalue()).decode()
    return f'<img class="photo" width="84" height="84" alt="{alt}" src="data:image/png;base64,{data}">'


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
