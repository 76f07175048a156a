"""A teacher's answers to the training images, computed once: what a network learns from beside the labels.

A teacher is the mean of what some finished runs answer, kept in ``studies/teachers/<name>.safetensors``: shares of the
classes float16 (60,000, Y), zero for the images held out, which it neither learnt from nor is asked about.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import safetensors.torch
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor

from vitlib import data, paths
from vitlib.config import TRAIN_IMAGES, TrainConfig
from vitlib.evaluate import evaluate
from vitlib.runs import Run, sha256

FOLDER = paths.ROOT / "studies" / "teachers"
NAME = "answers"  # of the tensor in the file


def targets(config: TrainConfig, labels: Tensor, index: Tensor) -> Tensor:
    """Return what a run learns: its labels, or where it has a teacher shares of the classes.

    Args:
        config: the run's settings.
        labels: int64 (N,), of its training images.
        index: int64 (N,), which images of the training set they are.

    Returns:
        int64 (N,), or float32 (N, Y): labels and answers (Hinton et al., 2015, at temperature 1), weighted.

    Raises:
        ValueError: the teacher is not there, its file is damaged, or it has no answer to one of the images.
    """
    if not config.teacher:
        return labels
    path = FOLDER / f"{config.teacher}.safetensors"
    try:
        answers = safetensors.torch.load(path.read_bytes())[NAME].float()
    except FileNotFoundError:
        known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.safetensors"))) or "none yet"
        raise ValueError(f"teacher is {config.teacher!r}, but has to be one of those there are: {known}.") from None
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{paths.show(path)} is damaged: make that teacher again.") from error
    shape = TRAIN_IMAGES, config.model.num_classes
    whole = answers.shape == shape and torch.allclose(answers[index].sum(1), torch.ones(len(index)), atol=0.01)
    if not whole:
        raise ValueError(
            f"{paths.show(path)} does not answer every training image of this run: make a teacher from "
            f"runs with the same validation_images={config.validation_images}."
        )
    return F.one_hot(labels, config.model.num_classes).float().lerp(answers[index], config.teacher_weight)


def digest(name: str) -> str:
    """Return the SHA-256 of a teacher's file."""
    return sha256(FOLDER / f"{name}.safetensors")


def make(runs: Sequence[Run], name: str) -> Path:
    """Keep the mean of what some runs answer to the images that they were trained on, and return the file.

    Raises:
        ValueError: there is no run, or they hold out different images.
    """
    held_out = {run.config.validation_images for run in runs}
    if len(held_out) != 1:
        raise ValueError(f"validation_images is {sorted(held_out)}, but has to be the same for all runs of a teacher.")
    images, labels = data.load("train")
    index, _ = data.training_split(TRAIN_IMAGES - max(held_out), max(held_out))
    means = [evaluate(run, images[index], labels[index], dtype=torch.float32).probabilities for run in runs]
    answers = torch.zeros(TRAIN_IMAGES, means[0].shape[1], dtype=torch.float16)
    answers[index] = torch.stack(means).mean(dim=0).half()
    FOLDER.mkdir(parents=True, exist_ok=True)
    scratch = FOLDER / f".{name}.{os.getpid()}"
    scratch.write_bytes(safetensors.torch.save({NAME: answers}))
    return scratch.replace(FOLDER / f"{name}.safetensors")
