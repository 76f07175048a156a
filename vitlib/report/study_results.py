"""Results of studies as the pages show them: runs that differ in their seed alone, with accuracies in per cent."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from vitlib.config import IMAGES_OF_A_CLASS
from vitlib.studies.statistics import Summary
from vitlib.studies.study import Study


@dataclass(frozen=True)
class Runs:
    """Runs of one variant after the same number of epochs, a row of the study's table each."""

    variant: str
    epochs: int
    rows: tuple[dict[str, Any], ...]

    @property
    def n(self) -> int:
        """The number of runs."""
        return len(self.rows)

    @property
    def length(self) -> str:
        """The number of epochs in words, such as ``3 epochs``."""
        return f"{self.epochs} epoch{'s' * (self.epochs > 1)}"

    @property
    def validation(self) -> Summary:
        """Accuracy on the validation images, in per cent."""
        return Summary(tuple(100 * row["validation_accuracy"] for row in self.rows))

    @property
    def validation_loss(self) -> Summary:
        """Mean cross-entropy on the validation images, in nats."""
        return Summary(tuple(row["validation_loss"] for row in self.rows))

    @property
    def test(self) -> Summary:
        """Accuracy on the test images, in per cent."""
        return Summary(tuple(percent(row["test_correct"]) for row in self.rows))

    @property
    def loss(self) -> Summary:
        """Mean cross-entropy on the test images, in nats."""
        return Summary(tuple(row["test_loss"] for row in self.rows))

    def of_class(self, label: int) -> Summary:
        """Return the accuracy on the test images of one class, in per cent."""
        return Summary(tuple(row["test_correct"][label] / IMAGES_OF_A_CLASS * 100 for row in self.rows))

    def include(self, accuracy: float, loss: float) -> bool:
        """Return whether a test accuracy and a test loss both lie within the range of the runs."""
        pairs = ((self.test, accuracy), (self.loss, loss))
        return all(runs.low <= value <= runs.high for runs, value in pairs)


def percent(correct: list[int]) -> float:
    """Return the share of right answers in per cent, from the right answers of each class of the test set."""
    return 100 * sum(correct) / (len(correct) * IMAGES_OF_A_CLASS)


def by_epoch(study: Study) -> list[Runs]:
    """Return the runs of each variant after each of their epochs, from a study with curves."""
    return _grouped(study.epochs, "epoch")


def by_variant(study: Study) -> dict[str, Runs]:
    """Return the finished runs of each variant by its name."""
    return {runs.variant: runs for runs in _grouped(study.rows.values(), "epochs")}


def _grouped(rows: Iterable[dict[str, Any]], epochs: str) -> list[Runs]:
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["variant"], row[epochs]), []).append(row)
    return [Runs(variant, number, tuple(group)) for (variant, number), group in groups.items()]


def span(summary: Summary, digits: int) -> str:
    """Return the mean of some runs and their range as text, such as ``84.6 (82.7 – 85.8)``."""
    mean, low, high = (f"{value:.{digits}f}" for value in (summary.mean, summary.low, summary.high))
    return f"{mean} ({low} – {high})" if summary.n > 1 else mean


def near(groups: Iterable[Runs], accuracy: float) -> list[float]:
    """Return the test losses of all runs whose test accuracy lies within half a point of a given one."""
    return [
        loss
        for runs in groups
        for value, loss in zip(runs.test.values, runs.loss.values, strict=True)
        if abs(value - accuracy) <= 0.5
    ]
