"""Finished training runs: a folder each, complete or not there at all.

A run folder holds ``config.json``, ``history.csv``, ``metrics.json``, ``model.safetensors``, ``manifest.json`` and
their checksums, ``SHA256SUMS`` (``sha256sum -c SHA256SUMS`` checks them too). It is written under another name and
renamed when all of it is on disk. Axes: N images, Y classes.
"""

import csv
import hashlib
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from vitlib import data, paths
from vitlib.config import TrainConfig, require
from vitlib.model import ViT

CONTENT = ("config.json", "history.csv", "metrics.json", "model.safetensors", "manifest.json")
SUMS = "SHA256SUMS"
FILES = (*CONTENT, SUMS)
HISTORY = ("epoch", "learning_rate_share", "train_loss", "validation_loss", "validation_accuracy", "images_per_second")
HISTORY += ("seconds",)
STARTED = ("started", "code", "python", "packages", "device", "threads", "data_sha256")  # what a start notes
REMEDY = "restore the file, or remove the folder and train again."
# what a damaged file can make its reader raise
READING = (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError, csv.Error)
READING += (safetensors.SafetensorError,)


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
        """The trained network, float32, on the CPU, in evaluation mode; ValueError where the weights are another's."""
        model = ViT(self.config.model)
        with reading(self.path / "model.safetensors") as path, torch.no_grad():
            tensors = safetensors.torch.load_file(path)
            wanted = {name: tuple(p.shape) for name, p in model.named_parameters()}
            found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
            if wanted != found:
                raise ValueError("its tensors are not those of this configuration")
            for name, p in model.named_parameters():
                p.copy_(tensors[name])
        return model.eval()

    def predict(self, images: Tensor) -> Tensor:
        """Return the logits (N, Y) float32 of uint8 images (N, 28, 28); they are normalised here."""
        with torch.inference_mode():
            return self.model(data.normalise(images).unsqueeze(1))


def load_run(path: str | Path) -> Run:
    """Return the finished run in a folder, every file of it held against its checksum and the others.

    Args:
        path: the folder, such as ``runs/report``; a relative one is taken from the report's home.

    Raises:
        ValueError: there is no finished run, or one of its files was altered; the message names it.
    """
    path = paths.resolve(path)
    if not is_complete(path):
        missing = [name for name in FILES if not (path / name).is_file()]
        if len(missing) < len(FILES):
            raise ValueError(f"{paths.show(path)} has no {missing[0]}: {REMEDY}")
        others = sorted(paths.show(p) for p in path.parent.glob("*") if is_complete(p))
        known = f"one of {', '.join(others)}" if others else "a finished run; there is none here yet, train one first"
        raise ValueError(f"run is {paths.show(path)!r}, but has to be {known}.")
    listed = (path / SUMS).read_bytes().decode(errors="replace").splitlines()
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in listed)}
    for name in CONTENT:
        found = sha256(path / name)
        if found != sums.get(name):
            raise ValueError(
                f"{paths.show(path / name)} has SHA-256 {found[:12]}…, but {SUMS} beside it says "
                f"{sums.get(name, 'nothing')[:12]}…: {REMEDY}"
            )
    config = read_config(path / "config.json")
    with reading(path / "history.csv") as file:
        history = _history(file, config)
    with reading(path / "metrics.json") as file:
        metrics = _metrics(file, config)
    with reading(path / "manifest.json") as file:
        manifest = json.loads(file.read_text())
        of_run = {"config": config, "digest": config.digest, "weights_sha256": sums["model.safetensors"]}
        stated = manifest | {"config": TrainConfig.from_dict(manifest["config"])}
        for name, value in of_run.items():
            require(stated[name] == value, name, stated[name], f"{value!r} as in the files beside it")
        require(_is_number(manifest["training_seconds"]), "training_seconds", manifest["training_seconds"], "a number")
        require(len(manifest["starts"]) > 0, "starts", manifest["starts"], "at least one")
        for start in manifest["starts"]:
            missing = [name for name in STARTED if name not in start]
            require(not missing, "start", start, f"with {', '.join(missing)}")
    return Run(path, config, history, metrics, manifest)


def read_config(path: Path) -> TrainConfig:
    """Return the settings in a run's ``config.json``; ValueError where they cannot be read."""
    with reading(path) as file:
        return TrainConfig.from_dict(json.loads(file.read_text()))


@contextmanager
def reading(path: Path, remedy: str = REMEDY) -> Iterator[Path]:
    """Turn what goes wrong while a file is read into a ValueError that names the file and says what to do."""
    try:
        yield path
    except READING as error:
        reason = f"{type(error).__name__}: {error}" if isinstance(error, LookupError) else str(error)
        raise ValueError(f"{paths.show(path)} cannot be read ({reason.rstrip('.')}): {remedy}") from error


def _history(path: Path, config: TrainConfig) -> list[dict[str, float]]:
    with path.open(newline="") as file:
        rows = [{key: json.loads(value) for key, value in row.items()} for row in csv.DictReader(file)]
    for row in rows:
        for name in HISTORY:
            require(_is_number(row[name]), name, row[name], "a number")
    epochs = [row["epoch"] for row in rows]
    require(epochs == [*range(1, config.epochs + 1)], "epoch", epochs, f"1 to {config.epochs}")
    return rows


def _metrics(path: Path, config: TrainConfig) -> dict[str, Any]:
    metrics = json.loads(path.read_text())
    unseen = set(metrics) == {"validation"}  # a run with test="never"
    for part in [metrics["validation"]] if unseen else [metrics, metrics["validation"]]:
        require(_is_number(part["loss"]), "loss", part["loss"], "a number")
        counts = [*zip(part["correct"], part["total"], strict=True)]
        whole = all(type(n) is int for pair in counts for n in pair)
        right = whole and len(counts) == config.model.num_classes and all(0 <= c <= n for c, n in counts)
        require(right, "correct of total", counts, f"counts of {config.model.num_classes} classes")
    return metrics


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


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
    (scratch / "model.safetensors").write_bytes(safetensors.torch.save(tensors))
    manifest = manifest | {"weights_sha256": sha256(scratch / "model.safetensors")}
    with (scratch / "history.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, history[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
    write_json(scratch / "config.json", config.to_dict())
    write_json(scratch / "metrics.json", metrics)
    write_json(scratch / "manifest.json", manifest)
    write_sums(scratch)
    for name in FILES:
        with (scratch / name).open("rb") as file:
            os.fsync(file.fileno())
    scratch.rename(path)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_sums(folder: Path) -> None:
    """Write the checksums of a run's files beside them."""
    (folder / SUMS).write_text("".join(f"{sha256(folder / name)}  {name}\n" for name in CONTENT))


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write JSON a person can read, whole or not at all."""
    scratch = path.with_name(path.name + ".part")
    scratch.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n")
    scratch.replace(path)
