"""What the jobs of a study cost beside their training, and how that grows with jobs and slots.

    python benchmarks/studies.py [--rounds 3] [--smoke]

Writes benchmarks/results/studies.json and the tables of docs/studies.md. Three parts: `local`, jobs that train a little
and jobs that do nothing, with 1, 2 and 4 slots on this machine; `slurm`, the same on a Slurm of its own (root and
Debian's slurm-wlm and munge), left out where there is none; `graph`, what planning and looking at many jobs takes.
Snakemake has to be there (make study and make test-cluster install it).
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from vitlib import measure, paths, runs
from vitlib.studies import study
from vitlib.studies.study import Study
from vitlib.training import provenance

sys.path[:0] = [str(paths.ROOT / "tools"), str(paths.ROOT)]
import study as tool  # noqa: E402

from tests.slurm import Slurm, missing  # noqa: E402

RESULT = paths.ROOT / "benchmarks" / "results" / "studies.json"
PAGE = paths.ROOT / "docs" / "studies.md"
BEGIN, END = "<!-- measured by benchmarks/studies.py -->\n", "<!-- end -->\n"
SLOTS = (1, 2, 4)
STUDY = """
purpose: Jobs to be timed.
recipe: homework
test: never
seeds: 0-{last}
settings:
  epochs: 1
  batch_size: 64
  train_images: 1024
  validation_images: 200
  model: {{patch_size: 14, embed_dim: 8, depth: 2, num_heads: 2, mlp_ratio: 2}}
rungs:
  homework: {{}}
"""
# a thread a job, and no compiler: what is measured is not the training
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "TORCHDYNAMO_DISABLE": "1"}
SLURM = ["--executor", "slurm", "--default-resources", "mem_mb=500", "runtime=10", "--slurm-status-command", "squeue"]
SLURM += ["--slurm-init-seconds-before-status-checks", "1"]
IDLE = ["--config", "python=true"]  # jobs that do nothing

PEAK = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""


@contextmanager
def laid(jobs: int) -> Iterator[Study]:
    """Yield a study of so many jobs that is in nobody's way."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "studies" / "timed.yaml"
        path.parent.mkdir()
        path.write_text(STUDY.format(last=jobs - 1))
        yield study.load(str(path))


def done_at(jobs: int, options: list[str], environment: dict[str, str] = ENVIRONMENT) -> list[float]:
    """Return when the jobs of a study were done, the first of them first, in seconds from Snakemake's start."""
    seen: dict[str, float] = {}
    with laid(jobs) as asked:
        asked.work.mkdir(parents=True)
        command, log = tool.prepare(asked, asked.jobs, options), asked.work / "log"
        start = time.perf_counter()
        with log.open("w") as output:
            process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
        try:
            while len(seen) < jobs:
                ended = process.poll() is not None
                for marker in (asked.work / "done").glob("*"):
                    seen.setdefault(marker.name, time.perf_counter() - start)
                if ended and len(seen) < jobs:
                    raise SystemExit(f"Snakemake failed: {log.read_text()[-1000:]}")
                time.sleep(0.005)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # rather than wait until it has asked Slurm once more
            process.wait()
    return list(seen.values())


def share(done: list[float], slots: int) -> float:
    """Return the seconds for which a job occupies a slot: the mean over those that took the place of another one."""
    return slots * (done[-1] - done[slots - 1]) / (len(done) - slots)


def local(idle: int, training: int, rounds: int) -> dict[str, list[list[float]]]:
    """Measure so many jobs on this machine, those that train once; a name is "kind, slots"."""
    kept: dict[str, list[list[float]]] = {}
    for slots in SLOTS:
        options = ["--cores", str(slots)]
        kept[f"idle, {slots}"] = [done_at(idle, [*options, *IDLE]) for _ in range(rounds)]
        kept[f"training, {slots}"] = [done_at(training, options)]
        print(f"  {slots} here", flush=True)
    return kept


def slurm(idle: int, training: int, rounds: int) -> dict[str, list[list[float]]]:
    """Measure jobs on a Slurm of its own with as many nodes as slots; a name is as in `local`."""
    kept: dict[str, list[list[float]]] = {}
    options = [*SLURM, "--jobs", str(idle)]
    for slots in SLOTS:
        folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
        try:
            with Slurm(folder / "slurm", nodes=slots) as cluster:
                environment = ENVIRONMENT | cluster.settings
                kept[f"idle, {slots}"] = [done_at(idle, [*options, *IDLE], environment) for _ in range(rounds)]
                kept[f"training, {slots}"] = [done_at(training, options, environment)]
        finally:
            shutil.rmtree(folder)
        print(f"  {slots} on Slurm", flush=True)
    return kept


def submission(jobs: int) -> float:
    """Return the seconds from one submission to Slurm to the next, while nothing else is to be done."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    try:
        with Slurm(folder / "slurm", nodes=1) as cluster, laid(jobs) as asked:
            asked.work.mkdir(parents=True)
            cluster.ask("scontrol", "update", "nodename=n1", "state=drain", "reason=waiting")  # no job starts yet
            process = subprocess.Popen(
                tool.prepare(asked, asked.jobs, [*SLURM, "--jobs", str(jobs), *IDLE]),
                env=ENVIRONMENT | cluster.settings,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            at = []
            for line in process.stderr or ():
                if "has been submitted" in line:
                    at.append(time.perf_counter())
                if len(at) == jobs:
                    break
            process.kill()
            process.wait()
    finally:
        shutil.rmtree(folder)
    if len(at) < jobs:
        raise SystemExit(f"Snakemake submitted {len(at)} of {jobs} jobs.")
    return (at[-1] - at[0]) / (jobs - 1)


def graph(sizes: tuple[int, ...]) -> dict[str, dict[str, float]]:
    """Measure what many jobs take before and beside their running: seconds, and Snakemake's memory in bytes."""
    found = {}
    for jobs in sizes:
        with laid(jobs) as asked:
            asked.work.mkdir(parents=True)
            start = time.perf_counter()
            open_jobs = [job for job in asked.jobs if asked.missing(job)]
            planned = time.perf_counter()
            asked.state(open_jobs)
            looked = time.perf_counter()
            command = tool.prepare(asked, open_jobs, ["--cores", "1", "--dry-run", "--quiet", "all"])
            begun = time.perf_counter()
            # by way of a small process: a child's peak counts that of the one that started it
            result = subprocess.run([sys.executable, "-c", PEAK, *command], stdout=subprocess.PIPE, check=False)
            ended = time.perf_counter()
        if result.returncode:
            raise SystemExit(f"Snakemake's dry run of {jobs} jobs failed.")
        memory = int(result.stdout) * (1 if sys.platform == "darwin" else 1024)
        found[str(jobs)] = {
            "plan": planned - start,
            "look": looked - planned,
            "graph": ended - begun,
            "memory": memory,
        }
        print(f"  {jobs:,} jobs: graph in {ended - begun:.1f} s", flush=True)
    return found


def document(result: dict[str, Any]) -> str:
    """Return the part of docs/studies.md that says what was measured and what follows from it."""
    parts = {"this machine": result["local"]} | ({"Slurm": result["slurm"]} if result["slurm"] else {})
    where, rounds = result["environment"]["device"], result["rounds"]
    lines = [
        f"Seconds from Snakemake's start until all jobs were done, and for which a job occupied its slot; {where}, a",
        f"thread a job. Of idle jobs the median of {rounds}, with the lowest and the highest; the others trained once.",
        "",
        "| Jobs on | Slots | Idle jobs | all done | one in its slot | Jobs that train | all done |",
        "|:---|---:|---:|---:|:---|---:|---:|",
    ]
    for name, measured in parts.items():
        for slots in SLOTS:
            idle, training = measured[f"idle, {slots}"], measured[f"training, {slots}"]
            there = f"{len(idle[0])} | {statistics.median(done[-1] for done in idle):.1f}"
            spread = measure.spread([share(done, slots) for done in idle])
            each = "{median:.2f} ({low:.2f} to {high:.2f})".format(**spread)
            lines.append(f"| {name} | {slots} | {there} | {each} | {len(training[0])} | {training[0][-1]:.1f} |")
    lines += [
        "",
        "| Jobs | Planning (s) | Snakemake's graph (s) | its memory (MB) | a look at all jobs (s) |",
    ]
    lines.append("|---:|---:|---:|---:|---:|")
    for jobs, took in result["graph"].items():
        cells = f"{took['plan']:.1f} | {took['graph']:.1f} | {took['memory'] / 1e6:,.0f} | {took['look']:.1f}"
        lines.append(f"| {int(jobs):,} | {cells} |")
    if rounds < 3:
        lines += ["", f"So few rounds ({rounds}) on a machine that has other work tell sizes, not differences."]
    if result["submission"]:
        lines += ["", *outlook(result)]
    return "\n".join(lines) + "\n"


def outlook(result: dict[str, Any]) -> list[str]:
    """Return what the figures mean for 10,000 jobs on 1,000 nodes: what limits first, and what to change then."""
    jobs, nodes, access = 10_000, 1000, 0.001
    each, took, modules = result["submission"], list(result["graph"].values())[-1], result["modules"]
    filled, submitted = tool.hours(nodes * each), tool.hours(jobs * each)
    looked = tool.hours(jobs * len(runs.FILES) * access)
    first = f"""
        **{jobs:,} jobs on {nodes:,} nodes**, reasoned from this. What limits first is how jobs start: each imports
        {modules:,} Python modules, so that {nodes:,} nodes that begin together ask the shared file system for
        {nodes * modules / 1e6:.1f} million files, {tool.hours(nodes * modules * access)} where it answers one a
        millisecond. A container (one file), or a copy of `.venv` on each node's disk, named by `python=` under
        `config:` in the profile, takes that away, and a larger `seeds_a_job` makes fewer starts: 32 turn {jobs:,} jobs
        into {-(-jobs // 32):,}.
    """
    second = f"""
        The one submitting process comes next. It has the graph after {tool.hours(took["graph"])}, in
        {took["memory"] / 1e6:,.0f} MB, and takes {1000 * each:.1f} ms a submission: {nodes:,} nodes have a job each
        after {filled}, all jobs are submitted after {submitted}. Where jobs are shorter than the first of these, nodes
        wait for it: then `slurm-array-jobs: all` in the profile submits up to 1,000 jobs in one call. A look at all
        jobs asks for at most {jobs * len(runs.FILES):,} files, {looked} at a millisecond each, and is made less often
        the longer it takes. `jobs:` in the profile has to be larger than the number of nodes and smaller than what
        Slurm keeps, 10,000 by default (`MaxJobCount`), finished ones of the last five minutes included.
    """
    return [textwrap.fill(" ".join(first.split()), 118), "", textwrap.fill(" ".join(second.split()), 118)]


def publish(text: str) -> None:
    """Put the measured part into docs/studies.md."""
    page = PAGE.read_text()
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(before + BEGIN + text + END + after)


def main() -> None:
    """Measure, keep the result, and bring the page up to date."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="try it quickly, keeping nothing")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error(f"rounds is {options.rounds}, but has to be at least 1.")
    training, rounds = (2, 1) if options.smoke else (4, options.rounds)
    lacking = missing()
    if lacking:
        print(f"Without Slurm: {lacking}")
    result = {
        "rounds": rounds,
        "graph": graph((100,) if options.smoke else (100, 1000, 10_000)),
        "local": local(40, training, rounds),
        "slurm": None if lacking else slurm(6, training, rounds),
        "submission": None if lacking else submission(12),
        "modules": len(sys.modules),  # that a job imports
        "environment": provenance.environment(torch.device("cpu")) | {"data_sha256": None},
    }
    if not options.smoke:
        runs.write_json(RESULT, result)
        publish(document(json.loads(RESULT.read_text())))
    print(document(result))


if __name__ == "__main__":
    main()
