"""Figures of a training run: its history, its accuracy by class, its confusion matrix and its calibration."""

from collections.abc import Sequence
from html import escape
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from vitlib import homework
from vitlib.data import CLASSES
from vitlib.evaluate import wilson_interval
from vitlib.report.output import BLUE, GREY, WIDTH, Output, attach_csv, legend_above, name_rows, to_csv


def plot_history(history: list[dict[str, float]]) -> Sequence[Axes]:
    """Draw loss and validation accuracy by epoch, side by side: `history` as in `vitlib.Run`."""
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 2.8))
    loss, accuracy = axes
    epochs = [row["epoch"] for row in history]
    for name, label, colour in (("train_loss", "training", GREY), ("validation_loss", "validation", BLUE)):
        loss.plot(epochs, [row[name] for row in history], color=colour, marker=".", label=label)
    loss.set(title="Loss", xlabel="epoch", ylim=(0, None))
    loss.legend()
    accuracy.plot(epochs, [100 * row["validation_accuracy"] for row in history], color=BLUE, marker=".")
    accuracy.set(title="Validation accuracy (%)", xlabel="epoch")
    for ax in axes:
        ax.locator_params(axis="x", integer=True)
    head = ["epoch", "train_loss", "validation_loss", "validation_accuracy"]
    attach_csv(figure, head, ([row[key] for key in head] for row in history))
    return axes


def compare(correct: Sequence[int], total: Sequence[int]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Compare test accuracies with the homework's.

    Args:
        correct: correctly classified images, by class.
        total: images, by class.

    Returns:
        A row per class and one for all classes: ``name``, and ``ours`` and ``reported`` as (accuracy, low, high), each
        0 to 1, with the ends of the 95 % interval.
    """

    def accuracy(right: int, images: int) -> tuple[float, float, float]:
        return right / images, *wilson_interval(right, images)

    theirs = homework.CORRECT, homework.TOTAL
    rows = zip(CLASSES, correct, total, *theirs, strict=True)
    classes = [{"name": name, "ours": accuracy(c, n), "reported": accuracy(hc, hn)} for name, c, n, hc, hn in rows]
    ours, reported = accuracy(sum(correct), sum(total)), accuracy(*map(sum, theirs))
    return classes, {"name": "All classes", "ours": ours, "reported": reported}


def plot_per_class(rows: Sequence[dict[str, Any]]) -> Axes:
    """Draw accuracy (a dot) with its 95 % interval (a line) by class, ours below the homework's.

    Args:
        rows: per class ``name``, and ``ours`` and ``reported`` as (share, low, high), 0 to 1.
    """
    ax = plt.subplots(figsize=(WIDTH, 3.8))[1]
    heights = range(len(rows) - 1, -1, -1)
    for offset, key, label, colour in ((0.14, "reported", "homework", GREY), (-0.14, "ours", "this report", BLUE)):
        shares, lows, highs = (100 * np.array(values) for values in zip(*(row[key] for row in rows), strict=True))
        y, margins = [height + offset for height in heights], (shares - lows, highs - shares)
        ax.errorbar(shares, y, xerr=margins, fmt="o", color=colour, markersize=5, linewidth=1.2, label=label)
    name_rows(ax, (row["name"] for row in rows))
    ax.set(xlabel="test accuracy (%)", xlim=(None, 100))
    legend_above(ax)
    head = ["class", *(f"{key}{part}" for key in ("reported", "ours") for part in ("", " low", " high"))]
    attach_csv(ax.figure, head, ([row["name"], *row["reported"], *row["ours"]] for row in rows))
    return ax


def confusion(counts: Tensor) -> Output:
    """Return a confusion matrix as a table with details on hover, tap or key.

    Args:
        counts: int64 (Y, Y), true class by row, predicted class by column.
    """
    most = max(1, int(counts.clone().fill_diagonal_(0).max()))

    def cell(i: int, j: int) -> str:
        count, total = int(counts[i, j]), int(counts[i].sum())
        colour = f"{BLUE}; color: white" if i == j else f"rgba(213, 94, 0, {0.7 * count / most:.2f})"
        answer = "recognised" if i == j else f"taken for {CLASSES[j]}"
        detail = f"{CLASSES[i]} {answer}: {count:,} of {total:,} ({100 * count / max(1, total):.1f} % of the row)"
        return f'<td style="background: {colour}" data-detail="{escape(detail)}">{count or "·"}</td>'

    Y = range(len(counts))
    names = "".join(f'<th scope="col"><span>{escape(CLASSES[j])}</span></th>' for j in Y)
    rows = [f'<tr><th scope="row">{escape(CLASSES[i])}</th>{"".join(cell(i, j) for j in Y)}</tr>' for i in Y]
    table = (
        f'<table><thead><tr><td></td><th colspan="{len(Y)}">predicted class</th></tr>'
        f"<tr><th>true class</th>{names}</tr></thead><tbody>\n" + "\n".join(rows) + "\n</tbody></table>"
    )
    hint = "Hover over a cell, tap it, or use the arrow keys to see what it counts."
    html = f'<div class="closer confusion" data-hint="{hint}">{table}</div>'
    head = ["true class", *(CLASSES[j] for j in Y)]
    return Output("text/html", html, to_csv(head, ([CLASSES[i], *counts[i].tolist()] for i in Y)))


def plot_reliability(rows: Sequence[tuple[float, float, int]]) -> Axes:
    """Draw accuracy against confidence, one dot per bin, its size by its images, and the line of perfect calibration.

    Args:
        rows: mean confidence and accuracy, 0 to 1, and images of each bin, as of `Evaluation.calibration`.
    """
    ax = plt.subplots(figsize=(WIDTH, 3.4))[1]
    ax.plot([0, 100], [0, 100], color=GREY, linestyle="--", linewidth=1.2)
    most = max(images for *_, images in rows)
    for confidence, accuracy, images in rows:
        size = 4 + 12 * (images / most) ** 0.5
        ax.plot(100 * confidence, 100 * accuracy, "o", color=BLUE, markersize=size, alpha=0.75)
    ax.text(4, 60, "above the line:\nright more often than it says", fontsize=9)
    ax.text(98, 25, "below the line:\nright less often than it says", fontsize=9, ha="right")
    ax.set(xlabel="probability that the network gives its answer (%)", ylabel="answers that are right (%)")
    ax.set(xlim=(0, 102), ylim=(-3, 104))
    attach_csv(ax.figure, ["mean probability", "share right", "images"], rows)
    return ax
