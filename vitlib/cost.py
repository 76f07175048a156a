r"""What the network costs, derived from its dimensions alone, operation by operation and for one image.

Conventions:

- A MAC (multiply-accumulate) is one multiplication whose product is added to a sum, in a product of matrices: an
  (R, S) times an (S, T) matrix takes R S T of them. Nothing else counts MACs.
- A FLOP is one elementary operation on numbers: a MAC is two (with a bias, the sum starts from it, so that adding it
  is one of the two); an addition, multiplication, division, comparison, root, exponential or error function is one.
- Activations are the numbers that an operation writes, `reads` those that it reads besides its parameters. Bytes are
  those of both and of the parameters, 4 each, as if every operation began and ended in memory.

A count is a sum of products of factors in the order in which a teacher would write them, and nothing but data. The
same data gives the LaTeX with symbols, the LaTeX with numbers put in, the value, sympy's expression, and the
JSON from which the page's script computes.

Symbols: N tokens, D width, H heads, F width of the MLP's hidden layer, L encoder layers, M patches, P patch size,
C channels, Y classes. No MAC and no parameter depends on H: H heads of D / H numbers cost what D numbers cost.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import sympy

from vitlib.config import ViTConfig

BYTES = 4  # of a float32

Factor = int | str  # a number, or the symbol of a dimension
Product = tuple[Factor, ...]


def dimensions(config: ViTConfig) -> dict[str, int]:
    """Return the value of every symbol that a count can contain."""
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
    }


@dataclass(frozen=True)
class Count:
    """A sum of products of factors, and the values of its symbols; ``int(count)`` is its value."""

    products: tuple[Product, ...]
    values: dict[str, int]

    def __int__(self) -> int:
        """Return the value."""
        return _value(self.products, self.values)

    @property
    def symbols(self) -> str:
        r"""LaTeX with symbols, as in ``3 \, N D^{2}``; ``0`` where nothing is counted."""
        return " + ".join(map(_latex, self.products)) or "0"

    @property
    def factors(self) -> str:
        r"""LaTeX with the numbers put in, as in ``3 \times 50 \times 64 \times 64``; ``0`` where nothing is counted."""
        put_in = ([str(self.values.get(f, f)) for f in product] for product in self.products)
        return " + ".join(r" \times ".join(numbers) for numbers in put_in) or "0"

    @property
    def expression(self) -> sympy.Expr:
        """The count as an expression of sympy's, in positive whole symbols."""
        products = (
            sympy.prod([f if isinstance(f, int) else sympy.Symbol(f, integer=True, positive=True) for f in product])
            for product in self.products
        )
        return sum(products, start=sympy.Integer(0))


def _value(products: tuple[Product, ...], values: dict[str, int]) -> int:
    return sum([math.prod(map(values.get, product, product)) for product in products])  # a number stands for itself


def _added(a: tuple[Product, ...], b: tuple[Product, ...]) -> tuple[Product, ...]:
    """Return the sum; equal products become one with a number in front, as in ``3 N D D``."""
    counted: dict[Product, int] = {}
    for number, rest in map(_split, a + b):
        counted[rest] = counted.get(rest, 0) + number
    return tuple((n, *rest) if n > 1 else rest for rest, n in counted.items())


def _split(product: Product) -> tuple[int, Product]:
    """Return a product's numbers multiplied, and its symbols."""
    return math.prod(f for f in product if isinstance(f, int)), tuple(f for f in product if isinstance(f, str))


def _latex(product: Product) -> str:
    """Return a product in LaTeX: numbers as they stand, equal neighbouring symbols as powers."""
    numbers = r" \cdot ".join(str(f) for f in product if isinstance(f, int))
    powers: list[tuple[str, int]] = []
    for letter in (f for f in product if isinstance(f, str)):
        if powers and powers[-1][0] == letter:
            powers[-1] = (letter, powers[-1][1] + 1)
        else:
            powers.append((letter, 1))
    letters = " ".join(letter if power == 1 else f"{letter}^{{{power}}}" for letter, power in powers)
    return r" \, ".join(filter(None, [numbers, letters]))


KINDS = ("macs", "parameters", "flops", "activations", "reads")
Counts = dict[str, tuple[Product, ...]]  # products by kind; a missing kind counts nothing


@dataclass(frozen=True, slots=True)
class Row:
    r"""An operation: its name, its LaTeX such as ``Q K^\top``, and its counts for one image.

    ``row.macs`` and the others are the values; ``row.count("macs")`` is the derivation behind one.
    """

    name: str
    operation: str
    products: Counts
    values: dict[str, int]

    def count(self, kind: str) -> Count:
        """Return the derivation of macs, parameters, flops, activations or reads."""
        return Count(self.products.get(kind, ()), self.values)

    @property
    def symbols(self) -> str:
        """The MACs in LaTeX, with symbols."""
        return self.count("macs").symbols

    @property
    def factors(self) -> str:
        """The MACs in LaTeX, with the numbers put in."""
        return self.count("macs").factors

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self._number("macs")

    @property
    def parameters(self) -> int:
        """Trainable parameters."""
        return self._number("parameters")

    @property
    def flops(self) -> int:
        """Elementary operations, by the convention of this module."""
        return self._number("flops")

    @property
    def activations(self) -> int:
        """Numbers written."""
        return self._number("activations")

    @property
    def reads(self) -> int:
        """Numbers read, besides the parameters."""
        return self._number("reads")

    @property
    def bytes(self) -> int:
        """Bytes moved in float32, if nothing stays in a cache from one operation to the next."""
        return BYTES * (self.reads + self.parameters + self.activations)

    def _number(self, kind: str) -> int:
        products = self.products.get(kind)
        return _value(products, self.values) if products else 0


InSymbols = tuple[tuple[str, str, Counts], ...]  # rows: name, operation, products


@dataclass(frozen=True)
class Table:
    """Operations in the order of computation, and their totals."""

    in_symbols: InSymbols
    values: dict[str, int]

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """The operations."""
        return tuple([Row(name, operation, products, self.values) for name, operation, products in self.in_symbols])

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all rows, for one image."""
        return self.total("macs")

    @property
    def parameters(self) -> int:
        """Trainable parameters of all rows."""
        return self.total("parameters")

    def total(self, kind: str) -> int:
        """Return the sum of a column: macs, parameters, flops, activations, reads or bytes."""
        if kind == "bytes":
            return sum(row.bytes for row in self.rows)
        return sum([_value(products[kind], self.values) for *_, products in self.in_symbols if kind in products])

    def __getitem__(self, name: str) -> Row:
        """Return the row of that name; KeyError names the rows there are."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"{name!r}: the rows are {', '.join(row.name for row in self.rows)}")

    def merged(self, names: Iterable[str], name: str, operation: str) -> "Table":
        """Return the table with rows added up into one, in the first one's place, as the homework does for Q, K and V.

        KeyError for a name that is not there.
        """
        parts = [self[n] for n in names]
        products: Counts = {}
        for row in parts:
            products = {kind: _added(products.get(kind, ()), row.products.get(kind, ())) for kind in KINDS}
        rows: list[tuple[str, str, Counts]] = []
        for row in self.rows:
            if row.name == parts[0].name:
                rows.append((name, operation, products))
            elif row not in parts:
                rows.append((row.name, row.operation, row.products))
        return replace(self, in_symbols=tuple(rows))


def encoder_layer(config: ViTConfig) -> Table:
    """Derive one encoder layer, operation by operation (the report's page on the cost of an encoder layer).

    Args:
        config: the dimensions. With `share_norm` the second norm adds no parameters of its own.
    """
    return Table(_layer_in_symbols(config.share_norm), dimensions(config))


def model(config: ViTConfig) -> Table:
    """Derive the whole network: the embedding, the L encoder layers operation by operation, and the classifier.

    Args:
        config: the dimensions.
    """
    return Table(_model_in_symbols(config.share_norm), dimensions(config))


def formulas() -> dict[str, list[dict[str, Any]]]:
    """Return the derivations as plain data, ready for JSON: what a script in another language computes from.

    Under ``"shared"`` and ``"separate"`` norms: the rows of the whole network, each with ``name``, ``operation``
    and, for each kind of count, its list of products of factors.
    """
    return {
        key: [
            {"name": name, "operation": operation}
            | {kind: [list(product) for product in products.get(kind, ())] for kind in KINDS}
            for name, operation, products in _model_in_symbols(share_norm)
        ]
        for key, share_norm in (("shared", True), ("separate", False))
    }


@cache
def _layer_in_symbols(share_norm: bool) -> InSymbols:
    norm = _norm("N")
    second = {kind: products for kind, products in norm.items() if kind != "parameters"} if share_norm else norm
    scores, sums = ("H", "N", "N"), ("N", "D")
    return (
        ("Norm 1", r"\mathrm{LN}(X)", norm),
        ("Query", r"X W_Q", _linear("N", "D", "D")),
        ("Key", r"X W_K", _linear("N", "D", "D")),
        ("Value", r"X W_V", _linear("N", "D", "D")),
        ("Scores", r"Q K^\top", _product(("N", "N", "D"), reads=((2, "N", "D"),), writes=scores)),
        ("Scale", r"S / \sqrt{K}", _elementwise(1, "H", "N", "N")),
        ("Softmax", r"\mathrm{softmax}(S)", _elementwise(5, "H", "N", "N")),
        ("Weighted sum", r"A V", _product(("N", "N", "D"), reads=(scores, ("N", "D")), writes=sums)),
        ("Output projection", r"Z W_O", _linear("N", "D", "D")),
        ("Residual 1", r"X + \cdot", _elementwise(1, "N", "D", inputs=2)),
        ("Norm 2", r"\mathrm{LN}(X')", second),
        ("MLP, first layer", r"X' W_1", _linear("N", "D", "F")),
        ("GELU", r"x \, \Phi(x)", _elementwise(5, "N", "F")),
        ("MLP, second layer", r"G W_2", _linear("N", "F", "D")),
        ("Dropout", r"\text{(training only)}", {}),
        ("Residual 2", r"X' + \cdot", _elementwise(1, "N", "D", inputs=2)),
    )


@cache
def _model_in_symbols(share_norm: bool) -> InSymbols:
    layers = tuple(
        (name, operation, {kind: tuple(("L", *p) for p in products) for kind, products in counts.items()})
        for name, operation, counts in _layer_in_symbols(share_norm)
    )
    token = {"parameters": (("D",),), "activations": (("D",),)}
    positions = _elementwise(1, "N", "D") | {"parameters": (("N", "D"),)}
    return (
        ("Patch projection", r"X_P W_E", _linear("M", ("P", "P", "C"), "D")),
        ("Class token", r"x_{\mathrm{class}}", token),
        ("Positions", r"+ E_{\mathrm{pos}}", positions),
        *layers,
        ("Final norm", r"\mathrm{LN}(x)", _norm()),
        ("Head", r"x W_Y", _linear(None, "D", "Y")),
    )


def _linear(rows: str | None, inputs: str | Product, outputs: str) -> Counts:
    """Count a linear layer with bias: `rows` vectors (one where None) of `inputs` numbers to `outputs` numbers."""
    n = () if rows is None else (rows,)
    i = (inputs,) if isinstance(inputs, str) else inputs
    return {
        "macs": ((*n, *i, outputs),),
        "parameters": ((*i, outputs), (outputs,)),
        "flops": ((2, *n, *i, outputs),),
        "activations": ((*n, outputs),),
        "reads": ((*n, *i),),
    }


def _product(macs: Product, reads: tuple[Product, ...], writes: Product) -> Counts:
    """Count a product of two computed matrices."""
    return {"macs": (macs,), "flops": ((2, *macs),), "activations": (writes,), "reads": reads}


def _norm(*rows: str) -> Counts:
    """Count a LayerNorm over D numbers.

    Per number: into the mean, off the mean, squared, into the variance, times the reciprocal root, scale, shift. Per
    vector: two divisions by D, plus epsilon, root, reciprocal.
    """
    size = (*rows, "D")
    return {
        "parameters": ((2, "D"),),
        "flops": ((7, *size), (5, *rows)),
        "activations": (size,),
        "reads": (size,),
    }


def _elementwise(flops: int, *size: str, inputs: int = 1) -> Counts:
    """Count an operation that makes each number from `inputs` numbers in `flops` operations.

    Softmax takes five: maximum, difference, exponential, sum, quotient. GELU takes five: over the root of two, error
    function, plus one, half, times x.
    """
    return {
        "flops": ((flops, *size) if flops > 1 else size,),
        "activations": (size,),
        "reads": ((inputs, *size) if inputs > 1 else size,),
    }
