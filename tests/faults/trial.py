"""Helpers that start real processes in a copy of the project, kill them and compare what they leave."""

import os
import random
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from tests.conftest import call, environment, wait_until
from vitlib import data, paths

PYTHON = sys.executable


def start(command, cwd, log, **changes):
    """Start a command in a process group of its own; its output goes to the file `log`."""
    with log.open("ab") as output:
        return subprocess.Popen(
            command, cwd=cwd, env=environment(**changes), stdout=output, stderr=output, start_new_session=True
        )


def kill_after(process, seconds, everything):
    """Kill a process group after `seconds`, or with `everything` all its descendants; return whether it still ran.

    Descendants that are not killed, such as a notebook's kernel, have to notice and end by themselves.
    """
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        descendants = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for child in descendants if everything else []:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        wait_until(lambda: not any(map(is_alive, descendants)), f"the end of what {process.args} started")
        return True
    return False


def is_alive(process):
    """Return whether a process still runs; psutil counts one that ended and was not waited for as running."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill_often(wanted, begin, log, lines, seconds, check, ended):
    """Kill the process that `begin` starts `wanted` times, each at a random moment, and `check` what it leaves.

    The moment is up to `seconds` after a random number of `lines` in its log. Every second kill hits its group only,
    the others all its descendants. `ended` is called where the process came to its end first.
    """
    moments, killed = random.Random(str(log)), 0
    while killed < wanted:
        log.unlink(missing_ok=True)
        process = begin()
        number = moments.randint(1, lines)
        wait_until(lambda: process.poll() is not None or len(text(log).splitlines()) >= number, f"line {number}")  # noqa: B023
        if kill_after(process, moments.uniform(0, seconds), everything=killed % 2 == 1):
            killed += 1
        else:
            assert process.returncode == 0, text(log)
            ended()
        check()


def text(log):
    """Return what a process has written so far."""
    return log.read_text(encoding="utf-8") if log.is_file() else ""


def wait_for(words, log, process):
    """Wait until a running process has written `words` to a log."""
    wait_until(lambda: words in text(log) or process.poll() is not None, words)
    assert words in text(log), f"{process.args} ended: {text(log)}"


def clone(folder):
    """Copy the project with an environment of its own, whose packages and data are the original's.

    Returns:
        The copy, and the environment variables that a process needs to use it.
    """
    unwanted = shutil.ignore_patterns("_build", "__pycache__", ".*", "*.egg-info", "build")
    shutil.copytree(paths.ROOT, folder, ignore=unwanted, symlinks=True)
    environment = folder / ".venv"
    packages = environment / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    packages.mkdir(parents=True)
    installed = next(path for path in sys.path if path.endswith("site-packages"))
    links = f"{folder}\nimport site; site.addsitedir({installed!r})\n"  # the copy's library first
    (packages / "copy.pth").write_text(links, encoding="utf-8")
    for name in ("bin", "pyvenv.cfg"):
        (environment / name).symlink_to(Path(sys.prefix) / name)
    identity = call(["tools/setup.sh", "identity"], folder)[1]
    (environment / "made-for").write_text(identity, encoding="utf-8")
    (environment / "installed").touch()
    return folder, {"PYTHONPATH": str(folder), "FASHION_MNIST": str(data.default_root())}
