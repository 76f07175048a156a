"""The figure of how a layer's cost grows with the number of tokens."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from vitlib.report.output import BLUE, GREEN, ORANGE, WIDTH, attach_csv


def plot_share(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    marks: Sequence[tuple[float, float, str]],
) -> Axes:
    """Draw a share of the MACs against the number of tokens, on a logarithmic axis.

    Args:
        curves: by name the numbers of tokens and the shares, 0 to 1.
        marks: points to label: tokens, share, text.
    """
    ax = plt.subplots(figsize=(WIDTH, 3.2))[1]
    for (name, (tokens, share)), color in zip(curves.items(), cycle((BLUE, ORANGE, GREEN)), strict=False):
        ax.plot(tokens, share, color=color, label=name)
    for x, y, text in marks:
        ax.plot(x, y, "o", color="black", markersize=5)
        ax.annotate(text, (x, y), xytext=(-7, 4), textcoords="offset points", ha="right", fontsize=9)
    ax.set(xscale="log", xlabel="tokens, N", ylabel="share of the layer's MACs", ylim=(0, 1))
    ax.legend(loc="upper left")
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    rows = [(name, float(x), float(y)) for name, points in curves.items() for x, y in zip(*points, strict=True)]
    attach_csv(ax.figure, ["curve", "tokens", "share"], [*rows, *((text, x, y) for x, y, text in marks)])
    return ax
