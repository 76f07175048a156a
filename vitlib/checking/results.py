"""Check the results of a training: whether they agree with each other, and where they lie among our own runs."""

import csv
import math
from collections.abc import Iterator
from fractions import Fraction
from statistics import mean

from vitlib import paths, printed
from vitlib.checking.claims import Claim, Verdict
from vitlib.config import CLASSES, IMAGES_OF_A_CLASS, ViTConfig
from vitlib.homework import Homework
from vitlib.printed import Number, Percent, Results, Share

RUNS = paths.ROOT / "studies" / "results" / "seeds-epochs.csv"  # a plain loop, an epoch of a seed a row


def check(homework: Homework) -> Iterator[Claim]:
    """Check the loss, each accuracy and what they add up to."""
    why = NOTHING_READ
    try:
        results = printed.results(homework.results, CLASSES)
    except ValueError as error:
        results, why = Results(None, {}, None), str(error)
    if homework.results.strip() and not (results.loss or results.classes or results.overall):
        yield Claim("results", "results", homework.results.strip()[:40], Verdict.UNCHECKED, why=(why,))
    if results.loss:
        yield from _loss(results.loss)
    for label, share in results.classes.items():
        if label in range(len(CLASSES)):
            yield _share(CLASSES[label], share, IMAGES_OF_A_CLASS)
        else:
            why = f"the classes are 0 to {len(CLASSES) - 1}"
            yield Claim("results", f"class {label}", share.line, Verdict.WRONG, why=(why,))
    if results.overall:
        yield _share("overall", results.overall, IMAGES_OF_A_CLASS * len(CLASSES))
        if results.classes.keys() == {*range(len(CLASSES))}:
            yield _sum_of_classes(results, results.overall)
        if homework.network == ViTConfig():
            yield from _among_our_runs(results)


NOTHING_READ = "no line says loss or accuracy; write one such as: Test Accuracy of Class 0: 83.90% (839/1000)"


def _loss(loss: Number) -> Iterator[Claim]:
    """Check what can be said of a loss by itself."""
    guessing = math.log(len(CLASSES))
    if loss.value <= 0:
        yield Claim("results", "loss", loss.text, Verdict.WRONG, "above 0", ("a mean cross-entropy is positive",))
    elif loss.value > guessing:
        why = f"guessing has a lower loss, {guessing:.4f} nats"
        yield Claim("results", "loss", loss.text, Verdict.UNCHECKED, why=(why,))


def _share(name: str, share: Share, images: int) -> Claim:
    """Check that per cent and counts agree, and that they can be."""
    claim = ("results", name, " ".join(share.line.split()))
    if share.percent and not 0 <= share.percent.value <= 100:
        return Claim(*claim, Verdict.WRONG, "0 to 100 %")
    if share.right is None or share.total is None:
        return Claim(*claim, Verdict.RIGHT)
    if share.total != images:
        why = f"the test set has {images:,} images{' of each class' * (images == IMAGES_OF_A_CLASS)}"
        return Claim(*claim, Verdict.WRONG, f"of {images:,}", (why,))
    if share.right > share.total:
        why = "more answers are right than there are images"
        return Claim(*claim, Verdict.WRONG, f"at most {share.total:,} right", (why,))
    percent = Fraction(100 * share.right, share.total)
    if share.percent and not share.percent.low <= percent <= share.percent.high:
        why = f"{share.right:,} of {share.total:,} is {float(percent):.2f} %, not {share.percent.text}"
        return Claim(*claim, Verdict.WRONG, f"{float(percent):.2f} %", (why,))
    return Claim(*claim, Verdict.RIGHT)


def _sum_of_classes(results: Results, overall: Share) -> Claim:
    """Check that the classes add up to the overall accuracy."""
    shares = list(results.classes.values())
    claim = ("results", "overall and the classes")
    if overall.right is not None and all(share.right is not None for share in shares):
        right = sum(share.right or 0 for share in shares)
        value, agrees, wanted = f"{overall.right:,}", right == overall.right, f"{right:,}"
    else:
        parts, stated = [_percent(share) for share in shares], _percent(overall)
        value, wanted = stated.text, f"{float(mean(part.value for part in parts)):.2f} %"
        agrees = mean(part.low for part in parts) <= stated.high and stated.low <= mean(part.high for part in parts)
    if agrees:
        return Claim(*claim, value, Verdict.RIGHT)
    return Claim(*claim, value, Verdict.WRONG, wanted, (f"the classes give {wanted}",))


def _percent(share: Share) -> Percent:
    """Return an accuracy: what its counts give, or else what is printed."""
    if share.right is not None and share.total:
        exact = Fraction(100 * share.right, share.total)
        return Percent(f"{float(exact):.2f} %", exact, exact, exact)
    return share.percent or Percent("?", Fraction(0), Fraction(0), Fraction(100))


def _among_our_runs(results: Results) -> Iterator[Claim]:
    """Say where the overall accuracy, and the loss, lie among runs of a plain loop with this network."""
    if not results.overall:
        return
    accuracy = _percent(results.overall)
    percent, loss = float(accuracy.value), float(results.loss.value) if results.loss else None
    for epochs, runs in _our_runs().items():
        accuracies, losses = zip(*runs, strict=True)
        if min(accuracies) <= percent <= max(accuracies) and (loss is None or min(losses) <= loss <= max(losses)):
            below = sum(run < percent for run in accuracies)
            span = f"{min(accuracies):.2f} to {max(accuracies):.2f} %"
            why = f"after {epochs} epochs of a plain loop, {below} of our {len(runs)} runs lie below ({span})"
            yield Claim("results", "among our runs", accuracy.text, Verdict.RIGHT, why=(why,))


def _our_runs() -> dict[int, list[tuple[float, float]]]:
    """Return by number of epochs the test accuracy, in per cent, and the test loss of each run."""
    runs: dict[int, list[tuple[float, float]]] = {}
    with RUNS.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            right = sum(map(int, row["test_correct"].strip("[]").split(",")))
            percent = 100 * right / (IMAGES_OF_A_CLASS * len(CLASSES))
            runs.setdefault(int(row["epoch"]), []).append((percent, float(row["test_loss"])))
    return runs
