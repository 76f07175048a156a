"""How fast training is: beside the packages people use, against the machine's limits, and on the way to 85.17 %.

    python benchmarks/speed.py [--device cuda] [section ...]

Sections, each writing benchmarks/results/speed-<kind>-<section>.json, where the kind is cpu or a GPU's name:
    throughput   images a second of every model in its usual loop and in ours, inference, and the machine's peaks
    growth       a step's time against batch, seeds, depth, width and tokens, beside the cost's formulas
    seeds        many seeds at once over one
    profile      what a step's time goes into
    time         from nothing to 85.17 % test accuracy, the homework-style loop and ours
benchmarks/results/summary.json holds the figures that come out of them, one object per kind. Only ratios within one
run mean anything. `--smoke` tries everything in a minute or two, and writes to build/benchmark-smoke.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import peers
import torch

from vitlib import TrainConfig, ViT, cost, data, measure, paths, runs
from vitlib.evaluate import evaluate
from vitlib.studies import recipes
from vitlib.training import provenance
from vitlib.training.engine import Engine

RESULTS = paths.ROOT / "benchmarks" / "results"
TARGET = 0.8517  # the homework's test accuracy
EPOCH = 60_000  # images
LONGEST = 20  # epochs after which a homework-style loop is given up
OURS, OURS_ADAMW = "this report", "this report, AdamW"

# What throughput, growth and profile are measured with: the report's own settings, without mirroring, which the usual
# loop does not do either; on a GPU with a batch that fills it.
BASE = {"cpu": TrainConfig(flip=False), "cuda": TrainConfig(batch_size=2048, flip=False)}
# The shortest ways to 85.17 %, fixed before any race; the CPU's was chosen on validation images (studies/fast.yaml).
FAST = {"cpu": "fast-cpu", "cuda": "fast-cuda"}
# So short a training on a CPU is over before the compiler would be done.
RACES_COMPILED = {"cpu": False, "cuda": True}


@dataclass(frozen=True)
class Effort:
    """How much is measured: rounds that count, images of one measured call, and sizes."""

    rounds: int
    images: int  # a measured call trains on at least so many
    side: int  # of the square matrices whose product stands for the arithmetic peak
    copied: int  # numbers whose copy stands for the peak of memory traffic
    batches: tuple[int, ...]
    depths: tuple[int, ...] = (1, 2, 4, 8)
    widths: tuple[int, ...] = (32, 64, 128, 256)
    patches: tuple[int, ...] = (14, 7, 4, 2)
    seeds: tuple[int, ...] = (1, 2, 4, 8)
    together: int = 32  # seeds of the section on seeds
    races: int = 5  # seeds of the section on time
    warm_races: int = 0  # further seeds of ours in a process that compiled before
    compiled: bool = True
    peers: bool = True


EFFORT = {
    "cpu": Effort(
        rounds=7,
        images=1280,
        side=1536,
        copied=2**26,
        batches=(32, 128, 512),
        depths=(2, 4, 8),
        widths=(32, 64, 128),
        patches=(7, 4, 2),
        seeds=(1, 4),
    ),
    "cuda": Effort(
        rounds=15, images=32_768, side=8192, copied=2**28, batches=(128, 512, 2048, 8192, 16_384), warm_races=20
    ),
}
SMOKE = Effort(
    rounds=1,
    images=64,
    side=128,
    copied=2**16,
    batches=(16, 32),
    depths=(1, 2),
    widths=(32, 64),
    patches=(14, 7),
    seeds=(1, 2),
    together=2,
    races=1,
    compiled=False,
)


class Bench:
    """What the sections share: the device, the training images, the settings and the effort."""

    def __init__(self, device: torch.device, effort: Effort, smoke: bool) -> None:
        self.device, self.effort, self.smoke = device, effort, smoke
        self.images, self.labels = data.load("train")
        self.base, self.recipe = BASE[device.type], recipes.load(FAST[device.type])
        if smoke:
            self.base = replace(self.base, batch_size=32)
            self.recipe = replace(self.recipe, epochs=1, train_images=256, batch_size=32)

    def engine(self, config: TrainConfig, seeds: int = 1, network: Callable | None = None) -> Engine:
        """Return an engine whose epoch is one measured call."""
        steps = max(2, -(-self.effort.images // (config.batch_size * seeds)))
        size = steps * config.batch_size
        if size > len(self.images):  # a batch that the data set cannot fill twice
            size = config.batch_size
        config = replace(config, train_images=size, validation_images=1, epochs=10_000)  # the rate stays far from zero
        images, labels = self.images[:size], self.labels[:size]
        engine = Engine(config, images, labels, self.device, seeds, self.effort.compiled, _without_compiler, network)
        engine.begin(range(seeds))
        return engine

    def epochs_of(self, engine: Engine) -> Callable[[], float]:
        """Return what trains for one epoch of an engine and says how many images a second that were."""
        count = iter(range(engine.config.epochs))

        def measured() -> float:
            taken = measure.seconds(lambda: engine.epoch(next(count)), self.device)
            return engine.images_an_epoch / taken

        return measured

    def measure(self, contestants: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
        """Measure contestants side by side."""
        return measure.interleaved(contestants, self.effort.rounds)


def _without_compiler(reason: str) -> None:
    raise SystemExit(f"torch.compile does not work here ({reason}); the benchmark needs it.")


# ---- sections ------------------------------------------------------------------------------------------------------


def throughput(bench: Bench) -> dict[str, Any]:
    """Measure every model in its usual loop and in ours, training and inference, beside the machine's peaks."""
    config = bench.base
    try:
        makers = {OURS: lambda: ViT(config.model)} | (peers.models(config.model) if bench.effort.peers else {})
    except ImportError as error:
        raise SystemExit(f"{error.name} is missing; run: pip install -r requirements-benchmarks.txt") from error
    workers = _workers(bench)
    batch = min(128, config.batch_size)
    contestants: dict[str, Callable[[], float]] = {}
    for name, make in makers.items():
        contestants[f"usual loop: {name}"] = _usual(bench, make(), workers, batch)
        recipe = config if name == OURS else replace(config, optimizer="adamw", lr=1e-3)
        contestants[f"our loop: {name}"] = bench.epochs_of(bench.engine(recipe, network=make))
        contestants[f"inference: {name}"] = _inference(bench, make(), compiled=False)
    adamw = replace(config, optimizer="adamw", lr=1e-3)
    contestants[f"our loop: {OURS_ADAMW}"] = bench.epochs_of(bench.engine(adamw))
    if bench.effort.compiled:
        contestants[f"inference: {OURS}, compiled"] = _inference(bench, ViT(config.model), compiled=True)
    kinds = (torch.float32, torch.bfloat16)
    contestants |= {f"peak of products: {str(kind)[6:]}": _products(bench, kind) for kind in kinds}
    contestants["peak of traffic"] = _traffic(bench)
    return {
        "measured": bench.measure(contestants),  # images/s; FLOP/s; bytes/s
        "workers": workers,
        "usual_batch": batch,
        "parameters": {name: sum(p.numel() for p in make().parameters()) for name, make in makers.items()},
        "train_flops": 6 * cost.model(config.model).macs,  # an image, forward and backward
    }


def _workers(bench: Bench) -> int:
    """Return the number of the DataLoader's processes with which the usual loop is fastest here."""
    choices = (0,) if bench.smoke else (0, 2) if bench.device.type == "cpu" else (4, 8, 12)
    choices = [n for n in choices if n <= (os.cpu_count() or 1)] or [0]
    if len(choices) == 1:
        return choices[0]
    loops = {str(n): _usual(bench, ViT(bench.base.model), n, 128) for n in choices}
    found = measure.interleaved(loops, 3, say=lambda _: None)
    return max(choices, key=lambda n: statistics.median(found[str(n)]))


def _usual(bench: Bench, model: torch.nn.Module, workers: int, batch: int) -> Callable[[], float]:
    loop = peers.UsualLoop(model, bench.images, bench.labels, bench.device, workers, batch)
    steps = max(2, min(bench.effort.images, 12_800) // batch)

    def measured() -> float:
        loop.steps(max(1, 2 * workers))  # what the workers prepared while others were measured is used up
        return steps * batch / measure.seconds(lambda: loop.steps(steps), bench.device)

    return measured


def _inference(bench: Bench, model: torch.nn.Module, compiled: bool) -> Callable[[], float]:
    """Return what classifies images that are on the device: float32 and eager, or compiled and in bfloat16."""
    size = 32 if bench.smoke else 500 if bench.device.type == "cpu" else 5000
    model = model.to(bench.device).eval()
    images = data.normalise(bench.images[:size].to(bench.device)).unsqueeze(1)

    def forward() -> torch.Tensor:
        with torch.autocast(bench.device.type, torch.bfloat16, enabled=compiled):
            return model(images)

    options = {"pattern_matcher": False} if bench.device.type == "cpu" else None
    function = torch.compile(forward, dynamic=False, options=options) if compiled else forward
    calls = max(1, bench.effort.images // size)

    def measured() -> float:
        with torch.inference_mode():
            return calls * size / measure.seconds(lambda: [function() for _ in range(calls)], bench.device)

    return measured


def _products(bench: Bench, kind: torch.dtype) -> Callable[[], float]:
    square = torch.randn(bench.effort.side, bench.effort.side, device=bench.device).to(kind)
    return lambda: 2 * bench.effort.side**3 / min(measure.seconds(lambda: square @ square, bench.device) for _ in "123")


def _traffic(bench: Bench) -> Callable[[], float]:
    source = torch.randn(bench.effort.copied, device=bench.device)
    target = torch.empty_like(source)
    moved = 2 * cost.BYTES * bench.effort.copied
    return lambda: moved / min(measure.seconds(lambda: target.copy_(source), bench.device) for _ in "123")


def growth(bench: Bench) -> dict[str, Any]:
    """Measure a step while one size grows, and forward and backward alone while the batch grows."""
    effort, base = bench.effort, bench.base
    grown: list[tuple[str, int, TrainConfig, int]] = []
    for size in effort.batches:
        grown.append(("batch", size, replace(base, batch_size=size), 1))
    for seeds in effort.seeds:
        grown.append(("seeds", seeds, base, seeds))
    for depth in effort.depths:
        grown.append(("depth", depth, replace(base, model=replace(base.model, depth=depth)), 1))
    for width in effort.widths:
        grown.append(("width", width, replace(base, model=replace(base.model, embed_dim=width)), 1))
    for patch in effort.patches:
        model = replace(base.model, patch_size=patch)
        grown.append(("tokens", model.num_tokens, replace(base, model=model), 1))
    contestants: dict[str, Callable[[], float]] = {}
    rows: dict[str, dict[str, Any]] = {}
    engines: dict[tuple[TrainConfig, int], Engine] = {}
    for axis, value, config, seeds in grown:
        if (config, seeds) not in engines:  # the base lies on every axis
            engines[config, seeds] = bench.engine(config, seeds)
        engine = engines[config, seeds]
        name = f"{axis}: {value}"
        contestants[name] = bench.epochs_of(engine)
        flops = 6 * cost.model(config.model).macs
        rows[name] = {"axis": axis, "value": value, "images_a_step": config.batch_size * seeds, "flops": flops}
        if axis == "batch":
            contestants[f"forward and backward: {value}"] = _forward_and_backward(bench, engine)
    return {"measured": bench.measure(contestants), "rows": rows, "base": base.to_dict()}


def _forward_and_backward(bench: Bench, engine: Engine) -> Callable[[], float]:
    """Return what computes gradients again and again and says how many images a second that were."""
    batch = engine.config.batch_size
    images, labels = engine.images[:batch], engine.targets[:batch]
    calls = max(2, bench.effort.images // batch)

    def work() -> None:
        for _ in range(calls):
            engine.model.zero_grad(set_to_none=True)
            engine.loss_function(images, labels).backward()

    return lambda: calls * batch / measure.seconds(work, bench.device)


def seeds(bench: Bench) -> dict[str, Any]:
    """Measure many seeds at once beside one, at the recipe's batch."""
    together = bench.effort.together
    contestants = {str(n): bench.epochs_of(bench.engine(bench.recipe, n)) for n in (1, together)}
    return {"measured": bench.measure(contestants), "seeds": together, "batch": bench.recipe.batch_size}


KINDS = (  # of what a profiler sees, by a part of its name; the first that fits counts
    ("Call CompiledFxGraph", "compiled operations between the products"),
    ("triton", "compiled operations between the products"),
    ("aten::mm", "products with weights"),
    ("aten::addmm", "products with weights"),
    ("aten::bmm", "products of tokens, and in Muon"),
    ("aten::baddbmm", "products of tokens, and in Muon"),
    ("gemm", "products of matrices"),
    ("cutlass", "products of matrices"),
    ("nvjet", "products of matrices"),
    ("", "everything else"),
)


def profile(bench: Bench) -> dict[str, Any]:
    """Measure what the time of a step goes into, as shares that add to one."""
    engine = bench.engine(bench.base)
    rounds: dict[str, list[float]] = {}
    engine.epoch(0)
    for round_ in range(1, bench.effort.rounds + 1):
        with torch.profiler.profile() as profiler:
            engine.epoch(round_)
            measure.wait(bench.device)
        spent: dict[str, float] = dict.fromkeys((kind for _, kind in KINDS), 0.0)
        for event in profiler.key_averages():
            on_gpu = bench.device.type == "cuda"
            kind = next(kind for part, kind in KINDS if part in event.key)
            spent[kind] += event.self_device_time_total if on_gpu else event.self_cpu_time_total
        whole = sum(spent.values())
        for kind, taken in spent.items():
            rounds.setdefault(kind, []).append(taken / whole)
    shares = {kind: shares for kind, shares in rounds.items() if any(shares)}
    return {"shares": shares, "batch": bench.base.batch_size}


def time_to_accuracy(bench: Bench) -> dict[str, Any]:
    """Race ours and the homework-style loop, seed by seed, each in a process of its own that has compiled nothing."""
    raced: dict[str, list[dict[str, Any]]] = {"ours": [], "usual": [], "warm": []}
    for seed in range(bench.effort.races):
        for name in ("ours", "usual")[:: 1 if seed % 2 else -1]:
            raced[name] += _race(bench, name, [seed])
            print(f"  seed {seed}, {name}: {raced[name][-1]['seconds']:.1f} s", flush=True)
    if bench.effort.warm_races:
        first = bench.effort.races
        raced["warm"] = _race(bench, "ours", list(range(first, first + 1 + bench.effort.warm_races)))[1:]
    compiled = RACES_COMPILED[bench.device.type]
    return {"raced": raced, "target": TARGET, "recipe": bench.recipe.to_dict(), "compiled": compiled}


def _race(bench: Bench, name: str, numbers: list[int]) -> list[dict[str, Any]]:
    command = [sys.executable, str(Path(__file__).resolve()), "--device", bench.device.type, "--race", name]
    command += ["--seeds", *map(str, numbers)] + (["--smoke"] if bench.smoke else [])
    with tempfile.TemporaryDirectory() as empty:
        environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": empty}
        result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode:
        raise SystemExit(f"racing {name} failed, with status {result.returncode}.")
    return json.loads(result.stdout.splitlines()[-1])


def race_ours(bench: Bench, numbers: list[int]) -> list[dict[str, Any]]:
    """Train by our fixed schedule once per seed and test once at its end; only the first seed waits for a compiler.

    The clock runs from the data in the machine's memory to the last step's end on the device.
    """
    config, engine, rows = bench.recipe, None, []
    index, _ = data.training_split(config.train_images, config.validation_images)
    for seed in numbers:
        measure.wait(bench.device)
        start = time.perf_counter()
        if engine is None:
            images, labels = bench.images[index], bench.labels[index]
            compiled = bench.effort.compiled and RACES_COMPILED[bench.device.type]
            engine = Engine(config, images, labels, bench.device, 1, compiled, _without_compiler)
        engine.begin([seed])
        speeds = [engine.epoch(epoch)[1] for epoch in range(config.epochs)]
        measure.wait(bench.device)
        taken = time.perf_counter() - start
        stepping = config.epochs * engine.images_an_epoch / speeds[-1]
        accuracy = evaluate(engine.network(0), *data.load("test"), dtype=torch.float32).accuracy
        rows.append({"seed": seed, "seconds": taken, "stepping_seconds": stepping, "accuracy": accuracy})
    return rows


def race_usual(bench: Bench, numbers: list[int]) -> list[dict[str, Any]]:
    """Train in the homework-style loop until its test accuracy, looked at after every epoch, is the homework's.

    The clock stands still while it is tested.
    """
    rows = []
    size = 256 if bench.smoke else EPOCH
    workers = _workers(bench)
    for seed in numbers:
        torch.manual_seed(seed)
        start = time.perf_counter()
        loop = peers.UsualLoop(
            ViT(bench.recipe.model), bench.images[:size], bench.labels[:size], bench.device, workers, min(128, size)
        )
        taken, accuracies = time.perf_counter() - start, []
        while not accuracies or (accuracies[-1] < TARGET and len(accuracies) < (1 if bench.smoke else LONGEST)):
            taken += measure.seconds(loop.epoch, bench.device)
            accuracies.append(evaluate(loop.model, *data.load("test"), dtype=torch.float32).accuracy)
        rows.append({"seed": seed, "seconds": taken, "accuracy": accuracies[-1], "accuracies": accuracies})
    return rows


SECTIONS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "throughput": throughput,
    "growth": growth,
    "seeds": seeds,
    "profile": profile,
    "time": time_to_accuracy,
}


# ---- what comes out ------------------------------------------------------------------------------------------------


def figures_of(results: dict[str, dict[str, Any]], on_gpu: bool) -> dict[str, dict[str, float]]:
    """Return the figures that follow from the sections there are: name -> median, low, high and n."""
    figures: dict[str, dict[str, float]] = {}
    if "throughput" in results:
        measured = results["throughput"]["measured"]
        ours = measured[f"our loop: {OURS}"]
        usual = {n: v for n, v in measured.items() if n.startswith("usual loop: ") and not n.endswith(OURS)}
        if usual:
            fastest = max(usual.values(), key=statistics.median)
            figures["throughput_over_fastest_peer"] = measure.spread(measure.over(ours, fastest))
        peak = measured[f"peak of products: {'bfloat16' if on_gpu else 'float32'}"]
        flops = results["throughput"]["train_flops"]
        figures["share_of_matmul_peak"] = measure.spread([flops * share for share in measure.over(ours, peak)])
    if "growth" in results:
        measured = results["growth"]["measured"]
        passes = [v for n, v in measured.items() if n.startswith("forward and backward: ")]
        best = max(passes, key=statistics.median)
        figures["epoch_ms"] = measure.spread([1000 * EPOCH / speed for speed in best])
    if "seeds" in results:
        measured, together = results["seeds"]["measured"], results["seeds"]["seeds"]
        figures[f"seeds_{together}_over_1"] = measure.spread(measure.over(measured[str(together)], measured["1"]))
    if "time" in results:
        raced = results["time"]["raced"]
        taken = {name: [row["seconds"] for row in rows] for name, rows in raced.items()}
        figures["time_to_8517_ratio"] = measure.spread(measure.over(taken["usual"], taken["ours"]))
        counted = "warm" if raced["warm"] else "ours"
        reached = sum(row["accuracy"] >= TARGET for row in raced[counted])
        mean = statistics.fmean(taken[counted])
        figures["time_to_8517_s"] = measure.spread(taken[counted]) | {"mean": mean, "reached": reached}
    return figures


def kind_of(device: torch.device) -> str:
    """Return the short name of a kind of device: ``cpu``, or a GPU's, such as ``h100``."""
    if device.type == "cpu":
        return "cpu"
    name = torch.cuda.get_device_name(device)
    short = re.search(r"\b[A-Z]{1,2}\d{1,3}\b", name)
    return (short[0] if short else re.sub(r"\W+", "-", name)).lower()


def main() -> None:
    """Measure the sections asked for and bring the summary up to date."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sections", nargs="*", metavar="section", help=f"{', '.join(SECTIONS)}; by default all")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, help="that count, in each section but time")
    parser.add_argument("--together", type=int, help="seeds at once in the section on seeds; 32 by default")
    parser.add_argument("--races", type=int, help="seeds in the section on time; 5 by default")
    parser.add_argument("--smoke", action="store_true", help="try everything quickly, on small sizes")
    parser.add_argument("--out", type=Path, help="folder of the results")
    parser.add_argument("--race", choices=("ours", "usual"), help=argparse.SUPPRESS)
    parser.add_argument("--seeds", type=int, nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    for name in options.sections:
        if name not in SECTIONS:
            parser.error(f"section is {name!r}, but has to be one of {', '.join(SECTIONS)}.")
    wanted = {name: getattr(options, name) for name in ("rounds", "together", "races")}
    for name, value in wanted.items():
        low = 2 if name == "together" else 1
        if value is not None and value < low:
            parser.error(f"{name} is {value}, but has to be at least {low}.")
    device = torch.device(options.device)
    effort = SMOKE if options.smoke else EFFORT[device.type]
    effort = replace(effort, **{name: value for name, value in wanted.items() if value is not None})
    bench = Bench(device, effort, options.smoke)
    if options.race:
        print(json.dumps((race_ours if options.race == "ours" else race_usual)(bench, options.seeds)))
        return

    folder = options.out or (paths.ROOT / "build" / "benchmark-smoke" if options.smoke else RESULTS)
    folder.mkdir(parents=True, exist_ok=True)
    kind = kind_of(device)
    for name in options.sections or SECTIONS:
        print(f"{name} ...", flush=True)
        start = time.perf_counter()
        environment = provenance.environment(device) | {"data_sha256": None}
        result = SECTIONS[name](bench)
        torch._dynamo.reset()
        result |= {"environment": environment, "seconds": round(time.perf_counter() - start, 1)}
        runs.write_json(folder / f"speed-{kind}-{name}.json", result)
    files = {name: folder / f"speed-{kind}-{name}.json" for name in SECTIONS}
    results = {name: json.loads(path.read_text()) for name, path in files.items() if path.is_file()}
    summary_file = folder / "summary.json"
    summary = json.loads(summary_file.read_text()) if summary_file.is_file() else {}
    summary[kind] = figures_of(results, device.type == "cuda")
    runs.write_json(summary_file, summary)
    for name, figure in summary[kind].items():
        print(f"{name:30s} {figure['median']:10.3g}   {figure['low']:.3g} to {figure['high']:.3g}, n = {figure['n']}")
    print(f"Kept in {paths.show(folder)}; the page on speed reads it.")


if __name__ == "__main__":
    main()
