"""Where the published numbers come from: the training run, and what was measured once."""

import json
from collections.abc import Iterator

from vitlib import paths
from vitlib.runs import Run
from vitlib.studies import tables

# how to make again what was measured once; studies have `make study`
COMMANDS = {
    "cost.json": "make benchmark",
    "speed-*.json": "make benchmark",
    "run-h200.json": "make report PROFILE=full",
}


def run_facts(run: Run) -> list[tuple[str, str]]:
    """Return what a run's manifest says about its making, then all its settings, as names and values."""
    start, code = run.manifest["starts"][-1], run.manifest["starts"][-1]["code"]
    settings = run.config.to_dict()
    network = settings.pop("model")
    facts = {
        "Commit": f"`{code['commit']}`",
        "Working tree": {True: "clean", False: "with uncommitted changes", None: "unknown"}[code["clean"]],
        "Started (UTC)": start["started"].replace("+00:00", ""),
        "Training time (s)": f"{run.manifest['training_seconds']:,.0f}",
        "Device": start["device"],
        "Threads": str(start["threads"]),
        "Python": start["python"],
        **start["packages"],
        "Settings, digest": f"`{run.config.digest}`",
        "Weights, SHA-256": f"`{run.manifest['weights_sha256'][:32]}…`",
    }
    facts |= {f"Data, SHA-256 of `{name}`": f"`{sha[:32]}…`" for name, sha in start["data_sha256"].items()}
    facts |= {f"`{name}`": f"`{value!r}`" for name, value in settings.items()}
    return [*facts.items(), *((f"`model.{name}`", f"`{value!r}`") for name, value in network.items())]


def measured_once() -> Iterator[tuple[str, str, str]]:
    """Yield each table of results that no rerun makes: its file, the command, and the machine."""
    for table in sorted((paths.ROOT / "studies" / "results").glob("*.csv")):
        if table.stem.endswith("-epochs"):
            continue
        devices = {row["device"] or row["device_kind"].upper() for row in tables.read(table)}
        yield table.name, f"make study STUDY={table.stem}", "; ".join(sorted(devices))
    yield "path-answers.safetensors", 'python tools/study.py answers path "200 epochs"', "any machine with these runs"
    yield "counting.json", "python -m vitlib.counting.tools", "any machine"
    for pattern, command in COMMANDS.items():
        files = sorted((paths.ROOT / "benchmarks" / "results").glob(pattern))
        devices = {json.loads(file.read_text(encoding="utf-8"))["environment"]["device"] for file in files}
        yield pattern, command, "; ".join(sorted(devices))
