"""Measuring side by side: every contestant in every round, so that a slow moment of the machine hits all of them."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of one call, from an idle device to an idle device."""
    wait(device)
    start = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - start


def wait(device: torch.device) -> None:
    """Return when the device has done all that it was handed."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def interleaved(
    contestants: Mapping[str, Callable[[], float]], rounds: int, warmup: int = 1, say: Callable[[str], None] = print
) -> dict[str, list[float]]:
    """Call every contestant once a round and keep what it returns, a list over the rounds for each name.

    Args:
        contestants: functions that measure themselves and return a number.
        rounds: how many count, at least 1.
        warmup: rounds before that, whose numbers are dropped: there contestants compile and fill caches.
        say: receives a line per round.
    """
    kept: dict[str, list[float]] = {name: [] for name in contestants}
    names = list(contestants)
    for round_ in range(-warmup, rounds):
        turn = names if round_ % 2 else names[::-1]  # so that nobody always follows the same neighbour
        for name in turn:
            value = contestants[name]()
            if round_ >= 0:
                kept[name].append(value)
        say(f"  round {round_ + 1} of {rounds}" if round_ >= 0 else "  warming up")
    return kept


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the median of at least one value, the lowest, the highest, and how many there are."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values), "n": len(values)}


def over(a: Sequence[float], b: Sequence[float]) -> list[float]:
    """Return a / b round by round: what both met in one moment of the machine."""
    return [x / y for x, y in zip(a, b, strict=True)]
