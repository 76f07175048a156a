"""Plan, train and gather a study: a file in studies/ that lists what to train.

`run` plans the study, lets Snakemake run its jobs, on this machine or where Snakemake's options say (--profile
studies/slurm), prints the progress, and gathers the results into the study's table.
"""

import argparse
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
from pathlib import Path

from command import UserError, exit_on_user_error
from pydantic import BaseModel

from vitlib import paths, runs
from vitlib.data import DataError
from vitlib.studies import answers, tables
from vitlib.studies import study as studies
from vitlib.studies.study import Job, Study
from vitlib.yaml_file import read_yaml

GRACE = 30  # seconds that Snakemake has to notice that all jobs are finished
SNAKEMAKE = paths.ROOT / ".venv-studies" / "bin" / "snakemake"


class Profile(BaseModel):
    """What we read of a Snakemake profile."""

    executor: str | None = None


def plan(name: str) -> tuple[Study, list[Job]]:
    """Print a study's size, what is finished and the expected cost of the rest; return the unfinished jobs."""
    study = studies.load(name)
    jobs = [job for job in study.jobs if study.missing(job)]
    missing = [(job.config, len(study.missing(job))) for job in jobs]
    total, to_train = len(study.runs), sum(n for _, n in missing)
    images = sum(n * studies.images_of(config) for config, n in missing)
    tested = {"never": "is never read", "last": "is read once a run", "every": "is read after every epoch"}[study.test]
    print(f"{study.name}: {' '.join(study.purpose.split())}")
    size = f"{_count(len(study.variants), 'variant')}, {_count(total, 'run')} in {_count(len(study.jobs), 'job')}"
    print(f"  {size}; the test set {tested}")
    finished, rest = _count(total - to_train, "run"), _count(to_train, "run")
    print(f"  finished: {finished}; to train: {rest} in {_count(len(jobs), 'job')}")
    wanted = {config.digest for _, config in study.runs}
    unasked = sum(row["digest"] not in wanted for row in tables.read(study.table))
    if unasked:
        print(f"  {_count(unasked, 'row')} of {paths.relative(study.table)} that no variant asks for will be removed")
    if jobs:
        pace, source = studies.speed(study)
        print(f"  {images:,} images, about {duration(images / pace)} if one job runs at a time,", end=" ")
        print(f"at {pace:,.0f} images/s (measured: {source})")
    return study, jobs


def run(name: str, options: Sequence[str]) -> None:
    """Plan a study, let Snakemake run its unfinished jobs, and gather the finished runs."""
    study, jobs = plan(name)
    if jobs:
        if not SNAKEMAKE.is_file():
            raise UserError("Snakemake is not installed: make study STUDY=... installs it.")
        if executor(options) == "slurm":
            require_slurm()
        study.work.mkdir(parents=True, exist_ok=True)
        with (study.work / "lock").open("w", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(f"{study.name} is being run by another process: wait for it or end it.") from None
            try:
                run_snakemake(study, jobs, options, lock.fileno())
            finally:
                gather(name)
    else:
        gather(name)
    failed = study.state(jobs).failed
    unfinished = [job for job in jobs if study.missing(job)]
    for job in unfinished:
        print(f"  {job}: {failed.get(job, 'ended without a message')}", file=sys.stderr)
    if unfinished:
        raise UserError(
            f"{_count(len(unfinished), 'job')} of {len(jobs)} did not finish; the same command tries them again "
            f"(Snakemake's output: {paths.relative(study.work / 'snakemake.log')})."
        )


def run_snakemake(study: Study, jobs: Sequence[Job], options: Sequence[str], lock: int) -> None:
    """Let Snakemake run jobs, and print their progress until it ends; it inherits the study's lock."""
    command = snakemake_command(study, jobs, options)
    log = study.work / "snakemake.log"
    print(f"  Snakemake's output: {paths.relative(log)}", flush=True)
    for kind in (signal.SIGINT, signal.SIGTERM):  # in the background a shell has Ctrl-C ignored, for Snakemake too
        signal.signal(kind, signal.default_int_handler)
    with log.open("a", encoding="utf-8") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=[lock], start_new_session=True
        )
        try:
            watch(study, jobs, process)
        except BaseException:  # also if the study is terminated: it ends its jobs
            os.killpg(process.pid, signal.SIGINT)
            process.wait()
            raise
    if process.returncode == 2:
        message = log.read_text(encoding="utf-8").strip().splitlines()[-1]
        raise UserError(f"Snakemake does not know these options ({message}): nothing was started.")


def snakemake_command(study: Study, jobs: Sequence[Job], options: Sequence[str]) -> list[str]:
    """Write what studies/Snakefile reads and return the command that runs these jobs."""
    for job in jobs:  # vitlib decides what is finished, not a marker
        (study.work / "done" / job.name).unlink(missing_ok=True)
        study.note(job).unlink(missing_ok=True)
    plan = {"study": str(study.path), "python": shlex.quote(sys.executable), "tool": str(Path(__file__).resolve())}
    runs.write_json(study.work / "jobs.json", plan | {"jobs": [job.name for job in jobs]})
    command = [str(SNAKEMAKE), "--snakefile", str(paths.ROOT / "studies" / "Snakefile"), "--directory", str(study.work)]
    command += ["--rerun-incomplete", "--nolock", "--keep-going", "--rerun-triggers", "mtime"]
    command += ["--scheduler", "greedy"]  # the jobs are independent, so there is nothing to optimise
    if not options:  # one job at a time, with every core
        cores = str(os.cpu_count())
        options = ["--cores", cores, "--set-threads", f"batch={cores}", "--retries", "2"]
    return [*command, *options]


def watch(study: Study, jobs: Sequence[Job], process: subprocess.Popen) -> None:
    """Print the progress of the jobs whenever it changes, until Snakemake ends."""
    start, at_first = time.monotonic(), study.state(jobs).left
    enough = min(filter(None, at_first), default=0)  # one job: its start-up time is then part of the pace
    printed, estimated, slots, ended = None, False, 1, False
    while not ended:
        ended = process.poll() is not None
        looked = time.monotonic()
        state = study.state(jobs)
        slots = max(slots, state.running)
        trained, elapsed = sum(at_first) - sum(state.left), time.monotonic() - start
        counts = f"{state.done} of {len(jobs)} jobs done, {state.running} running, {len(state.failed)} failed"
        pace_known = trained >= enough and any(state.left) and not ended
        left = f", about {duration(makespan(state.left, slots) * slots * elapsed / trained)} left" if pace_known else ""
        if counts != printed or pace_known > estimated:
            print(f"  {counts}{left}", flush=True)
            printed, estimated = counts, estimated or pace_known
        if state.done == len(jobs) and not ended:
            stop(process)
            continue
        with suppress(subprocess.TimeoutExpired):
            # looking at the jobs takes at most a twentieth of the time
            process.wait(min(60.0, max(1.0, 20 * (time.monotonic() - looked))))


def makespan(left: Sequence[int], slots: int) -> int:
    """Return the images that the busiest slot trains on, if each slot takes the next job as soon as it is free."""
    busy = [0] * slots
    for images in left:
        heapq.heapreplace(busy, busy[0] + images)
    return max(busy)


def stop(process: subprocess.Popen) -> None:
    """End a Snakemake whose jobs are all finished: it may wait for a job that the scheduler has forgotten."""
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)  # in the background a shell has SIGINT ignored
        process.wait()


def gather(name: str) -> None:
    """Write a study's table and print its path."""
    study = studies.load(name)
    study.gather()
    where = paths.relative(study.table) if study.rows else "none yet"
    print(f"Results: {where} ({study.coverage})", flush=True)


def job(name: str, which: str) -> None:
    """Train one job of a study; if it fails, write one sentence that says why into the job's note."""
    study = studies.load(name)
    job = study.find(which)
    try:
        study.run(job)
    except Exception as error:
        sentence = describe(error)
        with suppress(OSError):
            study.note(job).write_text(f"{sentence}\n", encoding="utf-8")
        if isinstance(error, ValueError | DataError | OSError | FloatingPointError) or is_disk_full(error):
            raise UserError(sentence) from error
        raise


def is_disk_full(error: BaseException) -> bool:
    """Return whether an error means a full disk; libraries in other languages only say so in their message."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error)


def describe(error: Exception) -> str:
    """Return one sentence on why a job failed, with the node's name."""
    node = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    if is_disk_full(error):
        name = getattr(error, "filename", None)
        where = f" ({name})" if name else ""
        return f"The disk is full on {node}{where}: make room there, then run the same command again."
    return f"On {node}: {' '.join(str(error).split()) or type(error).__name__}"


def answer(name: str, variants: Sequence[str]) -> None:
    """Write what the runs of some variants answer to each image, and print the file's path."""
    print(f"Answers: {paths.relative(answers.gather(studies.load(name), variants))}")


def executor(options: Sequence[str]) -> str | None:
    """Return the executor that Snakemake's options name, directly or by a profile."""
    for i, option in enumerate(options):
        name, _, value = option.partition("=")
        value = value or "".join(options[i + 1 : i + 2])
        if name in ("--executor", "-e"):
            return value
        if name in ("--profile", "--workflow-profile"):
            settings = Path(value) / "config.yaml"
            if not settings.is_file():
                raise UserError(f"{name} is {value!r}, but must be a folder that holds config.yaml.")
            named = read_yaml(settings, Profile).executor
            if named:
                return named
    return None


def require_slurm() -> None:
    """Make sure that Slurm's controller answers."""
    if shutil.which("sinfo") is None:
        raise UserError("Slurm cannot be reached: its commands (sbatch, sinfo) are not on this machine.")
    try:
        answer = subprocess.run(["sinfo", "--noheader"], capture_output=True, encoding="utf-8", timeout=60, check=False)
        complaint = answer.stderr.strip().splitlines()[-1:] if answer.returncode else []
    except subprocess.TimeoutExpired:
        complaint = ["sinfo does not answer within a minute"]
    if complaint:
        raise UserError(f"Slurm cannot be reached ({complaint[0]}): nothing was submitted.")


def duration(seconds: float) -> str:
    """Return a duration in seconds, minutes, or hours and minutes."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02d} h" if minutes >= 60 else f"{minutes} min"


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'s' * (number != 1)}"


def main() -> None:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(action: str, help_text: str, *names: str) -> argparse.ArgumentParser:
        command = commands.add_parser(action, help=help_text, description=help_text)
        command.add_argument("study", help="name of a file in studies/, or the path of one")
        for name in names:
            command.add_argument(name)
        return command

    add("plan", "print what a study will train").set_defaults(run=lambda a: plan(a.study))
    command = add("run", "train a study and gather its results; further options are passed to Snakemake")
    command.add_argument("options", nargs=argparse.REMAINDER, metavar="...")
    command.set_defaults(run=lambda a: run(a.study, a.options))
    add("job", "train one job of a study", "job").set_defaults(run=lambda a: job(a.study, a.job))
    add("gather", "write a study's table").set_defaults(run=lambda a: gather(a.study))
    command = add("answers", "write what the finished runs of variants answer to each image, for the pages")
    command.add_argument("variants", nargs="+")
    command.set_defaults(run=lambda a: answer(a.study, a.variants))
    arguments = parser.parse_args()
    with exit_on_user_error(ValueError, DataError):
        arguments.run(arguments)


if __name__ == "__main__":
    main()
