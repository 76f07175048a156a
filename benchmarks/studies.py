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
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from vitlib import measure, paths, provenance, runs, study
from vitlib.study import Study

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
  epochs: 4
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


def wall(jobs: int, options: list[str], environment: dict[str, str] = ENVIRONMENT) -> float:
    """Return the seconds from Snakemake's start to its end with all jobs done."""
    with laid(jobs) as asked:
        asked.work.mkdir(parents=True)
        command = tool.prepare(asked, asked.jobs, options)
        start = time.perf_counter()
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        taken = time.perf_counter() - start
        if result.returncode:
            raise SystemExit(f"Snakemake failed: {result.stderr[-1000:]}")
    return taken


def local(few: int, many: int, rounds: int) -> dict[str, list[float]]:
    """Measure jobs on this machine; a name is "kind, jobs, slots"."""
    contestants: dict[str, Callable[[], float]] = {}
    for slots in SLOTS:
        options = ["--cores", str(slots)]
        for jobs in (few, many):
            contestants[f"idle, {jobs}, {slots}"] = lambda o=options, n=jobs: wall(n, [*o, *IDLE])
        contestants[f"training, {few}, {slots}"] = lambda o=options: wall(few, o)
    return measure.interleaved(contestants, rounds, warmup=0)


def slurm(few: int, many: int, rounds: int) -> dict[str, list[float]]:
    """Measure jobs on a Slurm of its own with as many nodes as slots; a name is as in `local`."""
    kept: dict[str, list[float]] = {}
    options = [*SLURM, "--jobs", str(many)]
    for slots in SLOTS:
        folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
        try:
            with Slurm(folder / "slurm", nodes=slots) as cluster:
                environment = ENVIRONMENT | cluster.settings
                contestants: dict[str, Callable[[], float]] = {
                    f"idle, {jobs}, {slots}": lambda n=jobs, e=environment: wall(n, [*options, *IDLE], e)
                    for jobs in (few, many)
                }
                contestants[f"training, {few}, {slots}"] = lambda e=environment: wall(few, options, e)
                kept |= measure.interleaved(contestants, rounds, warmup=0)
        finally:
            shutil.rmtree(folder)
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
    few, many = result["few"], result["many"]
    parts = {"this machine": result["local"]} | ({"Slurm": result["slurm"]} if result["slurm"] else {})
    where, rounds = result["environment"]["device"], result["rounds"]
    lines = [
        f"Seconds from Snakemake's start to its end, median of {rounds} on {where}, a thread a job:",
        "",
        f"| Jobs on | Slots | {few} idle | {many} idle | an idle job's share of a slot | {few} that train |",
        "|:---|---:|---:|---:|---:|---:|",
    ]
    for name, measured in parts.items():
        for slots in SLOTS:
            idle, more, training = (
                statistics.median(measured[f"{kind}, {jobs}, {slots}"])
                for kind, jobs in (("idle", few), ("idle", many), ("training", few))
            )
            share = slots * (more - idle) / (many - few)
            lines.append(f"| {name} | {slots} | {idle:.1f} | {more:.1f} | {share:.2f} | {training:.1f} |")
    lines += ["", "| Jobs | Planning (s) | Snakemake's graph (s) | its memory (MB) | a look at all jobs (s) |"]
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
        {took["memory"] / 1e6:,.0f} MB, and takes {each:.2f} s a submission: {nodes:,} nodes have a job each after
        {filled}, all jobs are submitted after {submitted}. Where jobs are shorter than the first of these, nodes wait
        for it: then `slurm-array-jobs: all` in the profile submits up to 1,000 jobs in one call. A look at all jobs
        asks for at most {jobs * len(runs.FILES):,} files, {looked} at a millisecond each, and is made less often the
        longer it takes. `jobs:` in the profile has to be larger than the number of nodes and smaller than what Slurm
        keeps, 10,000 by default (`MaxJobCount`), finished ones of the last five minutes included.
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
    few, many, rounds = (2, 4, 1) if options.smoke else (4, 12, options.rounds)
    lacking = missing()
    if lacking:
        print(f"Without Slurm: {lacking}")
    result = {
        "few": few,
        "many": many,
        "rounds": rounds,
        "graph": graph((10,) if options.smoke else (100, 1000, 10_000)),
        "local": local(few, many, rounds),
        "slurm": None if lacking else slurm(few, many, rounds),
        "submission": None if lacking else submission(many),
        "modules": len(sys.modules),  # that a job imports
        "environment": provenance.environment(torch.device("cpu")) | {"data_sha256": None},
    }
    if not options.smoke:
        runs.write_json(RESULT, result)
        publish(document(json.loads(RESULT.read_text())))
    print(document(result))


if __name__ == "__main__":
    main()
