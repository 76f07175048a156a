"""The homework's numbers, as reported, and its way of printing them."""

import json
from pathlib import Path
from types import SimpleNamespace

_DATA = json.loads((Path(__file__).parent / "homework.json").read_text())

TEST_LOSS: float = _DATA["test_loss"]
CORRECT: tuple[int, ...] = tuple(_DATA["class_correct"])  # test images classified rightly, by class
TOTAL: tuple[int, ...] = tuple(_DATA["class_total"])
THOP_MACS: int = _DATA["thop"]["macs"]
THOP_PARAMETERS: int = _DATA["thop"]["parameters"]
LAYER_MACS: int = _DATA["encoder_macs_total"]  # of one encoder layer, by hand
LAYER_PARAMETERS: int = _DATA["encoder_parameters_total"]

LINES = frozenset(_DATA["print_format"][:3])  # lines of the homework's print, as they stand there
SUMMARY = tuple(SimpleNamespace(**row) for row in _DATA["architecture"])  # index, type, output_shape, parameters
LAYER_MACS_ROWS = tuple(SimpleNamespace(**row) for row in _DATA["encoder_macs"])  # row, formula, substituted, macs
LAYER_PARAMETER_ROWS = tuple(SimpleNamespace(**row) for row in _DATA["encoder_parameters"])  # row, formula, parameters


def test_report(loss: float, correct: list[int], total: list[int]) -> str:
    """Return test results in the homework's print format, a line a class."""
    lines = [f"Test Loss: {loss:.6f}", ""]
    for label, (right, seen) in enumerate(zip(correct, total, strict=True)):
        lines.append(f"Test Accuracy of Class {label}: {100 * right / seen:.2f}% ({right}/{seen})")
    overall = 100 * sum(correct) / sum(total)
    return "\n".join([*lines, "", f"Test Accuracy (Overall): {overall:.2f}% ({sum(correct)}/{sum(total)})"])
