"""Views: augmented copies of the training images, drawn once from a seed, with a teacher's answers to each of them.

A run with a teacher sees only these pictures, so what it learns is what was answered to exactly this picture (Beyer et
al., 2022). The pictures are drawn again from the seed, and only the answers are kept, in a file
``studies/teachers/<name>-<hash>.safetensors``. The hash is the beginning of the file's SHA-256, and the file holds the
SHA-256 of the networks' weights, so this name, which is the setting `teacher`, identifies both. The record beside it,
``<name>-<hash>.json``, says how the teacher was made. Axes: V views, N images of L by L pixels, Y classes.
"""

import json
from dataclasses import asdict
from typing import Any

import safetensors
import torch
import torch.nn.functional as F
from torch import Tensor

from vitlib import paths, runs
from vitlib.config import TeacherConfig, TrainConfig, require
from vitlib.training.augmentation import augment, mix, named_generator, sample_augmentations

FOLDER = paths.ROOT / "studies" / "teachers"
HASH_DIGITS = 12
# the settings of a run that decide which pictures there are
VIEW_SETTINGS = ("train_images", "validation_images", "flip", "crop_padding", "erase", "mixup")


def draw(view: int, seed: int, config: TrainConfig, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return a view: each image once, augmented, and mixed with a random other one where `config` mixes.

    The random numbers come from the CPU, so that every kind of device draws the same pictures.

    Args:
        view: its number.
        seed: of all views.
        config: how to augment.
        images: uint8 (N, L, L).
        labels: int64 (N,), on the same device.

    Returns:
        Pictures uint8 (N, L, L), and probabilities of the classes float32 (N, Y): one, or in proportion where mixed.
    """
    generator = named_generator(f"seed {seed}, view {view}", torch.device("cpu"))
    order = torch.randperm(len(images), generator=generator)  # a picture is mixed with the one before it
    sampled = sample_augmentations(len(images), generator, config)
    if "mix" in sampled:
        weight = sampled["mix"][:, 0]
        weight.copy_((256 * weight).round() / 256)  # blends of bytes are then exact in float32, on every device
    device = images.device
    pictures = augment(images[order.to(device)], {name: values.to(device) for name, values in sampled.items()}, config)
    targets = F.one_hot(labels[order.to(device)], config.model.num_classes).float()
    if "mix" in sampled:
        pictures, targets = mix(pictures, targets, sampled["mix"].to(device))
        pictures = pictures.round().byte()
    back = order.argsort().to(device)
    return pictures[back], targets[back]


def definition(teacher: TeacherConfig, config: TrainConfig) -> dict[str, Any]:
    """Return every setting that defines a teacher for a run: its own, and those that decide the pictures."""
    return asdict(teacher) | {name: getattr(config, name) for name in VIEW_SETTINGS}  # type: ignore[call-overload]


def find(name: str, teacher: TeacherConfig, config: TrainConfig) -> str | None:
    """Return the full name, with its hash, of the teacher that was made for a run, or None."""
    for path in sorted(FOLDER.glob(f"{name}-{'[0-9a-f]' * HASH_DIGITS}.json")):
        if record(path.stem)["definition"] == definition(teacher, config):
            return path.stem
    return None


def record(name: str) -> dict[str, Any]:
    """Return how a teacher was made, by its full name; ValueError if there is no such teacher."""
    path = FOLDER / f"{name}.json"
    require(path.is_file(), "teacher", name, f"a teacher with a record in {paths.relative(FOLDER)}")
    with runs.reading(path, "restore the file or make that teacher again"):
        teacher_record = json.loads(path.read_text(encoding="utf-8"))
        require("definition" in teacher_record, "record", [*teacher_record], "that of a teacher, with its definition")
        return teacher_record


def load(config: TrainConfig, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return all views that a run with a teacher learns from, on the device of its images.

    Args:
        config: the run's settings.
        images: uint8 (N, L, L), its training images.
        labels: int64 (N,).

    Returns:
        Pictures uint8 (V, N, L, L), and targets float16 (V, N, 2, Y): probabilities of the classes by the labels, and
        the teacher's logits.

    Raises:
        ValueError: the teacher's file is missing or has another content, or it answers other pictures than these.
    """
    path = FOLDER / f"{config.teacher}.safetensors"
    known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.safetensors"))) or "none yet"
    require(path.is_file(), "teacher", config.teacher, f"a teacher in {paths.relative(FOLDER)} ({known})")
    digest = runs.sha256(path)[:HASH_DIGITS]
    wanted = f"named after its content, which has SHA-256 {digest}…: restore the file or make that teacher again"
    require(config.teacher.endswith(f"-{digest}"), "teacher", config.teacher, wanted)
    with safetensors.safe_open(path, "pt") as file:
        settings = json.loads(file.metadata()["about"])["definition"]
        answers, pixel_sums = file.get_tensor("answers"), file.get_tensor("pixel_sums")
    for name in VIEW_SETTINGS:
        wanted = f"{settings[name]!r}, as in the views of teacher={config.teacher!r}"
        require(getattr(config, name) == settings[name], name, getattr(config, name), wanted)
    pictures = images.new_empty(len(answers), *images.shape)
    targets = torch.empty(*answers.shape[:2], 2, answers.shape[2], dtype=torch.float16, device=images.device)
    for view, of_view in enumerate(answers):
        pictures[view], targets[view, :, 0] = draw(view, settings["seed"], config, images, labels)
        targets[view, :, 1] = of_view.to(images.device)
    wanted = "that of the pictures that were answered: this machine draws others; make the teacher here"
    require(torch.equal(_pixel_sums(pictures), pixel_sums), "the sum of the views' pixels", config.teacher, wanted)
    return pictures, targets


def _pixel_sums(pictures: Tensor) -> Tensor:
    return torch.stack([view.sum() for view in pictures]).cpu()  # int64 (V,)
