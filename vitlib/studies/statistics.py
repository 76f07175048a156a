"""Where a reported figure lies among those of many runs, and whether a change of the training gained anything.

Axes: S seeds, Y classes.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import mpmath


@dataclass(frozen=True)
class Spread:
    """How the values of S runs spread: their mean, sample standard deviation, lowest and highest."""

    values: tuple[float, ...]

    @property
    def n(self) -> int:
        """S, how many runs there are."""
        return len(self.values)

    @property
    def mean(self) -> float:
        """The arithmetic mean."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float:
        """The sample standard deviation; NaN for a single run."""
        return statistics.stdev(self.values) if self.n > 1 else math.nan

    @property
    def error(self) -> float:
        """The standard error of the mean; NaN for a single run."""
        return self.deviation / math.sqrt(self.n)

    @property
    def margin(self) -> float:
        """Half the 95 % interval of the mean, for values that are normally distributed (Student's t); NaN for one run.

        Student's t with m = n - 1 degrees of freedom lies further out than x in a share of I(m / (m + x²); m/2, 1/2) of
        all cases, I being the regularised incomplete beta function.
        """
        m = self.n - 1
        if m == 0:
            return math.nan
        further = partial(mpmath.betainc, m / 2, 0.5, 0, regularized=True)
        x = mpmath.findroot(lambda x: further(m / (m + x * x)) - 0.05, (1.9, 13), solver="anderson")
        return float(x) * self.error

    @property
    def low(self) -> float:
        """The lowest value."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The highest value."""
        return max(self.values)

    def below(self, reported: float) -> int:
        """Return how many runs lie below a reported value."""
        return sum(value < reported for value in self.values)

    def distance(self, reported: float) -> float:
        """Return how many standard deviations a reported value lies above the mean."""
        return (reported - self.mean) / self.deviation


def binomial_deviation(share: float, images: int) -> float:
    """Return the standard deviation of a share of `images` that were drawn anew."""
    return math.sqrt(share * (1 - share) / images)


def chance(accuracy: Spread, loss: Spread, reported: tuple[float, float]) -> float:
    """Return the chance that another run of this kind lies at least as far out as the reported accuracy and loss.

    Runs are taken as normal in both figures, with their correlation. Mean, deviations and correlation are those of S
    runs, which Hotelling's T² allows for (Anderson, 2003, section 5.3): (S - 2) T² / 2 (S - 1) follows Fisher's F with
    2 and S - 2 degrees of freedom.

    Args:
        accuracy: of S runs, at least 3.
        loss: of the same runs, in the same order.
        reported: accuracy and loss.
    """
    x, y = accuracy.distance(reported[0]), loss.distance(reported[1])
    together = statistics.correlation(accuracy.values, loss.values)
    squared = (x * x - 2 * together * x * y + y * y) / (1 - together * together)
    n = accuracy.n
    return (1 + squared * n / (n + 1) / (n - 1)) ** (-(n - 2) / 2)


def ranks(values: Sequence[float]) -> list[float]:
    """Return the rank of each value, 1 for the smallest; equal ones share the mean of theirs."""
    return [sum(w < v for w in values) + (sum(w == v for w in values) + 1) / 2 for v in values]


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Spearman's correlation of two rankings: 1 for the same order, -1 for the reverse."""
    return statistics.correlation(ranks(first), ranks(second))


def gain(rows: Sequence[dict[str, Any]], before: Sequence[dict[str, Any]], figure: str) -> Spread:
    """Return by how much a figure differs between two rungs of a study, seed by seed, for the seeds that both have."""
    old = {row["seed"]: row[figure] for row in before}
    return Spread(tuple(row[figure] - old[row["seed"]] for row in rows if row["seed"] in old))
