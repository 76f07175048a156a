"""How well a model classifies: loss and counts per class, their uncertainty, and calibration.

Evaluation runs in float64 so that a page recomputed on another machine, with other threads or another release of
PyTorch prints the same digits. Axes: N images, Y classes.
"""

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitlib import data

if TYPE_CHECKING:
    from vitlib.runs import Run

BINS = 15  # of confidence, for calibration (Guo et al., 2017)
BATCH = {"cpu": 100, "cuda": 2500}  # images at a time: on a CPU as many as its cache holds, which doubles the speed


@dataclass(frozen=True)
class Evaluation:
    """The answers of a model: logits float64 (N, Y) and labels int64 (N,), on the CPU."""

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
        """Correctly classified images, by class."""
        return self.confusion.diagonal().tolist()

    @property
    def total(self) -> list[int]:
        """Images, by class."""
        return self.confusion.sum(dim=1).tolist()

    def calibration(self) -> list[tuple[float, float, int]]:
        """Group the answers by confidence into `BINS` bins of equal width.

        Returns:
            Of each bin that is not empty: mean confidence (0 to 1), accuracy (0 to 1), number of images.
        """
        confidence, answer = self.probabilities.max(dim=1)
        index = (confidence * BINS).long().clamp(max=BINS - 1)
        correct = (answer == self.labels).double()
        masks = [index == i for i in range(BINS)]
        return [(confidence[m].mean().item(), correct[m].mean().item(), int(m.sum())) for m in masks if m.any()]

    def calibration_error(self) -> float:
        """Return the expected calibration error: the mean gap between confidence and accuracy, 0 to 1."""
        rows = self.calibration()
        return sum(n * abs(accuracy - confidence) for confidence, accuracy, n in rows) / len(self.labels)

    @property
    def accuracy(self) -> float:
        """Fraction of correctly classified images, 0 to 1."""
        return int((self.predictions == self.labels).sum()) / len(self.labels)


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error means that a device's memory is full; on a CPU, PyTorch has no type for that."""
    return isinstance(error, MemoryError) or bool(re.search("allocate memory|out of memory|bad_alloc", str(error)))


def classify(network: Callable[[Tensor], Tensor], images: Tensor, batch_size: int) -> Tensor:
    """Return the logits of images, batch by batch.

    Args:
        network: from normalised float32 images (B, 1, 28, 28) to logits (..., B, Y).
        images: uint8 (N, 28, 28), on the network's device.
        batch_size: images at a time. It is halved as long as the memory does not hold a batch.

    Returns:
        float64 (..., N, Y), on the CPU.
    """
    remaining, logits = images, []
    while len(remaining):
        batch = remaining[:batch_size]
        try:
            with torch.inference_mode():
                logits.append(network(data.normalise(batch).unsqueeze(1)))
        except (MemoryError, RuntimeError) as error:
            if len(batch) == 1 or not is_out_of_memory(error):
                raise
            batch_size = len(batch) // 2
        else:
            remaining = remaining[batch_size:]
    return torch.cat(logits, dim=-2).cpu().double()


def evaluate(
    model: "nn.Module | Run",
    images: Tensor,
    labels: Tensor,
    dtype: torch.dtype = torch.float64,
) -> Evaluation:
    """Classify images without dropout, on the model's device, and leave the model as it was.

    Args:
        model: a network, (B, 1, 28, 28) -> logits (B, Y), or a run, whose model is evaluated.
        images: uint8 (N, 28, 28), N at least 1.
        labels: int64 (N,).
        dtype: of the arithmetic; anything but float64 is faster, and good enough for a progress report.

    Raises:
        ValueError: `images` and `labels` differ in length or are empty, or `images` have another type, as float images
            of 0 to 1 do, or another shape.
    """
    data.require_images(images)
    if not 0 < len(images) == len(labels):
        raise ValueError(f"images are {len(images)} and labels {len(labels)}, but must be equally many, at least 1.")
    network = model if isinstance(model, nn.Module) else model.model
    network = copy.deepcopy(network).to(dtype).eval()
    device = next(network.parameters()).device
    logits = classify(lambda x: network(x.to(dtype)), images.to(device), BATCH[device.type])
    return Evaluation(logits, labels.cpu())


def wilson_interval(correct: int, total: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of a proportion (Wilson, 1927).

    Args:
        correct: successes, 0 to `total`.
        total: trials, at least 1.

    Returns:
        Lower and upper end, each 0 to 1.

    Raises:
        ValueError: the counts are impossible.
    """
    from scipy.stats import binomtest  # its import takes half a second, which training does not need

    if not 0 <= correct <= total or total < 1:
        raise ValueError(f"correct of total is {correct} of {total}, but must be at least 0 of at least 1.")
    interval = binomtest(correct, total).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)
