"""How well a model classifies: loss and counts per class, in float64, and what they are worth.

Evaluation runs in float64 so that a page recomputed on another machine, with other threads or another release of
PyTorch prints the same digits. Axes: N images, Y classes.
"""

import copy
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vitlib import data, homework
from vitlib.model import ViT

if TYPE_CHECKING:
    from vitlib.runs import Run

Z95 = 1.959963984540054  # the standard normal's 97.5 % quantile


@dataclass(frozen=True)
class Evaluation:
    """What a model answered: logits float64 (N, Y) and labels int64 (N,), on the CPU."""

    logits: Tensor
    labels: Tensor

    @property
    def predictions(self) -> Tensor:
        """The class with the largest logit: int64 (N,)."""
        return self.logits.argmax(dim=1)

    @property
    def probabilities(self) -> Tensor:
        """Softmax of the logits: float64 (N, Y)."""
        return self.logits.softmax(dim=1)

    @property
    def loss(self) -> float:
        """Mean cross-entropy, in nats."""
        return F.cross_entropy(self.logits, self.labels).item()

    @property
    def confusion(self) -> Tensor:
        """Images by true class (row) and predicted class (column): int64 (Y, Y)."""
        Y = self.logits.shape[1]
        return torch.bincount(self.labels * Y + self.predictions, minlength=Y * Y).view(Y, Y)

    @property
    def correct(self) -> list[int]:
        """Images classified rightly, by class."""
        return self.confusion.diagonal().tolist()

    @property
    def total(self) -> list[int]:
        """Images, by class."""
        return self.confusion.sum(dim=1).tolist()

    def calibration(self, bins: int = 15) -> list[tuple[float, float, int]]:
        """Sort the answers by their probability into equally wide bins (Guo et al., 2017).

        Returns:
            Of each bin that is not empty: mean probability of the answer, share of right answers, images.
        """
        confidence, answer = self.probabilities.max(dim=1)
        which = (confidence * bins).long().clamp(max=bins - 1)
        right = (answer == self.labels).double()
        found = [which == i for i in range(bins)]
        return [(confidence[of].mean().item(), right[of].mean().item(), int(of.sum())) for of in found if of.any()]

    def calibration_error(self, bins: int = 15) -> float:
        """Return the expected calibration error: mean gap of probability and share of right answers, 0 to 1."""
        rows = self.calibration(bins)
        return sum(n * abs(share - confidence) for confidence, share, n in rows) / len(self.labels)

    @property
    def accuracy(self) -> float:
        """Share of images classified rightly, 0 to 1."""
        return sum(self.correct) / sum(self.total)


def is_out_of_memory(error: Exception) -> bool:
    """Say whether a device's memory is full: on a CPU, PyTorch has no type of error for that."""
    return isinstance(error, MemoryError) or bool(re.search("allocate memory|out of memory|bad_alloc", str(error)))


def evaluate(
    model: "ViT | Run", images: Tensor, labels: Tensor, batch_size: int = 100, dtype: torch.dtype = torch.float64
) -> Evaluation:
    """Classify images without dropout, and leave the model as it was.

    Args:
        model: a `ViT`, or a run whose model is meant.
        images: uint8 (N, 28, 28), N at least 1.
        labels: int64 (N,).
        batch_size: images at a time (few fit into a processor's cache, which doubles the speed), halved where the
            memory does not hold so many; the result does not depend on it.
        dtype: type of the arithmetic; anything but float64 is faster and only good for a look while training.

    Raises:
        ValueError: `images` and `labels` differ in length or are empty.
    """
    if not 0 < len(images) == len(labels):
        raise ValueError(f"images are {len(images)} and labels {len(labels)}, but have to be equally many, at least 1.")
    network = model if isinstance(model, ViT) else model.model
    network = copy.deepcopy(network).to(dtype).eval()
    device = next(network.parameters()).device
    rest, logits = images, []
    while len(rest):
        batch = rest[:batch_size]
        try:
            with torch.inference_mode():
                logits.append(network(data.normalise(batch.to(device)).to(dtype).unsqueeze(1)))
        except (MemoryError, RuntimeError) as error:
            if len(batch) == 1 or not is_out_of_memory(error):
                raise
            batch_size = len(batch) // 2
        else:
            rest = rest[batch_size:]
    return Evaluation(torch.cat(logits).double().cpu(), labels.cpu())


def with_mirror(first: Evaluation, model: "ViT | Run", images: Tensor) -> Evaluation:
    """Return an evaluation of which each image's answer is the mean of its own and its mirror image's probabilities.

    Args:
        first: of the images as they are.
        model: as in `evaluate`.
        images: uint8 (N, 28, 28), those of `first`.
    """
    second = evaluate(model, images.flip(-1), first.labels)
    return Evaluation(((first.probabilities + second.probabilities) / 2).log(), first.labels)


def beside_homework(correct: list[int], total: list[int]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Set test counts by class beside the homework's, as shares with their 95 % intervals.

    Args:
        correct: images classified rightly, by class.
        total: images, by class.

    Returns:
        A row per class and one for all of them: ``name``, and ``ours`` and ``reported`` as (share, low, high), 0 to 1.
    """

    def share(right: int, seen: int) -> tuple[float, float, float]:
        return right / seen, *wilson_interval(right, seen)

    classes = [
        {"name": name, "ours": share(right, seen), "reported": share(*reported)}
        for name, right, seen, *reported in zip(
            data.CLASSES, correct, total, homework.CORRECT, homework.TOTAL, strict=True
        )
    ]
    overall = {
        "name": "All classes",
        "ours": share(sum(correct), sum(total)),
        "reported": share(sum(homework.CORRECT), sum(homework.TOTAL)),
    }
    return classes, overall


def wilson_interval(correct: int, total: int, z: float = Z95) -> tuple[float, float]:
    """Return the interval for a share of which `correct` of `total` was seen (Wilson, 1927).

    Args:
        correct: how often, 0 to `total`.
        total: out of how many, at least 1.
        z: the standard normal's quantile; by default that of 95 % confidence.

    Returns:
        Lower and upper end, each 0 to 1.

    Raises:
        ValueError: the counts do not fit.
    """
    if not 0 <= correct <= total or total < 1:
        raise ValueError(f"correct of total is {correct} of {total}, but has to be at least 0 of at least 1.")
    share = correct / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return max(0.0, middle - half), min(1.0, middle + half)
