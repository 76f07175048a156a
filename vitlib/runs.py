"""Finished training runs: a folder each, complete or not there at all.

A run folder holds ``config.json``, ``history.csv``, ``metrics.json``, ``model.safetensors`` and ``manifest.json``. It
is written under another name and renamed when all of it is on disk. Axes: N images, Y classes.
"""

import csv
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from vitlib import data, paths, provenance
from vitlib.config import TrainConfig
from vitlib.model import ViT

FILES = ("config.json", "history.csv", "metrics.json", "model.safetensors", "manifest.json")


@dataclass(frozen=True)
class Run:
    """A finished training run.

    Attributes:
        path: its folder.
        config: what defined it.
        history: a row per epoch: epoch, learning_rate_share (of its peak, as the epoch begins), train_loss,
            validation_loss, validation_accuracy, images_per_second, seconds; with ``test="every"`` test_loss and
            test_correct (by class) too.
        metrics: of the test set, ``loss`` (nats), ``correct`` and ``total`` (by class), unless ``test="never"``; the
            same of the validation images under ``validation``.
        manifest: ``config``, ``digest``, ``training_seconds``, ``weights_sha256``, and ``starts``: for each start of
            the training its time, code, packages, machine, threads and data (one, unless it was interrupted).
    """

    path: Path
    config: TrainConfig
    history: list[dict[str, float]]
    metrics: dict[str, Any]
    manifest: dict[str, Any]

    @property
    def name(self) -> str:
        """The run's folder within the report's home, such as ``runs/report``: the same before and after publishing."""
        return f"{self.path.parent.name}/{self.path.name}"

    @cached_property
    def model(self) -> ViT:
        """The trained network, float32, on the CPU, in evaluation mode."""
        model = ViT(self.config.model)
        tensors = safetensors.torch.load_file(self.path / "model.safetensors")
        with torch.no_grad():
            for name, p in model.named_parameters():
                p.copy_(tensors[name])
        return model.eval()

    def predict(self, images: Tensor) -> Tensor:
        """Return the logits (N, Y) float32 of uint8 images (N, 28, 28); they are normalised here."""
        with torch.inference_mode():
            return self.model(data.normalise(images).unsqueeze(1))


def load_run(path: str | Path) -> Run:
    """Return the finished run in a folder, its weights held against their checksum.

    Args:
        path: the folder, such as ``runs/report``; a relative one is taken from the report's home.

    Raises:
        ValueError: there is no finished run, or its weights were altered.
    """
    path = paths.resolve(path)
    if not is_complete(path):
        others = sorted(paths.show(p) for p in path.parent.glob("*") if is_complete(p))
        known = f"one of {', '.join(others)}" if others else "a finished run; there is none here yet, train one first"
        raise ValueError(f"run is {paths.show(path)!r}, but has to be {known}.")
    manifest = _read_json(path / "manifest.json")
    found = provenance.sha256(path / "model.safetensors")
    if found != manifest["weights_sha256"]:
        raise ValueError(
            f"{paths.show(path)}/model.safetensors has SHA-256 {found[:12]}…, but its manifest says "
            f"{manifest['weights_sha256'][:12]}…: restore the file, or remove the folder and train again."
        )
    with (path / "history.csv").open(newline="") as file:
        history = [{key: json.loads(value) for key, value in row.items()} for row in csv.DictReader(file)]
    config = TrainConfig.from_dict(_read_json(path / "config.json"))
    return Run(path, config, history, _read_json(path / "metrics.json"), manifest)


def is_complete(path: Path) -> bool:
    """Return whether a folder holds every file of a finished run."""
    return all((path / name).is_file() for name in FILES)


def save_run(
    scratch: Path,
    path: Path,
    config: TrainConfig,
    model: ViT,
    history: list[dict[str, float]],
    metrics: dict[str, Any],
    manifest: dict[str, Any],
) -> None:
    """Write a finished run into the empty folder `scratch`, then move it to `path`, which must not exist."""
    # named_parameters() lists a shared norm once, under its first name, so the file's bytes depend on nothing else
    tensors = {name: p.detach().cpu().contiguous() for name, p in model.named_parameters()}
    safetensors.torch.save_file(tensors, scratch / "model.safetensors")
    manifest = manifest | {"weights_sha256": provenance.sha256(scratch / "model.safetensors")}
    with (scratch / "history.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, history[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
    write_json(scratch / "config.json", config.to_dict())
    write_json(scratch / "metrics.json", metrics)
    write_json(scratch / "manifest.json", manifest)
    for name in FILES:
        with (scratch / name).open("rb") as file:
            os.fsync(file.fileno())
    scratch.rename(path)


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write JSON a person can read, whole or not at all."""
    scratch = path.with_name(path.name + ".part")
    scratch.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n")
    scratch.replace(path)


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())
