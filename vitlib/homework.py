"""The homework's numbers, as reported, its print format, and a comparison with other results."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from vitlib import data
from vitlib.evaluate import wilson_interval

_DATA = json.loads((Path(__file__).parent / "homework.json").read_text(encoding="utf-8"))

TEST_LOSS: float = _DATA["test_loss"]  # nats
CORRECT: tuple[int, ...] = tuple(_DATA["class_correct"])  # correctly classified test images, by class
TOTAL: tuple[int, ...] = tuple(_DATA["class_total"])
THOP_MACS: int = _DATA["thop"]["macs"]
THOP_PARAMETERS: int = _DATA["thop"]["parameters"]
LAYER_MACS: int = _DATA["encoder_macs_total"]  # of one encoder layer, by hand
LAYER_PARAMETERS: int = _DATA["encoder_parameters_total"]

LINES = frozenset(_DATA["print_format"][:3])  # lines that the homework printed
SUMMARY = tuple(SimpleNamespace(**row) for row in _DATA["architecture"])  # index, type, output_shape, parameters
LAYER_MACS_ROWS = tuple(SimpleNamespace(**row) for row in _DATA["encoder_macs"])  # row, formula, substituted, macs
LAYER_PARAMETER_ROWS = tuple(SimpleNamespace(**row) for row in _DATA["encoder_parameters"])  # row, formula, parameters


def format_results(loss: float, correct: list[int], total: list[int]) -> str:
    """Return test results in the homework's print format, a line per class."""
    lines = [f"Test Loss: {loss:.6f}", ""]
    for label, (right, images) in enumerate(zip(correct, total, strict=True)):
        lines.append(f"Test Accuracy of Class {label}: {100 * right / images:.2f}% ({right}/{images})")
    overall = 100 * sum(correct) / sum(total)
    return "\n".join([*lines, "", f"Test Accuracy (Overall): {overall:.2f}% ({sum(correct)}/{sum(total)})"])


def is_summary_row(ours: Any, theirs: Any) -> bool:  # noqa: ANN401, a row of torchsummary or of SUMMARY
    """Return whether a row of a summary is the homework's: module, output shape and parameters, underscores aside."""
    left, right = (
        (row.index, row.type.replace("_", ""), list(row.output_shape), row.parameters) for row in (ours, theirs)
    )
    return left == right


def compare(correct: list[int], total: list[int]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Compare test accuracies with the homework's.

    Args:
        correct: correctly classified images, by class.
        total: images, by class.

    Returns:
        A row per class and one for all classes: ``name``, and ``ours`` and ``reported`` as (accuracy, low, high), each
        0 to 1, with the ends of the 95 % interval.
    """

    def accuracy(right: int, images: int) -> tuple[float, float, float]:
        return right / images, *wilson_interval(right, images)

    rows = zip(data.CLASSES, correct, total, CORRECT, TOTAL, strict=True)
    classes = [{"name": name, "ours": accuracy(c, n), "reported": accuracy(hc, hn)} for name, c, n, hc, hn in rows]
    ours, reported = accuracy(sum(correct), sum(total)), accuracy(sum(CORRECT), sum(TOTAL))
    return classes, {"name": "All classes", "ours": ours, "reported": reported}
