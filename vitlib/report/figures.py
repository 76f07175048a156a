"""The report's figures and tables: each takes data, draws, and computes nothing that a page would quote.

One look for all: colours that colour-blind readers tell apart (Okabe and Ito, 2008), vector graphics for lines and
bars, pixels for pictures, HTML where a reader may look closer; not wider than a phone can bear. Each keeps its numbers
as CSV beside what it shows: pytest's nbval compares them, and the page offers them for download.
"""

import ast
import csv
import inspect
import math
import re
import statistics
import textwrap
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from io import BytesIO, StringIO
from typing import Any

import matplotlib.pyplot as plt
from IPython.core.interactiveshell import InteractiveShell
from IPython.display import Markdown
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter
from matplotlib_inline.backend_inline import set_matplotlib_formats
from PIL import Image
from torch import Tensor

from vitlib.data import CLASSES

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#6E6E6E"
WIDTH = 5.6  # inches: letters of 10 points stay readable where a phone shows the figure 330 pixels wide


def style() -> None:
    """Set the look of all figures of a notebook, drawn as SVG without a date so that they compare as text."""
    set_matplotlib_formats("svg", metadata={"Date": None})
    bundles = InteractiveShell.instance().display_formatter.mimebundle_formatter
    bundles.for_type(Figure, lambda figure, **_: {"text/csv": figure.numbers} if hasattr(figure, "numbers") else {})
    plt.rcParams.update(
        {
            "svg.hashsalt": "vitlib",
            "figure.figsize": (WIDTH, 3.2),
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


class Shown:
    """An output of a cell in several forms, by MIME type: what a page shows, and its numbers as CSV."""

    def __init__(self, kind: str, form: str, numbers: str, **metadata: int) -> None:
        self.forms, self.metadata = {kind: form, "text/csv": numbers}, {kind: metadata}

    def __repr__(self) -> str:
        return f"Shown({', '.join(self.forms)})"  # without an address, which differs every time

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> tuple[dict[str, str], dict[str, Any]]:
        return self.forms, self.metadata


def numbers(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as CSV: numbers without separators, six digits of those that are not whole, text without markup."""

    def plain(value: object) -> str:
        if isinstance(value, float):
            return f"{value:.0f}" if value.is_integer() else f"{value:.6g}"
        return re.sub(r"\{doc\}|\*\*|[`$]", "", str(value))

    written = StringIO()
    csv.writer(written, lineterminator="\n").writerows([plain(value) for value in row] for row in [head, *rows])
    return written.getvalue()


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], left: int = 1) -> Shown:
    """Return a Markdown table: the first `left` columns of text aligned left, the others right.

    Whole numbers get thousands separators; everything else prints as it is.
    """
    rows = list(rows)
    lines = [
        "| " + " | ".join(head) + " |",
        "|" + "|".join(":---" if i < left else "---:" for i in range(len(head))) + "|",
    ]
    for row in rows:
        lines.append("| " + " | ".join(f"{v:,}" if type(v) is int else str(v) for v in row) + " |")
    return Shown("text/markdown", "\n".join(lines), numbers(head, rows))


def source(function: Callable[..., Any]) -> Markdown:
    """Return the code of a function as it stands in the library, without its docstring."""
    lines = textwrap.dedent(inspect.getsource(function)).splitlines()
    docstring = ast.parse("\n".join(lines)).body[0].body[0]
    del lines[docstring.lineno - 1 : docstring.end_lineno]
    return Markdown("\n".join(["```python", *lines, "```"]))


def pixels(figure: Figure) -> Shown:
    """Return a figure made of pictures, with its numbers, as a PNG at twice its size, and close it."""
    content = BytesIO()
    figure.savefig(content, format="png", dpi=160, facecolor="white", metadata={"Software": None})
    width = round(figure.get_figwidth() * 96)
    plt.close(figure)
    return Shown("image/png", b64encode(content.getvalue()).decode(), figure.numbers, width=width)


def _picture(ax: Axes, image: Tensor) -> None:
    ax.imshow(image, vmin=0, vmax=255, interpolation="nearest")
    ax.set_axis_off()


def plot_classes(images: Tensor, labels: Tensor, examples: int = 6) -> Figure:
    """Draw the first `examples` images of each class, a row a class: uint8 (N, 28, 28) and int64 (N,)."""
    figure, axes = plt.subplots(len(CLASSES), examples, figsize=(0.62 * examples + 1.6, 0.62 * len(CLASSES)))
    shown = [(labels == label).nonzero().flatten()[:examples].tolist() for label in range(len(CLASSES))]
    for label, row in enumerate(axes):
        for ax, i in zip(row, shown[label], strict=True):
            _picture(ax, images[i])
        row[0].text(-6, 14, f"{label}  {CLASSES[label]}", ha="right", va="center", fontsize=10)
    head = ["label", "class", *(f"image {i + 1}" for i in range(examples))]
    figure.numbers = numbers(head, ([label, CLASSES[label], *row] for label, row in enumerate(shown)))
    return figure


def plot_patches(image: Tensor, patches: Tensor) -> Figure:
    """Draw an image under its grid of patches, and its patches in the order of the tokens.

    Args:
        image: uint8 (L, L).
        patches: uint8 (R R, P, P), in token order.
    """
    R, P = round(len(patches) ** 0.5), patches.shape[-1]
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.9), width_ratios=(1, 1.25))
    _picture(left, image)
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
    pixel = [f"pixel {i + 1}" for i in range(P * P)]
    figure.numbers = numbers(["patch", *pixel], ([i + 1, *patch.flatten().tolist()] for i, patch in enumerate(patches)))
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
    head = ["epoch", "train_loss", "validation_loss", "validation_accuracy"]
    loss.figure.numbers = numbers(head, ([row[key] for key in head] for row in history))
    return axes


def plot_per_class(rows: Sequence[dict[str, Any]], *, ax: Axes | None = None) -> Axes:
    """Draw accuracy by class with its interval, ours beside the reported.

    Args:
        rows: per class ``name``, and ``ours`` and ``reported`` as (share, low, high), 0 to 1.
        ax: where to draw; a new figure by default.
    """
    ax = ax or plt.subplots(figsize=(WIDTH, 4.2))[1]
    for offset, key, colour in ((0.19, "reported", GREY), (-0.19, "ours", BLUE)):
        for i, row in enumerate(rows):
            share, low, high = row[key]
            y = len(rows) - 1 - i + offset
            label = {"ours": "this report", "reported": "homework"}[key] if i == 0 else None
            ax.barh(y, share, height=0.36, color=colour, alpha=0.85, label=label)
            ax.plot([low, high], [y, y], color="black", linewidth=1)
    ax.set_yticks(range(len(rows)), [row["name"] for row in reversed(rows)])
    ax.set(xlim=(0, 1.0), xlabel="test accuracy, with 95 % intervals")
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    ax.grid(axis="y", visible=False)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    head = ["class", *(f"{key}{part}" for key in ("reported", "ours") for part in ("", " low", " high"))]
    ax.figure.numbers = numbers(head, ([row["name"], *row["reported"], *row["ours"]] for row in rows))
    return ax


def confusion(counts: Tensor) -> Shown:
    """Return a confusion matrix as a table whose squares say more on a closer look.

    Args:
        counts: int64 (Y, Y), true class by row, predicted class by column.
    """
    wrong = counts.clone().fill_diagonal_(0)
    most = max(1, int(wrong.max()))

    def square(i: int, j: int) -> str:
        count, total = int(counts[i, j]), int(counts[i].sum())
        colour = f"{BLUE}; color: white" if i == j else f"rgba(213, 94, 0, {0.7 * count / most:.2f})"
        answer = "recognised" if i == j else f"taken for {CLASSES[j]}"
        said = f"{CLASSES[i]} {answer}: {count:,} of {total:,} ({100 * count / max(1, total):.1f} % of the row)"
        return f'<td style="background: {colour}" data-detail="{escape(said)}">{count or "·"}</td>'

    Y = range(len(counts))
    names = "".join(f'<th scope="col"><span>{escape(CLASSES[j])}</span></th>' for j in Y)
    rows = [f'<tr><th scope="row">{escape(CLASSES[i])}</th>{"".join(square(i, j) for j in Y)}</tr>' for i in Y]
    table = (
        f'<table><thead><tr><td></td><th colspan="{len(Y)}">predicted class</th></tr>'
        f"<tr><th>true class</th>{names}</tr></thead><tbody>\n" + "\n".join(rows) + "\n</tbody></table>"
    )
    hint = "Point at a square, tap it or walk to it with the arrow keys: here stands what it counts."
    html = f'<div class="closer confusion" data-hint="{hint}">{table}</div>'
    head = ["true class", *(CLASSES[j] for j in Y)]
    return Shown("text/html", html, numbers(head, ([CLASSES[i], *counts[i].tolist()] for i in Y)))


def mistakes(images: Tensor, which: Tensor, labels: Tensor, probabilities: Tensor) -> Shown:
    """Return a gallery of images with label, answer and its probability, which say more on a closer look.

    Args:
        images: uint8 (N, 28, 28).
        which: int64 (N,), their places in the set that they come from.
        labels: int64 (N,), their classes.
        probabilities: float (N, Y), what the network gave each class.
    """
    items, rows = [], []
    for image, place, label, given in zip(images, which.tolist(), labels.tolist(), probabilities.tolist(), strict=True):
        order = sorted(range(len(given)), key=lambda j: -given[j])
        answer, most = order[0], order[:3] if label in order[:3] else [*order[:3], label]
        content = BytesIO()
        Image.fromarray(255 - image.numpy()).save(content, format="png", compress_level=0)  # the same bytes anywhere
        name, taken = escape(CLASSES[label]), escape(CLASSES[answer])
        thought = ", ".join(f"{escape(CLASSES[j])} {100 * given[j]:.2f} %" for j in most)
        items.append(
            f'<li><div data-detail="Test image {place:,}, labelled {name}. The network’s probabilities: {thought}.">'
            f'<img width="84" height="84" alt="Test image {place}, labelled {name}"'
            f' src="data:image/png;base64,{b64encode(content.getvalue()).decode()}">'
            f"<span>{name}</span> <b>→ {taken}</b> <span>{100 * given[answer]:.2f} %</span></div></li>"
        )
        rows.append([place, CLASSES[label], CLASSES[answer], *given])
    hint = "Point at a picture, tap it or walk to it with the arrow keys: here stands what the network thought of it."
    html = f'<ul class="closer gallery" data-hint="{hint}">\n' + "\n".join(items) + "\n</ul>"
    return Shown("text/html", html, numbers(["test image", "label", "answer", *CLASSES], rows))


def points(ax: Axes, marks: Iterable[tuple[float, float, str]], alt: str) -> Shown:
    """Return the figure of `ax` so that each of its points says more on a closer look, and close it.

    Args:
        ax: axes drawn by a function of this module or by hand, the figure's numbers set.
        marks: per point where it lies, in the units of the axes, and what it says; the arrow keys walk in this order.
        alt: what the picture shows, for those who do not see it.
    """
    figure, content = ax.figure, BytesIO()
    figure.savefig(content, format="svg", metadata={"Date": None})
    spots = []
    for x, y, said in marks:
        across, up = figure.transFigure.inverted().transform(ax.transData.transform((x, y)))
        place = f"left: {100 * across:.2f}%; top: {100 * (1 - up):.2f}%"
        spots.append(f'<span style="{place}" data-detail="{escape(said)}"></span>')
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    plt.close(figure)
    hint = "Point at a dot, tap it or walk to it with the arrow keys: here stands what it is."
    html = (
        f'<div class="closer points" data-hint="{hint}">\n<img width="{width}" height="{height}" alt="{escape(alt)}"'
        f' src="data:image/svg+xml;base64,{b64encode(content.getvalue()).decode()}">\n' + "\n".join(spots) + "\n</div>"
    )
    return Shown("text/html", html, figure.numbers)


def plot_cost(rows: Sequence[tuple[str, int]], unit: str, *, ax: Axes | None = None) -> Axes:
    """Draw named counts as bars, labelled with their value and share."""
    ax = ax or plt.subplots(figsize=(WIDTH, 2.7))[1]
    total = sum(value for _, value in rows)
    for i, (_, value) in enumerate(reversed(rows)):
        ax.barh(i, value, color=BLUE, height=0.7)
        ax.text(value, i, f"  {value:,}  ({100 * value / total:.1f} %)", va="center", fontsize=9)
    ax.set_yticks(range(len(rows)), [name for name, _ in reversed(rows)])
    ax.set(xlabel=unit, xlim=(0, 1.6 * max(value for _, value in rows)))
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    ax.grid(axis="y", visible=False)
    ax.figure.numbers = numbers(["operation", unit, "share"], ([name, n, n / total] for name, n in rows))
    return ax


def plot_spread(
    answers: Mapping[str, Sequence[tuple[str, float]]], exact: float, unit: str, *, ax: Axes | None = None
) -> Axes:
    """Draw for each name a row of dots, equal values once, and a dashed line where the exact value lies."""
    ax = ax or plt.subplots(figsize=(WIDTH, 0.42 * len(answers) + 1.0))[1]
    ax.axvline(exact, color=GREY, linestyle="--", linewidth=1.2)
    for i, (_, values) in enumerate(reversed(answers.items())):
        distinct = sorted({value for _, value in values})
        ax.plot(distinct, [i] * len(distinct), "o", color=BLUE, markersize=7, alpha=0.8)
    ax.set_yticks(range(len(answers)), list(reversed(answers)))
    ax.set(xlabel=f"{unit} (millions)", xlim=(-0.02 * exact, None))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value / 1e6:.0f}")
    ax.grid(axis="x", visible=False)
    ax.text(exact, len(answers) - 0.5, "exact", ha="center", va="bottom", fontsize=9)
    rows = [(name, way, value) for name, values in answers.items() for way, value in values]
    ax.figure.numbers = numbers(["name", "way", unit], rows)
    return ax


def plot_share(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    marks: Sequence[tuple[float, float, str]],
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw named curves of a share against the number of tokens on a logarithmic axis, and marked points with text."""
    ax = ax or plt.subplots(figsize=(WIDTH, 3.2))[1]
    for (name, (tokens, share)), color in zip(curves.items(), (BLUE, ORANGE, GREEN), strict=False):
        ax.plot(tokens, share, color=color, label=name)
    for x, y, text in marks:
        ax.plot(x, y, "o", color="black", markersize=5)
        ax.annotate(text, (x, y), xytext=(0, 8), textcoords="offset points", ha="right", fontsize=9)
    ax.set(xscale="log", xlabel="tokens, N", ylabel="share of the layer's MACs", ylim=(0, 1))
    ax.legend(loc="upper left")
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    rows = [(name, float(x), float(y)) for name, points in curves.items() for x, y in zip(*points, strict=True)]
    ax.figure.numbers = numbers(["curve", "tokens", "share"], [*rows, *((text, x, y) for x, y, text in marks)])
    return ax


def plot_pairs(rows: Sequence[tuple[str, float, float]], labels: tuple[str, str], *, ax: Axes | None = None) -> Axes:
    """Draw two shares (0 to 1) for each name as a pair of bars: grey for the first, blue for the second."""
    ax = ax or plt.subplots(figsize=(WIDTH, 0.36 * len(rows) + 1.0))[1]
    for i, (_, first, second) in enumerate(reversed(rows)):
        ax.barh(i + 0.19, first, height=0.36, color=GREY, label=labels[0] if i == 0 else None)
        ax.barh(i - 0.19, second, height=0.36, color=BLUE, label=labels[1] if i == 0 else None)
    ax.set_yticks(range(len(rows)), [name for name, *_ in reversed(rows)])
    ax.set(xlabel="share of the layer", ylim=(-0.6, len(rows) - 0.4))
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    ax.grid(axis="y", visible=False)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    ax.figure.numbers = numbers(["operation", *labels], rows)
    return ax


def plot_roofline(points: Sequence[tuple[str, float, float]], ridge: float, *, ax: Axes | None = None) -> Axes:
    """Draw operations under the roofline: intensity (FLOPs per byte) and speed as a share of the peak of products."""
    ax = ax or plt.subplots(figsize=(WIDTH, 4.0))[1]
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
        # under the points, to the right where they lie on the line, beside them past its bend: not on the line
        (_, x, y), right = min(group, key=lambda point: point[2]), max(x for _, x, _ in group)
        place, side, shift = (x, y), "center", 0
        if x > ridge:
            place, side, shift = group[0][1:], "left", 8
        elif y > 0.9 * right / ridge:
            place, side = (right, y), "left"
        ax.annotate(text, place, xytext=(shift, -6), textcoords="offset points", fontsize=8.5, va="top", ha=side)
    ax.set(xscale="log", yscale="log", xlim=(low, high))
    ax.set(xlabel="arithmetic intensity (FLOPs per byte moved)", ylabel="speed over the peak of products")
    ax.figure.numbers = numbers(["operation", "FLOPs per byte", "speed over the peak"], points)
    return ax


def plot_throughput(rows: Sequence[tuple[str, float, float]], *, ax: Axes | None = None) -> Axes:
    """Draw for each model its images per second in its usual loop (grey) and in ours (blue), labelled."""
    ax = ax or plt.subplots(figsize=(WIDTH, 0.56 * len(rows) + 1.1))[1]
    for i, (_, usual, ours) in enumerate(reversed(rows)):
        for offset, value, colour, label in ((0.2, usual, GREY, "its usual loop"), (-0.2, ours, BLUE, "our loop")):
            ax.barh(i + offset, value, height=0.38, color=colour, label=label if i == 0 else None)
            ax.text(value, i + offset, f"  {value:,.0f}", va="center", fontsize=9)
    ax.set_yticks(range(len(rows)), [name for name, *_ in reversed(rows)])
    ax.set(xlabel="images trained on per second", xlim=(0, 1.2 * max(max(row[1:]) for row in rows)))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.grid(axis="y", visible=False)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    ax.figure.numbers = numbers(["model", "usual loop (images/s)", "our loop (images/s)"], rows)
    return ax


def plot_growth(panels: Mapping[str, Sequence[tuple[int, float, float]]]) -> Figure:
    """Draw for each size a panel: how the time of an image grows with it (blue), and how its MACs do (grey).

    Args:
        panels: by the size's name, rows of (size, time, MACs), both over those of the first row.
    """
    figure, axes = plt.subplots(2, 3, figsize=(WIDTH, 4.4), sharey=True)
    for ax, (name, rows) in zip(axes.flat, panels.items(), strict=False):
        sizes = [size for size, *_ in rows]
        for column, colour, line in ((2, GREY, "--"), (1, BLUE, "-")):
            ax.plot(sizes, [row[column] for row in rows], line, color=colour, marker="o", markersize=4)
        ax.set(xscale="log", yscale="log", xlabel=name)
        ax.set_xticks(sizes, [f"{size:,}" for size in sizes])
        ax.minorticks_off()
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    for ax in axes[:, 0]:
        ax.set_ylabel("over the smallest")
    for ax in axes.flat[len(panels) :]:
        ax.set_axis_off()
        ax.plot([], [], color=BLUE, marker="o", markersize=4, label="time of an image")
        ax.plot([], [], "--", color=GREY, marker="o", markersize=4, label="its MACs")
        ax.legend(loc="center")
    rows = [(name, *row) for name, panel in panels.items() for row in panel]
    figure.numbers = numbers(["size", "value", "time over the smallest", "MACs over the smallest"], rows)
    return figure


def plot_races(races: Mapping[str, Sequence[float]], *, ax: Axes | None = None) -> Axes:
    """Draw for each name the seconds of its races as dots, and their median as a line."""
    ax = ax or plt.subplots(figsize=(WIDTH, 0.5 * len(races) + 1.0))[1]
    for i, seconds in enumerate(reversed(races.values())):
        ax.plot(seconds, [i] * len(seconds), "o", color=BLUE, markersize=7, alpha=0.7)
        middle = statistics.median(seconds)
        ax.plot([middle, middle], [i - 0.28, i + 0.28], color="black", linewidth=1.5)
    ax.set_yticks(range(len(races)), list(reversed(races)))
    ax.set(xlabel="seconds", xlim=(0, None), ylim=(-0.6, len(races) - 0.4))
    ax.grid(axis="y", visible=False)
    rows = [(name, second) for name, seconds in races.items() for second in seconds]
    ax.figure.numbers = numbers(["loop", "seconds"], rows)
    return ax
