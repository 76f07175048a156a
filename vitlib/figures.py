"""The report's figures and tables: each takes data, draws, and computes nothing that a page would quote.

One look for all: colours that colour-blind readers tell apart (Okabe and Ito, 2008), vector graphics for lines and
bars, pixels for pictures.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from typing import Any

import matplotlib.pyplot as plt
from IPython.display import Image, Markdown
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter
from matplotlib_inline.backend_inline import set_matplotlib_formats
from torch import Tensor

from vitlib.data import CLASSES

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#6E6E6E"


def style() -> None:
    """Set the look of all figures of a notebook, drawn as SVG without a date so that they compare as text."""
    set_matplotlib_formats("svg", metadata={"Date": None})
    plt.rcParams.update(
        {
            "svg.hashsalt": "vitlib",
            "figure.figsize": (7.2, 3.6),
            "figure.constrained_layout.use": True,
            "font.size": 10,
            "axes.titlesize": 10,
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": GREY,
            "axes.axisbelow": True,
            "axes.grid": True,
            "grid.color": "#E4E4E4",
            "grid.linewidth": 0.7,
            "lines.linewidth": 2,
            "legend.frameon": False,
            "image.cmap": "gray_r",
        }
    )


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], left: int = 1) -> Markdown:
    """Return a Markdown table: the first `left` columns of text aligned left, the others right.

    Whole numbers get thousands separators; everything else prints as it is.
    """
    lines = [
        "| " + " | ".join(head) + " |",
        "|" + "|".join(":---" if i < left else "---:" for i in range(len(head))) + "|",
    ]
    for row in rows:
        lines.append("| " + " | ".join(f"{v:,}" if type(v) is int else str(v) for v in row) + " |")
    return Markdown("\n".join(lines))


def pixels(figure: Figure) -> Image:
    """Return a figure made of pictures as a PNG at twice its size, and close it."""
    content = BytesIO()
    figure.savefig(content, format="png", dpi=160, facecolor="white", metadata={"Software": None})
    width = round(figure.get_figwidth() * 96)
    plt.close(figure)
    return Image(content.getvalue(), width=width)


def _picture(ax: Axes, image: Tensor) -> None:
    ax.imshow(image, vmin=0, vmax=255, interpolation="nearest")
    ax.set_axis_off()


def plot_classes(images: Tensor, labels: Tensor, examples: int = 8) -> Figure:
    """Draw the first `examples` images of each class, a row a class: uint8 (N, 28, 28) and int64 (N,)."""
    figure, axes = plt.subplots(len(CLASSES), examples, figsize=(0.62 * examples + 1.6, 0.62 * len(CLASSES)))
    for label, row in enumerate(axes):
        for ax, image in zip(row, images[labels == label][:examples], strict=True):
            _picture(ax, image)
        row[0].text(-6, 14, f"{label}  {CLASSES[label]}", ha="right", va="center", fontsize=10)
    return figure


def plot_patches(image: Tensor, patches: Tensor) -> Figure:
    """Draw an image under its grid of patches, and its patches in the order of the tokens.

    Args:
        image: uint8 (L, L).
        patches: uint8 (R R, P, P), in token order.
    """
    R, P = round(len(patches) ** 0.5), patches.shape[-1]
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.4))
    _picture(left, image)
    for i in range(R + 1):
        left.axhline(i * P - 0.5, color=ORANGE, linewidth=0.8)
        left.axvline(i * P - 0.5, color=ORANGE, linewidth=0.8)
    left.set_title(f"{image.shape[0]} × {image.shape[1]} pixels, cut every {P}")
    gap = 1
    for i, patch in enumerate(patches):
        x, y = (i % R) * (P + 2 * gap), (i // R) * (P + 2 * gap)
        right.imshow(patch, vmin=0, vmax=255, extent=(x, x + P, y + P, y), interpolation="nearest")
        right.add_patch(Rectangle((x, y), P, P, fill=False, edgecolor=ORANGE, linewidth=0.6))
        right.text(x + P / 2, y + P + 1.3, str(i + 1), ha="center", va="center", fontsize=5.5, color=GREY)
    right.set(xlim=(-1, R * (P + 2 * gap)), ylim=(R * (P + 2 * gap) + 1, -1), aspect="equal")
    right.set_axis_off()
    right.set_title(f"{len(patches)} patches of {P} × {P}, numbered as tokens")
    return figure


def plot_history(history: list[dict[str, float]], axes: Sequence[Axes]) -> Sequence[Axes]:
    """Draw loss, and validation accuracy, against the epoch: `history` as of `vitlib.Run`."""
    loss, accuracy = axes
    epochs = [row["epoch"] for row in history]
    marker = "o" if len(epochs) < 30 else None
    for name, label, colour in (("train_loss", "training", GREY), ("validation_loss", "validation", BLUE)):
        values = [row[name] for row in history]
        loss.plot(epochs, values, color=colour, marker=marker, markersize=4, label=label)
    loss.set(xlabel="epoch", ylabel="loss (nats)", ylim=(0, None))
    loss.legend()
    values = [100 * row["validation_accuracy"] for row in history]
    accuracy.plot(epochs, values, color=BLUE, marker=marker, markersize=4)
    accuracy.set(xlabel="epoch", ylabel="validation accuracy (%)")
    for ax in axes:
        ax.xaxis.get_major_locator().set_params(integer=True)
    return axes


def plot_per_class(rows: Sequence[dict[str, Any]], *, ax: Axes | None = None) -> Axes:
    """Draw accuracy by class with its interval, ours beside the reported.

    Args:
        rows: per class ``name``, and ``ours`` and ``reported`` as (share, low, high), 0 to 1.
        ax: where to draw; a new figure by default.
    """
    ax = ax or plt.subplots(figsize=(7.2, 4.4))[1]
    for offset, key, colour in ((0.19, "reported", GREY), (-0.19, "ours", BLUE)):
        for i, row in enumerate(rows):
            share, low, high = row[key]
            y = len(rows) - 1 - i + offset
            label = {"ours": "this report", "reported": "homework"}[key] if i == 0 else None
            ax.barh(y, share, height=0.36, color=colour, alpha=0.85, label=label)
            ax.plot([low, high], [y, y], color="black", linewidth=1)
    ax.set_yticks(range(len(rows)), [row["name"] for row in reversed(rows)])
    ax.set(xlim=(0, 1.0), xlabel="test accuracy, with 95 % intervals")
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.grid(axis="y", visible=False)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return ax


def plot_confusion(confusion: Tensor, *, ax: Axes | None = None) -> Axes:
    """Draw a confusion matrix with its counts: int64 (Y, Y), true class by row, predicted class by column."""
    ax = ax or plt.subplots(figsize=(7.2, 6.2))[1]
    Y = len(confusion)
    wrong = confusion.clone()
    wrong.fill_diagonal_(0)
    ax.imshow(wrong, cmap="Oranges", vmin=0, vmax=max(1, int(wrong.max())))
    for i in range(Y):
        for j in range(Y):
            count = int(confusion[i, j])
            if i == j:
                ax.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, color=BLUE, alpha=0.85))
            dark = i == j or count > 0.6 * int(wrong.max())
            ax.text(j, i, str(count) if count else "·", ha="center", va="center", color="white" if dark else "black")
    ax.set_xticks(range(Y), CLASSES, rotation=40, ha="right")
    ax.set_yticks(range(Y), CLASSES)
    ax.set(xlabel="predicted class", ylabel="true class")
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    return ax


def plot_mistakes(images: Tensor, captions: Sequence[str], columns: int = 6) -> Figure:
    """Draw images with a caption under each: uint8 (N, 28, 28)."""
    rows = -(-len(images) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(1.32 * columns, 1.75 * rows), squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, image, caption in zip(axes.flat, images, captions, strict=False):
        _picture(ax, image)
        ax.text(0.5, -0.04, caption, transform=ax.transAxes, ha="center", va="top", fontsize=8)
    return figure


def plot_cost(rows: Sequence[tuple[str, int]], unit: str, *, ax: Axes | None = None) -> Axes:
    """Draw named counts as bars, labelled with their value and share."""
    ax = ax or plt.subplots(figsize=(7.2, 2.9))[1]
    total = sum(value for _, value in rows)
    for i, (_, value) in enumerate(reversed(rows)):
        ax.barh(i, value, color=BLUE, height=0.7)
        ax.text(value, i, f"  {value:,}  ({value / total:.1%})", va="center", fontsize=9)
    ax.set_yticks(range(len(rows)), [name for name, _ in reversed(rows)])
    ax.set(xlabel=unit, xlim=(0, 1.35 * max(value for _, value in rows)))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    ax.grid(axis="y", visible=False)
    return ax


def plot_spread(
    answers: Mapping[str, Sequence[tuple[str, float]]], exact: float, unit: str, *, ax: Axes | None = None
) -> Axes:
    """Draw for each name a row of dots, equal values once, and a dashed line where the exact value lies."""
    ax = ax or plt.subplots(figsize=(7.2, 0.42 * len(answers) + 1.0))[1]
    ax.axvline(exact, color=GREY, linestyle="--", linewidth=1.2)
    for i, (_, values) in enumerate(reversed(answers.items())):
        distinct = sorted({value for _, value in values})
        ax.plot(distinct, [i] * len(distinct), "o", color=BLUE, markersize=7, alpha=0.8)
    ax.set_yticks(range(len(answers)), list(reversed(answers)))
    ax.set(xlabel=unit, xlim=(0, None))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    ax.grid(axis="x", visible=False)
    return ax


def plot_share(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    marks: Sequence[tuple[float, float, str]],
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw named curves of a share against the number of tokens on a logarithmic axis, and marked points with text."""
    ax = ax or plt.subplots(figsize=(7.2, 3.4))[1]
    for (name, (tokens, share)), color in zip(curves.items(), (BLUE, ORANGE, GREEN), strict=False):
        ax.plot(tokens, share, color=color, label=name)
    for x, y, text in marks:
        ax.plot(x, y, "o", color="black", markersize=5)
        ax.annotate(text, (x, y), xytext=(0, 8), textcoords="offset points", ha="right", fontsize=9)
    ax.set(xscale="log", xlabel="tokens, N", ylabel="share of the layer's MACs", ylim=(0, 1))
    ax.legend(loc="upper left")
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return ax


def plot_pairs(rows: Sequence[tuple[str, float, float]], labels: tuple[str, str], *, ax: Axes | None = None) -> Axes:
    """Draw two shares (0 to 1) for each name as a pair of bars: grey for the first, blue for the second."""
    ax = ax or plt.subplots(figsize=(7.2, 0.36 * len(rows) + 1.0))[1]
    for i, (_, first, second) in enumerate(reversed(rows)):
        ax.barh(i + 0.19, first, height=0.36, color=GREY, label=labels[0] if i == 0 else None)
        ax.barh(i - 0.19, second, height=0.36, color=BLUE, label=labels[1] if i == 0 else None)
    ax.set_yticks(range(len(rows)), [name for name, *_ in reversed(rows)])
    ax.set(xlabel="share of the layer")
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.grid(axis="y", visible=False)
    ax.legend(loc="lower right")
    return ax


def plot_roofline(points: Sequence[tuple[str, float, float]], ridge: float, *, ax: Axes | None = None) -> Axes:
    """Draw operations under the roofline: intensity (FLOPs per byte) and speed as a share of the peak of products."""
    ax = ax or plt.subplots(figsize=(7.2, 4.2))[1]
    low, high = min(x for _, x, _ in points) / 2, max(max(x for _, x, _ in points), ridge) * 4
    ax.plot([low, ridge, high], [low / ridge, 1, 1], color=GREY)
    together: list[list[tuple[str, float, float]]] = []  # points too close for a label each
    for point in points:
        _, x, y = point
        near = (g for g in together if abs(math.log(g[0][1] / x)) < 0.6 and abs(math.log(g[0][2] / y)) < 0.9)
        group = next(near, None)
        together.append([point]) if group is None else group.append(point)
    for group in together:
        ax.plot([x for _, x, _ in group], [y for *_, y in group], "o", color=BLUE, markersize=6, alpha=0.8)
        text = "\n".join(name for name, *_ in group)
        ax.annotate(text, group[0][1:], xytext=(8, -3), textcoords="offset points", fontsize=8, va="top")
    ax.set(xscale="log", yscale="log", xlim=(low, high))
    ax.set(xlabel="arithmetic intensity (FLOPs per byte moved)", ylabel="speed over the peak of products")
    return ax


def plot_throughput(rows: Sequence[tuple[str, float, float]], *, ax: Axes | None = None) -> Axes:
    """Draw for each model its images per second in its usual loop (grey) and in ours (blue), labelled."""
    ax = ax or plt.subplots(figsize=(7.2, 0.56 * len(rows) + 1.1))[1]
    for i, (_, usual, ours) in enumerate(reversed(rows)):
        for offset, value, colour, label in ((0.2, usual, GREY, "its usual loop"), (-0.2, ours, BLUE, "our loop")):
            ax.barh(i + offset, value, height=0.38, color=colour, label=label if i == 0 else None)
            ax.text(value, i + offset, f"  {value:,.0f}", va="center", fontsize=8.5)
    ax.set_yticks(range(len(rows)), [name for name, *_ in reversed(rows)])
    ax.set(xlabel="images trained on per second", xlim=(0, 1.15 * max(max(row[1:]) for row in rows)))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    ax.grid(axis="y", visible=False)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return ax


def plot_growth(panels: Mapping[str, Sequence[tuple[int, float, float]]]) -> Figure:
    """Draw for each size a panel: how the time of an image grows with it (blue), and how its MACs do (grey).

    Args:
        panels: by the size's name, rows of (size, time, MACs), both over those of the first row.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(1.75 * len(panels) + 0.6, 2.7), sharey=True)
    for ax, (name, rows) in zip(axes, panels.items(), strict=True):
        sizes = [size for size, *_ in rows]
        for column, colour, style_, label in ((2, GREY, "--", "MACs"), (1, BLUE, "-", "time")):
            ax.plot(sizes, [row[column] for row in rows], style_, color=colour, marker="o", markersize=4, label=label)
        ax.set(xscale="log", yscale="log", xlabel=name)
        ax.set_xticks(sizes, [f"{size:,}" for size in sizes], fontsize=8)
        ax.minorticks_off()
    axes[0].set_ylabel("of an image, over the first")
    axes[0].yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes[0].legend(loc="upper left")
    return figure


def plot_races(races: Mapping[str, Sequence[float]], *, ax: Axes | None = None) -> Axes:
    """Draw for each name the seconds of its races as dots, and their median as a line."""
    ax = ax or plt.subplots(figsize=(7.2, 0.5 * len(races) + 1.0))[1]
    for i, seconds in enumerate(reversed(races.values())):
        ax.plot(seconds, [i] * len(seconds), "o", color=BLUE, markersize=7, alpha=0.7)
        middle = sorted(seconds)[len(seconds) // 2]
        ax.plot([middle, middle], [i - 0.28, i + 0.28], color="black", linewidth=1.5)
    ax.set_yticks(range(len(races)), list(reversed(races)))
    ax.set(xlabel="seconds", xlim=(0, None), ylim=(-0.6, len(races) - 0.4))
    ax.grid(axis="y", visible=False)
    return ax
