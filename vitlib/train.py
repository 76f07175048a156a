"""Training: one loop for CPU and GPU.

The images stay in memory as bytes; each epoch draws its order and its augmentation from the run's seed and the
epoch's number alone, so that a run continued after a kill equals one that was never interrupted. Axes: B batch.
"""

import ctypes
import hashlib
import json
import math
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
from filelock import FileLock, Timeout
from torch import Tensor

from vitlib import data, paths, provenance, runs
from vitlib.augment import augment
from vitlib.config import TrainConfig, differences
from vitlib.evaluate import evaluate
from vitlib.model import ViT
from vitlib.optim import Muon
from vitlib.runs import Run

DEVICES = ("auto", "cpu", "cuda")
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


def train(
    config: TrainConfig,
    run_dir: str | Path,
    *,
    device: str = "auto",
    compiled: bool = True,
    progress: Callable[[str], None] = print,
    data_root: str | Path | None = None,
) -> Run:
    """Train a model, keep the run in a folder and return it; a finished run is returned as it is.

    A run that was killed continues after its last finished epoch. The test set is read once, after the last epoch.

    Args:
        config: what defines the run.
        run_dir: folder of the run, such as ``runs/report``; a relative one is taken from the report's home.
        device: ``"cpu"``, ``"cuda"``, or ``"auto"`` for CUDA where there is one.
        compiled: compile the forward and backward pass; without a C++ compiler training runs eagerly all the same.
        progress: receives a line of text per event.
        data_root: folder of Fashion-MNIST, see `vitlib.data.load`.

    Raises:
        ValueError: the device is unknown or missing, or the folder holds a run of another configuration.
        RuntimeError: another process trains this run, or a page that is being checked asks for training.
        FloatingPointError: the training loss is no longer a number.
    """
    if device not in DEVICES:
        raise ValueError(f"device is {device!r}, but has to be one of {', '.join(DEVICES)}.")
    folder = paths.resolve(run_dir)
    if runs.is_complete(folder):
        run = runs.load_run(folder)
        _require_same(config, run.config, folder)
        return run
    if _in_notebook() and "PYTEST_VERSION" in os.environ:
        raise RuntimeError(
            f"{paths.show(folder)} is not there, and a page that is being checked does not train: run make report."
        )
    if folder.exists():
        raise ValueError(f"run_dir is {paths.show(folder)!r}, which holds something else; name another or remove it.")
    chosen = _device(device)
    if chosen.type == "cpu":
        _keep_freed_memory()
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder.with_name(f".{folder.name}.lock"), timeout=0):
            if not runs.is_complete(folder):  # another process may have finished it since
                with torch.random.fork_rng(range(torch.cuda.device_count())):
                    _train(config, folder, chosen, compiled, progress, data_root)
    except Timeout as error:
        raise RuntimeError(f"{paths.show(folder)} is being trained by another process; wait for it.") from error
    return runs.load_run(folder)


def _train(
    config: TrainConfig,
    folder: Path,
    device: torch.device,
    compiled: bool,
    progress: Callable[[str], None],
    data_root: str | Path | None,
) -> None:
    """Train in a folder beside `folder` and move the finished run there."""
    partial = folder.with_name(f"{folder.name}.partial")
    partial.mkdir(exist_ok=True)
    settings = partial / "config.json"
    if settings.is_file():
        _require_same(config, TrainConfig.from_dict(json.loads(settings.read_text())), folder)
    runs.write_json(settings, config.to_dict())
    # of the code that is loaded now, not of what it is edited to while training
    environment = provenance.environment(device) | {"compiled": compiled}

    images, labels = data.load("train", data_root)
    train_index, validation_index = data.training_split(config.train_images, config.validation_images)
    train_images, train_labels = images[train_index].to(device), labels[train_index].to(device)
    validation = images[validation_index], labels[validation_index]

    torch.manual_seed(config.seed)
    model = ViT(config.model).to(device)
    optimizers = _optimizers(model, config)
    history, starts = _resume(partial, model, optimizers)
    starts.append({"started": datetime.now(UTC).isoformat(timespec="seconds")} | environment)

    def without_compiler(reason: str) -> None:
        starts[-1]["compiled"] = False
        progress(f"torch.compile does not work here ({reason}): training uncompiled, slower.")

    loss_function = _loss_function(model, config, device, compiled, without_compiler)
    steps = config.train_images // config.batch_size
    if history:
        progress(f"continuing {paths.show(folder)} after epoch {len(history)}")
    elif compiled:
        progress("compiling the training step, about half a minute on a CPU ...")

    for epoch in range(len(history), config.epochs):
        start = time.perf_counter()
        generator = _generator(config.seed, epoch, device)
        torch.manual_seed(generator.initial_seed())  # dropout draws from the global generator
        order = torch.randperm(config.train_images, generator=generator, device=device)
        model.train()
        losses = torch.zeros((), device=device)
        first = start
        for step, batch in enumerate(order[: steps * config.batch_size].split(config.batch_size)):
            rate = _rate(epoch * steps + step, config.epochs * steps, config.warmup)
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = group["peak_lr"] * rate
                optimizer.zero_grad(set_to_none=True)
            seen = augment(train_images[batch], generator, flip=config.flip, crop=config.crop)
            loss = loss_function(seen, train_labels[batch])
            loss.backward()
            for optimizer in optimizers:
                optimizer.step()
            losses += loss.detach()
            if step == 0 and steps > 1:  # the first step of a process compiles; the speed is that of the others
                losses.item()
                first = time.perf_counter()
        train_loss = losses.item() / steps
        if not math.isfinite(train_loss):
            raise FloatingPointError(
                f"the training loss is {train_loss} in epoch {epoch + 1}: "
                f"lower lr={config.lr} or muon_lr={config.muon_lr}, and remove {paths.show(partial)}."
            )
        speed = max(1, steps - 1) * config.batch_size / (time.perf_counter() - first)
        seen_so_far = evaluate(model, *validation, dtype=torch.float32)
        history.append(
            {
                "epoch": epoch + 1,
                "learning_rate_share": round(_rate(epoch * steps, config.epochs * steps, config.warmup), 6),
                "train_loss": round(train_loss, 6),
                "validation_loss": round(seen_so_far.loss, 6),
                "validation_accuracy": round(seen_so_far.accuracy, 6),
                "images_per_second": round(speed, 1),
                "seconds": round(time.perf_counter() - start, 3),
            }
        )
        _save_checkpoint(partial, model, optimizers, history, starts)
        progress(_line(history, config.epochs, time.perf_counter() - first))

    progress("evaluating once on the test set, in float64 ...")
    model.cpu()
    test, held_out = evaluate(model, *data.load("test", data_root)), evaluate(model, *validation)
    manifest = {
        "digest": config.digest,
        "starts": starts,
        "training_seconds": round(sum(row["seconds"] for row in history), 1),
        "config": config.to_dict(),
    }
    metrics = _counts(test) | {"validation": _counts(held_out)}
    finished = partial / "finished"
    shutil.rmtree(finished, ignore_errors=True)
    finished.mkdir()
    runs.save_run(finished, folder, config, model, history, metrics, manifest)
    shutil.rmtree(partial)


def _counts(evaluation: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"loss": evaluation.loss, "correct": evaluation.correct, "total": evaluation.total}


def _line(history: list[dict[str, float]], epochs: int, seconds_an_epoch: float) -> str:
    """Say in one line how the last epoch went and how long the rest takes."""
    row = history[-1]
    left = (epochs - len(history)) * seconds_an_epoch
    return (
        f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}   loss {row['train_loss']:.3f}   "
        f"validation {100 * row['validation_accuracy']:.2f} %   {row['images_per_second']:,.0f} images/s   "
        f"{int(left // 60)}:{int(left % 60):02d} min left"
    )


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None


def _require_same(wanted: TrainConfig, found: TrainConfig, folder: Path) -> None:
    if wanted.digest == found.digest:
        return
    there = differences(found, wanted)
    asked = differences(wanted, found)
    listed = ", ".join(f"{name}={value!r} (asked: {asked[name]!r})" for name, value in there.items())
    raise ValueError(
        f"{paths.show(folder)} holds a run with {listed}: move that folder away, or give the new run another name."
    )


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is 'cuda', but PyTorch finds no CUDA GPU on this machine; use 'cpu' or 'auto'.")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _keep_freed_memory() -> None:
    """Have glibc keep the memory that a step frees for the next one, for the rest of the process.

    By default it hands every activation back to the system, which clears the pages anew at each step: a fifth to a
    third of a step's time on two cores.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL("libc.so.6")
        for parameter, value in ((M_MMAP_THRESHOLD, 2**30), (M_TRIM_THRESHOLD, 2**31 - 1)):
            libc.mallopt(parameter, value)


def _generator(seed: int, epoch: int, device: torch.device) -> torch.Generator:
    """Return a generator whose stream belongs to this seed and epoch alone."""
    digest = hashlib.sha256(f"seed {seed}, epoch {epoch}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:6], "big"))


def _rate(step: int, steps: int, warmup: float) -> float:
    """Return the learning rate as a share of its peak: rising linearly during warm-up, then falling towards zero."""
    rising = warmup * steps
    return min((step + 1) / rising if rising >= 1 else 1.0, (steps - step) / (steps - rising))


def _optimizers(model: ViT, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Return AdamW for all parameters, or Muon for the encoder's matrices and AdamW for the rest."""
    named = list(model.named_parameters())
    hidden = [p for name, p in named if p.ndim == 2 and name.startswith("encoder.")]
    muon = hidden if config.optimizer == "muon" else []
    rest = [p for _, p in named if not any(p is h for h in muon)]
    decayed = [p for p in rest if p.ndim == 2]
    plain = [p for p in rest if p.ndim != 2]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=config.lr, fused=True)]
    if muon:
        optimizers.append(Muon(muon, lr=config.muon_lr, weight_decay=config.weight_decay))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


def _loss_function(
    model: ViT, config: TrainConfig, device: torch.device, compiled: bool, without_compiler: Callable[[str], None]
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the function from uint8 images (B, 28, 28) and labels (B,) to the mean loss.

    Where compilation fails it runs eagerly and calls `without_compiler` with the reason.
    """

    def eager(images: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            logits = model(data.normalise(images).unsqueeze(1))
        return F.cross_entropy(logits.float(), labels, label_smoothing=config.label_smoothing)

    if not compiled:
        return eager
    # On a CPU the compiler would replace the two products of attention() by its fused kernel, whose backward pass is
    # several times slower there; without its pattern matcher it keeps them.
    options = {"pattern_matcher": False} if device.type == "cpu" else None
    function = torch.compile(eager, options=options)
    working = False

    def careful(images: Tensor, labels: Tensor) -> Tensor:
        nonlocal function, working
        if working:
            return function(images, labels)
        try:
            loss = function(images, labels)
        except RuntimeError as error:  # what torch.compile raises without a working C++ compiler
            loss = eager(images, labels)  # another fault, such as too little memory, shows here again
            without_compiler((str(error).strip().splitlines() or [type(error).__name__])[0][:120])
            function = eager
        working = True
        return loss

    return careful


def _save_checkpoint(
    partial: Path,
    model: ViT,
    optimizers: list[torch.optim.Optimizer],
    history: list[dict[str, float]],
    starts: list[dict[str, Any]],
) -> None:
    """Keep the state after an epoch in a file named by the epoch and its own SHA-256, then drop the older ones."""
    tensors = {f"model.{name}": p.detach().cpu() for name, p in model.named_parameters()}
    for i, optimizer in enumerate(optimizers):
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer{i}.{index}.{key}": value.cpu() for key, value in state.items()}
    content = safetensors.torch.save(tensors, {"history": json.dumps(history), "starts": json.dumps(starts)})
    digest = hashlib.sha256(content).hexdigest()
    scratch = partial / "checkpoint.part"
    with scratch.open("wb") as file:
        file.write(content)
        os.fsync(file.fileno())
    name = f"checkpoint-{len(history):05d}-{digest}.safetensors"
    scratch.replace(partial / name)
    for old in partial.glob("checkpoint-*.safetensors"):
        if old.name != name:
            old.unlink()


def _resume(
    partial: Path, model: ViT, optimizers: list[torch.optim.Optimizer]
) -> tuple[list[dict[str, float]], list[dict[str, Any]]]:
    """Load the newest checkpoint whose checksum holds, if any; return the history and the starts up to it."""
    for path in sorted(partial.glob("checkpoint-*.safetensors"), reverse=True):
        if provenance.sha256(path) != path.stem.split("-")[-1]:
            continue
        with safetensors.safe_open(path, "pt") as file:
            about = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        with torch.no_grad():
            for name, p in model.named_parameters():
                p.copy_(tensors[f"model.{name}"])
        for i, optimizer in enumerate(optimizers):
            state: dict[int, dict[str, Tensor]] = {}
            for name, tensor in tensors.items():
                owner, _, rest = name.partition(".")
                if owner == f"optimizer{i}":
                    index, key = rest.split(".")
                    state.setdefault(int(index), {})[key] = tensor
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        return json.loads(about["history"]), json.loads(about["starts"])
    return [], []
