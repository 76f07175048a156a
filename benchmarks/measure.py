"""Interleaved timing: every case runs in every round, so a slow moment of the machine hits all of them."""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

RESULTS = Path(__file__).resolve().parent / "results"


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return how many seconds one call takes, until the device is idle again."""
    synchronize(device)
    start = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - start


def synchronize(device: torch.device) -> None:
    """Wait until the device is idle."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def interleave(
    cases: Mapping[str, Callable[[], Any]], rounds: int, warmup: int = 1, seconds: float = math.inf
) -> dict[str, list[Any]]:
    """Call every case once per round and return what each returned, a list over the rounds.

    Args:
        cases: functions that take a measurement and return it.
        rounds: how many rounds to keep, at least 1.
        warmup: rounds to discard first, in which the cases compile and fill caches.
        seconds: after which no further round begins, once one is kept.
    """
    kept: dict[str, list[Any]] = {name: [] for name in cases}
    names, end = list(cases), time.monotonic() + seconds
    for round_ in tqdm(range(-warmup, rounds), desc="rounds", leave=False):
        if round_ > 0 and time.monotonic() > end:
            break
        for name in names[:: 1 if round_ % 2 else -1]:  # alternate, so that no case always follows the same one
            value = cases[name]()
            if round_ >= 0:
                kept[name].append(value)
    return kept


def summarise(values: Sequence[float]) -> dict[str, float]:
    """Return the median, lowest and highest of at least one value, and their number."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values), "n": len(values)}


def ratios(a: Sequence[float], b: Sequence[float]) -> list[float]:
    """Return a / b round by round."""
    return [x / y for x, y in zip(a, b, strict=True)]
