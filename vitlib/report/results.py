"""What a page says of a study's results: its steps, calibration, and the images that all runs get wrong.

Axes: N images, Y classes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from vitlib.evaluate import Evaluation
from vitlib.studies.statistics import Summary, holm, paired_differences
from vitlib.studies.study import Study


@dataclass(frozen=True)
class Step:
    """A variant with results, and what it gains over the variant that it changes.

    Attributes:
        variant: its name.
        before: the name of the variant that it changes; None if that has no results or is a recipe.
        values: of its runs.
        gain: differences for the seeds that both have, if there are two at least.
        p_value: of the gain, corrected for the number of gains in the study.
    """

    variant: str
    before: str | None
    values: Summary
    gain: Summary | None
    p_value: float | None


def steps(study: Study, column: str = "test_accuracy") -> list[Step]:
    """Return the variants that have results, in the study's order, and their gains in a column of the table."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in study.rows.values():
        if row[column] is not None:
            rows.setdefault(row["variant"], []).append(row)
    found = []
    for variant, of_variant in rows.items():
        origin = study.origins[variant]
        before = origin if origin in rows and origin != variant else None  # or the recipe of that name
        gain = paired_differences(of_variant, rows[before], column) if before else Summary(())
        values = Summary(tuple(row[column] for row in of_variant))
        found.append(Step(variant, before, values, gain if gain.n > 1 else None, None))
    corrected = iter(holm([step.gain.p_value for step in found if step.gain]))
    return [replace(step, p_value=next(corrected)) if step.gain else step for step in found]


def fit_temperature(validation: Evaluation) -> float:
    """Return the temperature T for which softmax(logits / T) has the lowest loss (Guo et al., 2017, section 4.2)."""

    def loss(log_t: float) -> float:
        return at_temperature(validation, math.exp(log_t)).loss

    return math.exp(minimize_scalar(loss, bounds=(-4, 4), method="bounded").x)


def at_temperature(evaluation: Evaluation, temperature: float) -> Evaluation:
    """Return an evaluation with logits divided by a temperature; predictions stay, probabilities change."""
    return Evaluation(evaluation.logits / temperature, evaluation.labels)


def missed_by_all(evaluations: Sequence[Evaluation]) -> Tensor:
    """Return the indices of the images that every evaluation gets wrong: int64, in order."""
    wrong = torch.stack([each.predictions != each.labels for each in evaluations])
    return wrong.all(dim=0).nonzero().flatten()
