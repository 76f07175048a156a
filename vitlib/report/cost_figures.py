"""Figures of the network's cost: by operation, by number of tokens, by counting tool, and against measured time."""

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from vitlib.report.output import BLUE, GREEN, GREY, ORANGE, WIDTH, attach_csv, legend_above, name_rows

Point = tuple[str, float, float]  # name, x, y


def plot_cost(rows: Sequence[tuple[str, int]], unit: str, *, ax: Axes | None = None) -> Axes:
    """Draw named counts as bars, labelled with their value and share."""
    ax = ax or plt.subplots(figsize=(WIDTH, 2.7))[1]
    total = sum(value for _, value in rows)
    for i, (_, value) in enumerate(reversed(rows)):
        ax.barh(i, value, color=BLUE, height=0.7)
        ax.text(value, i, f"  {value:,}  ({100 * value / total:.1f} %)", va="center", fontsize=9)
    name_rows(ax, (name for name, _ in rows))
    ax.set(xlabel=unit, xlim=(0, 1.6 * max(value for _, value in rows)))
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    attach_csv(ax.figure, ["operation", unit, "share"], ([name, n, n / total] for name, n in rows))
    return ax


def plot_tool_counts(
    counts: dict[str, Sequence[tuple[str, float]]], exact: float, unit: str, *, ax: Axes | None = None
) -> Axes:
    """Draw for each tool a row of dots, one per distinct count, and a dashed line at the exact count.

    Args:
        counts: by tool, the forms of the network and the count for each.
        exact: the true count.
        unit: what is counted.
        ax: where to draw; a new figure by default.
    """
    ax = ax or plt.subplots(figsize=(WIDTH, 0.42 * len(counts) + 1.0))[1]
    ax.axvline(exact, color=GREY, linestyle="--", linewidth=1.2)
    for i, by_form in enumerate(reversed(counts.values())):
        distinct = sorted({value for _, value in by_form})
        ax.plot(distinct, [i] * len(distinct), "o", color=BLUE, markersize=7, alpha=0.8)
    ax.set_yticks(range(len(counts)), list(reversed(counts)))
    ax.set(xlabel=f"{unit} (millions)", xlim=(-0.02 * exact, None))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value / 1e6:.0f}")
    ax.grid(axis="x", visible=False)
    ax.text(exact, len(counts) - 0.5, "exact", ha="center", va="bottom", fontsize=9)
    rows = [(tool, form, value) for tool, by_form in counts.items() for form, value in by_form]
    attach_csv(ax.figure, ["tool", "written as", unit], rows)
    return ax


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
