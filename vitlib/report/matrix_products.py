"""A matrix product of the derivation: its picture to scale, and its multiply-accumulates (page 04_encoder_cost)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from vitlib.report.output import Output, to_csv

WIDTH = 326  # pixels of a picture, which a phone has
GUTTER, SLOT, STACK, SIGN = 28, 44, 16, 14  # pixels: left of a matrix, the least for it, right of it, and for × or =
SCALE = 0.9  # pixels for a row or column, less where the three matrices would be too wide
SHIFT, MARK = 4, 5  # pixels from a sheet to the one behind it, and across a mark


@dataclass(frozen=True, kw_only=True)
class MatrixProduct:
    """An (R, S) matrix times an (S, T) matrix: R T numbers, each a sum of S products. A cell shows its picture.

    Args:
        names: of the left matrix, the right one and their product; ``W_Q`` has a subscript.
        shape: the symbols of R, S and T, as in ``"NKN"``.
        sizes: the value of each symbol.
        sheets: how many left matrices, right matrices and products there are, as numbers or symbols.
        labels: what the reader calls one product and all of them; the second is shown only where there are several.
    """

    names: tuple[str, str, str]
    shape: str
    sizes: Mapping[str, int]
    sheets: tuple[int | str, int | str, int | str] = (1, 1, 1)
    labels: tuple[str, ...] = ("",)

    @property
    def sizes_of_sides(self) -> tuple[int, ...]:
        """The values of R, S and T."""
        return tuple(self.sizes[symbol] for symbol in self.shape)

    @property
    def copies(self) -> int:
        """The number of products of this shape."""
        return self.value(self.sheets[2])

    @property
    def macs_of_one(self) -> int:
        """Multiply-accumulates of one product: R T S."""
        return math.prod(self.sizes_of_sides)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all products."""
        return self.copies * self.macs_of_one

    def value(self, factor: int | str) -> int:
        """Return a number as it is, and the value of a symbol."""
        return self.sizes[factor] if isinstance(factor, str) else factor

    def formulas(self) -> list[str]:
        """Return as HTML the count of one product and, where there are several, of all: symbols, values, result."""
        rows, inner, columns = tuple(self.shape)
        factors: list[int | str] = [rows, columns, inner]
        counts = [factors] if self.copies == 1 else [factors, [self.sheets[2], *factors]]
        lines = []
        for label, product in zip(self.labels, counts, strict=False):
            symbols = " · ".join(f"<i>{f}</i>" if isinstance(f, str) else str(f) for f in product)
            values = " × ".join(f"{self.value(f):,}" for f in product)
            total = math.prod(map(self.value, product))
            name = f"<span>{label}</span><br>" if label else ""
            lines.append(f"{name}{symbols} = {values} = <b>{total:,}</b>")
        return lines

    @cached_property
    def _output(self) -> Output:
        rows, inner, columns = self.sizes_of_sides
        head = ["left", "right", "product", "copies", "rows", "inner", "columns", "MACs"]
        numbers = [*self.names, self.copies, rows, inner, columns, self.macs]
        lines = "".join(f"<p>{line}</p>" for line in self.formulas())
        html = f'<div class="product">{draw(self)}<div>{lines}</div></div>'
        return Output("text/html", html, to_csv(head, [numbers]))

    def _repr_mimebundle_(self, **options: object) -> Any:  # noqa: ANN401
        return self._output._repr_mimebundle_(**options)


def draw(product: MatrixProduct) -> str:
    """Return the picture as SVG: three matrices to scale, with a row, a column and the number they give marked."""
    (R, S, T), (rows, inner, columns) = product.sizes_of_sides, tuple(product.shape)
    sides = (((rows, R), (inner, S)), ((inner, S), (columns, T)), ((rows, R), (columns, T)))
    between = GUTTER + STACK + SIGN
    scale = SCALE
    while sum(max(SLOT, scale * across) for _, (_, across) in sides) > WIDTH - 3 * between + SIGN:
        scale *= 0.98
    middle, parts, x = 36 + scale * max(R, S) / 2, [], 0.0
    for place, (down, across) in enumerate(sides):
        slot, width, height = max(SLOT, scale * across[1]), scale * across[1], scale * down[1]
        left, top = x + GUTTER + (slot - width) / 2, middle - height / 2
        sheets = product.value(product.sheets[place])
        parts += [_sheets(left, top, width, height, sheets), _mark(left, top, width, height, place)]
        parts.append(_text(left + width / 2, top - 5 - SHIFT * (sheets - 1), f"{across[0]} = {across[1]}"))
        parts.append(_text(left - 14, max(middle - 2, top + 10), down[0]))
        parts.append(_text(left - 14, max(middle - 2, top + 10) + 13, str(down[1])))
        parts.append(_text(left + width / 2, 2 * middle - 36 + 18, product.names[place], "name"))
        x += slot + between
        if place < 2:
            parts.append(_text(x - SIGN / 2 + 2, middle + 5, "×="[place], "sign"))
    a, b, c = (name.replace("_", " ") for name in product.names)
    alt = f"{a}, {R} by {S}, times {b}, {S} by {T}, gives {c}, {R} by {T}"
    size = f'width="{x - SIGN:.0f}" height="{2 * middle - 10:.0f}"'
    return f'<svg role="img" aria-label="{alt}" {size}>{"".join(parts)}</svg>'


def _sheets(x: float, y: float, width: float, height: float, count: int) -> str:
    """Draw equal matrices one behind the other, the front one last."""
    shifts = range(SHIFT * (count - 1), -1, -SHIFT)
    return "".join(_rectangle(x + shift, y - shift, width, height) for shift in shifts)


def _mark(x: float, y: float, width: float, height: float, place: int) -> str:
    """Mark a row of the left matrix (place 0), a column of the right one (1) or one number of the product (2)."""
    across, down = x + 0.6 * width, y + 0.35 * height
    if place == 0:
        return _rectangle(x, down, width, MARK, "mark")
    if place == 1:
        return _rectangle(across, y, MARK, height, "mark")
    return _rectangle(across, down, MARK, MARK, "mark")


def _rectangle(x: float, y: float, width: float, height: float, kind: str = "sheet") -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'


def _text(x: float, y: float, text: str, kind: str = "side") -> str:
    """Write a centred text: Latin letters slanted, and what follows ``_`` as a subscript."""
    name, _, below = text.partition("_")
    letters = "".join(f"<tspan>{c}</tspan>" if c.isalpha() and c.isascii() else c for c in name)
    subscript = f'<tspan class="sub" dy="4">{below}</tspan>' if below else ""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{letters}{subscript}</text>'
