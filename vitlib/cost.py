"""What the network costs, derived: multiply-accumulates (MACs) and parameters from the dimensions alone.

Convention: one MAC is one multiplication whose product is added to a sum, for one image; a product of an (R, S) and
an (S, T) matrix costs R S T. Additions of biases, norms, softmax, GELU and residuals multiply no matrices and count
no MACs. Twice the MACs is the usual number of FLOPs of the products.

Every count is a sum of products of factors, in the order in which a teacher would write them, so that the same rows
print as symbols, as numbers put in, and as the result.

Symbols: N tokens, D width, F width of the MLP's hidden layer, L encoder layers, M patches, P patch size, C channels,
Y classes. The head's width K = D / H drops out: H heads of K numbers cost what D numbers cost.
"""

import math
from dataclasses import dataclass, replace

from vitlib.config import ViTConfig

Factor = int | str  # a number, or the symbol of a dimension
Product = tuple[Factor, ...]


@dataclass(frozen=True)
class Count:
    """A sum of products of factors, and the values of its symbols; ``int(count)`` is its value."""

    products: tuple[Product, ...]
    values: dict[str, int]

    def __int__(self) -> int:
        """Return the value."""
        return sum(math.prod(self._value(factor) for factor in product) for product in self.products)

    @property
    def symbols(self) -> str:
        r"""LaTeX with symbols, as in ``3 \, N D D``."""
        return " + ".join(
            r" \, ".join(filter(None, ["".join(f"{f}" for f in product if isinstance(f, int)), _letters(product)]))
            for product in self.products
        )

    @property
    def factors(self) -> str:
        r"""LaTeX with the numbers put in, as in ``3 \times 50 \times 64 \times 64``."""
        return " + ".join(r" \times ".join(str(self._value(f)) for f in product) for product in self.products)

    def _value(self, factor: Factor) -> int:
        return factor if isinstance(factor, int) else self.values[factor]


def _letters(product: Product) -> str:
    """Return the symbols of a product, equal neighbours as powers: ``N D^{2}``."""
    parts: list[list] = []
    for letter in (f for f in product if isinstance(f, str)):
        if parts and parts[-1][0] == letter:
            parts[-1][1] += 1
        else:
            parts.append([letter, 1])
    return " ".join(letter if power == 1 else f"{letter}^{{{power}}}" for letter, power in parts)


@dataclass(frozen=True)
class Row:
    """One operation: its name, its LaTeX, its MACs and its parameters as derivations."""

    name: str
    operation: str
    macs_count: Count
    parameters_count: Count

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        return int(self.macs_count)

    @property
    def parameters(self) -> int:
        """Trainable parameters."""
        return int(self.parameters_count)


@dataclass(frozen=True)
class Table:
    """Rows in the order of computation, and their totals."""

    rows: tuple[Row, ...]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all rows, for one image."""
        return sum(row.macs for row in self.rows)

    @property
    def parameters(self) -> int:
        """Trainable parameters of all rows."""
        return sum(row.parameters for row in self.rows)

    def __getitem__(self, name: str) -> Row:
        """Return the row of that name; KeyError names the rows there are."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"{name!r}: the rows are {', '.join(row.name for row in self.rows)}")


def encoder_layer(config: ViTConfig) -> Table:
    """Derive one encoder layer, operation by operation (the report's page on the cost of an encoder layer).

    Args:
        config: the dimensions. With `share_norm` the second norm adds no parameters of its own.
    """
    second_norm: tuple[Product, ...] = () if config.share_norm else ((2, "D"),)
    rows = (
        ("Norm 1", r"\mathrm{LN}(X)", (), ((2, "D"),)),
        ("Q, K, V projections", r"X W_Q,\ X W_K,\ X W_V", ((3, "N", "D", "D"),), ((3, "D", "D"), (3, "D"))),
        ("Scores", r"Q K^\top", (("N", "N", "D"),), ()),
        ("Weighted sum", r"A V", (("N", "N", "D"),), ()),
        ("Output projection", r"Z W_O", (("N", "D", "D"),), (("D", "D"), ("D",))),
        ("Norm 2", r"\mathrm{LN}(X')", (), second_norm),
        ("MLP, first layer", r"X' W_1", (("N", "D", "F"),), (("D", "F"), ("F",))),
        ("MLP, second layer", r"G W_2", (("N", "F", "D"),), (("F", "D"), ("D",))),
    )
    return _table(rows, config)


def model(config: ViTConfig) -> Table:
    """Derive the whole network: the embedding, the L encoder layers row by row, and the classifier.

    Args:
        config: the dimensions.
    """
    embedding = (
        ("Patch embedding", r"X_P W_E", (("M", "P", "P", "C", "D"),), (("P", "P", "C", "D"), ("D",))),
        ("Class token", r"x_{\mathrm{class}}", (), (("D",),)),
        ("Position embedding", r"E_{\mathrm{pos}}", (), (("N", "D"),)),
    )
    classifier = (
        ("Final norm", r"\mathrm{LN}(x)", (), ((2, "D"),)),
        ("Head", r"x W_Y", (("D", "Y"),), (("D", "Y"), ("Y",))),
    )
    layers = tuple(
        replace(row, macs_count=_repeated(row.macs_count), parameters_count=_repeated(row.parameters_count))
        for row in encoder_layer(config).rows
    )
    return Table(_table(embedding, config).rows + layers + _table(classifier, config).rows)


def _table(rows: tuple, config: ViTConfig) -> Table:
    values = {
        "N": config.num_tokens,
        "D": config.embed_dim,
        "F": config.hidden_dim,
        "L": config.depth,
        "M": config.num_patches,
        "P": config.patch_size,
        "C": config.channels,
        "Y": config.num_classes,
    }
    return Table(
        tuple(
            Row(name, operation, Count(macs, values), Count(parameters, values))
            for name, operation, macs, parameters in rows
        )
    )


def _repeated(count: Count) -> Count:
    """Return the count for all L layers."""
    return replace(count, products=tuple(("L", *product) for product in count.products))
