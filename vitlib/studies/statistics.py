"""The spread of results over seeds: where a reported value lies in it, and what a change gains seed by seed."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scipy import stats


@dataclass(frozen=True)
class Summary:
    """Mean, sample standard deviation, lowest and highest value of n runs."""

    values: tuple[float, ...]

    @property
    def n(self) -> int:
        """The number of runs."""
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
        """Half the width of the mean's 95 % confidence interval (Student's t); NaN for a single run."""
        return float(stats.t.ppf(0.975, self.n - 1)) * self.error

    @property
    def p_value(self) -> float:
        """How likely so large a mean is if the true mean is zero (two-sided t-test); NaN for a single run."""
        if self.n > 1 and not self.error:
            return float(self.mean == 0)
        return float(2 * stats.t.sf(abs(self.mean) / self.error, self.n - 1)) if self.n > 1 else math.nan

    @property
    def low(self) -> float:
        """The lowest value."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The highest value."""
        return max(self.values)

    def rank(self, value: float) -> int:
        """Return the number of runs below a value."""
        return sum(v < value for v in self.values)

    def z_score(self, value: float) -> float:
        """Return how many standard deviations a value lies above the mean."""
        return (value - self.mean) / self.deviation


def binomial_deviation(share: float, images: int) -> float:
    """Return the standard deviation of an accuracy (0 to 1) that comes from drawing so many test images."""
    return math.sqrt(share * (1 - share) / images)


def tail_probability(accuracy: Summary, loss: Summary, reported: tuple[float, float]) -> float:
    """Return the probability that another run lies at least as far from the mean as the reported accuracy and loss.

    It assumes that the two are jointly normal. Mean and covariance are estimated from the n runs, so the squared
    distance follows Hotelling's T² (Anderson, 2003, section 5.3): (n - 2) T² / 2 (n - 1) has the F distribution with 2
    and n - 2 degrees of freedom.

    Args:
        accuracy: of n runs, at least 3.
        loss: of the same runs, in the same order.
        reported: accuracy and loss.
    """
    x, y = accuracy.z_score(reported[0]), loss.z_score(reported[1])
    r = statistics.correlation(accuracy.values, loss.values)
    n = accuracy.n
    t_squared = n / (n + 1) * (x * x - 2 * r * x * y + y * y) / (1 - r * r)
    return float(stats.f.sf((n - 2) * t_squared / (2 * (n - 1)), 2, n - 2))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values that are corrected for their number, in the same order (Holm, 1979).

    The smallest is multiplied by their number n, the next by n - 1 and so on; none becomes smaller than one before it.
    """
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = highest
    return corrected


def paired_differences(rows: Sequence[dict[str, Any]], before: Sequence[dict[str, Any]], column: str) -> Summary:
    """Return the differences in a column between two variants of a study, for the seeds that both have."""
    old = {row["seed"]: row[column] for row in before}
    return Summary(tuple(row[column] - old[row["seed"]] for row in rows if row["seed"] in old))
