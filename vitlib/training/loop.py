"""Training runs: begun, shown while they train, continued after a kill, and kept when they are finished.

The steps themselves are `vitlib.engine`'s. A run trains in a folder beside its own, with a checkpoint per epoch.
Axis: S seeds.
"""

import hashlib
import json
import math
import os
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
from filelock import FileLock, Timeout
from torch import Tensor

from vitlib import data, paths, runs
from vitlib.config import TrainConfig, differences, require
from vitlib.evaluate import evaluate, is_out_of_memory
from vitlib.runs import Run
from vitlib.training import distillation, provenance
from vitlib.training.engine import Engine
from vitlib.training.progress import Progress
from vitlib.training.progress import in_notebook as _in_notebook

DEVICES = ("auto", "cpu", "cuda")
TESTS = ("never", "last", "every")  # each sees what those before it see


def train(
    config: TrainConfig,
    run_dir: str | Path,
    *,
    device: str = "auto",
    compiled: bool = True,
    test: str = "last",
    progress: Callable[[str], None] | None = None,
    data_root: str | Path | None = None,
) -> Run:
    """Train a model, keep the run in a folder and return it; a finished run is returned as it is.

    A run that was killed continues after its last finished epoch.

    Args:
        config: what defines the run.
        run_dir: folder of the run, such as ``runs/report``; a relative one is taken from the report's home.
        device: ``"cpu"``, ``"cuda"``, or ``"auto"`` for CUDA where there is one.
        compiled: compile the forward and backward pass; without a C++ compiler training runs eagerly all the same.
        test: when the test set is looked at: ``"last"``, once, after the last epoch; ``"never"``, where something is
            to be chosen: its files are not opened; ``"every"``, after every epoch, where learning itself is studied.
        progress: receives a line of text per event; by default a bar in a terminal or an open notebook, and printed
            lines elsewhere.
        data_root: folder of Fashion-MNIST, see `vitlib.data.load`.

    Raises:
        ValueError: the device is unknown or missing, or the folder holds a run of another configuration, or one
            without the look at the test set that is asked for.
        RuntimeError: another process trains this run, or a page that is being checked asks for training.
        FloatingPointError: the training loss is no longer a number.
        MemoryError: the memory does not hold the network and a batch of images.
        OSError: the run cannot be written, as on a full disk; what was finished is kept.
    """
    return _runs([config], [run_dir], device, compiled, test, progress, data_root)[0]


def train_seeds(
    config: TrainConfig,
    seeds: Iterable[int],
    folder: str | Path,
    *,
    device: str = "auto",
    compiled: bool = True,
    test: str = "last",
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
        test: as in `train`.
        progress: as in `train`.
        data_root: as in `train`.

    Returns:
        The runs, in the order of the seeds.

    Raises:
        ValueError: as `train`; also where seeds are missing or repeated, or the model has dropout or drops paths,
            where the draws would not be those of a seed alone.
    """
    seeds = list(seeds)
    require(0 < len(set(seeds)) == len(seeds), "seeds", seeds, "at least one seed, and each only once")
    configs = [replace(config, seed=seed) for seed in seeds]
    folders = [Path(folder) / f"seed-{seed}" for seed in seeds]
    return _runs(configs, folders, device, compiled, test, progress, data_root)


def _runs(
    configs: Sequence[TrainConfig],
    run_dirs: Sequence[str | Path],
    device: str,
    compiled: bool,
    test: str,
    progress: Callable[[str], None] | None,
    data_root: str | Path | None,
) -> list[Run]:
    """Return the runs of configurations that differ in their seed only, training together those that are missing."""
    if device not in DEVICES:
        raise ValueError(f"device is {device!r}, but has to be one of {', '.join(DEVICES)}.")
    require(test in TESTS, "test", test, f"one of {', '.join(TESTS)}")
    folders = [paths.resolve(run_dir) for run_dir in run_dirs]
    missing: dict[Path, TrainConfig] = {}
    for folder, config in zip(folders, configs, strict=True):
        if runs.is_complete(folder):
            run = runs.load_run(folder)
            _require_same(config, run.config, folder)
            tested = run.manifest["starts"][-1].get("test", "last")
            if TESTS.index(tested) < TESTS.index(test):
                raise ValueError(
                    f"{paths.show(folder)} holds a run with test={tested!r} (asked: {test!r}): name another folder."
                )
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
            for name in ("dropout", "drop_path"):
                share = getattr(configs[0].model, name)
                require(share == 0, name, share, "0 where several seeds train at once; train them one by one")
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
                    _train(list(missing.values()), list(missing), chosen, compiled, test, display, data_root)
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
        if not is_out_of_memory(error):
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
    test: str,
    display: Progress,
    data_root: str | Path | None,
) -> None:
    """Train in folders beside `folders` and move the finished runs there."""
    config, seeds = configs[0], [config.seed for config in configs]
    images, labels = data.load("train", data_root)
    train_index, validation_index = data.training_split(config.train_images, config.validation_images)
    validation = images[validation_index], labels[validation_index]
    test_set = data.load("test", data_root) if test == "every" else None
    learnt = distillation.targets(config, labels[train_index], train_index)
    partials = [folder.with_name(f"{folder.name}.partial") for folder in folders]
    for each, folder, partial in zip(configs, folders, partials, strict=True):
        partial.mkdir(exist_ok=True)
        settings = partial / "config.json"
        if settings.is_file():
            _require_same(each, runs.read_config(settings), folder)
        runs.write_json(settings, each.to_dict())
    # of the code that is loaded now, not of what it is edited to while training
    environment = provenance.environment(device) | {"compiled": compiled, "test": test}
    if len(seeds) > 1:
        environment["seeds_at_once"] = len(seeds)
    if config.teacher:
        environment["teacher_sha256"] = distillation.digest(config.teacher)

    def without_compiler(reason: str) -> None:
        for start in starts:
            start[-1]["compiled"] = False
        display.say(f"torch.compile does not work here ({reason}): training uncompiled, slower.")

    engine = Engine(config, images[train_index], learnt, device, len(seeds), compiled, without_compiler)
    engine.begin(seeds)
    histories, starts = _resume(partials, configs, engine)
    for start, folder in zip(starts, folders, strict=True):
        if start and start[-1].get("test", "last") != test:
            raise ValueError(
                f"{paths.show(folder)} was begun with test={start[-1].get('test', 'last')!r} (asked: {test!r}): "
                f"go on with that, or remove {paths.show(folder)}.partial."
            )
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
        for s, (history, loss) in enumerate(zip(histories, train_losses, strict=True)):
            network = engine.network(s)
            look = evaluate(network, *validation, dtype=torch.float32)
            row = {
                "epoch": epoch + 1,
                "learning_rate_share": round(engine.rate(epoch, 0), 6),
                "train_loss": round(loss, 6),
                "validation_loss": round(look.loss, 6),
                "validation_accuracy": round(look.accuracy, 6),
            }
            if test == "every":
                look = evaluate(network, *test_set, dtype=torch.float32)
                row |= {"test_loss": round(look.loss, 6), "test_correct": look.correct}
            row["images_per_second"] = round(speed / len(seeds), 1)
            row["seconds"] = round(time.perf_counter() - start, 3)
            history.append(row)
        states = engine.states()
        kept = {_save_checkpoint(*each) for each in zip(partials, configs, states, histories, starts, strict=True)}
        for partial in partials:  # only now, so that a kill leaves all seeds with a checkpoint of one epoch
            for old in set(partial.glob("checkpoint-*.safetensors")) - kept:
                old.unlink()
        _show(display, histories, config.epochs, speed, engine.images_an_epoch)

    display.stop()
    display.say(f"evaluating{'' if test == 'never' else ' once on the test set'}, in float64 ...")
    engine.to(torch.device("cpu"))
    if test == "last":
        test_set = data.load("test", data_root)
    for s, (config, folder, partial) in enumerate(zip(configs, folders, partials, strict=True)):
        network = engine.network(s)
        metrics = {} if test_set is None else _counts(evaluate(network, *test_set))
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


def epochs_kept(folder: Path) -> int:
    """Return after how many epochs the training of a run that is not finished goes on; checksums are not looked at."""
    partial = folder.with_name(f"{folder.name}.partial")
    return max(map(_epochs_of, partial.glob("checkpoint-*.safetensors")), default=0)


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
