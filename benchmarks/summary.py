"""Compute benchmarks/results/summary.json from the stored results of benchmarks/speed.py; measures nothing.

    python benchmarks/summary.py

For each machine: figure -> median, low, high and n of its rounds or seeds.
"""

import json
import re
import statistics
from pathlib import Path
from typing import Any

from measure import ratios, summarise

from vitlib import paths, runs

RESULTS = paths.ROOT / "benchmarks" / "results"
EPOCH = 60_000  # images
OURS = "this report"  # our model's name among the peers
Figures = dict[str, dict[str, float]]


def short_name(device: str) -> str:
    """Return the short name of a GPU, such as ``h100``, from its full one."""
    short = re.search(r"\b[A-Z]{1,2}\d{1,3}\b", device)
    return (short[0] if short else re.sub(r"\W+", "-", device)).lower()


def throughput(section: dict[str, Any]) -> Figures:
    """Compare our loop with the fastest peer in the usual loop, and with the machine's matmul peak."""
    measured = section["measured"]
    ours = measured[f"our loop: {OURS}"]
    peers = [v for name, v in measured.items() if name.startswith("usual loop: ") and not name.endswith(OURS)]
    # a CPU's loop is held against float32, the precision of the usual loop; results without a device_kind are a CPU's
    on_gpu = section["environment"].get("device_kind", "cpu") == "cuda"
    peak = measured[f"matmul peak: {'bfloat16' if on_gpu else 'float32'}"]
    return {
        "throughput_over_fastest_peer": summarise(ratios(ours, max(peers, key=statistics.median))),
        "matmul_peak_utilisation": summarise([section["train_flops"] * ratio for ratio in ratios(ours, peak)]),
    }


def growth(section: dict[str, Any]) -> Figures:
    """Return the time of the engine's epoch at the fastest batch size, and of forward and backward where measured."""
    measured = section["measured"]
    batches = [row["value"] for row in section["rows"].values() if row["axis"] == "batch"]
    best = max(batches, key=lambda batch: statistics.median(measured[f"batch: {batch}"]))
    cases = {"epoch_ms": f"batch: {best}", "forward_and_backward_ms": f"forward and backward: {best}"}
    return {
        name: summarise([1000 * EPOCH / speed for speed in measured[case]]) | {"batch": best}
        for name, case in cases.items()
        if case in measured
    }


def seeds(section: dict[str, Any]) -> Figures:
    """Compare the throughput of many seeds in one step with that of one seed."""
    measured = section["measured"]
    return {"many_seeds_speedup": summarise(ratios(measured[str(section["seeds"])], measured["1"]))}


def time(section: dict[str, Any]) -> Figures:
    """Return the seconds to the target accuracy (compiled before, where measured), and the usual loop's over ours.

    Without races of the usual loop there is no ratio.
    """
    raced = section["raced"]
    ours, usual, warm = ([row["seconds"] for row in raced[name]] for name in ("ours", "usual", "warm"))
    reached = sum(row["accuracy"] >= section["target"] for row in raced["warm"] or raced["ours"])
    ratio = {"time_to_target_ratio": summarise(ratios(usual, ours))} if usual else {}
    return ratio | {"time_to_target_s": summarise(warm or ours) | {"reached": reached}}


SECTIONS = {"throughput": throughput, "growth": growth, "seeds": seeds, "time": time}


def summary_of(folder: Path) -> dict[str, Figures]:
    """Return the figures of each machine whose results are in a folder, by the machine's short name."""
    machines: dict[str, Figures] = {}
    for path in sorted(folder.glob("speed-*-*.json")):
        machine, _, name = path.stem.removeprefix("speed-").rpartition("-")
        figures = machines.setdefault(machine, {})
        if name in SECTIONS:
            figures |= SECTIONS[name](json.loads(path.read_text(encoding="utf-8")))
    return machines


def write(folder: Path) -> None:
    """Write and print the summary of the results in a folder."""
    summary = summary_of(folder)
    runs.write_json(folder / "summary.json", summary)
    for machine, figures in summary.items():
        for name, f in figures.items():
            print(f"{machine:8s} {name:30s} {f['median']:10.3g}   {f['low']:.3g} to {f['high']:.3g}, n = {f['n']}")
    print(f"Wrote {paths.relative(folder / 'summary.json')}.")


if __name__ == "__main__":
    write(RESULTS)
