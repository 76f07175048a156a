"""Figures of studies: many runs at once, one dot per run."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from vitlib.report.output import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    WIDTH,
    Output,
    attach_csv,
    interactive_scatter,
    legend_above,
    name_rows,
)
from vitlib.studies.statistics import Summary

COLOURS = (GREY, GREEN, BLUE, "#CC79A7", "#E69F00", "#56B4E9")  # after Okabe and Ito, like those of `output`


def _jitter(count: int) -> list[float]:
    """Return fixed small offsets, so that dots of nearly equal value do not hide each other."""
    return [0.36 * ((7 * i) % count / max(1, count - 1) - 0.5) for i in range(count)]


def seeds_by_epoch(points: Mapping[int, Sequence[tuple[int, float]]], reported: float, label: str, alt: str) -> Output:
    """Return for each number of epochs a column of dots, one per run, their mean, and a line at the reported value.

    Args:
        points: by number of epochs the runs' seeds and values.
        reported: the homework's value.
        label: what the values are, with their unit.
        alt: the alternative text of the figure.
    """
    ax = plt.subplots(figsize=(WIDTH, 3.2))[1]
    ax.axhline(reported, color=ORANGE, linestyle="--", linewidth=1.4)
    marks = []
    for epoch, runs in points.items():
        for (seed, value), offset in zip(runs, _jitter(len(runs)), strict=True):
            marks.append((epoch + offset, value, f"Seed {seed}, {epochs_of(epoch)}: {label} {value:.2f}"))
        mean = Summary(tuple(value for _, value in runs)).mean
        ax.plot([epoch - 0.28, epoch + 0.28], [mean, mean], color="black", linewidth=1.5)
    ax.plot([x for x, *_ in marks], [y for _, y, _ in marks], "o", color=BLUE, markersize=4, alpha=0.7)
    ax.text(min(points) - 0.45, reported, "homework", color=ORANGE, fontsize=9, va="bottom")
    ax.set(xlabel="epochs", ylabel=label, xticks=list(points), xlim=(min(points) - 0.5, max(points) + 0.5))
    ax.grid(axis="x", visible=False)
    rows = [(epoch, seed, value) for epoch, runs in points.items() for seed, value in runs]
    attach_csv(ax.figure, ["epochs", "seed", label], rows)
    return interactive_scatter(ax, marks, alt)


def loss_by_accuracy(
    groups: Mapping[str, Sequence[tuple[int, float, float]]], reported: tuple[float, float], alt: str
) -> Output:
    """Return loss against accuracy, one dot per run, one colour per group, and a cross at the reported pair.

    Args:
        groups: by name the runs' seeds, accuracies in per cent and losses in nats.
        reported: the homework's accuracy and loss.
        alt: the alternative text of the figure.
    """
    ax = plt.subplots(figsize=(WIDTH, 3.4))[1]
    marks = []
    for (name, runs), colour in zip(groups.items(), COLOURS, strict=False):
        ax.plot(
            [x for _, x, _ in runs], [y for *_, y in runs], "o", color=colour, markersize=4.5, alpha=0.75, label=name
        )
        marks += [(x, y, f"Seed {seed}, {name}: accuracy {x:.2f} %, loss {y:.4f}") for seed, x, y in runs]
    ax.plot(*reported, "X", color=ORANGE, markersize=11, markeredgecolor="black", label="homework")
    marks.append((*reported, f"Homework: accuracy {reported[0]:.2f} %, loss {reported[1]:.4f}"))
    ax.set(xlabel="test accuracy (%)", ylabel="test loss (nats)")
    ax.legend(fontsize=9)
    rows = [(name, *run) for name, runs in groups.items() for run in runs]
    head = ["runs", "seed", "test accuracy (%)", "test loss (nats)"]
    attach_csv(ax.figure, head, [*rows, ("homework", "", *reported)])
    return interactive_scatter(ax, marks, alt)


def seeds_by_class(rows: Sequence[tuple[str, Sequence[tuple[int, float]], float]], alt: str) -> Output:
    """Return for each class a row of dots, one per run, and a cross at the reported value.

    Args:
        rows: name of the class, the runs' seeds and shares in per cent, the homework's share.
        alt: the alternative text of the figure.
    """
    ax = plt.subplots(figsize=(WIDTH, 0.34 * len(rows) + 1.0))[1]
    marks = []
    for i, (name, runs, reported) in enumerate(rows):
        row = len(rows) - 1 - i
        for (seed, value), offset in zip(runs, _jitter(len(runs)), strict=True):
            marks.append((value, row + offset, f"{name}, seed {seed}: {value:.1f} %; homework: {reported:.1f} %"))
        ax.plot(reported, row, "X", color=ORANGE, markersize=9, markeredgecolor="black", zorder=3)
    ax.plot([x for x, *_ in marks], [y for _, y, _ in marks], "o", color=BLUE, markersize=4, alpha=0.6, label="a run")
    ax.plot([], [], "X", color=ORANGE, markersize=9, markeredgecolor="black", label="homework")
    name_rows(ax, (name for name, *_ in rows))
    ax.set(xlabel="test accuracy (%)")
    legend_above(ax)
    flat = [(name, str(seed), value) for name, runs, _ in rows for seed, value in runs]
    flat += [(name, "homework", reported) for name, _, reported in rows]
    attach_csv(ax.figure, ["class", "seed", "test accuracy (%)"], flat)
    return interactive_scatter(ax, marks, alt)


def epochs_of(number: int) -> str:
    """Return a number of epochs in words."""
    return f"{number} epoch{'s' * (number > 1)}"


def plot_gains(rows: Sequence[tuple[str, Summary]], label: str, *, ax: Axes | None = None) -> Axes:
    """Draw for each variant its mean gain with a 95 % interval, coloured where it excludes 0, and its seeds as dots."""
    ax = ax or plt.subplots(figsize=(WIDTH, 0.3 * len(rows) + 1.0))[1]
    ax.axvline(0, color=GREY, linewidth=1.2)
    for i, (_, gain) in enumerate(reversed(rows)):
        significant = abs(gain.mean) > gain.margin
        colour = (GREEN if gain.mean > 0 else ORANGE) if significant else GREY
        ax.plot(gain.values, [i] * gain.n, "o", color=colour, markersize=3.5, alpha=0.45)
        ax.errorbar(gain.mean, i, xerr=gain.margin, fmt="D", color=colour, markersize=5, capsize=3, linewidth=1.5)
    name_rows(ax, (name for name, _ in rows))
    ax.set(xlabel=label, ylim=(-0.7, len(rows) - 0.3))
    table = [(name, gain.mean, gain.margin, gain.n) for name, gain in rows]
    attach_csv(ax.figure, ["change", label, "half of the 95 % interval", "seeds"], table)
    return ax
