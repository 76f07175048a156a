"""The figures of studies: many runs at once, a dot a run."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vitlib.figures import BLUE, GREEN, GREY, ORANGE, WIDTH, numbers
from vitlib.replication import Spread

COLOURS = (GREY, GREEN, BLUE, "#CC79A7", "#E69F00", "#56B4E9")  # after Okabe and Ito, as figures' own


def _aside(count: int) -> list[float]:
    """Return small steps aside, so that dots of nearly equal height do not hide each other."""
    return [0.36 * ((7 * i) % count / max(1, count - 1) - 0.5) for i in range(count)]


def plot_epochs(points: Mapping[int, Sequence[float]], reported: float, label: str) -> Figure:
    """Draw for each number of epochs a column of dots, a run each, their mean, and a line at the reported value."""
    figure, ax = plt.subplots(figsize=(WIDTH, 3.2))
    ax.axhline(reported, color=ORANGE, linestyle="--", linewidth=1.4)
    for epoch, values in points.items():
        ax.plot([epoch + a for a in _aside(len(values))], values, "o", color=BLUE, markersize=4, alpha=0.7)
        mean = Spread(tuple(values)).mean
        ax.plot([epoch - 0.28, epoch + 0.28], [mean, mean], color="black", linewidth=1.5)
    ax.text(max(points) + 0.45, reported, "homework", color=ORANGE, fontsize=9, ha="right", va="bottom")
    ax.set(xlabel="epochs", ylabel=label, xticks=list(points), xlim=(min(points) - 0.5, max(points) + 0.5))
    ax.grid(axis="x", visible=False)
    figure.numbers = numbers(["epochs", label], [(epoch, v) for epoch, values in points.items() for v in values])
    return figure


def plot_pairs_of_runs(groups: Mapping[str, Sequence[tuple[float, float]]], reported: tuple[float, float]) -> Figure:
    """Draw loss against accuracy, a dot a run, a colour a group, and a cross at the reported pair."""
    figure, ax = plt.subplots(figsize=(WIDTH, 3.4))
    for (name, pairs), colour in zip(groups.items(), COLOURS, strict=False):
        ax.plot(*zip(*pairs, strict=True), "o", color=colour, markersize=4.5, alpha=0.75, label=name)
    ax.plot(*reported, "X", color=ORANGE, markersize=11, markeredgecolor="black", label="homework")
    ax.set(xlabel="test accuracy (%)", ylabel="test loss (nats)")
    ax.legend(fontsize=9)
    rows = [(name, *pair) for name, pairs in groups.items() for pair in pairs]
    figure.numbers = numbers(["runs", "test accuracy (%)", "test loss (nats)"], [*rows, ("homework", *reported)])
    return figure


def plot_class_spread(rows: Sequence[tuple[str, Sequence[float], float]]) -> Figure:
    """Draw for each class a row of dots, a run each, and a cross at the reported value: shares in per cent."""
    figure, ax = plt.subplots(figsize=(WIDTH, 0.34 * len(rows) + 1.0))
    for i, (_, values, reported) in enumerate(reversed(rows)):
        ax.plot(values, [i + a for a in _aside(len(values))], "o", color=BLUE, markersize=4, alpha=0.6)
        ax.plot(reported, i, "X", color=ORANGE, markersize=9, markeredgecolor="black")
    ax.plot([], [], "o", color=BLUE, markersize=4, label="a run")
    ax.plot([], [], "X", color=ORANGE, markersize=9, markeredgecolor="black", label="homework")
    ax.set_yticks(range(len(rows)), [name for name, *_ in reversed(rows)])
    ax.set(xlabel="test accuracy (%)")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    ax.grid(axis="y", visible=False)
    flat = [(name, v) for name, values, _ in rows for v in values] + [(f"{name}, homework", r) for name, _, r in rows]
    figure.numbers = numbers(["class", "test accuracy (%)"], flat)
    return figure


def plot_gains(rows: Sequence[tuple[str, Spread]], label: str, *, ax: Axes | None = None) -> Axes:
    """Draw for each change its mean gain with a bar of two standard errors, and its seeds as small dots."""
    ax = ax or plt.subplots(figsize=(WIDTH, 0.3 * len(rows) + 1.0))[1]
    ax.axvline(0, color=GREY, linewidth=1.2)
    for i, (_, gain) in enumerate(reversed(rows)):
        clear = abs(gain.mean) > 2 * gain.error
        colour = (GREEN if gain.mean > 0 else ORANGE) if clear else GREY
        ax.plot(gain.values, [i] * gain.n, "o", color=colour, markersize=3.5, alpha=0.45)
        ax.errorbar(gain.mean, i, xerr=2 * gain.error, fmt="D", color=colour, markersize=5, capsize=3, linewidth=1.5)
    ax.set_yticks(range(len(rows)), [name for name, _ in reversed(rows)])
    ax.set(xlabel=label, ylim=(-0.7, len(rows) - 0.3))
    ax.grid(axis="y", visible=False)
    table = [(name, gain.mean, gain.error, gain.n) for name, gain in rows]
    ax.figure.numbers = numbers(["change", label, "standard error", "seeds"], table)
    return ax


def plot_reliability(rows: Sequence[tuple[float, float, int]]) -> Figure:
    """Draw accuracy against confidence, a dot a bin, its size by its images, beside the line of perfect calibration."""
    figure, ax = plt.subplots(figsize=(WIDTH, 3.4))
    ax.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1.2)
    most = max(images for *_, images in rows)
    for confidence, accuracy, images in rows:
        ax.plot(confidence, accuracy, "o", color=BLUE, markersize=4 + 12 * (images / most) ** 0.5, alpha=0.75)
    ax.set(xlabel="probability of the answer", ylabel="share of right answers", xlim=(0, 1.02), ylim=(0, 1.04))
    figure.numbers = numbers(["mean probability", "share right", "images"], rows)
    return figure
