"""The cost of the network for one image, derived from its dimensions alone, operation by operation.

Conventions:

- A MAC (multiply-accumulate) is one multiplication and one addition in a matrix product: multiplying an (R, S) matrix
  by an (S, T) matrix takes R S T MACs. Only matrix products have MACs.
- `activations` are the numbers that an operation writes.

Symbols: N tokens, D width, H heads, F width of the MLP's hidden layer, L encoder layers, M patches, P patch size,
C channels, Y classes, K width of one head, G patches along a side of the image. H appears in no MAC and no parameter:
H heads of width K = D / H cost what one head of width D costs.

Each count is written once, as a sum of products of symbols. From this data come its value, its LaTeX, its SymPy
expression, and the calculator that runs in the browser.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sympy

from vitlib.config import ViTConfig

KINDS = ("macs", "parameters", "activations")

Product = tuple[Any, ...]  # factors: integers, and symbols as strings of one letter
Sum = tuple[Product, ...]
Counts = dict[str, Sum]  # by kind; a kind that is missing counts nothing
Operation = tuple[str, Counts]  # name, counts


# ---- the derivation ------------------------------------------------------------------------------------------------


@cache
def _encoder_layer(share_norm: bool) -> tuple[Operation, ...]:
    """List the operations of one encoder layer in symbols; a shared second norm adds no parameters."""
    norm = _norm("N")
    second_norm = {kind: count for kind, count in norm.items() if kind != "parameters"} if share_norm else norm
    scores, tokens = ("H", "N", "N"), ("N", "D")
    return (
        ("Norm 1", norm),
        ("Query", _linear("N", inputs="D", outputs="D")),
        ("Key", _linear("N", inputs="D", outputs="D")),
        ("Value", _linear("N", inputs="D", outputs="D")),
        ("Scores", _matmul("N", "N", "D", writes=scores)),
        ("Scale", _elementwise(*scores)),
        ("Softmax", _elementwise(*scores)),
        ("Weighted sum", _matmul("N", "N", "D", writes=tokens)),
        ("Output projection", _linear("N", inputs="D", outputs="D")),
        ("Residual 1", _elementwise(*tokens)),
        ("Norm 2", second_norm),
        ("MLP, first layer", _linear("N", inputs="D", outputs="F")),
        ("GELU", _elementwise("N", "F")),
        ("MLP, second layer", _linear("N", inputs="F", outputs="D")),
        ("Dropout", {}),
        ("Residual 2", _elementwise(*tokens)),
    )


@cache
def _model(share_norm: bool) -> tuple[Operation, ...]:
    """List the operations of the whole network in symbols: embedding, L encoder layers, classifier."""
    layers = tuple(
        (name, {kind: tuple(("L", *product) for product in count) for kind, count in counts.items()})
        for name, counts in _encoder_layer(share_norm)
    )
    return (
        ("Patch projection", _linear("M", inputs="PPC", outputs="D")),
        ("Class token", {"parameters": (("D",),), "activations": (("D",),)}),
        ("Positions", _elementwise("N", "D") | {"parameters": (("N", "D"),)}),
        *layers,
        ("Final norm", _norm()),
        ("Head", _linear(inputs="D", outputs="Y")),
    )


def _linear(*vectors: str, inputs: str, outputs: str) -> Counts:
    """Count a linear layer with bias, such as from N vectors of P P C numbers (``"N", inputs="PPC"``) to D each."""
    macs = (*vectors, *inputs, outputs)
    return {
        "macs": (macs,),
        "parameters": ((*inputs, outputs), (outputs,)),
        "activations": ((*vectors, outputs),),
    }


def _matmul(*macs: str, writes: Product) -> Counts:
    """Count a product of two activations."""
    return {"macs": (macs,), "activations": (writes,)}


def _norm(*vectors: str) -> Counts:
    """Count a LayerNorm over D numbers."""
    return {"parameters": ((2, "D"),), "activations": ((*vectors, "D"),)}


def _elementwise(*size: str) -> Counts:
    """Count an operation that has no MACs and no parameters."""
    return {"activations": (size,)}


# ---- its values ----------------------------------------------------------------------------------------------------


class Count(int):
    """A count: an integer that knows its derivation."""

    products: Sum
    values: dict[str, int]

    def __new__(cls, products: Sum, values: dict[str, int]) -> "Count":
        """Evaluate a sum of products at the values of its symbols."""
        count = super().__new__(cls, evaluate(products, values))
        count.products, count.values = products, values
        return count

    @property
    def symbols(self) -> str:
        r"""LaTeX with symbols, as in ``3 \, N D^{2}``; ``0`` for nothing."""
        return " + ".join(map(_latex, self.products)) or "0"

    @property
    def expression(self) -> "sympy.Expr":
        """SymPy's expression, in positive integer symbols."""
        import sympy  # takes half a second, which counting does not need

        symbols = {name: sympy.Symbol(name, integer=True, positive=True) for name in self.values}
        products = (sympy.prod([symbols.get(f, f) for f in product]) for product in self.products)
        return sum(products, start=sympy.Integer(0))


@dataclass(frozen=True)
class Row:
    """An operation: its name, and its counts for one image."""

    name: str
    macs: Count
    parameters: Count
    activations: Count

    @property
    def symbols(self) -> str:
        """The MACs in LaTeX, with symbols."""
        return self.macs.symbols


@dataclass(frozen=True)
class Table:
    """Operations in the order of computation, and their totals for one image."""

    operations: tuple[Operation, ...]
    values: dict[str, int]  # of the symbols

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """The operations with their counts."""
        return tuple(
            Row(name, **{kind: Count(counts.get(kind, ()), self.values) for kind in KINDS})
            for name, counts in self.operations
        )

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all rows."""
        return self.total("macs")

    @property
    def parameters(self) -> int:
        """Trainable parameters of all rows."""
        return self.total("parameters")

    def total(self, kind: str) -> int:
        """Return the sum over all rows of macs, parameters or activations."""
        return sum(evaluate(counts[kind], self.values) for _, counts in self.operations if kind in counts)

    def __getitem__(self, name: str) -> Row:
        """Return the row of that name; the KeyError for an unknown one lists the names."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"{name!r}: the rows are {', '.join(row.name for row in self.rows)}")

    def merged(self, names: Iterable[str], name: str) -> "Table":
        """Return the table with some rows added up into one, in the place of the first.

        The homework has one row for Q, K and V.

        Raises:
            KeyError: there is no row of such a name.
        """
        parts = [self[part].name for part in names]
        merged = [counts for part, counts in self.operations if part in parts]
        counts = {kind: _sum(c.get(kind, ()) for c in merged) for kind in KINDS}
        operations = [
            (name, counts) if row[0] == parts[0] else row for row in self.operations if row[0] not in parts[1:]
        ]
        return Table(tuple(operations), self.values)


def encoder_layer(config: ViTConfig) -> Table:
    """Derive the cost of one encoder layer (the report's page 04_encoder_cost)."""
    return Table(_encoder_layer(config.share_norm), dimensions(config))


def model(config: ViTConfig) -> Table:
    """Derive the cost of the whole network; the rows of its encoder layers are those of one layer, times L."""
    return Table(_model(config.share_norm), dimensions(config))


def dimensions(config: ViTConfig) -> dict[str, int]:
    """Return the value of every symbol."""
    return {
        "N": config.num_tokens,
        "D": config.embed_dim,
        "H": config.num_heads,
        "F": config.hidden_dim,
        "L": config.depth,
        "M": config.num_patches,
        "P": config.patch_size,
        "C": config.channels,
        "Y": config.num_classes,
        "K": config.embed_dim // config.num_heads,
        "G": config.image_size // config.patch_size,
    }


# ---- sums of products ----------------------------------------------------------------------------------------------


def evaluate(products: Sum, values: Mapping[str, int]) -> int:
    """Return the value of a sum of products, given that of each symbol."""
    return sum(math.prod(map(values.get, product, product)) for product in products)  # a number is its own default


def _sum(counts: Iterable[Sum]) -> Sum:
    """Add up; equal products become one with a coefficient, as in ``3 N D D``."""
    coefficients: Counter[Product] = Counter()
    for product in chain(*counts):
        symbols = tuple(f for f in product if isinstance(f, str))
        coefficients[symbols] += math.prod(f for f in product if isinstance(f, int))
    return tuple((n, *symbols) if n > 1 else symbols for symbols, n in coefficients.items())


def _latex(product: Product) -> str:
    r"""Write a product: numbers first, equal neighbours as powers, as in ``3 \, N D^{2}``."""
    numbers = [str(f) for f in product if isinstance(f, int)]
    powers = [(symbol, len([*same])) for symbol, same in groupby(f for f in product if isinstance(f, str))]
    symbols = " ".join(symbol if n == 1 else f"{symbol}^{{{n}}}" for symbol, n in powers)
    return r" \, ".join(filter(None, [*numbers, symbols]))
