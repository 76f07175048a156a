"""“Which count is this?” on the page `what_if`: the search of `vitlib.counting.search` in the reader's browser.

The script receives the terms as data from `vitlib.counting.terms`. What they change is known in symbols, so the
Python code chooses and merges them, once for all networks.
"""

from dataclasses import asdict
from typing import Any

from IPython.display import HTML

from vitlib.config import ViTConfig
from vitlib.counting import terms
from vitlib.counting.search import Target
from vitlib.counting.terms import Term
from vitlib.report import output

NAMES = {"macs": "MACs", "parameters": "Parameters"}


def which_count(number: int) -> HTML:
    """Return the input and its results, for the network that the calculator on the same page shows.

    Args:
        number: what stands in the input when the page opens, unless the address names another number.
    """
    inputs = {
        "start": f"{number:,}",
        "targets": {name: _targets(share_norm) for name, share_norm in (("shared", True), ("separate", False))},
    }
    return output.page_part("which_count", inputs, SEARCH=output.file("which_count.js"))


def _targets(share_norm: bool) -> list[dict[str, Any]]:
    """Return what a number may count: the network or one encoder layer, each its MACs or its parameters."""
    targets = []
    for kind in terms.KINDS:
        exact_tools = [tool for tool, changed in terms.tools(kind, share_norm).items() if not changed]
        for layer in (False, True):
            target = Target(ViTConfig(share_norm=share_norm), kind, layer=layer)
            targets.append({
                "name": f"{NAMES[kind]} of {'one encoder layer' if layer else 'the network'}",
                "kind": kind,
                "layer": layer,
                "tools": exact_tools,
                "count": terms.add(*target.counted.values()),
                "terms": [_term(term, target) for term in target.terms],
                "swaps": [asdict(swap) for swap in target.possible_swaps],
                "scales": [asdict(scale) for scale in target.scales],
            })  # fmt: skip
    return targets


def _term(term: Term, target: Target) -> dict[str, Any]:
    """Return a term: the rows that it changes, and its parts with the sum that each adds to the count."""
    rows = [row for row in target.counted if row in term.changes]
    parts = [
        {"text": part.text, "slip": part.slip, "sum": terms.add(*(part.changes[r] for r in rows if r in part.changes))}
        for part in term.parts or (term,)
    ]
    return {"slip": term.slip, "tools": term.tools, "rows": rows, "parts": parts}
