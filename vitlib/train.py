"""Training: one loop for CPU and GPU, for one seed or for many at once.

The images stay in memory as bytes; each epoch draws its order and its augmentation from the run's seed and the
epoch's number alone, so that a run continued after a kill equals one that was never interrupted, and a seed trained
beside others equals that seed alone. Axes: S seeds, B batch.
"""

import copy
import ctypes
import hashlib
import json
import math
import os
import platform
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
from filelock import FileLock, Timeout
from torch import Tensor, nn
from torch.func import functional_call

from vitlib import data, paths, provenance, runs
from vitlib.augment import change, draw
from vitlib.config import TrainConfig, differences, require
from vitlib.evaluate import evaluate
from vitlib.model import ViT
from vitlib.optim import Muon
from vitlib.progress import Progress
from vitlib.progress import in_notebook as _in_notebook
from vitlib.runs import Run

DEVICES = ("auto", "cpu", "cuda")
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
COMPILED_KINDS = 256  # configurations that one process compiles; beyond PyTorch's own limit of 8 it would run eagerly


def train(
    config: TrainConfig,
    run_dir: str | Path,
    *,
    device: str = "auto",
    compiled: bool = True,
    progress: Callable[[str], None] | None = None,
    data_root: str | Path | None = None,
) -> Run:
    """Train a model, keep the run in a folder and return it; a finished run is returned as it is.

    A run that was killed continues after its last finished epoch. The test set is read once, after the last epoch.

    Args:
        config: what defines the run.
        run_dir: folder of the run, such as ``runs/report``; a relative one is taken from the report's home.
        device: ``"cpu"``, ``"cuda"``, or ``"auto"`` for CUDA where there is one.
        compiled: compile the forward and backward pass; without a C++ compiler training runs eagerly all the same.
        progress: receives a line of text per event; by default a bar in a terminal or an open notebook, and printed
            lines elsewhere.
        data_root: folder of Fashion-MNIST, see `vitlib.data.load`.

    Raises:
        ValueError: the device is unknown or missing, or the folder holds a run of another configuration.
        RuntimeError: another process trains this run, or a page that is being checked asks for training.
        FloatingPointError: the training loss is no longer a number.
        MemoryError: the memory does not hold the network and a batch of images.
        OSError: the run cannot be written, as on a full disk; what was finished is kept.
    """
    return _runs([config], [run_dir], device, compiled, progress, data_root)[0]


def train_seeds(
    config: TrainConfig,
    seeds: Iterable[int],
    folder: str | Path,
    *,
    device: str = "auto",
    compiled: bool = True,
    progress: Callable[[str], None] | None = None,
    data_root: str | Path | None = None,
) -> list[Run]:
    """Train one configuration with many seeds at once, a run each: what `train` gives for each seed, within rounding.

    Every weight, gradient and optimizer state has a leading axis of seeds, so that a step of S seeds is one step of
    S times as large products. Seeds that were killed together continue together, after the last epoch that all of
    them finished; seeds whose runs are finished are left out.

    Args:
        config: what defines the runs, but for the seed.
        seeds: the seeds, all different.
        folder: holds a run per seed, ``seed-0`` and so on; a relative one is taken from the report's home.
        device: as in `train`.
        compiled: as in `train`.
        progress: as in `train`.
        data_root: as in `train`.

    Returns:
        The runs, in the order of the seeds.

    Raises:
        ValueError: as `train`; also where seeds are missing or repeated, or the model has dropout, whose draws
            would not be those of a seed alone.
    """
    seeds = list(seeds)
    require(0 < len(set(seeds)) == len(seeds), "seeds", seeds, "at least one seed, and each only once")
    configs = [replace(config, seed=seed) for seed in seeds]
    folders = [Path(folder) / f"seed-{seed}" for seed in seeds]
    return _runs(configs, folders, device, compiled, progress, data_root)


def _runs(
    configs: Sequence[TrainConfig],
    run_dirs: Sequence[str | Path],
    device: str,
    compiled: bool,
    progress: Callable[[str], None] | None,
    data_root: str | Path | None,
) -> list[Run]:
    """Return the runs of configurations that differ in their seed only, training together those that are missing."""
    if device not in DEVICES:
        raise ValueError(f"device is {device!r}, but has to be one of {', '.join(DEVICES)}.")
    folders = [paths.resolve(run_dir) for run_dir in run_dirs]
    missing: dict[Path, TrainConfig] = {}
    for folder, config in zip(folders, configs, strict=True):
        if runs.is_complete(folder):
            _require_same(config, runs.load_run(folder).config, folder)
            continue
        if _in_notebook() and "PYTEST_VERSION" in os.environ:
            raise RuntimeError(
                f"{paths.show(folder)} is not there, and a page that is being checked does not train: run make report."
            )
        if folder.exists():
            raise ValueError(
                f"run_dir is {paths.show(folder)!r}, which holds something else; name another or remove it."
            )
        missing[folder] = config
    if missing:
        if len(missing) > 1:
            dropout = configs[0].model.dropout
            require(dropout == 0, "dropout", dropout, "0 where several seeds train at once; train them one by one")
        chosen = _device(device)
        with ExitStack() as locks:
            for folder in missing:
                folder.parent.mkdir(parents=True, exist_ok=True)
                try:
                    locks.enter_context(FileLock(folder.with_name(f".{folder.name}.lock"), timeout=0))
                except Timeout as error:
                    raise RuntimeError(
                        f"{paths.show(folder)} is being trained by another process; wait for it."
                    ) from error
            # another process may have finished one since
            missing = {folder: config for folder, config in missing.items() if not runs.is_complete(folder)}
            if missing:
                with (
                    torch.random.fork_rng(range(torch.cuda.device_count())),
                    Progress(progress) as display,
                    _in_sentences(configs[0], chosen, display),
                ):
                    _train(list(missing.values()), list(missing), chosen, compiled, display, data_root)
    return [runs.load_run(folder) for folder in folders]


@contextmanager
def _in_sentences(config: TrainConfig, device: torch.device, display: Progress) -> Iterator[None]:
    """Say of an end that is not the training's own fault how to go on."""
    go_on = "the same call goes on after the last finished epoch"
    try:
        yield
    except KeyboardInterrupt:
        display.stop()
        display.say(f"stopped; {go_on}.")
        raise
    except OSError as error:
        if error.errno not in data.HERE:
            raise
        raise OSError(error.errno, f"{error.strerror}; put that right, and {go_on}", error.filename) from error
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not re.search("allocate memory|out of memory|bad_alloc", str(error)):
            raise
        raise MemoryError(
            f"the memory of {device} does not hold this training: lower batch_size={config.batch_size}, or the "
            f"network's embed_dim={config.model.embed_dim} or depth={config.model.depth}."
        ) from error


def _train(
    configs: list[TrainConfig],
    folders: list[Path],
    device: torch.device,
    compiled: bool,
    display: Progress,
    data_root: str | Path | None,
) -> None:
    """Train in folders beside `folders` and move the finished runs there."""
    partials = [folder.with_name(f"{folder.name}.partial") for folder in folders]
    for config, folder, partial in zip(configs, folders, partials, strict=True):
        partial.mkdir(exist_ok=True)
        settings = partial / "config.json"
        if settings.is_file():
            _require_same(config, runs.read_config(settings), folder)
        runs.write_json(settings, config.to_dict())
    config, seeds = configs[0], [config.seed for config in configs]
    # of the code that is loaded now, not of what it is edited to while training
    environment = provenance.environment(device) | {"compiled": compiled}
    if len(seeds) > 1:
        environment["seeds_at_once"] = len(seeds)

    images, labels = data.load("train", data_root)
    train_index, validation_index = data.training_split(config.train_images, config.validation_images)
    validation = images[validation_index], labels[validation_index]

    def without_compiler(reason: str) -> None:
        for start in starts:
            start[-1]["compiled"] = False
        display.say(f"torch.compile does not work here ({reason}): training uncompiled, slower.")

    engine = Engine(config, images[train_index], labels[train_index], device, len(seeds), compiled, without_compiler)
    engine.begin(seeds)
    histories, starts = _resume(partials, configs, engine)
    for start in starts:
        start.append({"started": datetime.now(UTC).isoformat(timespec="seconds")} | environment)
    done = len(histories[0])
    if done:
        display.say(f"continuing {', '.join(map(paths.show, folders))} after epoch {done}")
    elif compiled:
        display.say("compiling the training step, about half a minute on a CPU ...")

    display.start(config.epochs * engine.images_an_epoch, done * engine.images_an_epoch)
    for epoch in range(done, config.epochs):
        start = time.perf_counter()
        train_losses, speed = engine.epoch(epoch, display.advance)
        for seed, partial, loss in zip(seeds, partials, train_losses, strict=True):
            if not math.isfinite(loss):
                raise FloatingPointError(
                    f"the training loss is {loss} in epoch {epoch + 1} of seed {seed}: "
                    f"lower lr={config.lr} or muon_lr={config.muon_lr}, and remove {paths.show(partial)}."
                )
        looks = [evaluate(engine.network(s), *validation, dtype=torch.float32) for s in range(len(seeds))]
        for history, loss, look in zip(histories, train_losses, looks, strict=True):
            history.append(
                {
                    "epoch": epoch + 1,
                    "learning_rate_share": round(engine.rate(epoch, 0), 6),
                    "train_loss": round(loss, 6),
                    "validation_loss": round(look.loss, 6),
                    "validation_accuracy": round(look.accuracy, 6),
                    "images_per_second": round(speed / len(seeds), 1),
                    "seconds": round(time.perf_counter() - start, 3),
                }
            )
        states = engine.states()
        kept = {_save_checkpoint(*each) for each in zip(partials, configs, states, histories, starts, strict=True)}
        for partial in partials:  # only now, so that a kill leaves all seeds with a checkpoint of one epoch
            for old in set(partial.glob("checkpoint-*.safetensors")) - kept:
                old.unlink()
        _show(display, histories, config.epochs, speed, engine.images_an_epoch)

    display.stop()
    display.say("evaluating once on the test set, in float64 ...")
    engine.to(torch.device("cpu"))
    test_set = data.load("test", data_root)
    for s, (config, folder, partial) in enumerate(zip(configs, folders, partials, strict=True)):
        network = engine.network(s)
        metrics = _counts(evaluate(network, *test_set))
        metrics["validation"] = _counts(evaluate(network, *validation))
        manifest = {
            "digest": config.digest,
            "starts": starts[s],
            "training_seconds": round(sum(row["seconds"] for row in histories[s]), 1),
            "config": config.to_dict(),
        }
        finished = partial / "finished"
        shutil.rmtree(finished, ignore_errors=True)
        finished.mkdir()
        runs.save_run(finished, folder, config, network, histories[s], metrics, manifest)
        shutil.rmtree(partial)


class Engine:
    """Seeds of one configuration in training, epoch by epoch: what `train` runs and what benchmarks measure.

    With several seeds every parameter has a leading axis of seeds and the step runs under `torch.vmap`; a single seed
    has no such axis. Nothing in a step waits for the device.

    Args:
        config: what defines the runs, but for the seeds.
        images: uint8 (N, 28, 28) to train on.
        labels: int64 (N,).
        device: where to train.
        seeds: S, how many at once.
        compiled: compile the forward and backward pass.
        without_compiler: called with the reason where compilation fails.
        network: makes the model from images (B, 1, 28, 28) to logits (B, Y); by default `config`'s own.
    """

    def __init__(
        self,
        config: TrainConfig,
        images: Tensor,
        labels: Tensor,
        device: torch.device,
        seeds: int = 1,
        compiled: bool = True,
        without_compiler: Callable[[str], None] = print,
        network: Callable[[], nn.Module] | None = None,
    ) -> None:
        if device.type == "cpu":
            _keep_freed_memory()
        self.config, self.device, self.stacked = config, device, seeds > 1
        self.images, self.labels = images.to(device), labels.to(device)
        self.steps = len(images) // config.batch_size
        self.images_an_epoch = self.steps * config.batch_size * seeds
        self._make = network or (lambda: ViT(config.model))
        self._alone = self._make().to(device)  # the form of one seed's network
        self.model = copy.deepcopy(self._alone) if self.stacked else self._alone
        if self.stacked:
            for p in self.model.parameters():
                p.data = p.data.new_empty(seeds, *p.shape)
        self.loss_function = _loss_function(self.model, config, device, compiled, without_compiler, self.stacked)
        self._warm = False

    def begin(self, seeds: Sequence[int]) -> None:
        """Draw each seed's weights, and forget what the optimizers know."""
        networks = []
        for seed in seeds:
            torch.manual_seed(seed)
            networks.append(self._make())
        self.seeds = list(seeds)
        self._fill([dict(network.named_parameters()) for network in networks])
        self.optimizers = _optimizers(self.model, self.config, self.stacked)

    def rate(self, epoch: int, step: int) -> float:
        """Return the learning rate of a step as a share of its peak."""
        return _rate(epoch * self.steps + step, self.config.epochs * self.steps, self.config.warmup)

    def epoch(self, epoch: int, advance: Callable[[int], None] = lambda _: None) -> tuple[list[float], float]:
        """Train for the epoch with this number, counted from zero.

        Args:
            epoch: which one; it decides order and augmentation.
            advance: called after each step with its number of images.

        Returns:
            Each seed's mean loss, and images per second over all seeds. The first step of an engine compiles; the
            speed is that of the others.
        """
        config, batch_size, size = self.config, self.config.batch_size, len(self.images)
        generators = [_generator(seed, epoch, self.device) for seed in self.seeds]
        torch.manual_seed(generators[0].initial_seed())  # dropout draws from the global generator
        order = torch.stack([torch.randperm(size, generator=g, device=self.device) for g in generators])
        order = order if self.stacked else order[0]  # (S, N), or (N,) for a single seed
        self.model.train()
        losses = torch.zeros(len(self.seeds), device=self.device)
        counted, since = self.steps, time.perf_counter()
        for step, batch in enumerate(order[..., : self.steps * batch_size].split(batch_size, dim=-1)):
            rate = self.rate(epoch, step)
            for optimizer in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = group["peak_lr"] * rate
                optimizer.zero_grad(set_to_none=True)
            draws = [draw(batch_size, g, flip=config.flip, crop=config.crop) for g in generators]
            together = None if draws[0] is None else torch.cat(draws, dim=1)  # (3, S B, 1)
            seen = change(self.images[batch.flatten()], together, crop=config.crop).unflatten(0, batch.shape)
            loss = self.loss_function(seen, self.labels[batch])  # (S,), or () for a single seed
            loss.sum().backward()
            for optimizer in self.optimizers:
                optimizer.step()
            losses += loss.detach()
            advance(batch.numel())
            if not self._warm:
                losses.tolist()  # waits for the device
                self._warm = True
                if self.steps > 1:
                    counted, since = self.steps - 1, time.perf_counter()
        means = [total / self.steps for total in losses.tolist()]
        return means, counted * batch_size * len(self.seeds) / (time.perf_counter() - since)

    def network(self, s: int) -> nn.Module:
        """Return the network of the seed at position `s`, valid until the next call."""
        if self.stacked:
            with torch.no_grad():
                for alone, p in zip(self._alone.parameters(), self.model.parameters(), strict=True):
                    alone.copy_(p[s])
        return self._alone

    def to(self, device: torch.device) -> None:
        """Move the networks to another device."""
        self.model.to(device)
        self._alone.to(device)

    def states(self) -> list[dict[str, Tensor]]:
        """Return what the checkpoint of each seed holds: its weights and its optimizers' tensors, on the CPU."""
        tensors = {f"model.{name}": p.detach().cpu() for name, p in self.model.named_parameters()}
        for i, optimizer in enumerate(self.optimizers):
            for index, state in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer{i}.{index}.{key}": value.cpu() for key, value in state.items()}
        if not self.stacked:
            return [tensors]
        # AdamW counts its steps once for all seeds
        return [{name: t[s].clone() if t.ndim else t for name, t in tensors.items()} for s in range(len(self.seeds))]

    def restore(self, states: Sequence[dict[str, Tensor]]) -> None:
        """Continue where the checkpoints of all seeds left off."""
        self._fill([{name.removeprefix("model."): value for name, value in state.items()} for state in states])
        for i, optimizer in enumerate(self.optimizers):
            restored: dict[int, dict[str, Tensor]] = {}
            for name, first in states[0].items():
                owner, _, rest = name.partition(".")
                if owner == f"optimizer{i}":
                    index, key = rest.split(".")
                    stacked = self.stacked and first.ndim > 0
                    value = torch.stack([state[name] for state in states]) if stacked else first
                    restored.setdefault(int(index), {})[key] = value
            optimizer.load_state_dict({"state": restored, "param_groups": optimizer.state_dict()["param_groups"]})

    @torch.no_grad()
    def _fill(self, weights: Sequence[dict[str, Tensor]]) -> None:
        """Copy each seed's weights into the model."""
        for name, p in self.model.named_parameters():
            p.copy_(torch.stack([each[name] for each in weights]) if self.stacked else weights[0][name])


def _counts(evaluation: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"loss": evaluation.loss, "correct": evaluation.correct, "total": evaluation.total}


def _show(
    display: Progress, histories: Sequence[list[dict[str, float]]], epochs: int, speed: float, images: int
) -> None:
    """Say how the last epoch went, on the mean of the seeds, and how long the rest takes."""
    rows = [history[-1] for history in histories]
    done, loss, accuracy = (
        math.fsum(row[name] for row in rows) / len(rows) for name in ("epoch", "train_loss", "validation_accuracy")
    )
    left = (epochs - done) * images / speed
    which = f"epoch {done:>{len(str(epochs))}.0f}/{epochs}"
    how = f"loss {loss:.3f}", f"validation {100 * accuracy:.2f} %"
    pace = f"{speed:,.0f} images/s", f"{int(left // 60)}:{int(left % 60):02d} min left"
    display.epoch("   ".join([which, *how, *pace]), ", ".join([which, *how]))


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


def _optimizers(model: nn.Module, config: TrainConfig, stacked: bool = False) -> list[torch.optim.Optimizer]:
    """Return AdamW for all parameters, or Muon for the encoder's matrices and AdamW for the rest.

    `stacked` says that every parameter has a leading axis of seeds.
    """
    named = list(model.named_parameters())
    matrix = 3 if stacked else 2  # axes of a matrix
    hidden = [p for name, p in named if p.ndim == matrix and name.startswith("encoder.")]
    muon = hidden if config.optimizer == "muon" else []
    rest = [p for _, p in named if not any(p is h for h in muon)]
    decayed = [p for p in rest if p.ndim == matrix]
    plain = [p for p in rest if p.ndim != matrix]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=config.lr, fused=True)]
    if muon:
        optimizers.append(Muon(muon, lr=config.muon_lr, weight_decay=config.weight_decay))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


def _loss_function(
    model: nn.Module,
    config: TrainConfig,
    device: torch.device,
    compiled: bool,
    without_compiler: Callable[[str], None],
    stacked: bool = False,
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the function from uint8 images (B, 28, 28) and labels (B,) to the mean loss.

    With `stacked`, parameters, images, labels and losses have a leading axis of seeds. Where compilation fails it runs
    eagerly and calls `without_compiler` with the reason.
    """

    def one(network: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            logits = network(data.normalise(images).unsqueeze(1))
        return F.cross_entropy(logits.float(), labels, label_smoothing=config.label_smoothing)

    def seed(parameters: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
        # a block's norm is one module under two names: tying its weights would put them back in the wrong order
        return one(lambda x: functional_call(model, parameters, x, tie_weights=False), images, labels)

    def eager(images: Tensor, labels: Tensor) -> Tensor:
        if stacked:
            return torch.vmap(seed)(dict(model.named_parameters()), images, labels)
        return one(model, images, labels)

    if not compiled:
        return eager
    # On a CPU the compiler would replace the two products of attention() by its fused kernel, whose backward pass is
    # several times slower there; without its pattern matcher it keeps them.
    options = {"pattern_matcher": False} if device.type == "cpu" else None
    torch._dynamo.config.recompile_limit = COMPILED_KINDS
    function = torch.compile(eager, dynamic=False, options=options)
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
    config: TrainConfig,
    tensors: dict[str, Tensor],
    history: list[dict[str, float]],
    starts: list[dict[str, Any]],
) -> Path:
    """Keep the state after an epoch in a file named by the epoch and its checksum; return its path."""
    content = safetensors.torch.save(tensors, {"history": json.dumps(history), "starts": json.dumps(starts)})
    digest = _checksum(config, content)
    scratch = partial / "checkpoint.part"
    with scratch.open("wb") as file:
        file.write(content)
        os.fsync(file.fileno())
    return scratch.replace(partial / f"checkpoint-{len(history):05d}-{digest}.safetensors")


def _checksum(config: TrainConfig, content: bytes) -> str:
    """Return the SHA-256 of a run's identity and a checkpoint, so that another run's checkpoint does not fit either."""
    return hashlib.sha256(config.digest.encode() + content).hexdigest()


def _epochs_of(checkpoint: Path) -> int:
    return int(checkpoint.stem.split("-")[1])


def _resume(
    partials: Sequence[Path], configs: Sequence[TrainConfig], engine: Engine
) -> tuple[list[list[dict[str, float]]], list[list[dict[str, Any]]]]:
    """Load the newest epoch of which every seed has a checkpoint whose checksum holds, if any.

    Returns each seed's history and its starts up to there.
    """
    kept = [
        {
            _epochs_of(path): path
            for path in partial.glob("checkpoint-*.safetensors")
            if _checksum(config, path.read_bytes()) == path.stem.split("-")[-1]
        }
        for partial, config in zip(partials, configs, strict=True)
    ]
    common = set(kept[0]).intersection(*kept)
    if not common:
        return [[] for _ in partials], [[] for _ in partials]
    states, abouts = [], []
    for of_seed in kept:
        with safetensors.safe_open(of_seed[max(common)], "pt") as file:
            abouts.append(file.metadata())
            states.append({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    engine.restore(states)
    return [json.loads(about["history"]) for about in abouts], [json.loads(about["starts"]) for about in abouts]
