"""Measure how fast training is: against other packages, against the machine's peaks, and to 85.17 % test accuracy.

    python benchmarks/speed.py [--device cuda] [section ...]

Each section writes benchmarks/results/speed-<machine>-<section>.json; the machine is cpu or a GPU's short name.
    throughput   images/s of every model in the usual loop and in ours, inference, and the machine's matmul peak
    growth       images/s against batch, seeds, depth, width and tokens, and of forward and backward alone
    seeds        images/s of 32 seeds trained in one step against one seed
    profile      what the time of a step is spent on
    time         seconds to 85.17 % test accuracy in the homework-style loop and in ours
Afterwards benchmarks/summary.py computes summary.json. Compare only numbers of one run. `--smoke` runs small sizes and
writes to build/benchmark-smoke.
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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import measure
import peers
import summary
import torch
from torch import Tensor, nn

from vitlib import TrainConfig, ViT, cost, data, paths, runs
from vitlib.evaluate import evaluate
from vitlib.studies import recipes
from vitlib.training import provenance
from vitlib.training.engine import Engine

TARGET = 0.8517  # the homework's test accuracy
MAX_EPOCHS = 20  # after which a homework-style race gives up
OURS = summary.OURS
Case = Callable[[], float]  # takes one measurement and returns it


@dataclass(frozen=True)
class Effort:
    """How much is measured: the number of rounds, and all sizes."""

    rounds: int
    images: int  # trained on in one measurement, at least
    batch_size: int  # of the base configuration
    batches: tuple[int, ...]  # in the section growth
    inference_batch: int
    matrix_size: int  # of the square matrices whose product gives the matmul peak
    workers: tuple[int, ...]  # of the usual loop's DataLoader; the fastest number counts
    many_seeds: int = 32  # in one step, in the section seeds
    races: int = 5  # seeds, each in a new process
    warm_races: int = 0  # further seeds of ours, in one process that has compiled already


EFFORT = {
    "smoke": Effort(1, 64, 32, (16, 32), 32, 128, workers=(0,), many_seeds=2, races=1),
    "cpu": Effort(5, 1280, 128, (32, 128, 512), 500, 1536, workers=(0, 2), races=3),
    "cuda": Effort(
        rounds=15,
        images=55_000,
        batch_size=2048,
        batches=(128, 512, 2048, 8192, 16_384),
        inference_batch=5000,
        matrix_size=8192,
        workers=(4, 8, 12),
        warm_races=20,
    ),
}


class Bench:
    """What the sections share: device, training images, settings and effort."""

    def __init__(self, device: torch.device, smoke: bool) -> None:
        self.device, self.smoke, self.compiled = device, smoke, not smoke
        self.effort = EFFORT["smoke" if smoke else device.type]
        self.images, self.labels = data.load("train")
        # the report's settings without mirroring, which the usual loop lacks too
        self.base = TrainConfig(flip=False, batch_size=self.effort.batch_size)
        self.recipe = recipes.load(f"fast-{device.type}")  # the shortest way to TARGET, chosen on validation images
        self.race_compiled = self.compiled and device.type == "cuda"  # on a CPU the race is shorter than compiling
        if smoke:
            self.recipe = replace(self.recipe, epochs=1, train_images=256, batch_size=32)

    def engine(self, config: TrainConfig, seeds: int = 1, network: Callable[[], nn.Module] | None = None) -> Engine:
        """Return an engine whose epoch is one measurement."""
        steps = max(2, -(-self.effort.images // (config.batch_size * seeds)))
        size = config.batch_size * min(steps, (len(self.images) - 1) // config.batch_size)  # one image is held out
        config = replace(config, train_images=size, validation_images=1, epochs=10_000)  # the rate stays above zero
        images, labels = self.images[:size], self.labels[:size]
        engine = Engine(config, images, labels, self.device, seeds, self.compiled, _give_up, network)
        engine.begin(range(seeds))
        return engine

    def epochs(self, engine: Engine) -> Case:
        """Return what trains for one epoch of an engine and returns images/s."""
        numbers = count()
        return lambda: engine.images_per_epoch / measure.seconds(lambda: engine.epoch(next(numbers)), self.device)


def _give_up(reason: str) -> None:
    raise SystemExit(f"torch.compile does not work here ({reason}), but the benchmark needs it.")


# ---- throughput ----------------------------------------------------------------------------------------------------


def throughput(bench: Bench) -> dict[str, Any]:
    """Measure training and inference of every model, and the machine's peaks."""
    config = bench.base
    adamw = replace(config, optimizer="adamw", lr=1e-3)  # for the peers: Muon finds its matrices by our layers' names
    try:
        models = {OURS: lambda: ViT(config.model)} | peers.models(config.model)
    except ImportError as error:
        raise SystemExit(f"{error.name} is missing; run: pip install -r requirements-benchmarks.txt") from error
    workers = _fastest_workers(bench)
    batch = min(128, config.batch_size)
    cases: dict[str, Case] = {}
    for name, make in models.items():
        cases[f"usual loop: {name}"] = _usual_loop(bench, make(), workers, batch)
        cases[f"our loop: {name}"] = bench.epochs(bench.engine(config if name == OURS else adamw, network=make))
        cases[f"inference: {name}"] = _inference(bench, make(), compiled=False)
    cases[f"our loop: {OURS}, AdamW"] = bench.epochs(bench.engine(adamw))
    cases[f"inference: {OURS}, compiled"] = _inference(bench, ViT(config.model), bench.compiled)
    for dtype in (torch.float32, torch.bfloat16):
        cases[f"matmul peak: {str(dtype).removeprefix('torch.')}"] = _matmul(bench, dtype)
    return {
        "measured": measure.interleave(cases, bench.effort.rounds),  # images/s, FLOP/s
        "workers": workers,
        "usual_batch": batch,
        "parameters": {name: sum(p.numel() for p in make().parameters()) for name, make in models.items()},
        "train_flops": 6 * cost.model(config.model).macs,  # per image: 2 FLOPs a MAC, backward twice the forward pass
    }


def _fastest_workers(bench: Bench) -> int:
    """Return with how many DataLoader processes the usual loop is fastest here."""
    choices = [n for n in bench.effort.workers if n <= (os.cpu_count() or 1)] or [0]
    cases = {str(n): _usual_loop(bench, ViT(bench.base.model), n, 128) for n in choices}
    found = measure.interleave(cases, min(3, bench.effort.rounds))
    return max(choices, key=lambda n: statistics.median(found[str(n)]))


def _usual_loop(bench: Bench, model: nn.Module, workers: int, batch: int) -> Case:
    loop = peers.UsualLoop(model, bench.images, bench.labels, bench.device, workers, batch)
    steps = max(2, min(bench.effort.images, 12_800) // batch)

    def images_per_second() -> float:
        loop.train(max(1, 2 * workers))  # uses up what the workers prefetched while other cases ran
        return steps * batch / measure.seconds(lambda: loop.train(steps), bench.device)

    return images_per_second


def _inference(bench: Bench, model: nn.Module, compiled: bool) -> Case:
    """Return what classifies images on the device: compiled in bfloat16, or eagerly in float32."""
    size = bench.effort.inference_batch
    model = model.to(bench.device).eval()
    images = data.normalise(bench.images[:size].to(bench.device)).unsqueeze(1)

    def forward() -> Tensor:
        with torch.autocast(bench.device.type, torch.bfloat16, enabled=compiled):
            return model(images)

    options = {"pattern_matcher": False} if bench.device.type == "cpu" else None  # as in the engine
    function = torch.compile(forward, dynamic=False, options=options) if compiled else forward
    calls = max(1, bench.effort.images // size)

    def images_per_second() -> float:
        with torch.inference_mode():
            return calls * size / measure.seconds(lambda: [function() for _ in range(calls)], bench.device)

    return images_per_second


def _matmul(bench: Bench, dtype: torch.dtype) -> Case:
    n = bench.effort.matrix_size
    matrix = torch.randn(n, n, device=bench.device).to(dtype)
    return lambda: 2 * n**3 / min(measure.seconds(lambda: matrix @ matrix, bench.device) for _ in range(3))


# ---- growth, seeds, profile ----------------------------------------------------------------------------------------


def growth(bench: Bench) -> dict[str, Any]:
    """Measure the engine's epochs while one size grows, and forward and backward alone for each batch size."""
    cases: dict[str, Case] = {}
    rows: dict[str, dict[str, Any]] = {}
    engines: dict[tuple[TrainConfig, int], Engine] = {}
    for axis, value, config, seeds in _variants(bench):
        if (config, seeds) not in engines:  # the base configuration is on every axis
            engines[config, seeds] = bench.engine(config, seeds)
        engine, name = engines[config, seeds], f"{axis}: {value}"
        cases[name] = bench.epochs(engine)
        rows[name] = {"axis": axis, "value": value, "flops": 6 * cost.model(config.model).macs}
        if axis == "batch":
            cases[f"forward and backward: {value}"] = _forward_and_backward(bench, engine)
    measured = measure.interleave(cases, bench.effort.rounds)
    return {"measured": measured, "rows": rows, "base": bench.base.to_dict()}


def _variants(bench: Bench) -> Iterator[tuple[str, int, TrainConfig, int]]:
    """Yield axis, value, configuration and number of seeds."""
    base = bench.base

    def with_model(**changes: int) -> TrainConfig:
        return replace(base, model=replace(base.model, **changes))

    yield from (("batch", size, replace(base, batch_size=size), 1) for size in bench.effort.batches)
    yield from (("seeds", seeds, base, seeds) for seeds in (1, 4))
    yield from (("depth", depth, with_model(depth=depth), 1) for depth in (2, 4, 8))
    yield from (("width", width, with_model(embed_dim=width), 1) for width in (32, 64, 128))
    for config in (with_model(patch_size=patch) for patch in (7, 4, 2)):
        yield "tokens", config.model.num_tokens, config, 1


def _forward_and_backward(bench: Bench, engine: Engine) -> Case:
    """Return what computes gradients only, without sampling batches and without the optimizer."""
    batch = engine.config.batch_size
    calls = max(2, bench.effort.images // batch)

    def work() -> None:
        for _ in range(calls):
            engine.backward()

    return lambda: calls * batch / measure.seconds(work, bench.device)


def seeds(bench: Bench) -> dict[str, Any]:
    """Measure many seeds trained in one step against one seed, at the recipe's batch size."""
    many = bench.effort.many_seeds
    cases = {str(n): bench.epochs(bench.engine(bench.recipe, n)) for n in (1, many)}
    return {"measured": measure.interleave(cases, bench.effort.rounds), "seeds": many, "batch": bench.recipe.batch_size}


KERNELS = (  # part of an event's name in the profiler, and what the page calls it; the first match counts
    ("Call CompiledFxGraph", "compiled elementwise operations and reductions"),
    ("triton", "compiled elementwise operations and reductions"),
    ("attention_", "attention in one kernel"),
    ("aten::mm", "linear layers"),
    ("aten::addmm", "linear layers"),
    ("aten::bmm", "attention matmuls and Muon"),
    ("aten::baddbmm", "attention matmuls and Muon"),
    ("gemm", "matmuls"),  # on a GPU a kernel's name does not tell which
    ("cutlass", "matmuls"),
    ("nvjet", "matmuls"),
    ("", "everything else"),
)


def profile(bench: Bench) -> dict[str, Any]:
    """Measure what the time of a step is spent on, as shares that add to one."""
    engine = bench.engine(bench.base)
    clock = "self_device_time_total" if bench.device.type == "cuda" else "self_cpu_time_total"
    kinds = dict.fromkeys(kind for _, kind in KERNELS)
    shares: dict[str, list[float]] = {kind: [] for kind in kinds}
    engine.epoch(0)
    for round_ in range(1, bench.effort.rounds + 1):
        with torch.profiler.profile() as profiler:
            engine.epoch(round_)
            measure.synchronize(bench.device)
        spent = dict.fromkeys(kinds, 0.0)
        for event in profiler.key_averages():
            spent[next(kind for part, kind in KERNELS if part in event.key)] += getattr(event, clock)
        for kind in kinds:
            shares[kind].append(spent[kind] / sum(spent.values()))
    return {"shares": {kind: values for kind, values in shares.items() if any(values)}, "batch": bench.base.batch_size}


# ---- time to the homework's accuracy -------------------------------------------------------------------------------


def time_to_accuracy(bench: Bench) -> dict[str, Any]:
    """Race our loop against the homework-style loop, seed by seed, each in a new process that has compiled nothing."""
    raced: dict[str, list[dict[str, Any]]] = {"ours": [], "usual": [], "warm": []}
    for seed in range(bench.effort.races):
        for name in ("ours", "usual")[:: 1 if seed % 2 else -1]:
            raced[name] += _race_in_new_process(bench, name, [seed])
            print(f"  seed {seed}, {name}: {raced[name][-1]['seconds']:.1f} s", flush=True)
    if bench.effort.warm_races:
        first = bench.effort.races
        rows = _race_in_new_process(bench, "ours", range(first, first + 1 + bench.effort.warm_races))
        raced["warm"] = rows[1:]  # the first one compiles
    return {"raced": raced, "target": TARGET, "recipe": bench.recipe.to_dict(), "compiled": bench.race_compiled}


def _race_in_new_process(bench: Bench, name: str, numbers: Sequence[int]) -> list[dict[str, Any]]:
    command = [sys.executable, str(Path(__file__).resolve()), "--device", bench.device.type, "--race", name]
    command += ["--seeds", *map(str, numbers)] + (["--smoke"] if bench.smoke else [])
    with tempfile.TemporaryDirectory() as empty:
        environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": empty}
        result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode:
        raise SystemExit(f"the race {name!r} failed with exit status {result.returncode}.")
    return json.loads(result.stdout.splitlines()[-1])


def race_ours(bench: Bench, numbers: Sequence[int]) -> list[dict[str, Any]]:
    """Train with the recipe once per seed and test once at the end; only the first seed waits for the compiler.

    The clock runs from the data in the machine's memory until the last step is done on the device.
    """
    config, engine, rows = bench.recipe, None, []
    index, _ = data.training_split(config.train_images, config.validation_images)
    for seed in numbers:
        start = time.perf_counter()
        if engine is None:
            images, labels = bench.images[index], bench.labels[index]
            engine = Engine(config, images, labels, bench.device, 1, bench.race_compiled, _give_up)
        engine.begin([seed])
        for epoch in range(config.epochs):
            engine.epoch(epoch)
        measure.synchronize(bench.device)
        taken = time.perf_counter() - start
        rows.append({"seed": seed, "seconds": taken, "accuracy": _test_accuracy(engine.network(0))})
    return rows


def race_usual(bench: Bench, numbers: Sequence[int]) -> list[dict[str, Any]]:
    """Train in the homework-style loop until its test accuracy, measured after each epoch, reaches the homework's.

    The clock does not count the tests.
    """
    rows = []
    size, most = (256, 1) if bench.smoke else (len(bench.images), MAX_EPOCHS)
    images, labels, workers = bench.images[:size], bench.labels[:size], _fastest_workers(bench)
    for seed in numbers:
        torch.manual_seed(seed)
        start = time.perf_counter()
        loop = peers.UsualLoop(ViT(bench.recipe.model), images, labels, bench.device, workers, min(128, size))
        taken, accuracies = time.perf_counter() - start, []
        while len(accuracies) < most and max(accuracies, default=0) < TARGET:
            taken += measure.seconds(lambda loop=loop: loop.train(len(loop.loader)), bench.device)
            accuracies.append(_test_accuracy(loop.model))
        rows.append({"seed": seed, "seconds": taken, "accuracy": accuracies[-1], "accuracies": accuracies})
    return rows


RACES = {"ours": race_ours, "usual": race_usual}


def _test_accuracy(model: nn.Module) -> float:
    return evaluate(model, *data.load("test"), dtype=torch.float32).accuracy


SECTIONS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "throughput": throughput,
    "growth": growth,
    "seeds": seeds,
    "profile": profile,
    "time": time_to_accuracy,
}


def run_section(bench: Bench, name: str) -> dict[str, Any]:
    """Return a section's results, with where they were measured and how many seconds that took."""
    environment, start = provenance.environment(bench.device), time.perf_counter()
    result = SECTIONS[name](bench)
    torch._dynamo.reset()  # frees the compiled code
    return result | {"environment": environment, "seconds": round(time.perf_counter() - start, 1)}


def short_name(device: torch.device) -> str:
    """Return ``cpu`` or a GPU's short name, such as ``h100``."""
    if device.type == "cpu":
        return "cpu"
    name = torch.cuda.get_device_name(device)
    short = re.search(r"\b[A-Z]{1,2}\d{1,3}\b", name)
    return (short[0] if short else re.sub(r"\W+", "-", name)).lower()


def main() -> None:
    """Measure the requested sections and update the summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sections = ["all", *SECTIONS]
    parser.add_argument("section", nargs="*", default="all", choices=sections)
    devices = ("cuda", "cpu") if torch.cuda.is_available() else ("cpu",)
    parser.add_argument("--device", choices=devices, default=devices[0])
    parser.add_argument("--smoke", action="store_true", help="run small sizes, in a minute or two")
    parser.add_argument("--race", choices=RACES, help="only print the rows of this race, as JSON")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of --race")
    options = parser.parse_args()
    bench = Bench(torch.device(options.device), options.smoke)
    if options.race:
        print(json.dumps(RACES[options.race](bench, options.seeds)))
        return
    folder = paths.ROOT / "build" / "benchmark-smoke" if options.smoke else summary.RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    for name in SECTIONS if "all" in options.section else options.section:
        print(f"{name} ...", flush=True)
        runs.write_json(folder / f"speed-{short_name(bench.device)}-{name}.json", run_section(bench, name))
    summary.write(folder)


if __name__ == "__main__":
    main()
