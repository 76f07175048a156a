"""Figures of the network's cost: by number of tokens, and against measured time."""

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from vitlib.report.output import BLUE, GREEN, GREY, ORANGE, WIDTH, attach_csv, legend_above, name_rows

Point = tuple[str, float, float]  # name, x, y


def plot_share(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    marks: Sequence[tuple[float, float, str]],
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw a share of the MACs against the number of tokens, on a logarithmic axis.

    Args:
        curves: by name the numbers of tokens and the shares, 0 to 1.
        marks: points to label: tokens, share, text.
        ax: where to draw; a new figure by default.
    """
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
    attach_csv(ax.figure, ["curve", "tokens", "share"], [*rows, *((text, x, y) for x, y, text in marks)])
    return ax


def plot_pairs(rows: Sequence[Point], labels: tuple[str, str], *, ax: Axes | None = None) -> Axes:
    """Draw two shares, 0 to 1, of each operation as a pair of bars: grey for the first, blue for the second."""
    ax = ax or plt.subplots(figsize=(WIDTH, 0.36 * len(rows) + 1.0))[1]
    for i, (_, first, second) in enumerate(reversed(rows)):
        ax.barh(i + 0.19, first, height=0.36, color=GREY, label=labels[0] if i == 0 else None)
        ax.barh(i - 0.19, second, height=0.36, color=BLUE, label=labels[1] if i == 0 else None)
    name_rows(ax, (name for name, *_ in rows))
    ax.set(xlabel="share of the layer", ylim=(-0.6, len(rows) - 0.4))
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    legend_above(ax)
    attach_csv(ax.figure, ["operation", *labels], rows)
    return ax


def plot_roofline(points: Sequence[Point], ridge: float, *, ax: Axes | None = None) -> Axes:
    """Draw operations under the roofline (Williams et al., 2009).

    Args:
        points: operation, arithmetic intensity in FLOPs per byte, and speed as a share of the matmul peak.
        ridge: the intensity, in FLOPs per byte, from which on arithmetic limits the speed and not memory.
        ax: where to draw; a new figure by default.
    """
    ax = ax or plt.subplots(figsize=(WIDTH, 4.0))[1]
    low, high = min(x for _, x, _ in points) / 2, max(max(x for _, x, _ in points), ridge) * 4
    ax.plot([low, ridge, high], [low / ridge, 1, 1], color=GREY)
    for group in _close_points(points):
        ax.plot([x for _, x, _ in group], [y for *_, y in group], "o", color=BLUE, markersize=6, alpha=0.8)
        text = "\n".join(name for name, *_ in group)
        # below the points, or to their right where they lie on the line, or beside them past the ridge: off the line
        (_, x, y), right = min(group, key=lambda point: point[2]), max(x for _, x, _ in group)
        place, side, shift = (x, y), "center", 0
        if x > ridge:
            place, side, shift = group[0][1:], "left", 8
        elif y > 0.9 * right / ridge:
            place, side = (right, y), "left"
        ax.annotate(text, place, xytext=(shift, -6), textcoords="offset points", fontsize=8.5, va="top", ha=side)
    ax.set(xscale="log", yscale="log", xlim=(low, high))
    ax.set(xlabel="arithmetic intensity (FLOPs per byte moved)", ylabel="speed over the matmul peak")
    attach_csv(ax.figure, ["operation", "FLOPs per byte", "speed over the matmul peak"], points)
    return ax


def _close_points(points: Sequence[Point]) -> list[list[Point]]:
    """Group the points that lie too close together for a label each."""
    groups: list[list[Point]] = []
    for point in points:
        _, x, y = point
        near = (g for g in groups if abs(math.log(g[0][1] / x)) < 0.6 and abs(math.log(g[0][2] / y)) < 0.9)
        group = next(near, None)
        groups.append([point]) if group is None else group.append(point)
    return groups
