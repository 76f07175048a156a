"""What the answers of trained networks say: how sure they are, and which images all of them get wrong."""

import math
from collections.abc import Sequence

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from vitlib.data import CLASSES
from vitlib.evaluate import Evaluation

TOPS = ("T-shirt/top", "Pullover", "Dress", "Coat", "Shirt")  # classes of similar outline


def fit_temperature(validation: Evaluation) -> float:
    """Return the temperature T for which softmax(logits / T) has the lowest loss (Guo et al., 2017, section 4.2)."""

    def loss(log_t: float) -> float:
        return at_temperature(validation, math.exp(log_t)).loss

    return math.exp(minimize_scalar(loss, bounds=(-4, 4), method="bounded").x)


def at_temperature(evaluation: Evaluation, temperature: float) -> Evaluation:
    """Return an evaluation with logits divided by a temperature; predictions stay, probabilities change."""
    return Evaluation(evaluation.logits / temperature, evaluation.labels)


def loss_of_mistakes(evaluation: Evaluation) -> float:
    """Return the mean cross-entropy, in nats, of the images that an evaluation gets wrong; NaN if there are none."""
    wrong = evaluation.predictions != evaluation.labels
    return Evaluation(evaluation.logits[wrong], evaluation.labels[wrong]).loss


def share_among_tops(evaluation: Evaluation) -> float:
    """Return the share of an evaluation's mistakes (0 to 1) whose label and answer are both in `TOPS`."""
    mistakes = evaluation.confusion.clone().fill_diagonal_(0)
    tops = [CLASSES.index(name) for name in TOPS]
    return float(mistakes[tops][:, tops].sum() / mistakes.sum())


def missed_by_all(evaluations: Sequence[Evaluation]) -> Tensor:
    """Return the indices of the images that every evaluation gets wrong: int64, in order."""
    wrong = torch.stack([evaluation.predictions != evaluation.labels for evaluation in evaluations])
    return wrong.all(dim=0).nonzero().flatten()
