"""Checkpoints: the state of a run after an epoch, each in a file whose name holds the epoch and its checksum."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from vitlib import paths, runs
from vitlib.config import TrainConfig, differences


@dataclass
class RunState:
    """The history of an unfinished run, a row per epoch, and an entry per start of its training."""

    history: list[dict[str, Any]] = field(default_factory=list)
    starts: list[dict[str, Any]] = field(default_factory=list)


def partial_folder(run_dir: Path) -> Path:
    """Return the folder in which a run trains; it is gone when the run is finished."""
    return run_dir.with_name(f"{run_dir.name}.partial")


def save(run_dir: Path, config: TrainConfig, tensors: dict[str, Tensor], state: RunState) -> Path:
    """Write the state after the last epoch of `state`, whole or not at all, and return its file."""
    metadata = {"history": json.dumps(state.history), "starts": json.dumps(state.starts)}
    content = safetensors.torch.save(tensors, metadata)
    folder = partial_folder(run_dir)
    path = folder / f"checkpoint-{len(state.history):05d}-{_checksum(config, content)}.safetensors"
    runs.write_bytes(path, content)
    return path


def keep_only(kept: Path) -> None:
    """Remove a run's other checkpoints."""
    for old in kept.parent.glob("checkpoint-*.safetensors"):
        if old != kept:
            old.unlink()


def load(run_dirs: Sequence[Path], configs: Sequence[TrainConfig]) -> tuple[list[dict[str, Tensor]], list[RunState]]:
    """Return weights and history of the latest epoch for which every seed has an intact checkpoint.

    Without one: no states, and runs that have not begun.
    """
    intact = [
        {
            _epochs(path): path
            for path in partial_folder(run_dir).glob("checkpoint-*.safetensors")
            if path.stem.endswith(_checksum(config, path.read_bytes()))
        }
        for run_dir, config in zip(run_dirs, configs, strict=True)
    ]
    common = set(intact[0]).intersection(*intact)
    if not common:
        return [], [RunState() for _ in run_dirs]
    states, run_states = [], []
    for of_seed in intact:
        with safetensors.safe_open(of_seed[max(common)], "pt") as file:
            metadata = file.metadata()
            run_states.append(RunState(json.loads(metadata["history"]), json.loads(metadata["starts"])))
            states.append({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    return states, run_states


def epochs_kept(run_dir: Path) -> int:
    """Return the epoch after which the training of an unfinished run continues; checksums are not verified."""
    return max(map(_epochs, partial_folder(run_dir).glob("checkpoint-*.safetensors")), default=0)


def claim_folder(run_dir: Path, config: TrainConfig) -> None:
    """Make the folder in which a run trains, and note its settings there.

    Raises:
        ValueError: a run with other settings was begun there.
    """
    folder = partial_folder(run_dir)
    folder.mkdir(exist_ok=True)
    settings = folder / "config.json"
    if settings.is_file():
        require_same_settings(config, runs.read_config(settings), run_dir)
    runs.write_json(settings, config.to_dict())


def require_same_settings(wanted: TrainConfig, existing: TrainConfig, run_dir: Path) -> None:
    """Raise a ValueError that names the difference if a folder holds a run with other settings."""
    if wanted.digest == existing.digest:
        return
    requested = differences(wanted, existing)
    listed = ", ".join(f"{n}={v!r} (requested: {requested[n]!r})" for n, v in differences(existing, wanted).items())
    raise ValueError(
        f"{paths.relative(run_dir)} holds a run with {listed}: move that folder away, or give the new run another name."
    )


def _checksum(config: TrainConfig, content: bytes) -> str:
    """Return the SHA-256 of a run's identity and its checkpoint, which no other run's checkpoint matches."""
    return hashlib.sha256(config.digest.encode() + content).hexdigest()


def _epochs(checkpoint: Path) -> int:
    return int(checkpoint.stem.split("-")[1])
