"""What benchmarks/speed.py measured, as the page on speed shows it."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vitlib import paths
from vitlib.config import TRAIN_IMAGES, TrainConfig, require
from vitlib.studies.statistics import Summary
from vitlib.studies.study import images_of

RESULTS = paths.ROOT / "benchmarks" / "results"
OURS = "this report"  # our model's name among the peers
USUAL_BATCH = 128  # of the usual loop


@dataclass(frozen=True)
class Speed:
    """Training throughput of one implementation in images/s, a value a round."""

    model: str
    usual: list[float]  # in the loop of tutorials
    ours: list[float]  # in this report's loop

    @property
    def gain(self) -> float:
        """The median over rounds of our loop's throughput over the usual loop's."""
        return ratio(self.ours, self.usual)


@dataclass(frozen=True)
class Race:
    """Runs to the homework's accuracy: the seconds and the test accuracy, in per cent, of each.

    `images` is the median of the numbers of images that they trained on.
    """

    loop: str
    device: str
    images: float
    seconds: Summary
    accuracy: Summary

    @property
    def median(self) -> float:
        """The median of the seconds."""
        return statistics.median(self.seconds.values)

    @property
    def speed(self) -> float:
        """Images per second."""
        return self.images / self.median


def ratio(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the median of a / b, round by round."""
    return statistics.median(x / y for x, y in zip(a, b, strict=True))


def load(name: str) -> dict[str, Any]:
    """Return a file of benchmarks/results by its name without the suffix; ValueError if there is none."""
    known = ", ".join(sorted(path.stem for path in RESULTS.glob("*.json")))
    require((RESULTS / f"{name}.json").is_file(), "result", name, f"one of {known}")
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def speeds(throughput: dict[str, Any]) -> dict[str, Speed]:
    """Return each model's throughput by its name, this report's first."""
    measured = throughput["measured"]
    names = [name.removeprefix("usual loop: ") for name in measured if name.startswith("usual loop: ")]
    return {
        name: Speed(name, measured[f"usual loop: {name}"], measured[f"our loop: {name}"])
        for name in sorted(names, key=lambda name: name != OURS)
    }


def races(time: dict[str, Any], gpu: dict[str, Any]) -> list[Race]:
    """Return the races of a machine's section `time` and of a GPU, whose first run waits for the compiler."""
    rows = [
        ("homework-style loop, CPU", time, time["raced"]["usual"]),
        ("our loop, CPU", time, time["raced"]["ours"]),
        ("our loop, H200, first run", gpu, gpu["raced"]["ours"]),
        ("our loop, H200, later runs", gpu, gpu["raced"]["warm"]),
    ]
    return [
        Race(
            loop,
            file["environment"]["device"],
            statistics.median(_images(row, file["recipe"]) for row in runs),
            Summary(tuple(row["seconds"] for row in runs)),
            Summary(tuple(100 * row["accuracy"] for row in runs)),
        )
        for loop, file, runs in rows
    ]


def _images(row: dict[str, Any], recipe: dict[str, Any]) -> int:
    """Return how many images a race trained on: the usual loop all whole batches an epoch, ours as its recipe says."""
    if "accuracies" in row:
        return len(row["accuracies"]) * (TRAIN_IMAGES // USUAL_BATCH) * USUAL_BATCH
    return images_of(TrainConfig.from_dict(recipe))
