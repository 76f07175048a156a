"""Studies over recipes and seeds: what they cost, their jobs, and the table of what came out.

    python tools/study.py plan STUDY
    python tools/study.py run STUDY [snakemake's options ...]
    python tools/study.py job STUDY JOB
    python tools/study.py gather STUDY
    python tools/study.py teach STUDY RUNG NAME

STUDY is the name of a file in studies/, or the path of one. `run` plans, has Snakemake run the jobs, on this machine or
where its options say (--profile studies/slurm), says how far they are, and gathers. `teach` makes
studies/teachers/NAME.safetensors of what a rung's runs answer to the training images. A caller's mistake ends with one
sentence and status 1.
"""

import errno
import fcntl
import heapq
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import yaml
from command import MistakeError, act

from vitlib import paths, runs
from vitlib.data import DataError
from vitlib.studies import study
from vitlib.studies.study import Job, Study
from vitlib.training import distillation

GRACE = 30  # seconds that Snakemake has to notice that all jobs are finished
SNAKEMAKE = paths.ROOT / ".venv-studies" / "bin" / "snakemake"


def plan(name: str) -> tuple[Study, list[Job]]:
    """Say what a study asks for, what is there and what the rest is expected to cost; return the open jobs."""
    asked = study.load(name)
    jobs = [job for job in asked.jobs if asked.missing(job)]
    missing = [(job.config, len(asked.missing(job))) for job in jobs]
    total, to_train = len(asked.runs), sum(n for _, n in missing)
    images = sum(n * study.images_of(config) for config, n in missing)
    size = f"{_count(len(asked.rungs), 'rung')} x {_count(len(asked.seeds), 'seed')}"
    tested = {"never": "is never read", "last": "is read once a run", "every": "is read after every epoch"}[asked.test]
    print(f"{asked.name}: {' '.join(asked.purpose.split())}")
    print(f"  {size}: {_count(total, 'run')} in {_count(len(asked.jobs), 'job')}; the test set {tested}")
    print(
        f"  there: {_count(total - to_train, 'run')}; to train: {_count(to_train, 'run')} in {_count(len(jobs), 'job')}"
    )
    wanted = {config.digest for _, config in asked.runs}
    others = sum(row["digest"] not in wanted for row in study.read(asked.table))
    if others:
        print(f"  {_count(others, 'row')} of {paths.show(asked.table)} that no rung asks for will leave it")
    if jobs:
        pace, source = study.speed(asked)
        print(f"  {images:,} images, about {hours(images / pace)} one job after the other,", end=" ")
        print(f"at {pace:,.0f} images/s (measured: {source})")
    return asked, jobs


def run(name: str, *options: str) -> None:
    """Plan a study, have Snakemake run its open jobs, and gather what is there."""
    asked, jobs = plan(name)
    if jobs:
        if not SNAKEMAKE.is_file():
            raise MistakeError("Snakemake is not installed: make study STUDY=... installs it.")
        if executor(options) == "slurm":
            reach_slurm()
        asked.work.mkdir(parents=True, exist_ok=True)
        with (asked.work / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise MistakeError(f"{asked.name} is being run by another process: wait for it or end it.") from None
            try:
                hand_over(asked, jobs, options, lock.fileno())
            finally:
                gather(name)
    else:
        gather(name)
    state = asked.state(jobs)
    if state.done < len(jobs):
        for job in jobs:
            if asked.missing(job):
                print(f"  {job}: {state.failed.get(job, 'ended without a word')}", file=sys.stderr)
        raise MistakeError(
            f"{_count(len(jobs) - state.done, 'job')} of {len(jobs)} did not finish; the same command tries them again "
            f"({paths.show(asked.work / 'snakemake.log')} has Snakemake's words)."
        )


def hand_over(asked: Study, jobs: Sequence[Job], options: Sequence[str], lock: int) -> None:
    """Have Snakemake run jobs, and say how far they are until it ends; it inherits the study's lock."""
    command = prepare(asked, jobs, options)
    print(f"  Snakemake's words: {paths.show(asked.work / 'snakemake.log')}", flush=True)
    with (asked.work / "snakemake.log").open("a") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[lock], start_new_session=True
        )
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # stopped in any way, it stops its jobs
        try:
            watch(asked, jobs, process)
        except KeyboardInterrupt:
            os.killpg(process.pid, signal.SIGINT)
            process.wait()
            raise
    if process.returncode == 2:
        said = (asked.work / "snakemake.log").read_text().strip().splitlines()[-1]
        raise MistakeError(f"Snakemake does not know these options ({said}): nothing was started.")


def prepare(asked: Study, jobs: Sequence[Job], options: Sequence[str]) -> list[str]:
    """Write what studies/Snakefile reads and return the command that runs these jobs."""
    for job in jobs:  # what is finished is what vitlib finds finished, not what a marker says
        (asked.work / "done" / job.name).unlink(missing_ok=True)
        asked.note(job).unlink(missing_ok=True)
    plan = {"study": str(asked.path), "python": shlex.quote(sys.executable), "tool": str(Path(__file__).resolve())}
    runs.write_json(asked.work / "jobs.json", plan | {"jobs": [job.name for job in jobs]})
    command = [str(SNAKEMAKE), "--snakefile", str(paths.ROOT / "studies" / "Snakefile"), "--directory", str(asked.work)]
    command += ["--rerun-incomplete", "--nolock", "--keep-going", "--rerun-triggers", "mtime"]
    command += ["--scheduler", "greedy"]  # the jobs wait for nothing, so there is nothing to optimise
    if not options:  # one job at a time, with every core
        cores = str(os.cpu_count())
        options = ["--cores", cores, "--set-threads", f"batch={cores}", "--retries", "2"]
    return [*command, *options]


def watch(asked: Study, jobs: Sequence[Job], process: subprocess.Popen) -> None:
    """Print how far the jobs are whenever that changes, until Snakemake ends."""
    start, at_first = time.monotonic(), asked.state(jobs).left
    enough = min(
        filter(None, at_first), default=0
    )  # images after which what a job's beginning takes counts as it should
    last, told, slots, ended = None, False, 1, False
    while not ended:
        ended = process.poll() is not None
        looked = time.monotonic()
        state = asked.state(jobs)
        slots = max(slots, state.running)
        trained, elapsed = sum(at_first) - sum(state.left), time.monotonic() - start
        counts = f"{state.done} of {len(jobs)} jobs done, {state.running} running, {len(state.failed)} failed"
        known = trained >= enough and any(state.left) and not ended
        left = f", about {hours(span(state.left, slots) * slots * elapsed / trained)} left" if known else ""
        if counts != last or known > told:
            print(f"  {counts}{left}", flush=True)
            last, told = counts, told or known
        if state.done == len(jobs) and not ended:
            end(process)
            continue
        with suppress(subprocess.TimeoutExpired):
            # looking costs at most a twentieth of the time, unless it takes very long
            process.wait(min(60.0, max(1.0, 20 * (time.monotonic() - looked))))


def span(left: Sequence[int], slots: int) -> int:
    """Return the images that the busiest slot trains on, where each takes the next job as soon as it is free."""
    busy = [0] * slots
    for images in left:
        heapq.heapreplace(busy, busy[0] + images)
    return max(busy)


def end(process: subprocess.Popen) -> None:
    """End a Snakemake whose jobs are all finished: it may wait for word of one that the scheduler has forgotten."""
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGINT)
        process.wait()


def gather(name: str) -> None:
    """Write a study's table and say where it is."""
    asked = study.load(name)
    asked.gather()
    where = paths.show(asked.table) if asked.rows else "none yet"
    print(f"Results: {where} ({asked.coverage})", flush=True)


def job(name: str, which: str) -> None:
    """Train one job of a study; where it fails, leave a note of one sentence that says why."""
    asked = study.load(name)
    try:
        asked.run(which)
    except Exception as error:
        sentence = why(error)
        with suppress(OSError, StopIteration):
            note = asked.note(next(job for job in asked.jobs if job.name == which))
            note.write_text(f"{sentence}\n")
        if isinstance(error, ValueError | DataError | OSError | FloatingPointError) or full(error):
            raise MistakeError(sentence) from error
        raise


def full(error: BaseException) -> bool:
    """Return whether a disk was full; libraries in other languages say so in words only."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error)


def why(error: Exception) -> str:
    """Return one sentence on what went wrong in a job, with the node's name."""
    node = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    if full(error):
        where = f" ({error.filename})" if getattr(error, "filename", None) else ""
        return f"The disk is full on {node}{where}: make room there, then run the same command again."
    said = " ".join(str(error).split()) or type(error).__name__
    return f"On {node}: {said}"


def teach(name: str, rung: str, called: str) -> None:
    """Make a teacher of the runs of a rung."""
    asked = study.load(name)
    if rung not in asked.rungs:
        raise MistakeError(f"rung is {rung!r}, but has to be one of {', '.join(asked.rungs)}.")
    replace(asked.rungs[rung], teacher=called)  # may be a name
    folders = [asked.folder(asked.rungs[rung]) / f"seed-{seed}" for seed in asked.seeds]
    missing = [folder.name for folder in folders if not runs.is_complete(folder)]
    if missing:
        raise MistakeError(f"{paths.show(folders[0].parent)} lacks {', '.join(missing)}: train that rung here first.")
    made = distillation.make([runs.load_run(folder) for folder in folders], called)
    print(f"{paths.show(made)}: the mean of {_count(len(folders), 'run')}")


def executor(options: Sequence[str]) -> str | None:
    """Return the executor that Snakemake's options name, directly or by a profile."""
    for i, option in enumerate(options):
        name, _, given = option.partition("=")
        given = given or "".join(options[i + 1 : i + 2])
        if name in ("--executor", "-e"):
            return given
        if name in ("--profile", "--workflow-profile"):
            settings = Path(given) / "config.yaml"
            if not settings.is_file():
                raise MistakeError(f"{name} is {given!r}, but has to be a folder that holds config.yaml.")
            try:
                found = yaml.safe_load(settings.read_text())
            except (yaml.YAMLError, ValueError) as error:
                raise MistakeError(f"{settings} is not valid YAML: {' '.join(str(error).split())}.") from error
            if not isinstance(found, dict):
                raise MistakeError(f"{settings} holds {found!r}, but has to hold options of Snakemake, name: value.")
            if "executor" in found:
                return found["executor"]
    return None


def reach_slurm() -> None:
    """Make sure that Slurm's controller answers."""
    if shutil.which("sinfo") is None:
        raise MistakeError("Slurm cannot be reached: its commands (sbatch, sinfo) are not on this machine.")
    try:
        answer = subprocess.run(["sinfo", "--noheader"], capture_output=True, text=True, timeout=60, check=False)
        said = answer.stderr.strip().splitlines()[-1:] if answer.returncode else []
    except subprocess.TimeoutExpired:
        said = ["sinfo does not answer within a minute"]
    if said:
        raise MistakeError(f"Slurm cannot be reached ({said[0]}): nothing was submitted.")


def hours(seconds: float) -> str:
    """Return a duration as hours and minutes, short ones in seconds."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02d} h" if minutes >= 60 else f"{minutes} min"


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'s' * (number != 1)}"


def main() -> None:
    """Run one of the actions."""
    actions = {"plan": plan, "run": run, "job": job, "gather": gather, "teach": teach}
    act(actions, __doc__.splitlines()[0], ValueError, DataError)


if __name__ == "__main__":
    main()
