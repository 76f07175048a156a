"""Finished training runs: a folder each, complete or not there at all.

A run folder holds ``config.json``, ``history.csv``, ``metrics.json``, ``model.safetensors``, ``manifest.json`` and
their checksums, ``SHA256SUMS`` (``sha256sum -c SHA256SUMS`` checks them too). It is written under another name and
renamed when all of it is on disk. Axes: N images, Y classes.
"""

import csv
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import safetensors
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeInt, ValidationError, model_validator
from torch import Tensor, nn

from vitlib import data, paths
from vitlib.config import TrainConfig, complaint, require
from vitlib.model import ViT

CONTENT = ("config.json", "history.csv", "metrics.json", "model.safetensors", "manifest.json")
SUMS = "SHA256SUMS"
FILES = (*CONTENT, SUMS)
REMEDY = "restore the file, or remove the folder and train again."
# what reading a damaged file can raise
READ_ERRORS = (ValueError, TypeError, LookupError, RecursionError, csv.Error, safetensors.SafetensorError)


class _Record(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class Epoch(_Record):
    """A row of ``history.csv``."""

    epoch: int
    learning_rate_share: FiniteFloat  # of the peak, at the epoch's first step
    train_loss: FiniteFloat  # nats
    validation_loss: FiniteFloat | None = None  # None without validation images
    validation_accuracy: FiniteFloat | None = None  # 0 to 1
    images_per_second: FiniteFloat
    seconds: FiniteFloat


class Counts(_Record):
    """Results on a set of images."""

    loss: FiniteFloat  # nats
    correct: list[NonNegativeInt]  # by class
    total: list[NonNegativeInt]

    @model_validator(mode="after")
    def _no_more_correct_than_there_are(self) -> "Counts":
        pairs = [*zip(self.correct, self.total, strict=True)]
        require(all(c <= n for c, n in pairs), "correct of total", pairs, "at most the images of each class")
        return self


class Metrics(_Record):
    """``metrics.json``: the validation images' results; beside them those of the test set, unless ``test="never"``."""

    validation: Counts | None = None  # None without validation images


class Start(_Record):
    """What is known of a start of the training."""

    started: str
    code: dict[str, Any]
    python: str
    packages: dict[str, str]
    device: str
    device_kind: str = "cpu"  # "cpu" or "cuda"; not in the manifests of early runs, which were made on CPUs
    threads: int
    data_sha256: dict[str, str]


class Manifest(_Record):
    """``manifest.json``."""

    config: dict[str, Any]
    digest: str
    weights_sha256: str
    training_seconds: FiniteFloat
    starts: Annotated[list[Start], Field(min_length=1)]


@dataclass(frozen=True)
class Run:
    """A finished training run.

    Attributes:
        path: its folder.
        config: what defined it.
        history: a row per epoch, as in `Epoch`; with ``test="every"`` also test_loss and test_correct (by class).
        metrics: as in `Counts`, of the test set, unless ``test="never"``; those of the validation images, if there are
            any, under ``validation``.
        manifest: as in `Manifest`; one start, unless the training was interrupted.
    """

    path: Path
    config: TrainConfig
    history: list[dict[str, float]]
    metrics: dict[str, Any]
    manifest: dict[str, Any]

    @property
    def name(self) -> str:
        """The run's folder, such as ``runs/report``: the same before and after publishing."""
        return f"{self.path.parent.name}/{self.path.name}"

    @cached_property
    def model(self) -> ViT:
        """The trained network, float32, on the CPU, in evaluation mode; ValueError if the weights do not fit it."""
        with torch.random.fork_rng([]):  # its initial weights must not take the caller's random numbers
            model = ViT(self.config.model)
        with reading(self.path / "model.safetensors") as path, torch.no_grad():
            tensors = safetensors.torch.load_file(path)
            wanted = {name: tuple(p.shape) for name, p in model.named_parameters()}
            shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
            if wanted != shapes:
                raise ValueError("its tensors are not those of this configuration")
            for name, p in model.named_parameters():
                p.copy_(tensors[name])
        return model.eval()

    def predict(self, images: Tensor) -> Tensor:
        """Return the logits (N, Y) float32 of uint8 images (N, 28, 28), which are normalised here.

        Raises:
            ValueError: the images have another type, as float images of 0 to 1 do, or another shape.
        """
        data.require_images(images)
        with torch.inference_mode():
            return self.model(data.normalise(images).unsqueeze(1))


def load_run(path: str | Path) -> Run:
    """Return the finished run in a folder, after checking that its files are intact and fit each other.

    Args:
        path: the folder, such as ``runs/report``; a relative one is taken from `paths.output_root`.

    Raises:
        ValueError: there is no finished run, or one of its files was altered; the message names it.
    """
    path = paths.resolve(path)
    if not is_complete(path):
        missing = [name for name in FILES if not (path / name).is_file()]
        if len(missing) < len(FILES):
            raise ValueError(f"{paths.relative(path)} has no {missing[0]}: {REMEDY}")
        names = sorted(paths.relative(p) for p in path.parent.glob("*") if is_complete(p))
        choices = f"one of {', '.join(names)}" if names else "a finished run; there is none here yet, train one first"
        raise ValueError(f"run is {paths.relative(path)!r}, but must be {choices}.")
    listed = (path / SUMS).read_bytes().decode(errors="replace").splitlines()
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in listed)}
    for name in CONTENT:
        digest = sha256(path / name)
        if digest != sums.get(name):
            raise ValueError(
                f"{paths.relative(path / name)} has SHA-256 {digest[:12]}…, but {SUMS} beside it says "
                f"{sums.get(name, 'nothing')[:12]}…: {REMEDY}"
            )
    config = read_config(path / "config.json")
    with reading(path / "history.csv") as file:
        history = _history(file, config)
    with reading(path / "metrics.json") as file:
        metrics = _metrics(file, config)
    with reading(path / "manifest.json") as file:
        manifest = Manifest(**json.loads(file.read_text(encoding="utf-8"))).model_dump()
        noted = manifest["digest"], manifest["weights_sha256"]
        wanted = config.digest, sums["model.safetensors"]
        require(noted == wanted, "digest and weights_sha256", noted, f"{wanted}, as in the files beside it")
        require(TrainConfig.from_dict(manifest["config"]) == config, "config", manifest["config"], "as in config.json")
    return Run(path, config, history, metrics, manifest)


def read_config(path: Path) -> TrainConfig:
    """Return the settings in a run's ``config.json``; ValueError where they cannot be read."""
    with reading(path) as file:
        return TrainConfig.from_dict(json.loads(file.read_text(encoding="utf-8")))


@contextmanager
def reading(path: Path, remedy: str = REMEDY) -> Iterator[Path]:
    """Turn an error while a file is read into a ValueError that names the file and says what to do."""
    try:
        yield path
    except ValidationError as error:
        raise ValueError(f"{paths.relative(path)}: {complaint(error, [])[:-1]}; {remedy}") from error
    except READ_ERRORS as error:
        reason = f"{type(error).__name__}: {error}" if isinstance(error, LookupError) else str(error)
        raise ValueError(f"{paths.relative(path)} cannot be read ({reason.rstrip('.')}): {remedy}") from error


def _history(path: Path, config: TrainConfig) -> list[dict[str, Any]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = [{key: json.loads(value) for key, value in row.items()} for row in csv.DictReader(file)]
    history = [Epoch(**row).model_dump() for row in rows]
    epochs = [row["epoch"] for row in history]
    require(epochs == [*range(1, config.epochs + 1)], "epoch", epochs, f"1 to {config.epochs}")
    for row in history:
        for name in ("validation_loss", "validation_accuracy"):
            _require_validation(name, row[name], config)
    return history


def _require_validation(name: str, value: object, config: TrainConfig) -> None:
    images = config.validation_images
    wanted = f"that of {images} validation images" if images else "missing: there are no validation images"
    require((value is not None) == (images > 0), name, value, wanted)


def _metrics(path: Path, config: TrainConfig) -> dict[str, Any]:
    values = json.loads(path.read_text(encoding="utf-8"))
    validation = Metrics(**values).validation
    _require_validation("validation", validation, config)
    tested = set(values) - {"validation"}  # nothing in a run with test="never"
    for counts in filter(None, [validation, Counts(**values) if tested else None]):
        classes = len(counts.correct)
        require(classes == config.model.num_classes, "number of classes", classes, f"{config.model.num_classes}")
    return values


def is_complete(path: Path) -> bool:
    """Return whether a folder holds every file of a finished run."""
    return all((path / name).is_file() for name in FILES)


def save_run(
    scratch: Path,
    path: Path,
    config: TrainConfig,
    model: nn.Module,
    history: list[dict[str, float]],
    metrics: dict[str, Any],
    manifest: dict[str, Any],
) -> None:
    """Write a finished run into the empty folder `scratch`, then move it to `path`, which must not exist."""
    # named_parameters() lists a shared norm once, under its first name, so the file's bytes depend on nothing else
    tensors = {name: p.detach().cpu().contiguous() for name, p in model.named_parameters()}
    (scratch / "model.safetensors").write_bytes(safetensors.torch.save(tensors))
    manifest = manifest | {"weights_sha256": sha256(scratch / "model.safetensors")}
    with (scratch / "history.csv").open("w", newline="", encoding="utf-8") as file:
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
    (folder / SUMS).write_text("".join(f"{sha256(folder / name)}  {name}\n" for name in CONTENT), encoding="utf-8")


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write JSON a person can read, whole or not at all."""
    write_bytes(path, (json.dumps(values, indent=1, ensure_ascii=False) + "\n").encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all."""
    scratch = path.with_name(f"{path.name}.{uuid4().hex[:8]}.part")  # another process may write the same file
    try:
        with scratch.open("wb") as file:
            file.write(content)
            os.fsync(file.fileno())
        scratch.replace(path)
    except OSError:
        scratch.unlink(missing_ok=True)
        raise
