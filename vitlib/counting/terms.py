"""How a count can differ from the exact one: conventions of tools and people, and known slips.

Each term is written once, as sums of products of the network's dimensions, like the derivation in `vitlib.cost` that it
changes. So it holds for any network, and the reader's browser computes with the same data. What a tool adds and misses
is read from its source (versions in studies/counting.json), with attention written as ``q @ k``.

Symbols: those of `vitlib.cost`.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache

from vitlib import cost
from vitlib.config import ViTConfig
from vitlib.cost import Product, Sum

KINDS = ("macs", "parameters")
LAYER = tuple(row.name for row in cost.encoder_layer(ViTConfig()).rows)
PROJECTIONS = ("Query", "Key", "Value")
MATMULS = ("Scores", "Weighted sum")
OUTPUT = "Output projection"
LINEAR = ("Patch projection", *PROJECTIONS, OUTPUT, "MLP, first layer", "MLP, second layer", "Head")
NORMS = ("Norm 1", "Norm 2", "Final norm")
EMBEDDINGS = ("Class token", "Positions")
OUTSIDE = ("Patch projection", *EMBEDDINGS, "Final norm", "Head")


@dataclass(frozen=True, eq=False)
class Term:
    """What a count does differently: a text such as ``misses the class token``, and the sum it adds to each row.

    A slip is a mistake; anything else is a convention. `tools` names the tools whose only difference this is.
    """

    text: str
    changes: Mapping[str, Sum]
    slip: bool = True
    tools: tuple[str, ...] = ()
    parts: tuple["Term", ...] = ()  # of a tool with several conventions

    def value(self, rows: Iterable[str], values: Mapping[str, int]) -> int:
        """Return what the term adds to some rows, for the values of the symbols."""
        return sum(cost.evaluate(self.changes[row], values) for row in rows if row in self.changes)

    def merged(self, other: "Term") -> "Term":
        """Merge two terms with the same effect: keep the one that covers fewer rows, or name both."""
        if len(self.changes) != len(other.changes):
            return min(self, other, key=lambda term: len(term.changes))
        first_words = [clause.split()[0] for clause in self.text.split(", or ")]
        verb = [word for word in first_words if word not in ("the", "a")][-1]
        text = f"{self.text}, or {other.text.removeprefix(f'{verb} ')}"
        return replace(self, text=text, tools=self.tools + other.tools)


@dataclass(frozen=True, eq=False)
class Swap:
    """A dimension that is taken for another: a text with the symbols in braces, and sums to take in their place."""

    text: str
    symbols: Mapping[str, Sum]
    slip: bool = True


@dataclass(frozen=True, eq=False)
class Scale:
    """A count that is multiplied by a sum of products, or divided by it."""

    text: str
    factor: Sum
    slip: bool
    divides: bool = False
    layer_only: bool = False


_TOKENS = (
    Swap("misses the class token: {M} tokens, not {N}", {"N": (("M",),)}),
    Swap("counts one token more than {N}", {"N": ((1,), ("N",))}),
)
_SIZES = (
    Swap("counts pixels as patches", {"M": (("M", "P", "P"),), "N": ((1,), ("M", "P", "P"))}),
    Swap("uses {G} patches, those along one side, not {M}", {"M": (("G",),), "N": ((1,), ("G",))}),
    Swap("counts one encoder layer, not {L}", {"L": ((1,),)}),
    Swap("misses one encoder layer of {L}", {"L": ((-1,), ("L",))}),
    Swap("counts one encoder layer more than {L}", {"L": ((1,), ("L",))}),
    Swap("uses the width of a head, {K}, not that of a token, {D}", {"D": (("K",),)}),
    Swap("uses 10 classes, not {Y}", {"Y": ((10,),)}),
    Swap("uses three channels, not {C}", {"C": ((3,),)}),
    Swap("uses one channel, not {C}", {"C": ((1,),)}),
    Swap("uses the width of a token, {D}, for the MLP's hidden layer, not {F}", {"F": (("D",),)}),
    *(Swap(f"uses {n} × {{D}} for the MLP's hidden layer, not {{F}}", {"F": ((n, "D"),)}) for n in (2, 3, 4, 8)),
)
SWAPS = {"macs": (*_TOKENS, *_SIZES), "parameters": _SIZES}  # the tokens are in the positions alone
SCALES = {
    "macs": (
        Scale("counts FLOPs, two for each MAC", ((2,),), slip=False),
        Scale("is half, as if it were halved from FLOPs", ((2,),), slip=True, divides=True),
        Scale("counts all {L} encoder layers", (("L",),), slip=False, layer_only=True),
    ),
    "parameters": (Scale("counts all {L} encoder layers", (("L",),), slip=False, layer_only=True),),
}


@cache
def terms(kind: str, share_norm: bool) -> tuple[Term, ...]:
    """Return the terms for ``macs`` or ``parameters`` of a network with one norm a layer or two, tools included."""
    rows = {row.name: row for row in cost.model(ViTConfig(share_norm=share_norm)).rows}
    counts = {name: getattr(row, kind).products for name, row in rows.items()}
    if kind == "macs":
        written = {name: row.activations.products for name, row in rows.items()}
        weights = {n: row.parameters.products for n, row in rows.items()}
        return (*_mac_conventions(counts, written, weights), *_mac_slips(counts))
    return (*_parameter_conventions(counts, share_norm), *_parameter_slips(counts))


def tools(kind: str, share_norm: bool) -> dict[str, tuple[Term, ...]]:
    """Return by tool the terms from the exact count to the one that the tool reports."""
    exact = {
        "macs": ("FlopCounterMode",),
        "parameters": ("torchinfo", "fvcore", "ptflops", "ptflops, aten", "calflops"),
    }
    by_tool: dict[str, tuple[Term, ...]] = dict.fromkeys(exact[kind], ())
    for term in terms(kind, share_norm):
        by_tool |= dict.fromkeys(term.tools, term.parts or (term,))
    return by_tool


# ---- multiply-accumulates ------------------------------------------------------------------------------------------


def _mac_conventions(counts: dict[str, Sum], written: dict[str, Sum], weights: dict[str, Sum]) -> Iterable[Term]:
    def elements(rows: Iterable[str], n: int) -> dict[str, Sum]:
        return {row: _times(n, written[row]) for row in rows}

    matmuls = Term("misses the attention matmuls", _without(counts, MATMULS), False, ("calflops",))
    biases = Term("counts each addition of a bias", elements(LINEAR, 1), False, ("ptflops, aten",))
    norms = {n: Term(f"counts {n} for each element of a LayerNorm", elements(NORMS, n), False) for n in (1, 2, 4)}
    norm5 = Term("counts 5 for each element of a LayerNorm", elements(NORMS, 5), False, ("fvcore",))
    gelus = {n: Term(f"counts {n} for each element of a GELU", elements(["GELU"], n), False) for n in (1, 2, 5)}
    softmaxes = [Term(f"counts {n} for each element of a softmax", elements(["Softmax"], n), False) for n in (1, 3, 5)]
    once = {row: tuple(tuple(f for f in product if f not in ("N", "M")) for product in counts[row]) for row in LINEAR}
    once = {row: difference(products, counts[row]) for row, products in once.items()}
    weights_once = Term("counts each weight once, not once a token", once, False)
    bias_once = Term("counts each bias once", {row: (weights[row][1],) for row in LINEAR}, False)
    last_norm = {"Final norm": ((4, "N", "D"), (-4, "D"))}
    norm_once = Term(
        "counts a LayerNorm's parameters at each call",
        {row: ((2, "D") if row == "Final norm" else ("L", 2, "D"),) for row in NORMS},
        False,
    )
    return (
        matmuls,
        biases,
        norm5,
        *norms.values(),
        *gelus.values(),
        *softmaxes,
        weights_once,
        bias_once,
        Term("counts 4 for each element of a last LayerNorm over all tokens", last_norm, False),
        Term("misses the projections of nn.MultiheadAttention", _without(counts, (*PROJECTIONS, OUTPUT)), False),
        Term("counts each addition of a residual", elements(["Residual 1", "Residual 2"], 1), False),
        Term("counts the encoder layers alone", _without(counts, OUTSIDE), False),
        _tool("thop", matmuls, norms[4]),
        _tool("ptflops", matmuls, biases, norms[1], gelus[2]),
        _tool("torchinfo", matmuls, weights_once, bias_once, norm_once),
    )


def _mac_slips(counts: dict[str, Sum]) -> Iterable[Term]:
    for row in (*LINEAR, *MATMULS):
        yield Term(f"misses {NAMES[row]}", _without(counts, [row]))
    for row in LINEAR:
        if row not in ("Patch projection", "Head"):
            yield Term(f"multiplies {NAMES[row]} by its weights once, not by each token", _swapped("N", 1, counts, row))
    yield Term("counts one of query, key and value, not three", _without(counts, ["Key", "Value"]))
    yield Term("counts two of query, key and value, not three", _without(counts, ["Value"]))
    yield from _matmul_slips(counts)
    yield Term("counts query, key and value with the full width for each head", _multiplied("H", counts, *PROJECTIONS))
    yield Term("counts query, key and value for one head of {H}", _swapped("D", "K", counts, *PROJECTIONS))
    yield Term("uses the width of a head for the output projection's inputs", _swapped("D", "K", counts, OUTPUT))
    yield Term("counts the output projection as N N D", _swapped("D", "N", counts, OUTPUT))
    yield Term("uses the hidden width for the head's inputs", _swapped("D", "F", counts, "Head"))
    for row in ("MLP, first layer", "MLP, second layer"):
        yield Term(f"uses the hidden width for both sides of {NAMES[row]}", _swapped("D", "F", counts, row))
        yield Term(f"uses the width of a token for both sides of {NAMES[row]}", _swapped("F", "D", counts, row))
    yield Term("projects the class token like a patch", _swapped("M", "N", counts, "Patch projection"))
    yield Term("uses P pixels a patch, not P times P", _swapped("P", 1, counts, "Patch projection"))
    yield Term("applies the head to every token", _multiplied("N", counts, "Head"))


def _matmul_slips(counts: dict[str, Sum]) -> Iterable[Term]:
    for rows, text in ((MATMULS, "the attention matmuls"), *(((row,), NAMES[row]) for row in MATMULS)):
        yield Term(f"counts {text} with the full width for each head", _multiplied("H", counts, *rows))
        yield Term(f"counts {text} for one head of {{H}}", _swapped("D", "K", counts, *rows))
        yield Term(f"counts {text} like a linear layer, N D D instead of N N D", _swapped("N", "D", counts, *rows))
        yield Term(f"counts {text} without the width, N N instead of N N D", _swapped("D", 1, counts, *rows))
        yield Term(f"counts {text} twice", {row: counts[row] for row in rows})
        yield Term(f"uses {{M}} tokens for one side of {text}", _swapped("N", "M", counts, *rows))
        yield Term(f"counts {text} as N N N instead of N N D", _swapped("D", "N", counts, *rows))


# ---- parameters ----------------------------------------------------------------------------------------------------


def _parameter_conventions(counts: dict[str, Sum], share_norm: bool) -> Iterable[Term]:
    missed_by = ("thop",) if share_norm else ("thop", "torchsummary")
    missed = Term("misses the class token and the positions", _without(counts, EMBEDDINGS), False, missed_by)
    yield missed
    if share_norm:
        twice = {"Norm 2": (("L", 2, "D"),)}
        yield Term("counts two LayerNorms a layer, or a shared one at both calls", twice, False)
        yield _tool("torchsummary", missed, Term("counts a shared LayerNorm at both calls", twice, False))
    else:
        yield Term("counts one LayerNorm a layer, applied twice", _without(counts, ["Norm 2"]), False)
    yield Term("misses the projections of nn.MultiheadAttention", _without(counts, (*PROJECTIONS, OUTPUT)), False)
    yield Term("counts the encoder layers alone", _without(counts, OUTSIDE), False)


def _parameter_slips(counts: dict[str, Sum]) -> Iterable[Term]:
    norms = tuple(row for row in NORMS if counts[row])
    for row in (*LINEAR, *norms, *EMBEDDINGS):
        yield Term(f"misses {NAMES[row]}", _without(counts, [row]))
    yield from _bias_slips(counts)
    yield Term("counts one of query, key and value, not three", _without(counts, ["Key", "Value"]))
    one_bias = {row: add(_times(-1, (counts[row][1],))) for row in ("Key", "Value")}
    yield Term("counts one bias for query, key and value, not three", one_bias)
    yield Term(
        "uses the width of a head for the output projection's inputs", {OUTPUT: (("L", "D", "K"), (-1, "L", "D", "D"))}
    )
    for rows, text in (
        *(((row,), NAMES[row]) for row in (OUTPUT, "MLP, first layer", "MLP, second layer", "Head")),
        (PROJECTIONS, "query, key and value"),
        (norms, "each LayerNorm"),
    ):
        yield Term(f"counts the parameters of {text} for each token", _multiplied("N", counts, *rows))
    yield from _embedding_slips(counts)
    yield Term("counts query, key and value with the full width for each head", _multiplied("H", counts, *PROJECTIONS))
    for rows, text in ((norms, "each LayerNorm"), *(((row,), NAMES[row]) for row in norms)):
        half = {row: tuple((-1, *(f for f in product if f != 2)) for product in counts[row]) for row in rows}
        yield Term(f"counts scale or shift of {text}, not both", half)
    for row in ("MLP, first layer", "MLP, second layer"):
        yield Term(f"uses the width of a token for the hidden width of {NAMES[row]}", _swapped("F", "D", counts, row))
    yield Term("misses the position of the class token", {"Positions": ((-1, "D"),)})
    yield Term("counts one position too many", {"Positions": (("D",),)})
    yield Term("uses P pixels a patch, not P times P", _swapped("P", 1, counts, "Patch projection"))


def _bias_slips(counts: dict[str, Sum]) -> Iterable[Term]:
    for rows, text in (
        *(((row,), NAMES[row]) for row in LINEAR),
        (LINEAR, "all linear layers"),
        (PROJECTIONS, "query, key and value"),
        (("MLP, first layer", "MLP, second layer"), "both layers of the MLP"),
    ):
        noun = "biases" if len(rows) > 1 else "bias"
        yield Term(f"misses the {noun} of {text}", {row: _times(-1, (counts[row][1],)) for row in rows})
    for row, width in (
        ("Patch projection", ("P", "P", "C")),
        ("Head", ("D",)),
        ("MLP, first layer", ("L", "D")),
        ("MLP, second layer", ("L", "F")),
    ):
        bias = add((width,), _times(-1, (counts[row][1],)))
        yield Term(f"gives the bias of {NAMES[row]} the length of its input", {row: bias})


def _embedding_slips(counts: dict[str, Sum]) -> Iterable[Term]:
    """Yield slips in the parameters outside of the encoder layers."""
    weights = {row: (counts[row][0],) for row in ("Patch projection", "Head")}
    each_patch = _multiplied("M", weights, "Patch projection")
    yield Term("counts the weights of the patch projection for each patch", each_patch)
    yield Term("counts the weights of the classification head for each token", _multiplied("N", weights, "Head"))
    yield Term("counts the patch projection for each patch", _multiplied("M", counts, "Patch projection"))
    yield Term("counts one position, not {N}", {"Positions": (("D",), (-1, "N", "D"))})
    yield Term("counts the bias of the patch projection for each patch", {"Patch projection": (("M", "D"), (-1, "D"))})
    yield Term("uses one number a position, not the width", _swapped("D", 1, counts, "Positions"))
    yield Term("uses one number for the class token, not the width", {"Class token": ((1,), (-1, "D"))})


NAMES = {
    "Patch projection": "the patch projection",
    "Query": "the query projection",
    "Key": "the key projection",
    "Value": "the value projection",
    OUTPUT: "the output projection",
    "MLP, first layer": "the MLP's first layer",
    "MLP, second layer": "the MLP's second layer",
    "Head": "the classification head",
    "Scores": "the scores",
    "Weighted sum": "the weighted sum",
    "Norm 1": "a layer's first LayerNorm",
    "Norm 2": "a layer's second LayerNorm",
    "Final norm": "the last LayerNorm",
    "Class token": "the class token",
    "Positions": "the positions",
}


# ---- sums of products ----------------------------------------------------------------------------------------------


def _tool(name: str, *parts: Term) -> Term:
    """Return the conventions of a tool as one term."""
    rows = {row for part in parts for row in part.changes}
    changes = {row: add(*(part.changes.get(row, ()) for part in parts)) for row in sorted(rows)}
    return Term(f"counts like {name}", changes, False, (name,), parts)


def add(*sums: Sum) -> Sum:
    """Add up sums of products; what adds up to nothing is left out."""
    total: Counter[Product] = Counter()
    for product in (product for products in sums for product in products):
        symbols = tuple(sorted(f for f in product if isinstance(f, str)))
        total[symbols] += math.prod(f for f in product if isinstance(f, int))
    return tuple((n, *symbols) for symbols, n in sorted(total.items()) if n)


def difference(one: Sum, other: Sum) -> Sum:
    """Return what leads from the other sum to the one."""
    return add(one, _times(-1, other))


def substitute(products: Sum, symbols: Mapping[str, Sum]) -> Sum:
    """Put a sum of products in the place of each symbol."""
    choices = [itertools.product(*(symbols.get(f, ((f,),)) for f in product)) for product in products]
    return add(tuple(tuple(itertools.chain(*factors)) for choice in choices for factors in choice))


def _times(factor: str | int, products: Sum) -> Sum:
    return tuple((factor, *product) for product in products)


def _replace(products: Sum, old: str, new: str | int) -> Sum:
    """Put `new` in the place of the first `old` of each product that has one."""

    def replaced(product: Product) -> Product:
        i = product.index(old) if old in product else len(product)
        return (*product[:i], new, *product[i + 1 :]) if i < len(product) else product

    return tuple(map(replaced, products))


def _swapped(old: str, new: str | int, counts: Mapping[str, Sum], *rows: str) -> dict[str, Sum]:
    """Return what `new` in the place of one `old` adds to some rows."""
    return {row: difference(_replace(counts[row], old, new), counts[row]) for row in rows}


def _multiplied(factor: str, counts: Mapping[str, Sum], *rows: str) -> dict[str, Sum]:
    """Return what a factor adds to some rows."""
    return {row: difference(_times(factor, counts[row]), counts[row]) for row in rows}


def _without(counts: Mapping[str, Sum], rows: Iterable[str]) -> dict[str, Sum]:
    """Return by row what takes it out of the count."""
    return {row: add(_times(-1, counts[row])) for row in rows}
