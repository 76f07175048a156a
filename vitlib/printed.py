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
LIMIT = 10**18  # of a number in a report: larger ones are typing errors

_DIGITS = (  # thousands separated alike, or not at all
    r"(?:[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?|[1-9]\d{0,2}(?:[ '’_]\d{3})+|[1-9]\d{0,2}(?:\.\d{3}){2,}"
    r"|\d+(?:\.\d*)?(?:e[+-]?\d{1,2})?)"
)
_NUMBER = rf"(?<![\w.,]){_DIGITS}(?![,.']?\d)"
_UNIT = r"\s?[kmgbt](?=(?:macs?|flops?|params?|ops)?\b)"
_WORD = r"\s?(?:macs?|flops?|params?|parameters)"


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
class Percent:
    """A printed share: its text, its value in per cent, and the least and the greatest value that is printed so."""

    text: str
    value: Fraction
    low: Fraction
    high: Fraction


@dataclass(frozen=True)
class Share:
    """A printed accuracy: per cent, right answers and images, each None if it is not printed."""

    line: str
    percent: Percent | None
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
    text = re.sub(r"(?<=\d) ?million\b", "M", text)
    for signs, plain in (("×·⋅∙", "*"), ("−–", "-"), ("⁄÷", "/"), ("²", "^2"), ("³", "^3")):
        text = re.sub(f"[{signs}]", plain, text)
    return text


def number(text: str, unit: str = "") -> Number:
    """Return a number as printed, in a unit such as ``M`` if the text itself has none.

    Raises:
        ValueError: it is no number, or larger than any count.
    """
    match = re.fullmatch(rf"({_NUMBER})({_UNIT})?(?:{_WORD})?", clean(text).strip(), re.IGNORECASE)
    if not match:
        raise ValueError(f"number is {text[:40]!r}, but must be one such as 9983872, 9,983,872 or 9.98M.")
    digits, power = [*match[1].lower().split("e"), "0"][:2]
    digits = re.sub(r"[, '’_]", "", digits.replace(".", "") if digits.count(".") > 1 else digits)
    scale = Fraction(10) ** int(power) * UNITS[(match[2] or unit).strip().lower()]
    value = Fraction(digits.rstrip(".")) * scale
    if value > LIMIT:
        raise ValueError(f"number is {text[:40]!r}, but must be at most {LIMIT:,}.")
    decimals = len(digits.partition(".")[2])
    tolerance = scale / 10**decimals / 2 if decimals or scale > 1 else Fraction(0)
    return Number(f"{text.strip()} {unit}".strip(), value, tolerance)


# ---- results of training -------------------------------------------------------------------------------------------


OTHER_IMAGES = r"\b(train|val|valid|dev|epoch|best|lr)"
MISTAKES = r"\b(wrong|error|incorrect|misclassified)"
ACCURACY = r"\bacc(?:uracy)?\b|\boverall\b|^total\b"


def results(text: str, names: Sequence[str]) -> Results:
    """Return the loss and the accuracies that a training loop printed of the test set.

    A line such as ``Test Accuracy of Class 0: 83.90% (839/1000)`` or ``Shirt: 0.614`` is of a class; one that says
    accuracy, or ``acc``, without a class is the overall accuracy. Lines about other images, or an epoch, are passed
    over unless they say test. If several lines say the same, the last counts.

    Args:
        text: the lines.
        names: the name of each class.

    Raises:
        ValueError: a number is larger than any count.
    """
    loss, overall = None, None
    classes: dict[int, Share] = {}
    longest_first = sorted(names, key=len, reverse=True)  # "T-shirt/top" before "Shirt"
    pattern = rf"\bclass\s*(\d+)\b|^\W*(\d+)\s*[:|]|(?<![\w-])({'|'.join(map(re.escape, longest_first))})(?!\w)"
    decimal_point = re.sub(r"(?<=\d),(?=\d{1,2}(?!\d))", ".", clean(text))
    for line in filter(None, map(str.strip, decimal_point.split("\n"))):
        of_others = re.search(OTHER_IMAGES, line, re.IGNORECASE) and not re.search(r"\btest", line, re.IGNORECASE)
        if of_others or re.search(MISTAKES, line, re.IGNORECASE):
            continue
        stated = re.search(rf"\bloss\b[^\d-]*(-?)({_NUMBER})", line, re.IGNORECASE)
        if stated:
            loss = _signed(stated[2], stated[1])
        rest = line.replace(stated[0], " ") if stated else line
        says_accuracy = re.search(ACCURACY, rest, re.IGNORECASE)
        of_class = re.search(pattern, rest, re.IGNORECASE)
        if of_class and of_class[2] and says_accuracy:
            of_class = None  # a number of steps, as in "313/313 - accuracy"
        after = of_class or says_accuracy
        share = _share(line, rest[after.end() :] if after else rest)
        if share and of_class:
            label = of_class[1] or of_class[2]
            classes[int(label) if label else [n.lower() for n in names].index(of_class[3].lower())] = share
        elif share and says_accuracy:
            overall = share
    return Results(loss, classes, overall)


def _signed(digits: str, sign: str) -> Number:
    unsigned = number(digits)
    return Number(sign + unsigned.text, -unsigned.value, unsigned.tolerance) if sign else unsigned


def _share(line: str, text: str) -> Share | None:
    """Return the accuracy in a line: in per cent or as a fraction of 1, and counts such as ``839/1000``."""
    counts = re.search(r"(?<![\d.])(\d[\d,]*)\s*(?:/|of|out of)\s*(\d[\d,]*)(?!\s*(?:-|\d))", text)
    percent = _percent(text.replace(counts[0], " ") if counts else text)
    right, total = (int(n.replace(",", "")[:12]) for n in counts.groups()) if counts else (None, None)
    return Share(line, percent, right, total) if percent or counts else None


def _percent(text: str) -> Percent | None:
    """Return the first number with a per cent sign, or else the first decimal number; up to 1 that is a fraction."""
    with_sign = re.search(rf"(-?)({_NUMBER})\s*%", text)
    match = with_sign or re.search(r"(-?)((?<![\w.,])\d*\.\d+)(?!\d)", text)
    if not match:
        return None
    shown = _signed(re.sub(r"^\.", "0.", match[2]), match[1])
    scale, unit = (1, " %") if with_sign or abs(shown.value) > 1 else (100, "")
    below = above = shown.tolerance
    if not shown.tolerance:  # a whole number of per cent is rounded, or cut
        below, above = Fraction(1, 2), Fraction(1)
    low, high = shown.value - below, shown.value + above
    return Percent(shown.text + unit, scale * shown.value, scale * low, scale * high)


# ---- counting tools ------------------------------------------------------------------------------------------------

KINDS = {"parameters": r"param", "macs": r"macs?\b|mult-?adds?|madds?|multiply-acc", "flops": r"flops?\b"}
_WORD_AFTER = re.compile(r"\s?[kmgt]?(macs?\b|flops?\b|param)", re.IGNORECASE)


def counts(text: str) -> dict[str, Number]:
    """Return what a counting tool printed, by kind: ``macs``, ``flops`` or ``parameters``.

    The word directly after a number says what it counts, unless that word has a number of its own, or else the word
    before it. Of several numbers after a word the last counts, as in ``2 × 5 = 10``. Without any such word, two numbers
    are MACs and parameters, as in thop's tuple, and a single one has the kind ``count``.

    Raises:
        ValueError: a number is larger than any count.
    """
    text = clean(text)
    words = [(m.start(), kind) for kind, p in KINDS.items() for m in re.finditer(p, text, re.IGNORECASE)]
    numbers = list(re.finditer(rf"({_NUMBER})(?:{_UNIT})?(?! ?[kmg]?i?(?:b|bytes)\b)", text, re.IGNORECASE))
    if not words:
        kinds = ["macs", "parameters"] if len(numbers) == 2 else ["count"]
        return {kind: number(m[0]) for kind, m in zip(kinds, numbers, strict=False)} if len(numbers) in (1, 2) else {}
    by_word_before: dict[str, Number] = {}
    by_word_after: dict[str, Number] = {}
    with_own_number = set()  # words, by where they start; the last number comes first, so that this is known
    for match in reversed(numbers):
        before = max((word for word in words if word[0] < match.start()), default=None)
        after = _WORD_AFTER.match(text, match.end())
        if after and after.start(1) not in with_own_number:
            by_word_after[next(kind for start, kind in words if start == after.start(1))] = number(match[0])
        elif before:
            with_own_number.add(before[0])
            digits = match[1] if after and after.start(1) == match.end() else match[0]  # a letter is of the next word
            by_word_before.setdefault(before[1], _in_unit(digits, text[: before[0]], text[before[0] : match.start()]))
    return dict(reversed((by_word_after | by_word_before).items()))  # the last number came first


def _in_unit(digits: str, before: str, label: str) -> Number:
    """Return a number in its own unit, or else in that of the word before it, as in ``GFLOPs 2`` or ``MACs (M): 1``."""
    prefix = re.search(r"\b[KMGT]$", before)
    unit = prefix or re.search(r"(?<=\()(?:Units\.)?[KMG](?=(?:ILO|EGA|IGA)?(?:BYTES)?\))", label, re.IGNORECASE)
    has_unit = re.search(r"[kmgbt]$", digits, re.IGNORECASE)
    return number(digits, unit[0][-1] if unit and not has_unit else "")


def summary(text: str) -> Summary:
    """Return the rows and totals of a table by torchsummary or torchinfo, also if its lines are wrapped.

    Rows have the form ``Linear-4  [-1, 50, 64]  4,160`` or ``Linear: 2-1  [1, 49, 64]  1,088``.

    Raises:
        ValueError: a number is larger than any count.
    """
    text = clean(text)
    row = r"([A-Za-z_]\w*)(?:\s*\(\w+\))?(?:-|:\s*)(\d+(?:-\d+)?)\s+(?:(\[[-\d,\s\[\]]*\])\s+)?(\d[\d,]*|--)(?=\s|$)"
    rows = []
    for kind, index, shape, parameters in re.findall(row, text):
        first = re.match(r"\[+([-\d,\s]*)\]", shape)  # of a module with several outputs
        sizes = tuple(map(int, re.findall(r"-?\d+", first[1]))) if first else None
        count = number(parameters.replace(",", "").replace("--", "0"))
        rows.append(SummaryRow(kind, index, sizes, int(count.value)))
    totals = {}
    labels = {"parameters": "total params", "macs": "(?:total )?mult-adds"}
    labels |= {"trainable": "(?<!non-)trainable params", "non-trainable": "non-trainable params"}
    for kind, label in labels.items():
        match = re.search(rf"{label}[^\d\n]{{0,40}}{_NUMBER}(?:{_UNIT})?", text, re.IGNORECASE)
        if match:
            totals[kind] = next(iter(counts(match[0]).values()))
    return Summary(tuple(rows), totals)


# ---- hand counts ---------------------------------------------------------------------------------------------------


_COUNT = re.compile(rf"[~≈$]*({_NUMBER})({_UNIT})?(?![\d.,]*\d)\D*", re.IGNORECASE)


def hand_count(text: str, kind: str) -> tuple[list[HandRow], list[str]]:
    """Return the rows of a hand count, ``name: formula = numbers = count``, and the lines that cannot be read.

    A line of a table, its cells separated by ``|`` or tabs, is read too. If the table has a heading, that says which
    column has the count, by the words MACs or parameters.

    Args:
        text: the lines.
        kind: ``macs`` or ``parameters``.
    """
    rows, unread = [], []
    heading: list[str] = []
    for line in filter(str.strip, text.split("\n")):
        cells = [clean(cell).strip(" *_`$\r").replace("{,}", ",") for cell in re.split(r"[|\t]", line.strip(" |\t\r"))]
        if len(cells) > 1 and not re.search(r"\d", line):
            heading = cells if re.search(r"[a-z]", line, re.IGNORECASE) else heading
            continue
        row = _table_row(cells, heading, kind) if len(cells) > 1 else _equation(cells[0])
        if row:
            rows.append(row)
        elif re.search(r"\d", line):
            unread.append(clean(line).strip())
    return rows, unread


def _table_row(cells: list[str], heading: list[str], kind: str) -> HandRow | None:
    column = next((i for i, title in enumerate(heading) if re.search(KINDS[kind], title, re.IGNORECASE)), None)
    name = next((cell for cell in cells if re.search(r"[a-z]", cell, re.IGNORECASE)), "")
    if heading and column is None and len(heading) > 3:
        return None
    last = column if column is not None and column < len(cells) else len(cells) - 1
    count = _count(cells[last])
    formulas = [cell for i, cell in enumerate(cells[:last]) if cell != name and _is_formula(cell, heading[i : i + 1])]
    return HandRow(name, tuple(formulas), count) if name and count else None


def _is_formula(cell: str, title: list[str]) -> bool:
    column_fits = not title or re.search("formula|calc|comput|how|values", title[0], re.IGNORECASE)
    return bool(column_fits and re.search(r"[\w)]\s*[*+^/x]\s*[\w(]", cell))


def _equation(line: str) -> HandRow | None:
    first, *rest = line.split("=")
    if not rest and ":" not in first:  # a count without a sign before it
        first = re.sub(rf"\s+(?={_NUMBER}(?:{_UNIT})?(?:{_WORD})?\.?$)", ": ", first, count=1, flags=re.IGNORECASE)
    name, _, formula = first.rpartition(":")
    parts = [part.strip(" *_`$") for part in ([formula, *rest] if name else rest)]
    name = re.sub(r"^[-•#]+\s+", "", (name or first)).strip(" *_`$")
    count = _count(parts[-1]) if parts else None
    return HandRow(name, tuple(filter(None, parts[:-1])), count) if name and count else None


def _count(text: str) -> Number | None:
    """Return the number that a text begins with, if no other number follows."""
    match = _COUNT.fullmatch(text)
    german = re.fullmatch(r"[1-9]\d{0,2}\.\d{3}", match[1]) if match and not match[2] else None
    try:
        return number(match[1].replace(".", "") if german else match[1] + (match[2] or "")) if match else None
    except ValueError:  # larger than any count
        return None


def parse(product: str) -> ast.expr | None:
    """Return the syntax tree of a product such as ``3 * (49+1) * 64^2``, or None if it is none."""
    text = re.sub(r"(?<=\d),(?=\d{3})", "", clean(product)).replace("^", "**")
    text = re.sub(r"(?<=[\w)])\s+x\s+(?=[\w(])|(?<=\d)x(?=\d)", " * ", text)
    text = re.sub(r"(?<=[\d)])\s*(?=\()", " * ", text)
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
