"""Studies: variants of a recipe, trained over seeds, as independent jobs whose results are one table.

A study is a file ``studies/<name>.yaml``; docs/studies.md explains its lines. A job whose variant learns from a teacher
makes it first, unless it is there.

Its results are ``studies/results/<name>.csv``, a row per finished run. The table is committed, and a run with a row is
never trained again. Unfinished work lies in ``build/studies/<name>/``.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from vitlib import paths, runs
from vitlib.config import Seed, TeacherConfig, TrainConfig, require
from vitlib.studies import recipes, tables
from vitlib.training import distillation, views
from vitlib.training.checkpoint import epochs_kept
from vitlib.training.loop import train_seeds
from vitlib.yaml_file import read_yaml

FOLDER = paths.ROOT / "studies"
MAX_SEEDS = 100_000


def _seeds(value: Any) -> list[Any]:  # noqa: ANN401
    """Return the seeds that a range such as ``0-4`` or a list names."""
    ends = re.fullmatch(r"(\d{1,18})-(\d{1,18})", value) if isinstance(value, str) else None
    seeds = range(int(ends[1]), int(ends[2]) + 1) if ends else value
    wanted = "a range such as 0-4 or a list of different whole numbers such as [0, 1, 2]"
    require(isinstance(seeds, list | range) and len(seeds) > 0, "seeds", value, wanted)
    require(len(seeds) <= MAX_SEEDS, "the number of seeds", len(seeds), f"at most {MAX_SEEDS:,}")
    require(len({*map(str, seeds)}) == len(seeds), "seeds", value, wanted)
    return [*seeds]


Seeds = Annotated[list[Seed], BeforeValidator(_seeds)]


def _name(value: object) -> object:
    named = isinstance(value, str) and bool(value.strip()) and value.isprintable()
    require(named, "the name of a variant", value, "a line of text: quote what YAML reads as something else")
    return value


class StudyFile(BaseModel):
    """What a study's file holds."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    purpose: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
    recipe: str
    test: Literal["never", "last", "every"]
    seeds: Seeds
    seeds_a_job: Annotated[int, Field(ge=1)] = 1
    settings: dict[str, Any] = {}
    curves: bool = False
    first: list[str] = []
    teachers: dict[str, dict[str, Any]] = {}
    variants: Annotated[dict[Annotated[str, BeforeValidator(_name)], dict[str, Any]], Field(min_length=1)]


@dataclass(frozen=True)
class Job:
    """A batch of seeds of one variant, trained together; `config`, the settings in the study's file, has seed 0."""

    variant: str
    config: TrainConfig
    seeds: tuple[int, ...]

    @property
    def name(self) -> str:
        """A name for files: the digest of the settings and the first seed."""
        return f"{self.config.digest}-{self.seeds[0]}"

    def __str__(self) -> str:
        return f"{self.variant}, seed{'s' * (len(self.seeds) > 1)} {', '.join(map(str, self.seeds))}"


@dataclass(frozen=True)
class State:
    """The progress of a study's jobs."""

    done: int
    running: int
    failed: dict[Job, str]  # and why
    left: list[int]  # images that each job has yet to train on, counted at the end of its epochs


@dataclass(frozen=True)
class Study:
    """A study, its jobs and its tables; `variants` holds each variant's settings, with seed 0."""

    path: Path
    purpose: str
    test: str
    seeds_a_job: int
    curves: bool
    first: tuple[str, ...]  # variants whose jobs come first
    teachers: dict[str, TeacherConfig]
    variants: dict[str, TrainConfig]
    seeds: dict[str, tuple[int, ...]]  # of each variant

    @property
    def name(self) -> str:
        """The file's name, without its suffix."""
        return self.path.stem

    @property
    def work(self) -> Path:
        """The folder of unfinished work; it may be removed when the results are gathered."""
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
        return (*tables.RUN, "epochs", "validation_accuracy", "validation_loss", *test, *tables.MACHINE)

    @property
    def epoch_columns(self) -> tuple[str, ...]:
        """The columns of the table by epoch."""
        test = ("test_loss", "test_correct") if self.test == "every" else ()
        return (*tables.RUN, "epoch", "train_loss", "validation_loss", "validation_accuracy", *test)

    @property
    def runs(self) -> list[tuple[str, TrainConfig]]:
        """Every run of the study, as variant and settings, in the table's order."""
        runs = []
        for name, config in self.variants.items():
            config = self.with_made_teacher(config)
            runs += [(name, replace(config, seed=seed)) for seed in self.seeds[name]]
        return runs

    @cached_property
    def jobs(self) -> list[Job]:
        """Every job, in order. Seeds of a network with dropout train one by one: random masks cannot be batched."""
        jobs = []
        for name in dict.fromkeys([*self.first, *self.variants]):
            config, seeds = self.variants[name], self.seeds[name]
            size = 1 if config.model.dropout else self.seeds_a_job
            batches = (seeds[i : i + size] for i in range(0, len(seeds), size))
            jobs += [Job(name, config, batch) for batch in batches]
        return jobs

    def with_made_teacher(self, config: TrainConfig) -> TrainConfig:
        """Return the settings of a variant with the full name of its teacher, if that was made already."""
        teacher = self.teachers.get(config.teacher)
        full_name = teacher and views.find(config.teacher, teacher, config)
        return replace(config, teacher=full_name) if full_name else config

    @cached_property
    def rows(self) -> dict[str, dict[str, Any]]:
        """The rows of the study's runs, by digest, in the order of `runs`."""
        by_digest = {row["digest"]: row for row in tables.read(self.table)}
        present = by_digest.keys() & ({row["digest"] for row in self.epochs} if self.curves else by_digest.keys())
        rows = {}
        for variant, config in self.runs:
            if config.digest in present and self._is_whole(by_digest[config.digest], config):
                row = by_digest[config.digest]
                with runs.reading(self.table, tables.REMEDY):
                    for name in ("seed", "epochs"):
                        wanted = f"{getattr(config, name)}, as its digest {config.digest} says"
                        require(row[name] == getattr(config, name), f"{name} of a run", row[name], wanted)
                rows[config.digest] = row | {"variant": variant}
        return rows

    def _is_whole(self, row: dict[str, Any], config: TrainConfig) -> bool:
        """Return whether a row has everything that the study asks of a run."""
        unknown = {*tables.MACHINE}
        if not config.validation_images:
            unknown |= {"validation_accuracy", "validation_loss"}
        return all(row.get(name) is not None for name in self.columns if name not in unknown)

    @cached_property
    def epochs(self) -> list[dict[str, Any]]:
        """The rows by epoch of the study's runs, in the order of `runs`."""
        by_run = tables.by_digest(tables.read(self.epochs_table))
        rows = []
        for variant, config in self.runs:
            of_run = by_run.get(config.digest, [])
            numbers = [row["epoch"] for row in of_run]
            with runs.reading(self.epochs_table, tables.REMEDY):
                complete = numbers in ([], [*range(1, config.epochs + 1)])
                require(complete, f"epochs of {config.digest}", numbers, f"1 to {config.epochs}, or no row of that run")
            rows += [row | {"variant": variant} for row in of_run]
        return rows

    @property
    def coverage(self) -> str:
        """How many of the runs have a row, such as ``40 of 65 runs``."""
        return f"{len(self.rows):,} of {len(self.runs):,} runs"

    def folder(self, config: TrainConfig) -> Path:
        """Return the folder of a variant's runs, another one for each value of `test`."""
        return self.work / "runs" / self.test / replace(self.with_made_teacher(config), seed=0).digest

    def missing(self, job: Job) -> list[int]:
        """Return the seeds of a job that have neither a row nor a finished run."""
        return [s for s in self._unlisted(job) if not runs.is_complete(self.folder(job.config) / f"seed-{s}")]

    def _unlisted(self, job: Job) -> list[int]:
        config = self.with_made_teacher(job.config)
        return [seed for seed in job.seeds if replace(config, seed=seed).digest not in self.rows]

    def lock(self, job: Job, timeout: float = -1) -> FileLock:
        """Return the lock that a job holds while it runs."""
        return FileLock(self.work / "locks" / job.name, timeout=timeout)

    def note(self, job: Job) -> Path:
        """Return the file that says why a job's last attempt failed."""
        return self.work / "failed" / job.name

    def find(self, name: str) -> Job:
        """Return the job of a name; raises ValueError if the study has none."""
        job = next((job for job in self.jobs if job.name == name), None)
        if job is None:
            raise ValueError(f"job is {name!r}, but {self.name} has no job of that name.")
        return job

    def run(self, job: Job) -> None:
        """Train the missing runs of a job, after making its teacher; waits if another process is training it."""
        for path in (self.work / "locks", self.work / "failed"):
            path.mkdir(parents=True, exist_ok=True)
        with self.lock(job):
            self.note(job).unlink(missing_ok=True)
            if job.config.teacher in self.teachers and self._unlisted(job):
                distillation.make(job.config.teacher, self.teachers[job.config.teacher], job.config)
            config, seeds, folder = self.with_made_teacher(job.config), self._unlisted(job), self.folder(job.config)
            if seeds:
                train_seeds(config, seeds, folder, test=self.test)

    def state(self, jobs: Iterable[Job]) -> State:
        """Return the progress of these jobs."""
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
                failed[job] = self.note(job).read_text(encoding="utf-8").strip()
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
        """Write the tables from the rows they have and the finished runs.

        Raises:
            ValueError: a file of a finished run was altered.
        """
        rows, epochs = [], []
        by_run = tables.by_digest(self.epochs)
        for variant, config in self.runs:
            folder = self.folder(config) / f"seed-{config.seed}"
            if config.digest in self.rows:
                rows.append(self.rows[config.digest])
                epochs += by_run.get(config.digest, [])
            elif runs.is_complete(folder):
                run = runs.load_run(folder)
                of_run = {"variant": variant, "seed": config.seed, "digest": config.digest}
                rows.append(of_run | tables.results_of(run))
                epochs += [of_run | epoch for epoch in run.history]
        if rows:
            if self.curves:
                tables.write(self.epochs_table, self.epoch_columns, epochs)
            tables.write(self.table, self.columns, rows)
        for name in ("rows", "epochs"):  # read again when they are next used
            vars(self).pop(name, None)


def images_of(config: TrainConfig) -> int:
    """Return the number of images that a run trains on, over all epochs."""
    return config.epochs * (config.train_images // config.batch_size) * config.batch_size


def speed(study: Study) -> tuple[float, str]:
    """Return the expected training speed of a job in images per second, and where it was measured."""
    timed = [
        (images_of(config), study.rows[config.digest]["seconds"])
        for _, config in study.runs
        if study.rows.get(config.digest, {}).get("seconds") is not None
    ]
    images, seconds = (math.fsum(column) for column in zip(*timed, strict=True)) if timed else (0, 0)
    if seconds:
        return images / seconds, f"{len(timed)} runs of this study"
    run = runs.load_run(paths.ROOT / "runs" / "report")
    device = run.manifest["starts"][-1]["device"]
    return images_of(run.config) / run.manifest["training_seconds"], f"runs/report, on {device}"


def load(name: str) -> Study:
    """Return a study by its name in ``studies/``, or by the path of its file.

    Raises:
        ValueError: there is no such study, or its file is wrong; one sentence says how.
    """
    path = paths.ROOT / name if name.endswith(".yaml") else FOLDER / f"{name}.yaml"
    known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.yaml")))
    require(path.is_file(), "study", name, f"a file that ends in .yaml or one of {known}")
    wanted = "a file in a folder named studies, which gets the results"
    require(path.resolve().parent.name == "studies", "study", name, wanted)
    file = read_yaml(path, StudyFile)
    try:
        variants, seeds = _variants(file)
        teachers = {name: _teacher(name, settings) for name, settings in file.teachers.items()}
        for name in file.first:
            require(name in variants, "first", name, f"one of the variants: {', '.join(variants)}")
    except ValueError as error:
        raise ValueError(f"{paths.relative(path)}: {error}") from error
    description = path, file.purpose, file.test, file.seeds_a_job, file.curves, tuple(file.first)
    return Study(*description, teachers, variants, seeds)


def _teacher(name: str, settings: dict[str, Any]) -> TeacherConfig:
    try:
        TrainConfig(teacher=name)  # refuses a name that no setting can have
        return TeacherConfig(**settings)
    except ValueError as error:
        raise ValueError(f"teacher {name!r}: {error}") from error


def _variants(file: StudyFile) -> tuple[dict[str, TrainConfig], dict[str, tuple[int, ...]]]:
    """Return the settings of each variant, and its seeds."""
    variants: dict[str, TrainConfig] = {}
    seeds: dict[str, tuple[int, ...]] = {}
    names: dict[str, str] = {}  # by digest
    base = recipes.override(recipes.load(file.recipe), file.settings)
    for name, changes in file.variants.items():
        settings = {key: value for key, value in changes.items() if key not in ("from", "seeds")}
        origin, known = changes.get("from"), [*variants, *recipes.names()]
        wanted = f"a variant above it or a recipe: {', '.join(known)}"
        require(origin is None or origin in known, f"variant {name!r}: from", origin, wanted)
        try:
            if origin is None:
                start = base
            else:
                start = variants.get(origin) or recipes.override(recipes.load(origin), file.settings)
            config = recipes.override(start, settings)
            seeds[name] = tuple(_seeds(changes["seeds"]) if "seeds" in changes else file.seeds)
            for seed in seeds[name]:
                replace(config, seed=seed)
        except ValueError as error:
            raise ValueError(f"variant {name!r}: {error}") from error
        if config.digest in names:
            raise ValueError(f"variant {name!r} has the same settings as {names[config.digest]!r}: remove one.")
        variants[name], names[config.digest] = config, name
    return variants, seeds
