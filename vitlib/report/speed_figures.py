"""Figures of the benchmarks: training speed by model, time by size, and times to a target accuracy."""

import statistics
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vitlib.report.output import BLUE, GREY, WIDTH, attach_csv, legend_above, name_rows


def plot_throughput(rows: Sequence[tuple[str, float, float]], *, ax: Axes | None = None) -> Axes:
    """Draw for each model the images/s in its usual loop (grey) and in ours (blue), labelled."""
    ax = ax or plt.subplots(figsize=(WIDTH, 0.56 * len(rows) + 1.1))[1]
    for i, (_, usual, ours) in enumerate(reversed(rows)):
        for offset, value, colour, label in ((0.2, usual, GREY, "its usual loop"), (-0.2, ours, BLUE, "our loop")):
            ax.barh(i + offset, value, height=0.38, color=colour, label=label if i == 0 else None)
            ax.text(value, i + offset, f"  {value:,.0f}", va="center", fontsize=9)
    name_rows(ax, (name for name, *_ in rows))
    ax.set(xlabel="training images per second", xlim=(0, 1.2 * max(max(row[1:]) for row in rows)))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    ax.xaxis.set_major_locator(MaxNLocator(4))
    legend_above(ax)
    attach_csv(ax.figure, ["model", "usual loop (images/s)", "our loop (images/s)"], rows)
    return ax


def plot_growth(panels: Mapping[str, Sequence[tuple[int, float, float]]]) -> Figure:
    """Draw a panel for each dimension: how the time of an image grows with it (blue), and how its MACs do (grey).

    Args:
        panels: by the dimension's name, rows of (its value, time, MACs), both relative to the first row.
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
    head = ["size", "value", "time over the smallest", "MACs over the smallest"]
    attach_csv(figure, head, [(name, *row) for name, panel in panels.items() for row in panel])
    return figure


def plot_races(races: dict[str, Sequence[float]], *, ax: Axes | None = None) -> Axes:
    """Draw for each name the seconds of its runs as dots, and their median as a line."""
    ax = ax or plt.subplots(figsize=(WIDTH, 0.5 * len(races) + 1.0))[1]
    for i, seconds in enumerate(reversed(races.values())):
        ax.plot(seconds, [i] * len(seconds), "o", color=BLUE, markersize=7, alpha=0.7)
        middle = statistics.median(seconds)
        ax.plot([middle, middle], [i - 0.28, i + 0.28], color="black", linewidth=1.5)
    name_rows(ax, races)
    ax.set(xlabel="seconds", xlim=(0, None), ylim=(-0.6, len(races) - 0.4))
    attach_csv(ax.figure, ["loop", "seconds"], [(name, second) for name, runs in races.items() for second in runs])
    return ax
