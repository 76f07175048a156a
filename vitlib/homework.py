"""A homework as data: the network, and what its report claims, as text. And the homework that this report is about.

`read` reads such a file; docs/check.md says what it may hold. ``vitlib/homework.yaml`` is the first one.
"""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from vitlib import printed
from vitlib.config import CLASSES, ViTConfig, require
from vitlib.yaml_file import read_yaml

FILE = Path(__file__).parent / "homework.yaml"

LONGEST_LINE, MOST_LINES = 300, 500  # of a text; reading takes no longer than that


def _text(value: object, info: ValidationInfo) -> object:
    """Return a text of a sane size; YAML reads a lone number as a number, and nothing as None."""
    text = "" if value is None else str(value) if type(value) in (int, float) else value
    if isinstance(text, str):
        lines = text.split("\n")
        longest = max(map(len, lines))
        require(
            longest <= LONGEST_LINE,
            f"longest line of {info.field_name}",
            longest,
            f"at most {LONGEST_LINE} characters long",
        )
        require(len(lines) <= MOST_LINES, f"number of lines of {info.field_name}", len(lines), f"at most {MOST_LINES}")
    return text


Text = Annotated[str, BeforeValidator(_text)]


def _network(dimensions: object) -> ViTConfig:
    """Return a network from its dimensions by name."""
    if not isinstance(dimensions, dict):
        raise ValueError(f"network is {dimensions!r}, but must hold dimensions by name, such as depth: 4.")
    return ViTConfig(**{str(name): value for name, value in dimensions.items()})


class Homework(BaseModel):
    """What a homework's file holds. Everything may be left out; the network is then the one of this report."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    network: Annotated[ViTConfig, BeforeValidator(_network)] = Field(default_factory=ViTConfig)
    results: Text = ""  # what the training loop printed
    summary: Text = ""  # the table of torchsummary or torchinfo
    tools: dict[str, Text] = Field(default_factory=dict)  # what each counting tool printed, by its name
    layer_macs: Text = ""  # hand counts, a row a line: of one encoder layer, and of the network
    layer_parameters: Text = ""
    network_macs: Text = ""
    network_parameters: Text = ""


def read(path: Path) -> Homework:
    """Return a homework.

    Raises:
        ValueError: the file is no homework; one sentence names it and says what is wrong.
        OSError: it cannot be read.
    """
    try:
        return read_yaml(path, Homework)
    except ValueError as error:
        if "is not valid YAML" not in str(error):
            raise
        hint = "indent pasted text by two spaces, and write |2 for | if its first line is indented further"
        raise ValueError(f"{str(error)[:-1]} ({hint}).") from error


# ---- the homework of this report -----------------------------------------------------------------------------------

REPORTED = read(FILE)
_RESULTS = printed.results(REPORTED.results, CLASSES)
_THOP = printed.counts(REPORTED.tools["thop"])


def _count(number: printed.Number | int | None) -> int:
    count = number.exact if isinstance(number, printed.Number) else number
    assert count is not None, f"{FILE.name} has a number that is rounded or missing"
    return count


TEST_LOSS = float(_RESULTS.loss.value) if _RESULTS.loss else float("nan")  # nats
CORRECT = tuple(_count(share.right) for share in _RESULTS.classes.values())  # correctly classified images, by class
TOTAL = tuple(_count(share.total) for share in _RESULTS.classes.values())  # test images, by class
THOP_MACS = _count(_THOP["macs"])
THOP_PARAMETERS = _count(_THOP["parameters"])
SUMMARY = printed.summary(REPORTED.summary).rows
*LAYER_MACS_ROWS, _macs = printed.hand_count(REPORTED.layer_macs, "macs")[0]
*LAYER_PARAMETER_ROWS, _parameters = printed.hand_count(REPORTED.layer_parameters, "parameters")[0]
LAYER_MACS = _count(_macs.count)  # of one encoder layer, by hand
LAYER_PARAMETERS = _count(_parameters.count)


def format_results(loss: float, correct: list[int], total: list[int]) -> str:
    """Return test results in the homework's print format, a line per class."""
    lines = [f"Test Loss: {loss:.6f}", ""]
    for label, (right, images) in enumerate(zip(correct, total, strict=True)):
        lines.append(f"Test Accuracy of Class {label}: {100 * right / images:.2f}% ({right}/{images})")
    overall = 100 * sum(correct) / sum(total)
    return "\n".join([*lines, "", f"Test Accuracy (Overall): {overall:.2f}% ({sum(correct)}/{sum(total)})"])


def is_summary_row(ours: printed.SummaryRow, theirs: printed.SummaryRow) -> bool:
    """Return whether a row of a summary is the homework's: module, output shape and parameters, underscores aside."""
    left, right = ((row.index, row.type.replace("_", ""), row.output_shape, row.parameters) for row in (ours, theirs))
    return left == right
