"""Do what needs a GPU within a time limit, the most important first, and pack the results.

    python tools/gpu.py --seconds 540 --out FOLDER

1. The tests that need a GPU; beside them, the published run's settings train through papermill.
2. The quick form of the benchmark (benchmarks/speed.py --quick).
3. The studies, job by job in their order, as many as fit into the time.

Each result is packed into FOLDER as soon as it is there, so a kill at any moment leaves a valid pack. The next call
with that folder continues, also on another machine of the same kind. tools/adopt.py takes the pack.
"""

import time

START = time.monotonic()  # the imports take seconds

import argparse
import ctypes
import hashlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pack
import report
import torch
from command import UserError, exit_on_user_error

from vitlib import paths, runs
from vitlib.data import DataError
from vitlib.studies import study as studies
from vitlib.studies.study import Job, Study
from vitlib.training import provenance

STUDIES = ("path", "best")  # in this order, those that have a file
GPU_TESTS = ("tests/test_attention_kernel.py", "tests/test_gpu.py")  # others import packages that the machine may lack
SECTIONS = ("time", "batches", "seeds", "throughput", "profile")  # of the benchmark; what compiles longest starts first
TEST_SECONDS, PAGE_SECONDS, BENCHMARK_SECONDS = 90, 90, 120  # at most; tests and page run side by side
RESERVE = 10  # seconds at the end, to stop and to pack
START_UP, TEACHER = 75, 80  # seconds that a job takes besides its steps, and its teacher takes
PACE = 100_000  # images/s, where none was measured
MARGIN = 1.1  # of a job's expected time
TINY = {"epochs": 1, "train_images": 256, "validation_images": 100, "batch_size": 32, "patch_size": 14}
TINY |= {"embed_dim": 8, "depth": 1, "num_heads": 2, "mlp_ratio": 2}


class Session:
    """One call: its time, its pack, and the folder that it works in, which is laid out like the project.

    Args:
        out: folder of the pack.
        seconds: until everything has to be packed, from the start of the process.
        smoke: whether all sizes are small.
    """

    def __init__(self, out: Path, seconds: float, smoke: bool) -> None:
        self.out, self.end, self.smoke = out.absolute(), START + seconds - RESERVE, smoke
        self.patience = 10 if smoke else 1  # a busy machine may try the command, too
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if not smoke and device.type == "cpu":
            raise UserError("PyTorch finds no CUDA GPU on this machine: --smoke tries the command on a CPU.")
        origin = provenance.code()
        if origin["commit"] is None:
            raise UserError("The commit is unknown here: name it in the environment variable VITLIB_COMMIT.")
        name = provenance.device_name(device)
        self.about = pack.About(commit=origin["commit"], code=code(), device=name, smoke=smoke, parts={})
        if origin["clean"] is not None:  # there is git
            pack.check_code(self.about)
        version = hashlib.sha256(json.dumps([self.about.code, self.about.device]).encode()).hexdigest()[:12]
        self.work = paths.ROOT / "build" / f"gpu{'-smoke' * smoke}" / version
        self.new: list[dict[str, Path]] = []  # finished runs, and networks, that are not packed yet
        self.teachers: set[Path] = set()  # records of the teachers of finished runs: they decide the settings of those
        self.pace: dict[int, float] = {}  # measured images/s, by the images in a step
        self.start_up = 10.0 if smoke else START_UP

    @property
    def left(self) -> float:
        """Seconds until the last process has to end."""
        return self.end - time.monotonic()

    def unpack(self) -> None:
        """Take over what an earlier call packed."""
        if not (self.out / pack.NAME.format(0)).is_file():
            return
        earlier = pack.read(pack.archives_of(self.out))
        for name in ("code", "device", "smoke"):
            if any(getattr(about, name) != getattr(self.about, name) for about in earlier.about):
                raise UserError(f"{self.out} holds a pack of another {name}: adopt it, and name an empty folder.")
        self.about.parts.update(earlier.about[0].parts)
        for name, content in earlier.files.items():
            taught = name.startswith("studies/teachers/")
            path = (paths.ROOT if taught else self.work) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            if taught and path.suffix == ".json":
                self.teachers.add(path)

    def say(self, part: str, result: str) -> None:
        """Print the line of a part and pack what is finished."""
        self.about.parts[part] = result
        patterns = ("runs/report/*", "benchmarks/results/speed-*.json", "studies/results/*.csv", "log/*.txt")
        small = [path for pattern in patterns for path in sorted(self.work.glob(pattern))]
        pack.save(self.out, self.about, {self._name(path): path for path in [*small, *sorted(self.teachers)]}, self.new)
        self.new.clear()
        print(f"{time.monotonic() - START:4.0f} s  {part}: {result}", flush=True)

    def keep(self, files: Iterable[Path]) -> None:
        """Pack the files of a finished run, or of a teacher's network, with the next line."""
        self.new.append({self._name(file): file for file in files})

    def _name(self, path: Path) -> str:
        return path.relative_to(self.work if path.is_relative_to(self.work) else paths.ROOT).as_posix()


def code() -> dict[str, str]:
    """Return git's hash of each file of the code that decides a result, by its path."""
    files = sorted(path for folder in ("vitlib", "benchmarks") for path in (paths.ROOT / folder).rglob("*.*"))
    content = {name: path.read_bytes() for path in files if pack.CODE.fullmatch(name := paths.relative(path))}
    return {name: hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest() for name, data in content.items()}


# ---- processes -----------------------------------------------------------------------------------------------------


class Process:
    """A Python command in a process group of its own, which ends with this process; its output is in the pack's log."""

    def __init__(self, session: Session, name: str, command: list[str], **environment: str) -> None:
        self.log = session.work / "log" / f"{name}.txt"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        path = os.pathsep.join(filter(None, (str(paths.ROOT), os.environ.get("PYTHONPATH"))))
        variables = os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"} | environment
        if session.smoke:
            variables["TORCH_COMPILE_DISABLE"] = "1"
        self.began = time.monotonic()
        with self.log.open("w", encoding="utf-8") as output:
            self._process = subprocess.Popen(
                [sys.executable, *command],
                cwd=paths.ROOT,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_prepare,
            )

    def wait(self, seconds: float) -> tuple[str, float]:
        """Wait for at most `seconds`; return ``done``, ``failed`` or ``stopped``, and the seconds since it began."""
        try:
            status = self._process.wait(max(0.0, seconds))
            outcome = "failed" if status else "done"
        except subprocess.TimeoutExpired:
            outcome = "stopped"
        finally:
            self._end()
        return outcome, time.monotonic() - self.began

    def _end(self) -> None:
        for kind in (signal.SIGINT, signal.SIGKILL):  # a training that is interrupted keeps its last epoch
            if self._process.poll() is None:
                os.killpg(self._process.pid, kind)
                try:
                    self._process.wait(3)
                except subprocess.TimeoutExpired:
                    continue

    @property
    def last_line(self) -> str:
        """The last line of the output."""
        lines = self.log.read_text(errors="replace", encoding="utf-8").split("\n")
        return next((line.strip("= ")[:200] for line in reversed(lines) if line.strip()), "no output")


def _prepare() -> None:
    """Let the new process be interrupted, and end it with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell has it ignored for what runs in the background
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


# ---- the parts -----------------------------------------------------------------------------------------------------


def tests_and_page(session: Session) -> None:
    """Run the tests that need a GPU, while the published run's settings train through papermill."""
    run, page = session.work / "runs" / "report", None
    if not runs.is_complete(run):
        parameters = {"run_name": "report"} | TINY if session.smoke else report.profile("full")["02_training"]
        out = session.work / "02_training.ipynb"
        session.work.mkdir(parents=True, exist_ok=True)
        command = ["-m", "papermill", "notebooks/02_training.ipynb", str(out), "--kernel", "python3", "--log-output"]
        command += ["--no-progress-bar", "--parameters_yaml", json.dumps(parameters)]
        page = Process(session, "page", command, REPORT_HOME=str(session.work))
    if session.about.parts.get("tests", "").split(",")[0] != "done":
        command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu"]
        tests = [Process(session, Path(path).stem, [*command, path]) for path in GPU_TESTS]
        end = time.monotonic() + min(session.patience * TEST_SECONDS, session.left)
        outcomes = {test.wait(end - time.monotonic())[0] for test in tests}
        worst = next(outcome for outcome in ("failed", "stopped", "done") if outcome in outcomes)
        session.say("tests", f"{worst}, {'; '.join(test.last_line for test in tests)}")
    if page:
        outcome, seconds = page.wait(min(session.patience * PAGE_SECONDS + page.began - time.monotonic(), session.left))
        if runs.is_complete(run):
            counts = runs.load_run(run).metrics
            accuracy = 100 * sum(counts["correct"]) / sum(counts["total"])
            session.say("page", f"{outcome}, {seconds:.0f} s, test accuracy {accuracy:.2f} %")
        else:
            session.say("page", f"{outcome}, {page.last_line}")


def benchmark(session: Session) -> None:
    """Measure the sections of the quick benchmark that are missing."""
    folder = session.work / "benchmarks" / "results"
    folder.mkdir(parents=True, exist_ok=True)

    def missing() -> list[str]:
        sections = SECTIONS[:1] if session.smoke else SECTIONS  # the others need packages, or minutes
        return [name for name in sections if not [*folder.glob(f"speed-*-{name}.json")]]

    if missing():
        command = ["benchmarks/speed.py", "--quick", "--out", str(folder), *missing(), *["--smoke"] * session.smoke]
        process = Process(session, "benchmark", command)
        outcome, seconds = process.wait(min(session.patience * BENCHMARK_SECONDS, session.left))
        lacks = f", without {', '.join(missing())}: {process.last_line}" if missing() else ""
        session.say("benchmark", f"{outcome}, {seconds:.0f} s{lacks}")


def study_parts(session: Session, name: str) -> None:
    """Train the jobs of a study that fit into the time, in its order."""
    study = copied(session, name)
    for job in study.jobs:
        if not study.missing(job):
            keep(session, study, job)
    too_long = []
    for job in study.jobs:
        if study.missing(job):
            expected = seconds_of(session, study, job)
            if expected > session.left:
                too_long.append(expected)
            else:
                train(session, study, job)
    rest = f"; {len(too_long)} jobs do not fit, the shortest takes {min(too_long):.0f} s" if too_long else ""
    session.say(name, f"{study.coverage}{rest}")


def copied(session: Session, name: str) -> Study:
    """Return a study whose tables and runs lie in the session's folder."""
    source = paths.ROOT / ("tools/studies" if session.smoke else "studies") / f"{name}.yaml"
    folder = session.work / "studies"
    (folder / "results").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, folder / source.name)
    study = studies.load(str(folder / source.name))
    for table in (study.table, study.epochs_table):
        committed = source.parent / "results" / table.name
        if committed.is_file() and not table.is_file():
            shutil.copyfile(committed, table)
    return study


def train(session: Session, study: Study, job: Job) -> None:
    """Train a job in a process, add its rows to the study's table, and learn from the time that it takes."""
    command = ["tools/study.py", "job", str(study.path), job.name]
    process = Process(session, f"{study.name}-{job.name}", command)
    outcome, seconds = process.wait(session.left)
    if outcome == "done":
        study.gather()
        keep(session, study, job)
        manifest = runs.load_run(study.folder(job.config) / f"seed-{job.seeds[0]}").manifest
        learn(session, job, manifest)
        if not job.config.teacher and len(manifest["starts"]) == 1:
            session.start_up = max(5.0, seconds - manifest["training_seconds"])
        session.say(f"{study.name}, {job}", f"done, {seconds:.0f} s")
    else:
        session.say(f"{study.name}, {job}", f"{outcome}, {process.last_line}")


def keep(session: Session, study: Study, job: Job) -> None:
    """Pack a finished job: its runs, and the networks of its teacher."""
    folders = [study.folder(job.config) / f"seed-{seed}" for seed in job.seeds]
    complete = [folder for folder in folders if runs.is_complete(folder)]
    for folder in complete:
        session.keep(folder / name for name in runs.FILES)
    teacher = runs.load_run(complete[0]).config.teacher if complete else ""
    record = paths.ROOT / "studies" / "teachers" / f"{teacher}.json"
    if teacher and record.is_file():
        session.teachers.add(record)
        for path in sorted((record.parent / "networks").glob("*/*.safetensors")):
            if runs.sha256(path) in record.read_text(encoding="utf-8"):
                session.keep([path, path.with_suffix(".json")])


# ---- how long a job takes ------------------------------------------------------------------------------------------


def learn(session: Session, job: Job, manifest: dict) -> None:
    """Note the speed of a finished job."""
    seeds = manifest["starts"][-1].get("seeds_at_once", 1)
    images = seeds * studies.images_of(job.config)
    session.pace[seeds * job.config.batch_size] = images / max(manifest["training_seconds"], 0.1)


def learn_from_benchmark(session: Session) -> None:
    """Note the speeds that the benchmark measured."""
    for path in (session.work / "benchmarks" / "results").glob("speed-*.json"):
        section = json.loads(path.read_text(encoding="utf-8"))
        for name, speeds in section.get("measured", {}).items():
            if name.isdigit():  # a batch size, or seeds that have one each
                session.pace[int(name) * section.get("batch", 1)] = statistics.median(speeds)


def seconds_of(session: Session, study: Study, job: Job) -> float:
    """Return how long a job is expected to take, from the speed at the most similar number of images a step."""
    missing = len(study.missing(job))
    size = missing * job.config.batch_size
    near = min(session.pace, key=lambda measured: max(measured, size) / min(measured, size), default=None)
    images = missing * studies.images_of(job.config)
    teacher = TEACHER if job.config.teacher else 0
    return session.start_up + teacher + MARGIN * images / (session.pace[near] if near else PACE)


def main() -> None:
    """Do the parts that are not done, in order."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=540, help="from the start of this process to its end")
    parser.add_argument("--out", type=Path, required=True, help="folder of the pack")
    parser.add_argument("--smoke", action="store_true", help="small sizes, on any machine, in a minute")
    options = parser.parse_args()
    with exit_on_user_error(ValueError, DataError):
        session = Session(options.out, options.seconds, options.smoke)
        session.unpack()
        tests_and_page(session)
        benchmark(session)
        learn_from_benchmark(session)
        for name in ("smoke",) if options.smoke else STUDIES:
            if options.smoke or (studies.FOLDER / f"{name}.yaml").is_file():
                study_parts(session, name)


if __name__ == "__main__":
    main()
