"""Figures of studies: the runs of a plain loop beside the homework, and the path to a better training."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from vitlib.report.output import BLUE, GREEN, GREY, ORANGE, WIDTH, Output, attach_csv, interactive_scatter, legend_above
from vitlib.report.study_results import Runs

COLOURS = (GREY, GREEN, BLUE, "#CC79A7", "#E69F00", "#56B4E9")  # after Okabe and Ito, like those of `output`


def loss_by_accuracy(groups: Sequence[Runs], reported: tuple[float, float], alt: str) -> Output:
    """Return test loss against test accuracy: a dot per run, a colour per number of epochs, a cross for the homework.

    Args:
        groups: the runs after each number of epochs.
        reported: the homework's accuracy in per cent and loss in nats.
        alt: the alternative text of the figure.
    """
    ax = plt.subplots(figsize=(WIDTH, 3.4))[1]
    marks, rows = [], []
    for runs, colour in zip(groups, cycle(COLOURS), strict=False):
        accuracies, losses = runs.test.values, runs.loss.values
        ax.plot(accuracies, losses, "o", color=colour, markersize=4.5, alpha=0.75, label=runs.length)
        for row, x, y in zip(runs.rows, accuracies, losses, strict=True):
            marks.append((x, y, f"Seed {row['seed']}, {runs.length}: accuracy {x:.2f} %, loss {y:.3f}"))
            rows.append((runs.length, row["seed"], x, y))
    ax.plot(*reported, "X", color=ORANGE, markersize=11, markeredgecolor="black", label="homework")
    marks.append((*reported, f"Homework: accuracy {reported[0]:.2f} %, loss {reported[1]:.3f}"))
    ax.set(xlabel="test accuracy (%)", ylabel="test loss (nats)")
    ax.legend(fontsize=9)
    head = ["runs", "seed", "test accuracy (%)", "test loss (nats)"]
    attach_csv(ax.figure, head, [*rows, ("homework", "", *reported)])
    return interactive_scatter(ax, marks, alt)


def plot_path(series: Mapping[str, Sequence[Runs]]) -> Axes:
    """Draw validation accuracy by epochs, a line per series: the mean of a dot's runs, and their range as a bar."""
    ax = plt.subplots(figsize=(WIDTH, 3.7))[1]
    looks = cycle(zip((GREY, ORANGE, BLUE, GREEN), "osD^", strict=True))
    rows = []
    for (name, groups), (colour, marker) in zip(series.items(), looks, strict=False):
        epochs = [runs.epochs for runs in groups]
        accuracies = [runs.validation for runs in groups]
        ax.plot(epochs, [v.mean for v in accuracies], color=colour, marker=marker, markersize=6, label=name)
        ax.vlines(epochs, [v.low for v in accuracies], [v.high for v in accuracies], color=colour, linewidth=1.2)
        for number, v in zip(epochs, accuracies, strict=True):
            rows.append((name, number, v.n, v.mean, v.low, v.high))
    numbers = sorted({row[1] for row in rows})
    ax.set_xscale("log")
    ax.set_xticks(numbers, [f"{number}" for number in numbers])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set(xlabel="epochs of training", ylabel="validation accuracy (%)")
    legend_above(ax)
    attach_csv(ax.figure, ["training", "epochs", "runs", "validation accuracy (%)", "lowest", "highest"], rows)
    return ax
