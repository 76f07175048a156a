"""Training runs: started, resumed after a kill, evaluated, and saved when they are finished.

`vitlib.training.engine` takes the steps. A run trains in a folder beside its own, with a checkpoint of a recent
epoch, and gets its own folder when it is complete.
"""

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

import torch
from filelock import FileLock, Timeout

from vitlib import data, paths, runs
from vitlib.config import TrainConfig, require
from vitlib.evaluate import Evaluation, evaluate, is_out_of_memory
from vitlib.runs import Run
from vitlib.training import checkpoint, provenance, views
from vitlib.training.engine import Engine
from vitlib.training.objective import compute_type
from vitlib.training.progress import Progress, in_notebook

DEVICES = ("auto", "cpu", "cuda")
TESTS = ("never", "last", "every")  # how often the test set is read, rarest first
CHECKPOINT_SECONDS = 5.0  # between checkpoints, at least: on a GPU an epoch takes less, and a checkpoint half of that


def train(
    config: TrainConfig,
    run_dir: str | Path,
    *,
    device: str = "auto",
    compiled: bool = True,
    test: str = "last",
    progress: Callable[[str], None] | None = None,
) -> Run:
    """Train a model, save the run in a folder and return it; a finished run is returned as it is.

    A run that was killed continues after the epoch of its last checkpoint. There is one after the first epoch, after
    the last one, and in between after each epoch that ends `CHECKPOINT_SECONDS` or more after the one before.

    Args:
        config: what defines the run.
        run_dir: folder of the run, such as ``runs/report``; a relative one is taken from `paths.output_root`.
        device: ``"cpu"``, ``"cuda"``, or ``"auto"`` for CUDA where there is one.
        compiled: compile the forward and backward pass; without a C++ compiler training runs eagerly.
        test: when the test set is read: ``"last"``, once, after the last epoch; ``"never"``, to choose settings: its
            files are not opened; ``"every"``, after every epoch, to study learning itself.
        progress: receives a line of text per event; by default a bar in a terminal or an open notebook, and printed
            lines elsewhere.

    Raises:
        ValueError: the device is unknown or missing, or the folder holds a run of another configuration or with a
            smaller `test`.
        RuntimeError: another process trains this run, or a page under check would have to train.
        FloatingPointError: a loss is no longer a number.
        MemoryError: the network and a batch do not fit into the memory.
        OSError: the run cannot be written, as on a full disk; the last checkpoint is kept.
    """
    return _runs([config], [run_dir], device, compiled, test, progress)[0]


def train_seeds(
    config: TrainConfig,
    seeds: Iterable[int],
    folder: str | Path,
    *,
    device: str = "auto",
    compiled: bool = True,
    test: str = "last",
    progress: Callable[[str], None] | None = None,
) -> list[Run]:
    """Train one configuration with many seeds at once: the runs that `train` gives for each seed, within rounding.

    Every weight, gradient and optimizer state has a leading axis of seeds, so a step of S seeds is one step of S times
    larger products. Seeds that were killed together continue together, after the last epoch of which all have a
    checkpoint. Finished seeds are left out.

    Args:
        config: what defines the runs, but for the seed.
        seeds: the seeds, all different.
        folder: holds a run per seed, ``seed-0`` and so on; a relative one is taken from `paths.output_root`.
        device: as in `train`.
        compiled: as in `train`.
        test: as in `train`.
        progress: as in `train`.

    Returns:
        The runs, in the order of the seeds.

    Raises:
        ValueError: as `train`; also if seeds are missing or repeated, or the model has dropout, whose samples
            would not be those of a seed alone.
    """
    seeds = list(seeds)
    require(0 < len(set(seeds)) == len(seeds), "seeds", seeds, "at least one seed, and each only once")
    configs = [replace(config, seed=seed) for seed in seeds]
    folders = [Path(folder) / f"seed-{seed}" for seed in seeds]
    return _runs(configs, folders, device, compiled, test, progress)


# ---- which runs to train -------------------------------------------------------------------------------------------


def _runs(
    configs: Sequence[TrainConfig],
    run_dirs: Sequence[str | Path],
    device: str,
    compiled: bool,
    test: str,
    progress: Callable[[str], None] | None,
) -> list[Run]:
    """Return the runs of configurations that differ only in their seed; train the missing ones together."""
    require(device in DEVICES, "device", device, f"one of {', '.join(DEVICES)}")
    require(test in TESTS, "test", test, f"one of {', '.join(TESTS)}")
    folders = [paths.resolve(run_dir) for run_dir in run_dirs]
    missing = {
        folder: config
        for folder, config in zip(folders, configs, strict=True)
        if not _is_finished(folder, config, test)
    }
    if missing:
        _require_trainable(missing)
        torch_device = _device(device)
        with ExitStack() as locks:
            for folder in missing:
                _lock(folder, locks)
            # another process may have finished one in the meantime
            missing = {folder: config for folder, config in missing.items() if not _is_finished(folder, config, test)}
            if missing:
                with (
                    torch.random.fork_rng(range(torch.cuda.device_count())),
                    Progress(progress) as display,
                    _explained(configs[0], torch_device, display),
                ):
                    _Training(list(missing.values()), list(missing), torch_device, compiled, test, display).run()
    return [runs.load_run(folder) for folder in folders]


def _is_finished(folder: Path, config: TrainConfig, test: str) -> bool:
    """Return whether a folder holds the finished run; ValueError if it holds something else."""
    if not runs.is_complete(folder):
        wanted = "another folder: this one exists and holds no finished run"
        require(not folder.exists(), "run_dir", paths.relative(folder), wanted)
        return False
    run = runs.load_run(folder)
    checkpoint.require_same_settings(config, run.config, folder)
    tested = run.manifest["starts"][-1].get("test", "last")
    if TESTS.index(tested) < TESTS.index(test):
        raise ValueError(
            f"{paths.relative(folder)} holds a run with test={tested!r} (requested: {test!r}): name another folder."
        )
    return True


def _require_trainable(missing: dict[Path, TrainConfig]) -> None:
    if in_notebook() and os.environ.get("VITLIB_CHECKING"):
        raise RuntimeError(
            f"{paths.relative(next(iter(missing)))} is missing, and a page under check does not train: run make report."
        )
    if len(missing) > 1:
        model = next(iter(missing.values())).model
        wanted = "0 if several seeds train at once; train them one by one"
        require(model.dropout == 0, "dropout", model.dropout, wanted)


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is 'cuda', but PyTorch finds no CUDA GPU on this machine; use 'cpu' or 'auto'.")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _lock(folder: Path, locks: ExitStack) -> None:
    """Hold the lock of a run until `locks` ends; RuntimeError if another process holds it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        locks.enter_context(FileLock(folder.with_name(f".{folder.name}.lock"), timeout=0))
    except Timeout as error:
        raise RuntimeError(f"{paths.relative(folder)} is being trained by another process; wait for it.") from error


@contextmanager
def _explained(config: TrainConfig, device: torch.device, display: Progress) -> Iterator[None]:
    """Tell how to resume after Ctrl-C, a disk error or a lack of memory."""
    how = "the same call continues after the last checkpoint"
    try:
        yield
    except KeyboardInterrupt:
        display.stop()
        display.say(f"stopped; {how}.")
        raise
    except OSError as error:
        if error.errno not in data.LOCAL_ERRORS:
            raise
        raise OSError(error.errno, f"{error.strerror}; fix that, and {how}", error.filename) from error
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryError(
            f"this training does not fit into the memory of {device}: lower batch_size={config.batch_size}, or the "
            f"network's embed_dim={config.model.embed_dim} or depth={config.model.depth}."
        ) from error


# ---- one training --------------------------------------------------------------------------------------------------


class _Training:
    """Seeds of one configuration on their way from the data to finished run folders. Axis: S seeds."""

    def __init__(
        self,
        configs: list[TrainConfig],
        run_dirs: list[Path],
        device: torch.device,
        compiled: bool,
        test: str,
        display: Progress,
    ) -> None:
        self.configs, self.run_dirs, self.test, self.display = configs, run_dirs, test, display
        self.config = config = configs[0]
        images, labels = data.load("train")
        train_index, validation_index = data.training_split(config.train_images, config.validation_images)
        self.validation = images[validation_index].to(device), labels[validation_index]
        self.test_set = data.load("test") if test == "every" else None
        self.saved_at = -math.inf  # when the last checkpoint was written
        images, targets = images[train_index], labels[train_index]
        if config.teacher:
            images, targets = views.load(config, images.to(device), targets.to(device))
        for of_seed, run_dir in zip(configs, run_dirs, strict=True):
            checkpoint.claim_folder(run_dir, of_seed)
        # recorded now, in case files are edited during the training
        precision = str(compute_type(config, device)).removeprefix("torch.")
        self.start = provenance.environment(device) | {"compiled": compiled, "test": test, "precision": precision}
        if len(configs) > 1:
            self.start["seeds_at_once"] = len(configs)
        self.compiled = compiled
        self.engine = Engine(config, images, targets, device, len(configs), compiled, self._train_uncompiled)

    def run(self) -> None:
        """Train from the last checkpoint on, evaluate, and move the finished runs to their folders."""
        done = self._resume()
        images = self.engine.images_per_epoch
        self.display.start(self.config.epochs * images, done * images)
        for epoch in range(done, self.config.epochs):
            self._epoch(epoch)
        self.display.stop()
        self.display.say(f"evaluating{' once on the test set' if self.test == 'last' else ''}, in float64 ...")
        if self.test == "last":
            self.test_set = data.load("test")
        for s in range(len(self.configs)):
            self._finish(s)

    def _resume(self) -> int:
        """Load the newest checkpoints, and return the number of finished epochs."""
        self.engine.begin([config.seed for config in self.configs])
        states, self.states = checkpoint.load(self.run_dirs, self.configs)
        if states:
            self.engine.restore(states)
        for state, run_dir in zip(self.states, self.run_dirs, strict=True):
            before = state.starts[-1].get("test", "last") if state.starts else self.test
            if before != self.test:
                name = paths.relative(run_dir)
                raise ValueError(
                    f"{name} was begun with test={before!r} (requested: {self.test!r}): continue with that, "
                    f"or remove {name}.partial."
                )
            state.starts.append({"started": datetime.now(UTC).isoformat(timespec="seconds")} | self.start)
        done = len(self.states[0].history)
        if done:
            self.display.say(f"continuing {', '.join(map(paths.relative, self.run_dirs))} after epoch {done}")
        elif self.compiled:
            self.display.say("compiling the training step, about half a minute on a CPU ...")
        return done

    def _train_uncompiled(self, reason: str) -> None:
        for state in self.states:
            state.starts[-1]["compiled"] = False
        self.display.say(f"torch.compile does not work here ({reason}): training uncompiled, slower.")

    def _epoch(self, epoch: int) -> None:
        """Train for an epoch, validate, and save checkpoints."""
        start = time.perf_counter()
        losses, speed = self.engine.epoch(epoch, self.display.advance)
        evaluated = self._evaluate_epoch()
        for s, (state, loss, results) in enumerate(zip(self.states, losses, evaluated, strict=True)):
            self._require_finite(s, epoch, training=loss, validation=results.get("validation_loss", 0.0))
            row = {
                "epoch": epoch + 1,
                "learning_rate_share": round(self.engine.rate(epoch, 0), 6),
                "train_loss": round(loss, 6),
            } | results
            row["images_per_second"] = round(speed / len(losses), 1)
            row["seconds"] = round(time.perf_counter() - start, 3)
            state.history.append(row)
        if epoch + 1 == self.config.epochs or time.monotonic() - self.saved_at >= CHECKPOINT_SECONDS:
            self._save()
        self._report(speed)

    def _require_finite(self, s: int, epoch: int, **losses: float) -> None:
        """Raise a FloatingPointError if a loss of a seed is no longer a number."""
        for name, loss in losses.items():
            if not math.isfinite(loss):
                config, partial = self.configs[s], checkpoint.partial_folder(self.run_dirs[s])
                raise FloatingPointError(
                    f"the {name} loss is {loss} in epoch {epoch + 1} of seed {config.seed}: lower lr={config.lr} or "
                    f"muon_lr={config.muon_lr}, and remove {paths.relative(partial)}."
                )

    def _evaluate_epoch(self) -> list[dict[str, Any]]:
        """Return each seed's validation results after an epoch, and those on the test set if it is read each time."""
        rows: list[dict[str, Any]] = [{} for _ in self.configs]
        if self.config.validation_images:
            for row, seen in zip(rows, self.engine.evaluate(*self.validation), strict=True):
                row |= {"validation_loss": round(seen.loss, 6), "validation_accuracy": round(seen.accuracy, 6)}
        if self.test_set is not None:
            for row, seen in zip(rows, self.engine.evaluate(*self.test_set), strict=True):
                row |= {"test_loss": round(seen.loss, 6), "test_correct": seen.correct}
        return rows

    def _save(self) -> None:
        """Write the checkpoints of all seeds."""
        each_seed = zip(self.run_dirs, self.configs, self.engine.states(), self.states, strict=True)
        # Old checkpoints go only now, so that after a kill all seeds have one of the same epoch.
        for kept in [checkpoint.save(*arguments) for arguments in each_seed]:
            checkpoint.keep_only(kept)
        self.saved_at = time.monotonic()

    def _report(self, speed: float) -> None:
        """Show the last epoch, as a mean over the seeds, and the time left."""
        rows = [state.history[-1] for state in self.states]
        done, epochs = rows[0]["epoch"], self.config.epochs
        names = [name for name in ("train_loss", "validation_accuracy") if name in rows[0]]
        loss, *accuracy = (math.fsum(row[name] for row in rows) / len(rows) for name in names)
        left = (epochs - done) * self.engine.images_per_epoch / speed
        which = f"epoch {done:>{len(str(epochs))}}/{epochs}"
        result = [f"loss {loss:.3f}", *(f"validation {100 * share:.2f} %" for share in accuracy)]
        pace = f"{speed:,.0f} images/s", f"{int(left // 60)}:{int(left % 60):02d} min left"
        self.display.epoch("   ".join([which, *result, *pace]), ", ".join([which, *result]))

    def _finish(self, s: int) -> None:
        """Evaluate a seed in float64 and save its run, whole or not at all."""
        config, run_dir, state = self.configs[s], self.run_dirs[s], self.states[s]
        network = self.engine.network(s)
        metrics = {} if self.test_set is None else _counts(evaluate(network, *self.test_set))
        if config.validation_images:
            metrics["validation"] = _counts(evaluate(network, *self.validation))
        manifest = {
            "digest": config.digest,
            "starts": state.starts,
            "training_seconds": round(sum(row["seconds"] for row in state.history), 1),
            "config": config.to_dict(),
        }
        partial = checkpoint.partial_folder(run_dir)
        finished = partial / "finished"
        shutil.rmtree(finished, ignore_errors=True)
        finished.mkdir()
        runs.save_run(finished, run_dir, config, network, state.history, metrics, manifest)
        shutil.rmtree(partial)


def _counts(evaluation: Evaluation) -> dict[str, Any]:
    return {"loss": evaluation.loss, "correct": evaluation.correct, "total": evaluation.total}
