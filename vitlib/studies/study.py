"""Studies: recipes with named changes, over seeds, as jobs that any scheduler can run and as one table of results.

A study is a file ``studies/<name>.yaml``:

    purpose: what it asks
    recipe: homework        # where every rung starts, see vitlib/recipes.py
    test: never             # the test set: never (something is chosen), last, or every (epoch)
    seeds: 0-4              # or a list
    seeds_a_job: 5          # trained together; optional, 1 by default
    settings: {epochs: 3}   # of every rung; optional
    curves: true            # keep a row per epoch too; optional
    rungs:
      as it is: {}
      Muon: {optimizer: muon, lr: 0.004}
      Muon, mirrored: {from: Muon, flip: true}   # starts at a rung above, or at another recipe

Its results are ``studies/results/<name>.csv``, a row per finished run, which is committed; a run that has a row there
is never trained again. What is being trained lies in ``build/studies/<name>/``.
"""

import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from vitlib import paths, runs
from vitlib.config import TrainConfig, require
from vitlib.studies import recipes
from vitlib.training.loop import TESTS, epochs_kept, train, train_seeds

FOLDER = paths.ROOT / "studies"
KEYS = ("purpose", "recipe", "test", "seeds", "rungs")
OPTIONAL = ("seeds_a_job", "settings", "curves")
RUN = ("rung", "seed", "digest")  # the first columns of a table
TEXTS = ("rung", "digest", "device")  # columns that are not JSON
TIMES = ("seconds", "device")  # columns that another training of the same runs may fill differently
MOST = 100_000  # seeds of a study
REMEDY = "restore the file, or remove the rows that are wrong; those runs are trained again."


@dataclass(frozen=True)
class Job:
    """A batch of seeds of one rung, trained together; `config` has seed 0."""

    rung: str
    config: TrainConfig
    seeds: tuple[int, ...]

    @property
    def name(self) -> str:
        """A name for files: the digest of the settings and the first seed."""
        return f"{self.config.digest}-{self.seeds[0]}"

    def __str__(self) -> str:
        return f"{self.rung}, seed{'s' * (len(self.seeds) > 1)} {', '.join(map(str, self.seeds))}"


@dataclass(frozen=True)
class State:
    """How far the jobs of a study are: their numbers, and what went wrong by job."""

    done: int
    running: int
    failed: dict[Job, str]
    left: list[int]  # images that each job has yet to train on, counted at the end of its epochs


@dataclass(frozen=True)
class Study:
    """What a study's file says; `rungs` holds each rung's settings, with seed 0."""

    path: Path
    purpose: str
    test: str
    seeds: tuple[int, ...]
    seeds_a_job: int
    curves: bool
    rungs: dict[str, TrainConfig]
    origins: dict[str, str]  # the rung, or the recipe, that each rung changes

    @property
    def name(self) -> str:
        """The file's name, without its suffix."""
        return self.path.stem

    @property
    def work(self) -> Path:
        """The folder of what is being trained; it may be removed when the results are gathered."""
        return self.path.parent.parent / "build" / "studies" / self.name

    @property
    def table(self) -> Path:
        """The results, a row per finished run."""
        return self.path.parent / "results" / f"{self.name}.csv"

    @property
    def epochs_table(self) -> Path:
        """The results by epoch, where the study keeps curves."""
        return self.path.parent / "results" / f"{self.name}-epochs.csv"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the table."""
        test = () if self.test == "never" else ("test_accuracy", "test_loss", "test_correct")
        return ("rung", "seed", "digest", "epochs", "validation_accuracy", "validation_loss", *test, *TIMES)

    @property
    def epoch_columns(self) -> tuple[str, ...]:
        """The columns of the table by epoch."""
        test = ("test_loss", "test_correct") if self.test == "every" else ()
        return ("rung", "seed", "digest", "epoch", "train_loss", "validation_loss", "validation_accuracy", *test)

    @property
    def runs(self) -> list[tuple[str, TrainConfig]]:
        """Every run that the study asks for, as rung and settings, in the table's order."""
        return [(rung, replace(config, seed=seed)) for rung, config in self.rungs.items() for seed in self.seeds]

    @cached_property
    def jobs(self) -> list[Job]:
        """Every job; draws inside of the network do not come apart by seed, so that such seeds train one by one."""
        jobs = []
        for rung, config in self.rungs.items():
            size = 1 if config.model.dropout or config.model.drop_path else self.seeds_a_job
            batches = (self.seeds[i : i + size] for i in range(0, len(self.seeds), size))
            jobs += [Job(rung, config, batch) for batch in batches]
        return jobs

    @cached_property
    def rows(self) -> dict[str, dict[str, Any]]:
        """The rows of the table that the study asks for, by the run's digest, in the order of `runs`."""
        whole = set(self.columns) - set(TIMES)
        found = {row["digest"]: row for row in read(self.table) if all(row.get(name) is not None for name in whole)}
        curves = {row["digest"] for row in self.epochs} if self.curves else found.keys()
        rows, there = {}, found.keys() & curves
        for rung, config in self.runs:
            if config.digest in there:
                row = found[config.digest]
                with runs.reading(self.table, REMEDY):
                    for name in ("seed", "epochs"):
                        wanted = f"{getattr(config, name)}, as its digest {config.digest} says"
                        require(row[name] == getattr(config, name), f"{name} of a run", row[name], wanted)
                rows[config.digest] = row | {"rung": rung}
        return rows

    @cached_property
    def epochs(self) -> list[dict[str, Any]]:
        """The rows of the table by epoch that the study asks for, in its order."""
        there: dict[str, list[dict[str, Any]]] = {}
        for row in read(self.epochs_table):
            there.setdefault(row["digest"], []).append(row)
        rows = []
        for rung, config in self.runs:
            numbers = [row["epoch"] for row in there.get(config.digest, [])]
            with runs.reading(self.epochs_table, REMEDY):
                wanted = f"1 to {config.epochs}, or of a run that is not there"
                require(numbers in ([], [*range(1, config.epochs + 1)]), f"epochs of {config.digest}", numbers, wanted)
            rows += [row | {"rung": rung} for row in there.get(config.digest, [])]
        return rows

    @property
    def coverage(self) -> str:
        """How many of the runs have a row, in words for a page."""
        there, wanted = len(self.rows), len(self.runs)
        return f"{there:,} of {wanted:,} runs" + (": partial, the others are not trained yet" if there < wanted else "")

    def folder(self, config: TrainConfig) -> Path:
        """Return the folder of a rung's runs. A run that looked at the test set is kept apart from one that did not."""
        return self.work / "runs" / self.test / replace(config, seed=0).digest

    def missing(self, job: Job) -> list[int]:
        """Return the seeds of a job that have neither a row nor a finished run."""
        return [s for s in self._unlisted(job) if not runs.is_complete(self.folder(job.config) / f"seed-{s}")]

    def _unlisted(self, job: Job) -> list[int]:
        return [seed for seed in job.seeds if replace(job.config, seed=seed).digest not in self.rows]

    def lock(self, job: Job, timeout: float = -1) -> FileLock:
        """Return the lock that a job holds while it runs."""
        return FileLock(self.work / "locks" / job.name, timeout=timeout)

    def note(self, job: Job) -> Path:
        """Return the file that says why a job's last attempt failed."""
        return self.work / "failed" / job.name

    def run(self, name: str) -> None:
        """Train what is missing of the job with this name, after another process that has it in hand.

        Raises:
            ValueError: the study has no such job.
        """
        job = next((job for job in self.jobs if job.name == name), None)
        if job is None:
            raise ValueError(f"job is {name!r}, but {self.name} has no job of that name.")
        for path in (self.work / "locks", self.work / "failed"):
            path.mkdir(parents=True, exist_ok=True)
        with self.lock(job):
            self.note(job).unlink(missing_ok=True)
            seeds = self._unlisted(job)
            if len(seeds) == 1:
                train(replace(job.config, seed=seeds[0]), self.folder(job.config) / f"seed-{seeds[0]}", test=self.test)
            elif seeds:
                train_seeds(job.config, seeds, self.folder(job.config), test=self.test)

    def state(self, jobs: Iterable[Job]) -> State:
        """Return how far these jobs are."""
        done, running, left, failed = 0, 0, [], {}
        for job in jobs:
            missing = self.missing(job)
            kept = epochs_kept(self.folder(job.config) / f"seed-{missing[0]}") if missing else 0
            left.append(len(missing) * images_of(job.config) * (job.config.epochs - kept) // job.config.epochs)
            if not missing:
                done += 1
            elif self._is_running(job):
                running += 1
            elif self.note(job).is_file():
                failed[job] = self.note(job).read_text().strip()
        return State(done, running, failed, left)

    def _is_running(self, job: Job) -> bool:
        lock = self.lock(job, timeout=0)
        if not Path(lock.lock_file).is_file():
            return False
        try:
            with lock:
                return False
        except Timeout:
            return True

    def gather(self) -> None:
        """Write the tables anew from the rows there are and the finished runs.

        Raises:
            ValueError: the weights of a finished run were altered.
        """
        rows, epochs = [], []
        listed: dict[str, list[dict[str, Any]]] = {}
        for row in self.epochs:
            listed.setdefault(row["digest"], []).append(row)
        for rung, config in self.runs:
            folder = self.folder(config) / f"seed-{config.seed}"
            if config.digest in self.rows:
                rows.append(self.rows[config.digest])
                epochs += listed.get(config.digest, [])
            elif runs.is_complete(folder):
                run = runs.load_run(folder)
                about = {"rung": rung, "seed": config.seed, "digest": config.digest}
                rows.append(about | _figures(run))
                epochs += [about | epoch for epoch in run.history]
        if rows:
            if self.curves:
                _write(self.epochs_table, self.epoch_columns, epochs)
            _write(self.table, self.columns, rows)
        for name in ("rows", "epochs"):  # to be read anew
            self.__dict__.pop(name, None)


def images_of(config: TrainConfig) -> int:
    """Return the number of images that a run trains on, over all epochs."""
    return config.epochs * (config.train_images // config.batch_size) * config.batch_size


def speed(study: Study) -> tuple[float, str]:
    """Return the images a second that a job can be expected to train on, and what that was measured on."""
    timed = [
        (images_of(config), study.rows[config.digest]["seconds"])
        for _, config in study.runs
        if study.rows.get(config.digest, {}).get("seconds") is not None
    ]
    images, seconds = (math.fsum(column) for column in zip(*timed, strict=True)) if timed else (0, 0)
    if seconds:
        return images / seconds, f"the {len(timed)} runs of this study that are there"
    run = runs.load_run(paths.ROOT / "runs" / "report")
    device = run.manifest["starts"][-1]["device"]
    return images_of(run.config) / run.manifest["training_seconds"], f"runs/report, on {device}"


def load(name: str) -> Study:
    """Return a study by its name in ``studies/``, or by the path of its file.

    Raises:
        ValueError: there is no such study, or its file says something that cannot be; one sentence says what.
    """
    path = paths.ROOT / name if name.endswith(".yaml") else FOLDER / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.yaml"))) or "none yet"
        raise ValueError(f"study is {name!r}, but has to be a file that ends in .yaml or one of: {known}.")
    values = recipes.read(path, KEYS, OPTIONAL)
    try:
        return _study(path, values)
    except ValueError as error:
        raise ValueError(f"{paths.show(path)}: {error}") from error


def _study(path: Path, values: dict[str, Any]) -> Study:
    purpose, test = values["purpose"], values["test"]
    size, curves = values.get("seeds_a_job", 1), values.get("curves", False)
    require(isinstance(purpose, str) and bool(purpose.strip()), "purpose", purpose, "a sentence")
    require(test in TESTS, "test", test, f"one of {', '.join(TESTS)}")
    require(type(size) is int and size >= 1, "seeds_a_job", size, "a whole number of at least 1")
    require(isinstance(curves, bool), "curves", curves, "true or false")
    settings = values.get("settings", {})
    rungs: dict[str, TrainConfig] = {}

    def begin(name: str) -> TrainConfig:
        if name in rungs:
            return rungs[name]
        return recipes.changed(recipes.load(name), settings)

    seeds, base = _seeds(values["seeds"]), begin(str(values["recipe"]))
    replace(base, seed=max(seeds))  # may be a seed
    given = values["rungs"]
    require(isinstance(given, dict) and len(given) > 0, "rungs", given, "at least one line, name: {setting: value}")
    digests: dict[str, str] = {}
    origins: dict[str, str] = {}
    for rung, changes in given.items():
        named = isinstance(rung, str) and bool(rung.strip()) and rung.isprintable()
        require(named, "a rung's name", rung, "a line of text: put what YAML takes for something else in quotes")
        wanted = "name: {setting: value}, or name: {} for no change"
        require(isinstance(changes, dict), f"rung {rung!r}", changes, wanted)
        changes = dict(changes)
        origin = changes.pop("from", None)
        known = [*rungs, *recipes.names()]
        wanted = f"a rung above it or a recipe: {', '.join(known)}"
        require(origin is None or origin in known, f"rung {rung!r}: from", origin, wanted)
        try:
            config = recipes.changed(base if origin is None else begin(origin), changes)
        except ValueError as error:
            raise ValueError(f"rung {rung!r}: {error}") from error
        if config.digest in digests:
            raise ValueError(f"rung {rung!r} has the same settings as {digests[config.digest]!r}: remove one.")
        digests[config.digest] = rung
        rungs[rung] = config
        origins[rung] = str(values["recipe"]) if origin is None else origin
    return Study(path, purpose, test, seeds, size, curves, rungs, origins)


def _seeds(given: object) -> tuple[int, ...]:
    """Return the seeds that ``0-4`` or a list names."""
    ends = re.fullmatch(r"(\d{1,18})-(\d{1,18})", given) if isinstance(given, str) else None
    seeds = range(int(ends[1]), int(ends[2]) + 1) if ends else given
    wanted = "a range such as 0-4 or a list of whole numbers such as [0, 1, 2], with at least one"
    require(isinstance(seeds, list | range) and len(seeds) > 0, "seeds", given, wanted)
    require(len(seeds) <= MOST, "the number of seeds", len(seeds), f"at most {MOST:,}")
    require(all(type(seed) is int and seed >= 0 for seed in seeds), "seeds", given, wanted)
    twice = sorted(seed for seed, times in Counter(seeds).items() if times > 1)
    require(not twice, "seeds", given, f"each seed only once ({', '.join(map(str, twice))} is not)")
    return tuple(seeds)


def read(table: Path) -> list[dict[str, Any]]:
    """Return the rows of a table with their values as numbers and lists; what is empty is None.

    Raises:
        ValueError: the table was cut off, has the marks of a merge, or a row of it is no run's or is there twice.
    """
    if not table.is_file():
        return []
    rows: dict[tuple[str, int | None], dict[str, Any]] = {}
    with runs.reading(table, REMEDY):
        text = table.read_text()
        lines = csv.reader(io.StringIO(text), strict=True)
        names = next(lines, [])
        require(names[: len(RUN)] == [*RUN], "line 1", ",".join(names), f"columns that begin with {','.join(RUN)}")
        for row in lines:
            where = f"line {lines.line_num}"
            require(len(row) == len(names), where, ",".join(row), f"{len(names)} values")
            values = {name: _value(name, value, where) for name, value in zip(names, row, strict=True)}
            run = values["digest"], values.get("epoch")
            require(bool(re.fullmatch("[0-9a-f]{12}", run[0])), f"digest in {where}", run[0], "12 hexadecimal digits")
            require(run not in rows, where, ",".join(row), "of a run that is not there already")
            rows[run] = values
        require(text.endswith("\n"), "the last line", text.splitlines()[-1], "whole and end with a newline")
    return [*rows.values()]


def _value(name: str, text: str, where: str) -> Any:  # noqa: ANN401
    """Return what a cell of a table holds."""
    if name in TEXTS:
        return text
    try:
        value = json.loads(text or "null")
    except ValueError:
        value = text
    whole = type(value) in (int, float) and math.isfinite(value)
    require(value is None or whole or isinstance(value, list), f"{name} in {where}", text, "a number")
    return value


def _figures(run: runs.Run) -> dict[str, Any]:
    """Return what the table says of a finished run."""
    last, start = run.history[-1], run.manifest["starts"][-1]
    figures = {
        "epochs": run.config.epochs,
        "validation_accuracy": last["validation_accuracy"],
        "validation_loss": last["validation_loss"],
        "seconds": round(run.manifest["training_seconds"] / start.get("seeds_at_once", 1), 2),  # its share
        "device": start["device"],
    }
    if "loss" in run.metrics:
        correct = run.metrics["correct"]
        figures["test_accuracy"] = round(sum(correct) / sum(run.metrics["total"]), 6)
        figures["test_loss"] = round(run.metrics["loss"], 6)
        figures["test_correct"] = correct
    return figures


def _write(table: Path, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
    """Write a table whole or not at all."""
    table.parent.mkdir(parents=True, exist_ok=True)
    scratch = table.with_suffix(".part")
    try:
        with scratch.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            for row in rows:
                writer.writerow(
                    [
                        row[column] if column in TEXTS else "" if row[column] is None else json.dumps(row[column])
                        for column in columns
                    ]
                )
        scratch.replace(table)
    except OSError:
        scratch.unlink(missing_ok=True)
        raise
