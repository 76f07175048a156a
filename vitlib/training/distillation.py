"""A teacher's answers to the training images, computed once, that a network learns from besides the labels.

A teacher is the mean of what several finished runs answer. Its file, ``studies/teachers/<name>-<hash>.safetensors``,
holds class probabilities float16 (60,000, Y), zero for the validation images. The hash is the beginning of the file's
SHA-256, so that the setting `teacher`, which is this name, identifies the content.
"""

from collections.abc import Sequence
from pathlib import Path

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor

from vitlib import data, paths
from vitlib.config import TRAIN_IMAGES, TrainConfig, require
from vitlib.evaluate import evaluate
from vitlib.runs import Run, sha256

FOLDER = paths.ROOT / "studies" / "teachers"
HASH_DIGITS = 12
TENSOR = "answers"  # name of the tensor in the file


def targets(config: TrainConfig, labels: Tensor, index: Tensor) -> Tensor:
    """Return what a run learns from: its labels, or class probabilities where it has a teacher.

    Args:
        config: the run's settings.
        labels: int64 (N,), of its training images.
        index: int64 (N,), which images of the training set they are.

    Returns:
        int64 (N,), or float32 (N, Y): the weighted mean of labels and answers (Hinton et al., 2015, temperature 1).

    Raises:
        ValueError: the teacher's file is missing or has another content, or lacks answers to some of the images.
    """
    if not config.teacher:
        return labels
    path = FOLDER / f"{config.teacher}.safetensors"
    known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.safetensors"))) or "none yet"
    require(path.is_file(), "teacher", config.teacher, f"a teacher in {paths.relative(FOLDER)} ({known})")
    found = sha256(path)[:HASH_DIGITS]
    wanted = f"named after its content, which has SHA-256 {found}…: restore the file or make that teacher again"
    require(config.teacher.endswith(f"-{found}"), "teacher", config.teacher, wanted)
    answers = safetensors.torch.load_file(path)[TENSOR].float()
    answered = torch.allclose(answers[index].sum(1), torch.ones(len(index)), atol=0.01)
    wanted = f"a teacher made from runs with the same validation_images={config.validation_images}"
    require(answered, "teacher", config.teacher, wanted)
    return F.one_hot(labels, config.model.num_classes).float().lerp(answers[index], config.teacher_weight)


def make(runs: Sequence[Run], name: str) -> Path:
    """Write the mean of what runs answer to the images that they were trained on, and return the teacher's file.

    Raises:
        ValueError: the runs hold out different images, or `name` is not one that a setting can have.
    """
    TrainConfig(teacher=name)
    held_out = {run.config.validation_images for run in runs}
    require(len(held_out) == 1, "validation_images", sorted(held_out), "the same for all runs of a teacher")
    images, labels = data.load("train")
    index, _ = data.training_split(TRAIN_IMAGES - max(held_out), max(held_out))
    means = [evaluate(run, images[index], labels[index], dtype=torch.float32).probabilities for run in runs]
    answers = torch.zeros(TRAIN_IMAGES, means[0].shape[1], dtype=torch.float16)
    answers[index] = torch.stack(means).mean(dim=0).half()
    FOLDER.mkdir(parents=True, exist_ok=True)
    scratch = FOLDER / f".{name}.part"
    scratch.write_bytes(safetensors.torch.save({TENSOR: answers}))
    return scratch.replace(FOLDER / f"{name}-{sha256(scratch)[:HASH_DIGITS]}.safetensors")
