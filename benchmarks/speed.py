"""Measure how fast training is: against other packages, against the machine's peaks, and to 85.17 % test accuracy.

    python benchmarks/speed.py [--device cuda] [--quick] [section ...]

Each section writes benchmarks/results/speed-<machine>-<section>.json; the machine is cpu or a GPU's short name.
    throughput   images/s of every model in the usual loop and in ours, and the machine's matmul peaks
    batches      images/s of our loop against the batch size
    seeds        images/s of ten seeds trained in one step, and of one
    profile      what the time of a step is spent on
    time         seconds to 85.17 % test accuracy in the homework-style loop and in ours
Compare only numbers of one run. On a GPU all contestants of a section compile at the same time, in processes of their
own, and are measured one after the other. `--quick` measures on a GPU, in two minutes, what matters most: every package
in the usual loop, this report in its own, batch sizes, ten seeds, and the race once it is compiled. `--smoke` runs
small sizes and writes to build/benchmark-smoke.
"""

import argparse
import math
import os
import re
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import hosts
import measure
import peers
import torch
from torch import nn
from torch.autograd import DeviceType
from torch.utils.flop_counter import FlopCounterMode

from vitlib import TrainConfig, ViT, ViTConfig, data, homework, paths, runs
from vitlib.evaluate import evaluate
from vitlib.studies import recipes
from vitlib.training import provenance
from vitlib.training.engine import Engine
from vitlib.training.fast_model import make_fast

TARGET = sum(homework.CORRECT) / sum(homework.TOTAL)
OURS = "this report"  # our model's name among the peers
MAX_EPOCHS = 20  # after which a homework-style race gives up
Case = Callable[[], Any]  # takes one measurement and returns it
Contestants = dict[str, Callable[[], Case]]  # what makes each one's case, by name


@dataclass(frozen=True)
class Effort:
    """How much is measured: the number of rounds, and all sizes."""

    rounds: int
    images: int  # trained on in one measurement, at least
    batch_size: int  # of the base configuration
    batches: tuple[int, ...]  # in the section of that name
    matrix_size: int  # of the square matrices whose product gives the matmul peak
    workers: tuple[int, ...]  # of the usual loop's DataLoader; the fastest number counts
    seeds: int = 10  # in one step, in the section of that name
    races: int = 5  # seeds, each in a new process
    warm_races: int = 0  # further seeds of ours, in one process that has compiled already
    usual_images: int = 12_800  # trained on in one measurement of the usual loop, at most
    seconds: float = math.inf  # after which a section begins no further round
    processes: int = 1  # in which contestants compile at the same time; 1: in this one, one after the other
    only: str = ""  # a pattern of the contestants' names


QUICK = rf"usual loop|our loop: {OURS}$|matmul|^\d+$|profile|warm"
EFFORT = {
    "smoke": Effort(1, 64, 32, (16, 32), 128, workers=(0,), seeds=2, races=1),
    "cpu": Effort(5, 1280, 128, (32, 128, 512), 1536, workers=(0, 2), races=3),
    "cuda": Effort(
        rounds=15,
        images=55_000,
        batch_size=2048,
        batches=(128, 512, 2048, 8192, 16_384),
        matrix_size=8192,
        workers=(4, 8, 12),
        warm_races=20,
        processes=10,
    ),
}
EFFORT["quick"] = replace(EFFORT["cuda"], rounds=9, usual_images=6400, seconds=15, only=QUICK)
EFFORT["quick smoke"] = replace(EFFORT["smoke"], warm_races=1, processes=2, only=QUICK)


class Bench:
    """What the sections share: device, training images, settings and effort.

    Args:
        device: where to train.
        effort: a name in `EFFORT`.
        workers: of the usual loop; None: the fastest number, measured when it is first needed.
    """

    def __init__(self, device: torch.device, effort: str, workers: int | None = None) -> None:
        self.device, self.name, self.effort, self._workers = device, effort, EFFORT[effort], workers
        smoke = "smoke" in effort
        self.compiled = not smoke
        self.images, self.labels = data.load("train")
        # the report's settings without mirroring, which the usual loop lacks too
        self.base = TrainConfig(flip=False, batch_size=self.effort.batch_size)
        self.usual_batch = min(128, self.effort.batch_size)
        self.recipe = recipes.load(f"fast-{device.type}")  # a short way to TARGET
        self.race_compiled = self.compiled and device.type == "cuda"  # on a CPU the race is shorter than compiling
        self.usual_epoch, self.max_epochs = len(self.images), MAX_EPOCHS
        if smoke:
            network = ViTConfig(patch_size=14, embed_dim=8, depth=1, num_heads=2)
            self.recipe = replace(self.recipe, epochs=1, train_images=256, batch_size=32, model=network)
            self.usual_epoch, self.max_epochs = 256, 1

    @property
    def workers(self) -> int:
        """With how many DataLoader processes the usual loop is fastest here."""
        if self._workers is None:
            choices = [n for n in self.effort.workers if n <= (os.cpu_count() or 1)] or [0]
            cases = {str(n): _usual_loop(self, ViT(self.base.model), n, self.usual_batch) for n in choices}
            speeds = measure.interleave(cases, min(3, self.effort.rounds), seconds=min(5, self.effort.seconds))
            self._workers = max(choices, key=lambda n: statistics.median(speeds[str(n)]))
        return self._workers

    def engine(self, config: TrainConfig, seeds: int = 1, network: Callable[[], nn.Module] | None = None) -> Engine:
        """Return an engine whose epoch is one measurement."""
        steps = max(2, -(-self.effort.images // (config.batch_size * seeds)))
        size = config.batch_size * min(steps, (len(self.images) - 1) // config.batch_size)  # one image is held out
        config = replace(config, train_images=size, validation_images=1, epochs=10_000)  # the rate stays above zero
        images, labels = self.images[:size], self.labels[:size]
        engine = Engine(config, images, labels, self.device, seeds, self.compiled, _give_up, network)
        engine.begin(range(seeds))
        return engine

    def epochs(self, config: TrainConfig, seeds: int = 1, network: Callable[[], nn.Module] | None = None) -> Case:
        """Return what trains for one epoch and returns images/s; it is compiled."""
        engine, numbers = self.engine(config, seeds, network), count()
        engine.epoch(next(numbers))
        return lambda: engine.images_per_epoch / measure.seconds(lambda: engine.epoch(next(numbers)), self.device)


def _give_up(reason: str) -> None:
    raise SystemExit(f"torch.compile does not work here ({reason}), but the benchmark needs it.")


class Section(NamedTuple):
    """What is measured in a section of the results."""

    contestants: Callable[[Bench], Contestants]
    result: Callable[[Bench, dict[str, list[Any]]], dict[str, Any]]  # from every contestant's rounds
    repeated: bool = True  # False: a single round and no warm-up


# ---- throughput ----------------------------------------------------------------------------------------------------


def _models(bench: Bench) -> dict[str, Callable[[], nn.Module]]:
    try:
        return {OURS: lambda: ViT(bench.base.model)} | peers.models(bench.base.model)
    except ImportError as error:
        raise SystemExit(f"{error.name} is missing; run: pip install -r requirements-benchmarks.txt") from error


def throughput(bench: Bench) -> Contestants:
    """Return the training of every model, and the machine's peaks."""
    config = bench.base
    adamw = replace(config, optimizer="adamw", lr=1e-3)  # for the peers: Muon finds its matrices by our layers' names
    contestants: Contestants = {}
    for name, make in _models(bench).items():
        contestants[f"usual loop: {name}"] = lambda make=make: _usual_loop(
            bench, make(), bench.workers, bench.usual_batch
        )
        ours = partial(bench.epochs, config)
        contestants[f"our loop: {name}"] = ours if name == OURS else partial(bench.epochs, adamw, network=make)
    contestants[f"our loop: {OURS}, AdamW"] = partial(bench.epochs, adamw)
    for dtype in (torch.float32, torch.bfloat16):
        contestants[f"matmul peak: {str(dtype).removeprefix('torch.')}"] = partial(_matmul, bench, dtype)
    return contestants


def throughput_result(bench: Bench, measured: dict[str, list[float]]) -> dict[str, Any]:
    """Return the speeds (images/s, FLOP/s) and what they belong to."""
    return {
        "measured": measured,
        "workers": bench.workers,
        "usual_batch": bench.usual_batch,
        "parameters": {name: sum(p.numel() for p in make().parameters()) for name, make in _models(bench).items()},
        "train_flops": _train_flops(bench.base.model),
    }


def _train_flops(config: ViTConfig) -> int:
    """Return the FLOPs of training on an image, in the form that trains; backward takes twice the forward pass."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        make_fast(ViT(config))(torch.empty(1, config.channels, config.image_size, config.image_size))
    return 3 * counter.get_total_flops()


def _usual_loop(bench: Bench, model: nn.Module, workers: int, batch: int) -> Case:
    loop = peers.UsualLoop(model, bench.images, bench.labels, bench.device, workers, batch)
    steps = max(2, min(bench.effort.images, bench.effort.usual_images) // batch)

    def images_per_second() -> float:
        loop.train(max(1, 2 * workers))  # uses up what the workers prefetched while other cases ran
        return steps * batch / measure.seconds(lambda: loop.train(steps), bench.device)

    return images_per_second


def _matmul(bench: Bench, dtype: torch.dtype) -> Case:
    n = bench.effort.matrix_size
    matrix = torch.randn(n, n, device=bench.device).to(dtype)
    return lambda: 2 * n**3 / min(measure.seconds(lambda: matrix @ matrix, bench.device) for _ in range(3))


# ---- batches, seeds, profile ----------------------------------------------------------------------------------------


def batches(bench: Bench) -> Contestants:
    """Return the engine's epochs by batch size."""
    return {str(size): partial(bench.epochs, replace(bench.base, batch_size=size)) for size in bench.effort.batches}


def batches_result(bench: Bench, measured: dict[str, list[float]]) -> dict[str, Any]:
    """Return the speeds in images/s."""
    return {"measured": measured}


def seeds(bench: Bench) -> Contestants:
    """Return one seed, and several trained in one step, at the usual batch size."""
    config = replace(bench.base, batch_size=bench.usual_batch)
    return {str(n): partial(bench.epochs, config, n) for n in (1, bench.effort.seeds)}


def seeds_result(bench: Bench, measured: dict[str, list[float]]) -> dict[str, Any]:
    """Return the speeds in images/s over all seeds."""
    return {"measured": measured, "batch": bench.usual_batch}


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


def profile(bench: Bench) -> Contestants:
    """Return what profiles an epoch."""
    return {"profile": partial(_profile, bench)}


def profile_result(bench: Bench, measured: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Return what the time of a step is spent on, as shares that add to one, and how many kernels a GPU runs in it."""
    rounds = measured["profile"]
    kernels = {"kernels": [shares.pop("kernels") for shares in rounds]} if bench.device.type == "cuda" else {}
    shares = {kind: [shares[kind] for shares in rounds] for kind in rounds[0] if any(shares[kind] for shares in rounds)}
    return {"shares": shares, "batch": bench.base.batch_size} | kernels


def _profile(bench: Bench) -> Case:
    engine, numbers = bench.engine(bench.base), count()
    clock = "self_device_time_total" if bench.device.type == "cuda" else "self_cpu_time_total"

    def shares() -> dict[str, float]:
        with torch.profiler.profile() as profiler:
            engine.epoch(next(numbers))
            measure.synchronize(bench.device)
        spent, events = dict.fromkeys((kind for _, kind in KERNELS), 0.0), profiler.key_averages()
        for event in events:
            spent[next(kind for part, kind in KERNELS if part in event.key)] += getattr(event, clock)
        shares = {kind: seconds / sum(spent.values()) for kind, seconds in spent.items()}
        kernels = sum(event.count for event in events if event.device_type == DeviceType.CUDA) / engine.steps
        return shares | {"kernels": kernels} if bench.device.type == "cuda" else shares

    return shares


# ---- time to the homework's accuracy -------------------------------------------------------------------------------


def races(bench: Bench) -> Contestants:
    """Return a race of our loop and one of the homework-style loop for each seed, and our races once it is compiled."""
    contestants: Contestants = {}
    for seed in range(bench.effort.races):
        for loop in ("ours", "usual")[:: 1 if seed % 2 else -1]:
            contestants[f"{loop}, seed {seed}"] = partial(_race_in_new_process, bench, loop, seed)
    if bench.effort.warm_races:
        contestants["warm"] = partial(_warm_races, bench)
    return contestants


def races_result(bench: Bench, measured: dict[str, list[Any]]) -> dict[str, Any]:
    """Return the rows of all races."""
    raced: dict[str, list[dict[str, Any]]] = {"ours": [], "usual": [], "warm": measured.pop("warm", [[]])[0]}
    for name, rows in measured.items():
        raced[name.partition(",")[0]] += rows
    return {"raced": raced, "target": TARGET, "recipe": bench.recipe.to_dict(), "compiled": bench.race_compiled}


def _race_in_new_process(bench: Bench, loop: str, seed: int) -> Case:
    def race() -> dict[str, Any]:
        arguments = bench.device.type, bench.name, bench.workers if loop == "usual" else None, loop, seed
        with hosts.Host(f"{loop}, seed {seed}", make_race, *arguments, fresh=True) as host:
            host.start()
            row = host()
        print(f"  {loop}, seed {seed}: {row['seconds']:.1f} s", flush=True)
        return row

    return race


def make_race(device: str, effort: str, workers: int | None, loop: str, seed: int) -> Case:
    """Return what races with a seed; nothing is compiled before."""
    bench = Bench(torch.device(device), effort, workers)
    return partial(race_usual, bench, seed) if loop == "usual" else partial(race_ours(bench), seed)


def _warm_races(bench: Bench) -> Case:
    race, first = race_ours(bench), bench.effort.races
    race(first)  # this one compiles
    return lambda: [race(first + i) for i in range(1, 1 + bench.effort.warm_races)]


def race_ours(bench: Bench) -> Callable[[int], dict[str, Any]]:
    """Return what trains with the recipe and a seed and tests once at the end; only its first race compiles.

    The clock runs from the data in the machine's memory until the last step is done on the device.
    """
    config, engines = bench.recipe, []
    index, _ = data.training_split(config.train_images, config.validation_images)

    def race(seed: int) -> dict[str, Any]:
        start = time.perf_counter()
        if not engines:
            images, labels = bench.images[index], bench.labels[index]
            engines.append(Engine(config, images, labels, bench.device, 1, bench.race_compiled, _give_up))
        engine = engines[0]
        engine.begin([seed])
        for epoch in range(config.epochs):
            engine.epoch(epoch)
        measure.synchronize(bench.device)
        taken = time.perf_counter() - start
        return {"seed": seed, "seconds": taken, "accuracy": _test_accuracy(engine.network(0))}

    return race


def race_usual(bench: Bench, seed: int) -> dict[str, Any]:
    """Train in the homework-style loop until its test accuracy, measured after each epoch, reaches the homework's.

    The clock does not count the tests.
    """
    images, labels = bench.images[: bench.usual_epoch], bench.labels[: bench.usual_epoch]
    workers = bench.workers
    torch.manual_seed(seed)
    start = time.perf_counter()
    loop = peers.UsualLoop(ViT(bench.recipe.model), images, labels, bench.device, workers, min(128, len(images)))
    taken, accuracies = time.perf_counter() - start, []
    while len(accuracies) < bench.max_epochs and max(accuracies, default=0) < TARGET:
        taken += measure.seconds(lambda: loop.train(len(loop.loader)), bench.device)
        accuracies.append(_test_accuracy(loop.model))
    return {"seed": seed, "seconds": taken, "accuracy": accuracies[-1], "accuracies": accuracies}


def _test_accuracy(model: nn.Module) -> float:
    return evaluate(model, *data.load("test"), dtype=torch.float32).accuracy


# ---- all sections --------------------------------------------------------------------------------------------------

SECTIONS = {
    "throughput": Section(throughput, throughput_result),
    "batches": Section(batches, batches_result),
    "seeds": Section(seeds, seeds_result),
    "profile": Section(profile, profile_result),
    "time": Section(races, races_result, repeated=False),
}


def make_contestant(device: str, effort: str, workers: int | None, section: str, name: str) -> Case:
    """Return the case of a section's contestant, in a process of its own."""
    return SECTIONS[section].contestants(Bench(torch.device(device), effort, workers))[name]()


def cases_of(bench: Bench, section: str, stack: ExitStack) -> dict[str, Case]:
    """Return the cases of a section, made here, or to be made in processes that end with the stack."""
    makers = {n: make for n, make in SECTIONS[section].contestants(bench).items() if re.search(bench.effort.only, n)}
    if bench.effort.processes == 1:
        return {name: make() for name, make in makers.items()}
    workers = bench.workers if section == "throughput" else None  # measured before anything compiles
    arguments = bench.device.type, bench.name, workers, section
    return {name: stack.enter_context(hosts.Host(name, make_contestant, *arguments, name)) for name in makers}


def run_section(bench: Bench, name: str, cases: dict[str, Case]) -> dict[str, Any]:
    """Return a section's results, with where they were measured and how many seconds that took."""
    section, start, effort = SECTIONS[name], time.perf_counter(), bench.effort
    environment = provenance.environment(bench.device)
    if section.repeated:
        measured = measure.interleave(cases, effort.rounds, seconds=effort.seconds)
    else:
        measured = measure.interleave(cases, rounds=1, warmup=0)
    result = section.result(bench, measured)
    return result | {"environment": environment, "seconds": round(time.perf_counter() - start, 1)}


def run(device: torch.device, effort: str, sections: list[str], folder: Path) -> None:
    """Measure sections side by side, and write the result of each as soon as it is there."""
    bench = Bench(device, effort)
    with ExitStack() as stack:
        cases = {name: cases_of(bench, name, stack) for name in sections}
        every = [case for of_section in cases.values() for case in of_section.values()]
        hosts.start((case for case in every if isinstance(case, hosts.Host)), bench.effort.processes)
        for name in sections:
            print(f"{name} ...", flush=True)
            result = run_section(bench, name, cases[name])
            runs.write_json(folder / f"speed-{short_name(device)}-{name}.json", result)
            for case, values in result.get("measured", {}).items():
                summary = measure.summarise(values)
                print(f"  {case:40s} {summary['median']:10,.4g}   {summary['low']:,.4g} to {summary['high']:,.4g}")
    torch._dynamo.reset()  # frees the compiled code


def short_name(device: torch.device) -> str:
    """Return ``cpu`` or a GPU's short name, such as ``h100``."""
    return "cpu" if device.type == "cpu" else provenance.short_name(torch.cuda.get_device_name(device))


def main() -> None:
    """Measure the requested sections."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("section", nargs="*", default="all", choices=["all", *SECTIONS])
    devices = ("cuda", "cpu") if torch.cuda.is_available() else ("cpu",)
    parser.add_argument("--device", choices=devices, default=devices[0])
    parser.add_argument("--quick", action="store_true", help="measure on a GPU, in two minutes, what matters most")
    parser.add_argument("--smoke", action="store_true", help="run small sizes, in a minute or two")
    parser.add_argument("--out", type=Path, help="another folder for the results")
    options = parser.parse_args()
    device = torch.device(options.device)
    if options.quick and not options.smoke and device.type == "cpu":
        parser.error("--quick has sizes for a GPU: leave it out on a CPU")
    effort = " ".join(name for name in ("quick", "smoke") if getattr(options, name)) or device.type
    folder = options.out or (paths.ROOT / "build" / "benchmark-smoke" if options.smoke else measure.RESULTS)
    folder.mkdir(parents=True, exist_ok=True)
    sections = [*SECTIONS] if "all" in options.section else options.section
    for together in [sections] if options.quick else [[name] for name in sections]:
        run(device, effort, together, folder)


if __name__ == "__main__":
    main()
