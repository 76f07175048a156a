"""How a fault is tried: how often, at which random moments, in which copy of the project; what came of it."""

import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from vitlib import data, paths

FULL = os.environ.get("FAULT_TESTS") == "full"
SEED = int(os.environ.get("FAULT_SEED", "7"))
TALLY = {}  # what was tried: claim -> {"result": in words, "command": what shows it}
RESULTS, PAGE = paths.ROOT / "docs" / "faults.json", paths.ROOT / "docs" / "faults.md"
HEAD = "| Claim | Result | Command |\n|:---|---:|:---|\n"
PYTHON = sys.executable
FORKED = multiprocessing.get_context("forkserver")  # its processes begin with what is imported once:
FORKED.set_forkserver_preload(["tests.faults.test_killed"])
only_full = pytest.mark.skipif(not FULL, reason="tried in make test-faults")


def count(quick, full):
    """Return how often something is tried: `quick` in make test, `full` in make test-faults."""
    return full if FULL else quick


def chance(name):
    """Return a generator of random numbers that belongs to this seed and this name alone."""
    return random.Random(f"{SEED} {name}")


def note(claim, result, words):
    """Put down what came of a trial, such as "20 of 20"; `words` select its test (pytest -k)."""
    TALLY[claim] = {"result": result, "command": f'make test-faults FAULTS="-k {words}"'}


def table(results):
    """Return the table in docs/faults.md."""
    rows = [f"| {claim} | {row['result']} | `{row['command']}` |" for claim, row in results.items()]
    return HEAD + "\n".join(rows) + "\n"


def write_results():
    """Keep what was counted in docs/faults.json and in the table of docs/faults.md."""
    known = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    results = dict(sorted((known | TALLY).items()))
    RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    old = re.compile(re.escape(HEAD) + r"(?:\|.*\n)*")
    PAGE.write_text(old.sub(lambda _: table(results), PAGE.read_text()))


def environment(**changes):
    """Return the environment of a process that knows nothing of pytest and trains without compiling."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "REPORT_HOME"))}
    return kept | {"TORCH_COMPILE_DISABLE": "1"} | changes


def call(command, cwd=paths.ROOT, timeout=600, **changes):
    """Run a command to its end; return its status and what it said, stderr last."""
    done = subprocess.run(
        command, cwd=cwd, env=environment(**changes), capture_output=True, text=True, timeout=timeout, check=False
    )
    return done.returncode, done.stdout + done.stderr


def start(command, cwd, log, **changes):
    """Start a command as the leader of a group, its words in the file `log`."""
    with log.open("ab") as words:
        return subprocess.Popen(
            command, cwd=cwd, env=environment(**changes), stdout=words, stderr=words, start_new_session=True
        )


def kill_after(process, seconds, everything):
    """Kill a process group after a while, or all that ever came of it; return whether it was still at work.

    What came of it and is not killed, such as a kernel, has to notice by itself that nobody listens any more.
    """
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        offspring = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for child in filter(alive, offspring if everything else []):
            with suppress(psutil.NoSuchProcess):
                child.kill()
        end = time.monotonic() + 120
        while any(map(alive, offspring)):
            assert time.monotonic() < end, f"{[*filter(alive, offspring)]} go on after {process.args} was killed"
            time.sleep(0.02)
        return True
    return False


def alive(process):
    """Return whether a process is still at work."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill_often(wanted, name, begin, log, lines, seconds, whole, ended):
    """Kill what `begin` starts at random moments, each after some lines of its log and a while, until it was `wanted`.

    Half of the times only its group is killed, half of the times all that ever came of it. After each `whole` looks at
    what it left, and before that `ended` where it came to its own end.
    """
    moments, killed = chance(name), 0
    while killed < wanted:
        log.unlink(missing_ok=True)
        process = begin()
        wait_for_lines(log, moments.randint(1, lines), process)
        if kill_after(process, moments.uniform(0, seconds), moments.random() < 0.5):
            killed += 1
        else:
            assert process.returncode == 0, f"{process.args} ended with {process.returncode}: look at {log}"
            ended()
        whole()
    return killed


def side_by_side(function, inputs):
    """Return what a function gives for each input, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(function, inputs))


def wait_for(log, words, process, patience=300):
    """Wait until a process has said something."""
    end = time.monotonic() + patience
    while not (log.is_file() and words in log.read_text()):
        assert process.poll() is None, f"{process.args} ended before it said {words!r} in {log}"
        assert time.monotonic() < end, f"{words!r} never came in {log}"
        time.sleep(0.02)


def wait_for_lines(log, number, process):
    """Wait until a file has so many lines, or the process has ended."""
    while process.poll() is None and not (log.is_file() and len(log.read_bytes().splitlines()) >= number):
        time.sleep(0.02)


def clone(folder):
    """Copy the project, with its environment and its data linked; return what a process needs to use the copy."""
    unwanted = shutil.ignore_patterns("_build", "__pycache__", ".*", "*.egg-info", "build", "shared")
    shutil.copytree(paths.ROOT, folder, ignore=unwanted, symlinks=True)
    (folder / ".venv").symlink_to(paths.ROOT / ".venv")
    for name in ("requirements.txt", "pyproject.toml"):  # else make might install the copy into the environment
        os.utime(folder / name, (0, 0))
    return {"PYTHONPATH": str(folder), "FASHION_MNIST": str(data.default_root()), "TORCH_COMPILE_DISABLE": "1"}


def without_times(history):
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in history]


def result(run):
    """Return what has to be the same, bit for bit, however often a run was interrupted."""
    return (Path(run.path) / "model.safetensors").read_bytes(), without_times(run.history), run.metrics
