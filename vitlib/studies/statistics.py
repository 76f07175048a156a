"""Results over seeds: their spread, where a reported value lies in it, and whether a gain is significant."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from scipy import stats
from torch import Tensor


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
    def margin(self) -> float:
        """Half the width of the mean's 95 % confidence interval (Student's t); NaN for a single run."""
        return float(stats.t.ppf(0.975, self.n - 1)) * self.deviation / math.sqrt(self.n)

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


def binomial_deviation(share: float, images: int) -> float:
    """Return the standard deviation of an accuracy (0 to 1) that comes from drawing so many test images."""
    return math.sqrt(share * (1 - share) / images)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number (Holm, 1979), to be compared with the level of a single test."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[i]))
        corrected[i] = largest
    return corrected


def mcnemar(first: Tensor, second: Tensor) -> float:
    """Return the p value of McNemar's (1947) exact test that two conditions give equally many right answers.

    Args:
        first: bool (B,), which images are classified correctly.
        second: bool (B,), the same for another condition; only images on which the two differ matter.
    """
    won, lost = int((first & ~second).sum()), int((second & ~first).sum())
    return float(stats.binomtest(won, won + lost).pvalue) if won + lost else 1.0


def step_gains(steps: Sequence[Summary], others: Sequence[Summary] = ()) -> list[tuple[float, float]]:
    """Return for each step but the first the gain of its mean over the step before, and its corrected p value.

    A t-test with one standard deviation from run to run, so that a step of a single run can be judged too
    (Holm-corrected for the number of steps). It is pooled over the steps and over `others`, runs that are no step.

    Raises:
        ValueError: none of them has two runs, so nothing tells how much runs differ.
    """
    repeated = [summary for summary in (*steps, *others) if summary.n > 1]
    if not repeated:
        raise ValueError("steps have one run each, but at least one must have two.")
    freedom = sum(summary.n - 1 for summary in repeated)
    deviation = math.sqrt(sum((summary.n - 1) * summary.deviation**2 for summary in repeated) / freedom)
    gains, p_values = [], []
    for before, after in pairwise(steps):
        gains.append(after.mean - before.mean)
        error = deviation * math.sqrt(1 / before.n + 1 / after.n)
        p_values.append(2 * float(stats.t.sf(abs(gains[-1]) / error, freedom)))
    return list(zip(gains, holm(p_values), strict=True))
