"""Numbers in printed text: what a training loop, a counting tool or a hand calculation shows.

Text is taken as it was pasted: non-breaking spaces, Windows line ends, thousands separators and wrapped lines are
allowed. Lines that hold no number of the wanted kind are passed over.
"""

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9, "t": 10**12}
LIMIT = 10**18  # of a number in a report: larger ones are slips of the keyboard

_NUMBER = r"(?<![\w.])\d[\d,]*(?:\.\d*)?(?:e[+-]?\d{1,2})?"
_UNIT = r"\s?[kmgbt](?=(?:macs?|flops?|params?)?\b)"


@dataclass(frozen=True)
class Number:
    """A printed number: its text, its value, and by how much the value may be off because it is rounded."""

    text: str
    value: Fraction
    tolerance: Fraction

    @property
    def exact(self) -> int | None:
        """The integer that is printed in full, or None if the number is rounded."""
        return round(self.value) if self.tolerance < Fraction(1, 2) and self.value.denominator == 1 else None

    def fits(self, value: Fraction | int) -> bool:
        """Return whether a value rounds to this number."""
        return abs(self.value - value) <= (0 if self.exact is not None else self.tolerance)


@dataclass(frozen=True)
class Share:
    """A printed accuracy: per cent, right answers and images, each None if it is not printed."""

    line: str
    percent: Number | None
    right: int | None
    total: int | None


@dataclass(frozen=True)
class Results:
    """What a training loop printed: the loss, the accuracy of each class by its label, and overall."""

    loss: Number | None
    classes: dict[int, Share]
    overall: Share | None


@dataclass(frozen=True)
class SummaryRow:
    """A row of a pasted summary: class, number, output shape (None if its column is missing) and parameters."""

    type: str
    index: str
    output_shape: tuple[int, ...] | None
    parameters: int


@dataclass(frozen=True)
class Summary:
    """A pasted summary: its rows, and its totals by kind, ``parameters`` and ``macs``."""

    rows: tuple[SummaryRow, ...]
    totals: dict[str, Number]


@dataclass(frozen=True)
class HandRow:
    """A row of a hand count: its name, its products as text in the order in which they stand, and the count."""

    name: str
    products: tuple[str, ...]
    count: Number


def clean(text: str) -> str:
    """Return text with plain spaces, line ends and signs."""
    text = re.sub(r"(?<=\d)[\u00a0\u2009\u202f](?=\d{3}\b)", "", text)
    text = re.sub(r"[^\S\n]+", " ", text.replace("\r\n", "\n"))
    for signs, plain in (("×·⋅∙", "*"), ("−–", "-"), ("⁄÷", "/"), ("²", "^2"), ("³", "^3")):
        text = re.sub(f"[{signs}]", plain, text)
    return text


def numbers(text: str) -> list[Number]:
    """Return every number in text, with its unit if it has one, such as ``9.98M`` or ``10.13 MMac``."""
    return [number(found[0]) for found in re.finditer(f"{_NUMBER}(?:{_UNIT})?", clean(text), re.IGNORECASE)]


def number(text: str, unit: str = "") -> Number:
    """Return a number as printed, in a unit such as ``M`` if the text itself has none.

    Raises:
        ValueError: it is no number, or larger than any count.
    """
    found = re.fullmatch(rf"({_NUMBER})({_UNIT})?(?:macs?|flops?|params?)?", clean(text).strip(), re.IGNORECASE)
    if not found:
        raise ValueError(f"number is {text!r}, but has to be one such as 9983872, 9,983,872 or 9.98M.")
    digits, power = [*found[1].lower().replace(",", "").split("e"), "0"][:2]
    scale = Fraction(10) ** int(power) * UNITS[(found[2] or unit).strip().lower()]
    value = Fraction(digits.rstrip(".")) * scale
    if value > LIMIT:
        raise ValueError(f"number is {text[:40]!r}, but has to be at most {LIMIT:,}.")
    decimals = len(digits.partition(".")[2])
    return Number(found[0], value, scale / 10**decimals / 2 if decimals or scale > 1 else Fraction(0))


# ---- results of training -------------------------------------------------------------------------------------------


def results(text: str, names: Sequence[str]) -> Results:
    """Return the loss and the accuracies that a training loop printed.

    A line such as ``Test Accuracy of Class 0: 83.90% (839/1000)`` or ``Shirt: 0.614`` is of a class; one that says
    accuracy, or ``acc``, without a class is the overall accuracy. If several lines say the same, the last counts.

    Args:
        text: the lines.
        names: the name of each class.
    """
    loss, overall = None, None
    classes: dict[int, Share] = {}
    known = sorted(names, key=len, reverse=True)  # "T-shirt/top" before "Shirt"
    pattern = rf"\bclass\s*(\d+)\b|^\W*(\d+)\s*[:|]|(?<![\w-])({'|'.join(map(re.escape, known))})(?!\w)"
    for line in filter(None, map(str.strip, clean(text).split("\n"))):
        stated = re.search(rf"\bloss\b[^\d]*({_NUMBER})", line, re.IGNORECASE)
        if stated:
            loss = number(stated[1])
        rest = line.replace(stated[0], "") if stated else line
        of_class = re.search(pattern, rest, re.IGNORECASE)
        share = _share(line, rest[of_class.end() :] if of_class else rest)
        if share and of_class:
            label = of_class[1] or of_class[2]
            classes[int(label) if label else [n.lower() for n in names].index(of_class[3].lower())] = share
        elif share and re.search(r"\bacc(uracy)?\b", line, re.IGNORECASE):
            overall = share
    return Results(loss, classes, overall)


def _share(line: str, text: str) -> Share | None:
    counts = re.search(r"(\d[\d,]*)\s*/\s*(\d[\d,]*)", text)
    rest = text.replace(counts[0], "") if counts else text
    found = numbers(rest)
    percent = found[0] if found else None
    if percent and "%" not in rest and percent.value <= 1 and "." in percent.text:  # a fraction of one
        percent = Number(percent.text, percent.value * 100, percent.tolerance * 100)
    right, total = (int(n.replace(",", "")) for n in counts.groups()) if counts else (None, None)
    return Share(line, percent, right, total) if percent or counts else None


# ---- counting tools ------------------------------------------------------------------------------------------------

KINDS = {"parameters": r"param", "macs": r"mac\b|macs\b|mult-?adds?|madds?|multiply-acc", "flops": r"flops?\b"}


def counts(text: str) -> dict[str, Number]:
    """Return what a counting tool printed, by kind: ``macs``, ``flops`` or ``parameters``.

    The word that stands nearest before a number says what it counts, or else the one after it. Two numbers without
    any such word, as in thop's tuple, are MACs and parameters, and a single one is MACs.
    """
    text = clean(text)
    words = {kind: [m.start() for m in re.finditer(p, text, re.IGNORECASE)] for kind, p in KINDS.items()}
    places = sorted((place, kind) for kind, found in words.items() for place in found)
    found: dict[str, Number] = {}
    matches = list(re.finditer(f"{_NUMBER}(?:{_UNIT})?", text, re.IGNORECASE))
    end = 0
    for i, match in enumerate(matches):
        before = [kind for place, kind in places if end <= place < match.start()]
        after = [kind for place, kind in places if place >= match.start()]
        kind = (before[-1:] or after[:1] or ["macs" if i == 0 else "parameters"])[0]
        unit = re.search(r"\((?:Units\.)?([KMG])(?:ILO|EGA|IGA)?(?:BYTES)?\)", text[end : match.start()], re.IGNORECASE)
        found.setdefault(kind, number(match[0], unit[1] if unit else ""))
        end = match.end()
    return found


def summary(text: str) -> Summary:
    """Return the rows and totals of a table by torchsummary or torchinfo, also if its lines are wrapped.

    Rows have the form ``Linear-4  [-1, 50, 64]  4,160`` or ``Linear: 2-1  [1, 49, 64]  1,088``.
    """
    text = clean(text)
    row = r"([A-Za-z_]\w*)(?:\s*\(\w+\))?(?:-|:\s*)(\d+(?:-\d+)?)\s+(?:(\[[-\d,\s\[\]]*\])\s+)?([\d,]+|--)(?=\s|$)"
    rows = []
    for kind, index, shape, parameters in re.findall(row, text):
        first = re.match(r"\[+([-\d,\s]*)\]", shape)  # of a module with several outputs
        sizes = tuple(map(int, re.findall(r"-?\d+", first[1]))) if first else None
        rows.append(SummaryRow(kind, index, sizes, int(parameters.replace(",", "").replace("--", "0"))))
    totals = {}
    for kind, label in (("parameters", r"total params"), ("macs", r"(?:total )?mult-adds")):
        found = re.search(rf"{label}[^\d\n]*{_NUMBER}(?:{_UNIT})?", text, re.IGNORECASE)
        if found:
            totals[kind] = next(iter(counts(found[0]).values()))
    return Summary(tuple(rows), totals)


# ---- hand counts ---------------------------------------------------------------------------------------------------


def hand_count(text: str) -> list[HandRow]:
    """Return the rows of a hand count: ``name: formula = values = count``, any of the products left out.

    Cells of a Markdown table (``|``) or separated by tabs are taken like the parts between equals signs.
    """
    rows = []
    for line in text.split("\n"):
        cells = [clean(cell).strip(" *_`") for cell in re.split(r"[|=\t]", line)]
        name, *rest = (
            [part.strip() for part in re.split(r":\s", cells[0], maxsplit=1)] if ":" in cells[0] else [cells[0]]
        )
        cells = list(filter(None, [name, *rest, *cells[1:]]))
        if len(cells) < 2 or not re.fullmatch(
            rf"{_NUMBER}(?:{_UNIT})?(?:macs?|params?)?\.?", cells[-1].replace(" ", ""), re.I
        ):
            continue
        rows.append(HandRow(cells[0], tuple(cells[1:-1]), number(cells[-1].rstrip("."))))
    return rows


def parse(product: str) -> ast.expr | None:
    """Return the syntax tree of a product such as ``3 * (49+1) * 64^2``, or None if it is none."""
    text = re.sub(r"(?<=\d),(?=\d{3})", "", clean(product)).replace("^", "**")
    text = re.sub(r"(?<=[\w)])\s+x\s+(?=[\w(])", " * ", text)
    try:
        tree = ast.parse(text.strip(), mode="eval").body if len(text) < 500 else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return tree


def value(tree: ast.expr | None, names: dict[str, int] | None = None) -> Fraction | None:
    """Return the value of a syntax tree of sums and products, or None if it holds an unknown name or another operation.

    Args:
        tree: what `parse` returned.
        names: the value of each name, in lower case.
    """
    match tree:
        case ast.Constant(value=int() as constant) if not isinstance(constant, bool):
            return Fraction(constant)
        case ast.Name(id=name) if names and name.lower() in names:
            return Fraction(names[name.lower()])
        case ast.BinOp(left=left, op=op, right=right):
            return _combined(op, value(left, names), value(right, names))
    return None


def _combined(op: ast.operator, a: Fraction | None, b: Fraction | None) -> Fraction | None:
    result = None
    if a is None or b is None:
        return None
    match op:
        case ast.Add():
            result = a + b
        case ast.Sub():
            result = a - b
        case ast.Mult():
            result = a * b
        case ast.Div() if b:
            result = a / b
        case ast.Pow() if b in range(5):
            result = Fraction(a ** int(b))
    return result if result is not None and abs(result) <= LIMIT else None
