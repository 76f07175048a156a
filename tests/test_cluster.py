"""A study on a Slurm of its own, with a node that dies, a job that fails and a submitting process that is killed.

`make test-cluster` runs it; it needs root, Debian's slurm-wlm and munge, and two minutes or more.
"""

import csv
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.slurm import Slurm, missing, wait_for
from vitlib import paths
from vitlib.studies import study

pytestmark = pytest.mark.skipif("CLUSTER_TESTS" not in os.environ, reason="make test-cluster runs it")

PATIENCE = 900  # seconds that a step may take on a busy machine; on a quiet one it takes a few
TOOL = str(paths.ROOT / "tools" / "study.py")
STUDY = """
purpose: Twelve jobs that a cluster is tried with.
recipe: homework
test: last
seeds: 0-7
seeds_a_job: 2
curves: true
settings:
  epochs: 24
  batch_size: 64
  train_images: 1024
  validation_images: 200
  model: {patch_size: 14, embed_dim: 8, depth: 2, num_heads: 2, mlp_ratio: 2}
rungs:
  homework: {}
  mirrored: {flip: true}
  shifted: {from: mirrored, crop: 2}
"""
PROFILE = """
executor: slurm
jobs: 12
retries: 2
default-resources: {{mem_mb: 500, runtime: 300}}
latency-wait: 30
slurm-status-command: squeue
slurm-init-seconds-before-status-checks: 2
config:
  - python="env TRIED=1 {python}"
"""
# stands for the node's Python: notes each start, and lets one job fail twice
PYTHON = """#!/bin/sh
echo "$4 $SLURMD_NODENAME" >>{folder}/starts
if [ "$4" = {fails} ] && [ "$(grep -c "^$4 " {folder}/starts)" -le 2 ]; then
  echo "a fault of this node" >&2
  exit 1
fi
exec {python} "$@"
"""


@pytest.fixture(scope="module")
def folder():
    lacking = missing()
    if lacking:
        pytest.fail(lacking)
    made = Path(tempfile.mkdtemp(prefix="cluster-", dir="/tmp"))  # short: a socket's name has 100 characters
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def environment():
    return os.environ | {"OMP_NUM_THREADS": "1", "TORCHDYNAMO_DISABLE": "1", "PYTHONUNBUFFERED": "1"}


def lay(folder, text=STUDY):
    path = folder / "studies" / "proof.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def run(path, environment, *options):
    command = [sys.executable, TOOL, "run", str(path), *options]
    return subprocess.run(command, env=environment, cwd=paths.ROOT, capture_output=True, text=True, check=False)


def compared(table):
    with table.open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def weights(asked):
    """Return the finished runs' weights: path -> what would change if they were written again."""
    files = asked.work.glob("runs/*/*/seed-*/model.safetensors")
    return {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in files if ".partial" not in str(file)}


def kill_submitters(work):
    """End the processes that submit a study's jobs, here and not on a node, without warning."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().split(b"\0")
            on_a_node = b"SLURMD_NODENAME" in (process / "environ").read_bytes()
        except OSError:  # it has ended
            continue
        if str(work).encode() in command and not on_a_node:
            with suppress(ProcessLookupError):
                os.kill(int(process.name), signal.SIGKILL)


def test_a_study_survives_a_cluster_and_gives_what_one_machine_gives(folder, environment):
    path = lay(folder / "cluster")
    asked = study.load(str(path))
    assert len(asked.jobs) == 12
    python, profile = folder / "python", folder / "profile"
    python.write_text(PYTHON.format(folder=folder, python=sys.executable, fails=asked.jobs[1].name))
    python.chmod(0o755)
    profile.mkdir()
    (profile / "config.yaml").write_text(PROFILE.format(python=python))
    with Slurm(folder / "slurm", nodes=3) as slurm, ExitStack() as ending:
        options = {"env": environment | slurm.settings, "cwd": paths.ROOT, "text": True}
        command = [sys.executable, TOOL, "run", str(path), "--profile", str(profile)]
        ending.callback(kill_submitters, asked.work)
        with (folder / "first").open("w") as output:
            first = subprocess.Popen(command, **options, stdout=output, stderr=output)
        ending.callback(first.kill)

        seen = {}

        def finished(number):
            for file, identity in weights(asked).items():
                assert seen.setdefault(file, identity) == identity, f"{file} was written twice"
            assert first.poll() is None, (folder / "first").read_text()
            return len(seen) >= number

        def training_on(node):
            """Whether a job of this node has finished an epoch and not its last."""
            names = [line.split()[0] for line in (folder / "starts").read_text().splitlines() if line.endswith(node)]
            job = next(job for job in asked.jobs if job.name == names[-1])
            return any(asked.folder(job.config).glob(f"seed-{job.seeds[0]}.partial/checkpoint-*"))

        wait_for(lambda: finished(4), "two jobs are done", PATIENCE)
        wait_for(lambda: finished(4) and training_on("n2"), "a job is in training on n2", PATIENCE)
        slurm.kill_node("n2")
        wait_for(lambda: finished(10), "five jobs are done", PATIENCE)

        # the submitting process ends without a word, and its jobs live on; the same command goes on
        first.kill()
        first.wait()
        kill_submitters(asked.work)
        second = subprocess.run(command, **options, capture_output=True, check=False)
        assert second.returncode == 0, second.stdout + second.stderr
        print((folder / "first").read_text(), second.stdout, slurm.ask("sinfo", "-N"), sep="\n")
        assert "n2 down" in slurm.ask("sinfo", "-h", "-N", "-o", "%N %t").replace("*", "")

    starts = [line.split() for line in (folder / "starts").read_text().splitlines()]
    assert {node for _, node in starts} == {"n1", "n2", "n3"}
    assert sum(name == asked.jobs[1].name for name, _ in starts) >= 3
    now = weights(asked)
    assert all(now[file] == identity for file, identity in seen.items())
    assert len(now) == 24
    resumed = [
        run for run in map(study.runs.load_run, (file.parent for file in now)) if len(run.manifest["starts"]) > 1
    ]
    assert resumed  # what the dead node had begun went on elsewhere
    rows = compared(asked.table)
    assert [(row["rung"], int(row["seed"])) for row in rows] == [(rung, config.seed) for rung, config in asked.runs]

    again = run(path, environment)  # nothing is left to do
    assert again.returncode == 0
    assert "to train: 0 runs" in again.stdout
    assert weights(asked) == now

    # the same study as jobs of this machine
    local = lay(folder / "local")
    alone = run(local, environment, "--cores", "2")
    assert alone.returncode == 0, alone.stdout + alone.stderr
    same = study.load(str(local))
    assert compared(same.table) == rows
    assert same.epochs_table.read_bytes() == asked.epochs_table.read_bytes()


def test_an_unreachable_scheduler_gets_one_sentence(folder, environment):
    path = lay(folder / "unreachable")
    profile = folder / "unreachable" / "profile"
    profile.mkdir()
    (profile / "config.yaml").write_text(PROFILE.format(python=sys.executable))
    with Slurm(folder / "ended", nodes=1) as slurm:
        ended = slurm.settings
    result = run(path, environment | ended, "--profile", str(profile))
    assert result.returncode == 1
    assert result.stderr.strip().startswith("Slurm cannot be reached (")
    assert result.stderr.strip().endswith("): nothing was submitted.")
    assert not study.load(str(path)).work.exists()


def test_a_full_disk_gets_one_sentence_and_no_row(folder, environment):
    full = folder / "full"
    full.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(full)], capture_output=True)
    if mounted.returncode:
        pytest.skip("this root may not mount a small disk")
    try:
        path = lay(full)
        asked = study.load(str(path))
        (full / "build").mkdir()
        with (full / "filler").open("wb") as filler:
            filler.write(bytes(shutil.disk_usage(full).free - 24 * 1024))
        command = [sys.executable, TOOL, "job", str(path), asked.jobs[0].name]
        result = subprocess.run(command, env=environment, cwd=paths.ROOT, capture_output=True, text=True, check=False)
        assert result.returncode == 1
        assert result.stderr.strip().splitlines()[-1].startswith("The disk is full on ")
        asked.gather()
        assert not asked.table.exists()
    finally:
        subprocess.run(["umount", str(full)], check=True)
