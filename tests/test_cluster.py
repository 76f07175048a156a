"""A study on a private Slurm cluster, with a node that dies, a job that fails and a submitting process that is killed.

`make test-cluster` runs it. It needs root, Debian's slurm-wlm and munge, and about three minutes.
"""

import csv
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest

from tests.conftest import call, environment, wait_until
from tests.slurm import Slurm, missing
from vitlib import paths, runs
from vitlib.studies.study import load

pytestmark = pytest.mark.cluster

PATIENCE = 900  # seconds that a step may take on a busy machine; on a quiet one it takes a few
TOOL = str(paths.ROOT / "tools" / "study.py")
QUIET = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
STUDY = """
purpose: Nine jobs to test a cluster with.
recipe: homework
test: last
seeds: 0-5
seeds_a_job: 2
curves: true
settings:
  epochs: 24
  batch_size: 64
  train_images: 1024
  validation_images: 200
  model: {patch_size: 14, embed_dim: 8, depth: 2, num_heads: 2, mlp_ratio: 2}
variants:
  homework: {}
  flipped: {flip: true}
  shifted: {from: flipped, crop_padding: 2}
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
# replaces the node's Python: logs each start, and makes one job fail twice
PYTHON = """#!/bin/sh
echo "$4 $SLURMD_NODENAME" >>{folder}/starts
if [ "$4" = {fails} ] && [ "$(grep -c "^$4 " {folder}/starts)" -le 2 ]; then
  echo "this node is broken" >&2
  exit 1
fi
exec {python} "$@"
"""


@pytest.fixture(scope="module")
def folder():
    lacking = missing()
    if lacking:
        pytest.fail(lacking)
    made = Path(tempfile.mkdtemp(prefix="cluster-", dir="/tmp"))  # short: a socket's path has at most 107 characters
    yield made
    shutil.rmtree(made)


def write_study(folder):
    path = folder / "studies" / "proof.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(STUDY, encoding="utf-8")
    return path


def run(path, *options, **surroundings):
    """Run a study with the environment variables of a cluster; return the tool's status and output."""
    return call([sys.executable, TOOL, "run", str(path), *options], timeout=4 * PATIENCE, **QUIET, **surroundings)


def results(table):
    """Return a table's rows, but for the time that they took."""
    with table.open(newline="", encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def weights(study):
    """Return the finished runs' weights: path -> inode and time, which change if the file is written again."""
    files = study.work.glob("runs/*/*/seed-*/model.safetensors")
    return {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in files if ".partial" not in str(file)}


def kill_submitters(work):
    """Kill the processes that submit a study's jobs, which do not run on a node."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # it has ended
            if str(work) in process.cmdline() and "SLURMD_NODENAME" not in process.environ():
                process.kill()


def test_a_study_survives_a_cluster_and_gives_what_one_machine_gives(folder):
    path = write_study(folder / "cluster")
    study = load(str(path))
    assert len(study.jobs) == 9
    python, profile = folder / "python", folder / "profile"
    python.write_text(PYTHON.format(folder=folder, python=sys.executable, fails=study.jobs[1].name), encoding="utf-8")
    python.chmod(0o755)
    profile.mkdir()
    (profile / "config.yaml").write_text(PROFILE.format(python=python), encoding="utf-8")
    with Slurm(folder / "slurm", nodes=3) as slurm, ExitStack() as ending:
        ending.callback(kill_submitters, study.work)
        seen = train_with_failures(folder, slurm, study)
        status, second = run(path, "--profile", str(profile), **slurm.settings)
        assert status == 0, second
        print((folder / "first").read_text(encoding="utf-8"), second, slurm.ask("sinfo", "-N"), sep="\n")
        assert "n2 down" in slurm.ask("sinfo", "-h", "-N", "-o", "%N %t").replace("*", "")

    status, output = run(write_study(folder / "unreachable"), "--profile", str(profile), **slurm.settings)
    assert status == 1
    last = output.strip().splitlines()[-1]
    assert last.startswith("Slurm cannot be reached (")
    assert last.endswith("): nothing was submitted.")
    assert not load(str(folder / "unreachable" / "studies" / "proof.yaml")).work.exists()

    starts = [line.split() for line in (folder / "starts").read_text(encoding="utf-8").splitlines()]
    assert {node for _, node in starts} == {"n1", "n2", "n3"}
    assert sum(name == study.jobs[1].name for name, _ in starts) >= 3
    now = weights(study)
    assert all(now[file] == identity for file, identity in seen.items())
    assert len(now) == 18
    # another node resumed what the dead one had begun
    assert any(len(runs.load_run(file.parent).manifest["starts"]) > 1 for file in now)
    rows = results(study.table)
    assert [(row["variant"], int(row["seed"])) for row in rows] == [(name, config.seed) for name, config in study.runs]
    status, again = run(path)
    assert status == 0
    assert "to train: 0 runs" in again
    assert weights(study) == now

    local = load(str(write_study(folder / "local")))
    status, alone = run(local.path, "--cores", "2")
    assert status == 0, alone
    assert results(local.table) == rows
    assert local.epochs_table.read_bytes() == study.epochs_table.read_bytes()


def train_with_failures(folder, slurm, study):
    """Train most of a study, kill a node meanwhile and the submitting processes at the end; return the weights seen."""
    command = [sys.executable, TOOL, "run", str(study.path), "--profile", str(folder / "profile")]
    variables = environment(**QUIET, **slurm.settings)
    with (folder / "first").open("w", encoding="utf-8") as log:
        first = subprocess.Popen(command, env=variables, cwd=paths.ROOT, stdout=log, stderr=log)
    seen = {}

    def finished(number):
        for file, identity in weights(study).items():
            assert seen.setdefault(file, identity) == identity, f"{file} was written twice"
        assert first.poll() is None, (folder / "first").read_text(encoding="utf-8")
        return len(seen) >= number

    def training_on(node):
        """Return whether a job on this node has finished an epoch, but not its last."""
        starts = (folder / "starts").read_text(encoding="utf-8").splitlines()
        job = study.find([line.split()[0] for line in starts if line.endswith(node)][-1])
        return any(study.folder(job.config).glob(f"seed-{job.seeds[0]}.partial/checkpoint-*"))

    try:
        wait_until(lambda: finished(4), "two jobs are done", PATIENCE)
        wait_until(lambda: finished(4) and training_on("n2"), "a job is in training on n2", PATIENCE)
        slurm.kill_node("n2")
        wait_until(lambda: finished(10), "five jobs are done", PATIENCE)
    finally:  # the jobs go on without the submitting processes
        first.kill()
        first.wait()
        kill_submitters(study.work)
    return seen
