"""Names of dimensions in formulas: what each may stand for, and whether the number in its place agrees."""

import ast
from collections.abc import Iterator
from itertools import pairwise

from vitlib import cost, printed
from vitlib.checking.claims import Claim, Verdict
from vitlib.config import ViTConfig
from vitlib.printed import HandRow

SYMBOLS = {
    "N": "the number of tokens",
    "D": "the width of a token",
    "K": "the width of a head",
    "F": "the width of the MLP's hidden layer",
    "H": "the number of heads",
    "M": "the number of patches",
    "P": "the side of a patch",
    "C": "the number of channels",
    "Y": "the number of classes",
    "L": "the number of encoder layers",
}
NAMES = {  # of each dimension in formulas
    "N": "seq_len sequence_length seq_length num_tokens n_tokens tokens seq",
    "D": "embed_size embed_dim embedding_dim emb_dim emb_size d_model model_dim dim hidden_size hidden_dim",
    "K": "head_dim d_head dim_head head_size d_k d_v",
    "F": "mlp_dim mlp_size mlp_hidden ff_dim d_ff dim_feedforward hidden_dim hidden_size intermediate_size",
    "H": "num_heads n_heads heads n_head",
    "M": "num_patches n_patches",
    "P": "patch_size",
    "C": "channels in_channels num_channels",
    "Y": "num_classes n_classes classes",
    "L": "num_layers n_layers layers depth",
}
MEANINGS: dict[str, list[str]] = {}  # the symbols that a name may stand for
for _symbol, _names in NAMES.items():
    for _name in _names.split():
        MEANINGS.setdefault(_name, []).append(_symbol)

BATCH = "batch_size batch bs"  # every count is for one image


def values(config: ViTConfig) -> dict[str, int]:
    """Return the value of each name that can stand for one dimension only."""
    sizes = cost.dimensions(config)
    return dict.fromkeys(BATCH.split(), 1) | {
        name: sizes[symbols[0]] for name, symbols in MEANINGS.items() if len(symbols) == 1
    }


def check(config: ViTConfig, section: str, rows: list[HandRow]) -> Iterator[Claim]:
    """Check that each name in a formula stands for its own dimension, by the numbers put in its place."""
    sizes, known = cost.dimensions(config), values(config)
    mismatches: dict[tuple[str, int], dict[str, None]] = {}  # the rows in order
    for row in rows:
        trees = [printed.parse(text) for text in row.products]
        for formula, numbers in pairwise(trees):
            for name, number in [] if _same_factors(formula, numbers, known) else _pairs(formula, numbers):
                own = [sizes[symbol] for symbol in MEANINGS.get(name.lower(), ())]
                if own and number not in own:
                    mismatches.setdefault((name, number), {})[row.name] = None
    for (name, number), where in mismatches.items():
        symbol = MEANINGS[name.lower()][0]
        why = f"in {', '.join(where)}: {SYMBOLS[symbol]} is {sizes[symbol]}"
        other = next((text for other, text in SYMBOLS.items() if sizes[other] == number), None)
        if other:
            why += f", and {number} is {other}"
        yield Claim(section, f"the name {name}", str(number), Verdict.WRONG, str(sizes[symbol]), (why,))


def _same_factors(formula: ast.expr | None, numbers: ast.expr | None, sizes: dict[str, int]) -> bool:
    """Return whether a product of names and the one with numbers have the same factors, in any order."""
    left, right = ([printed.value(f, sizes) for f in _factors(tree)] for tree in (formula, numbers))
    return None not in left + right and sorted(map(float, filter(None, left))) == sorted(
        map(float, filter(None, right))
    )


def _factors(tree: ast.expr | None) -> list[ast.expr]:
    if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Mult):
        return _factors(tree.left) + _factors(tree.right)
    return [tree] if tree is not None else []


def _pairs(formula: ast.expr | None, numbers: ast.expr | None) -> Iterator[tuple[str, int]]:
    """Yield each name of a formula with the number in its place in the same formula with numbers."""
    if isinstance(formula, ast.Name):
        value = printed.value(numbers)
        if value is not None and value.denominator == 1:
            yield formula.id, int(value)
    elif isinstance(formula, ast.BinOp) and isinstance(numbers, ast.BinOp) and type(formula.op) is type(numbers.op):
        yield from _pairs(formula.left, numbers.left)
        yield from _pairs(formula.right, numbers.right)
