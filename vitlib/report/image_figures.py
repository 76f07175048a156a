"""Figures of images: examples of each class, the patches of one image, and the network's most confident mistakes."""

from base64 import b64encode
from html import escape
from io import BytesIO

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image
from torch import Tensor

from vitlib.data import CLASSES
from vitlib.report.output import ORANGE, WIDTH, Output, attach_csv, to_csv


def show(ax: Axes, image: Tensor) -> None:
    """Draw a grey image, uint8 (H, W), without axes."""
    ax.imshow(image, vmin=0, vmax=255, interpolation="nearest")
    ax.set_axis_off()


def plot_classes(images: Tensor, labels: Tensor, examples: int = 6) -> Figure:
    """Draw the first `examples` images of each class, one row per class: uint8 (N, 28, 28) and int64 (N,)."""
    figure, axes = plt.subplots(len(CLASSES), examples, figsize=(0.62 * examples + 1.6, 0.62 * len(CLASSES)))
    indices = [(labels == label).nonzero().flatten()[:examples].tolist() for label in range(len(CLASSES))]
    for label, row in enumerate(axes):
        for ax, i in zip(row, indices[label], strict=True):
            show(ax, images[i])
        row[0].text(-6, 14, f"{label}  {CLASSES[label]}", ha="right", va="center", fontsize=10)
    head = ["label", "class", *(f"image {i + 1}" for i in range(examples))]
    attach_csv(figure, head, ([label, CLASSES[label], *row] for label, row in enumerate(indices)))
    return figure


def plot_patches(image: Tensor, patches: Tensor) -> Figure:
    """Draw an image with its grid of patches, and its patches in the order of the tokens.

    Args:
        image: uint8 (L, L).
        patches: uint8 (R R, P, P), row by row.
    """
    R, P = round(len(patches) ** 0.5), patches.shape[-1]
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.9), width_ratios=(1, 1.25))
    show(left, image)
    for i in range(R + 1):
        left.axhline(i * P - 0.5, color=ORANGE, linewidth=0.8)
        left.axvline(i * P - 0.5, color=ORANGE, linewidth=0.8)
    left.set_title(f"{image.shape[0]} × {image.shape[1]} pixels, cut every {P}")
    step = 1.4 * P
    for i, patch in enumerate(patches):
        x, y = (i % R) * step, (i // R) * step
        right.imshow(patch, vmin=0, vmax=255, extent=(x, x + P, y + P, y), interpolation="nearest")
        right.add_patch(Rectangle((x, y), P, P, fill=False, edgecolor=ORANGE, linewidth=0.6))
    for row in range(R):
        y = row * step + P / 2
        right.text(-0.3 * P, y, str(row * R + 1), ha="right", va="center", fontsize=9)
        right.text(R * step, y, str(row * R + R), ha="left", va="center", fontsize=9)
    right.set(xlim=(-1.1 * P, R * step + 0.9 * P), ylim=(R * step, -1), aspect="equal")
    right.set_axis_off()
    right.set_title(f"{len(patches)} patches, from left to right")
    head = ["patch", *(f"pixel {i + 1}" for i in range(P * P))]
    attach_csv(figure, head, ([i + 1, *patch.flatten().tolist()] for i, patch in enumerate(patches)))
    return figure


def mistakes(images: Tensor, indices: Tensor, labels: Tensor, probabilities: Tensor) -> Output:
    """Return a gallery of images with label, prediction and its probability; details on hover, tap or key.

    Args:
        images: uint8 (N, 28, 28).
        indices: int64 (N,), their indices in the test set.
        labels: int64 (N,).
        probabilities: float (N, Y), what the network gave each class.
    """
    items, rows = [], []
    for image, index, label, p in zip(images, indices.tolist(), labels.tolist(), probabilities.tolist(), strict=True):
        ranking = sorted(range(len(p)), key=lambda j: -p[j])
        listed = ranking[:3] if label in ranking[:3] else [*ranking[:3], label]
        listing = ", ".join(f"{escape(CLASSES[j])} {100 * p[j]:.2f} %" for j in listed)
        name, prediction = escape(CLASSES[label]), escape(CLASSES[ranking[0]])
        items.append(
            f'<li><div data-detail="Test image {index:,}, labelled {name}. The network’s probabilities: {listing}.">'
            f'<img width="84" height="84" alt="Test image {index}, labelled {name}"'
            f' src="data:image/png;base64,{_png(image)}">'
            f"<span>{name}</span> <b>→ {prediction}</b> <span>{100 * p[ranking[0]]:.2f} %</span></div></li>"
        )
        rows.append([index, CLASSES[label], CLASSES[ranking[0]], *p])
    hint = "Hover over an image, tap it, or use the arrow keys to see the network’s probabilities."
    html = f'<ul class="closer gallery" data-hint="{hint}">\n' + "\n".join(items) + "\n</ul>"
    return Output("text/html", html, to_csv(["test image", "label", "answer", *CLASSES], rows))


def _png(image: Tensor) -> str:
    content = BytesIO()
    Image.fromarray(255 - image.numpy()).save(content, format="png", compress_level=0)  # the same bytes everywhere
    return b64encode(content.getvalue()).decode()
