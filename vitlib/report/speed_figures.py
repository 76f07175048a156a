"""Figures of the benchmarks."""

import statistics
from collections.abc import Iterable

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from vitlib.report.output import BLUE, GREY, WIDTH, attach_csv, legend_above, name_rows
from vitlib.report.speed_results import Speed


def plot_throughput(speeds: Iterable[Speed]) -> Axes:
    """Draw for each model the median images/s in usual loop (grey) and in ours (blue), labelled."""
    rows = [(speed.model, statistics.median(speed.usual), statistics.median(speed.ours)) for speed in speeds]
    ax = plt.subplots(figsize=(WIDTH, 0.56 * len(rows) + 1.1))[1]
    for i, (_, usual, ours) in enumerate(reversed(rows)):
        for offset, value, colour, label in ((0.2, usual, GREY, "usual loop"), (-0.2, ours, BLUE, "our loop")):
            ax.barh(i + offset, value, height=0.38, color=colour, label=label if i == 0 else None)
            ax.text(value, i + offset, f"  {value:,.0f}", va="center", fontsize=9)
    name_rows(ax, (name for name, *_ in rows))
    ax.set(xlabel="training images per second", xlim=(0, 1.2 * max(max(row[1:]) for row in rows)))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    ax.xaxis.set_major_locator(MaxNLocator(4))
    legend_above(ax)
    attach_csv(ax.figure, ["model", "usual loop (images/s)", "our loop (images/s)"], rows)
    return ax
