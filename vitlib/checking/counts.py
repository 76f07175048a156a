"""Check counts of multiply-accumulates and parameters that tools printed, in a line or in a summary."""

import re
from collections.abc import Iterator

from vitlib import printed
from vitlib.checking.claims import Claim, Verdict
from vitlib.config import ViTConfig
from vitlib.counting import search, terms
from vitlib.counting.search import Explanation, Target
from vitlib.homework import Homework
from vitlib.printed import Number, SummaryRow

SHOWN = 5  # explanations of one claim


def check(homework: Homework) -> Iterator[Claim]:
    """Check every count that a tool printed."""
    yield from _summary(homework)
    yield from _tools(homework)


def judge(where: str, name: str, claimed: Number, exact: int, found: list[Explanation]) -> Claim:
    """Return a claim about a count with the explanations of the difference."""
    if not found:
        difference = search.signed(claimed.value - exact)
        why = f"the difference is {difference}; no known convention or slip explains it"
        return Claim(where, name, claimed.text, Verdict.WRONG, f"{exact:,}", (why,))
    if not found[0].steps:
        return Claim(where, name, claimed.text, Verdict.RIGHT)
    verdict = Verdict.WRONG if found[0].slips else Verdict.CONVENTION
    sentences = [explanation.sentence for explanation in found[:SHOWN]]
    if len(found) > SHOWN:
        sentences.append(f"{len(found) - SHOWN} more explanations of the same size fit")
    return Claim(where, name, claimed.text, verdict, f"{exact:,}", tuple(sentences))


# ---- counting tools ------------------------------------------------------------------------------------------------


def _tools(homework: Homework) -> Iterator[Claim]:
    for tool, text in homework.tools.items():
        found = printed.counts(text)
        if not found:
            yield Claim("tools", tool, text.strip()[:40], Verdict.UNCHECKED, why=("no number is in it",))
        for kind, claimed in found.items():
            target = Target(homework.network, "macs" if kind == "flops" else kind)
            known = search.explain(claimed, target)
            known = [e for e in known if tool.lower() in map(str.lower, e.tools)] or known
            yield judge("tools", f"{tool}, {'MACs' if kind == 'macs' else kind}", claimed, target.exact, known)


# ---- a pasted summary ----------------------------------------------------------------------------------------------


def _summary(homework: Homework) -> Iterator[Claim]:
    if not homework.summary.strip():
        return
    found = printed.summary(homework.summary)
    if not found.rows and not found.totals:
        why = "no row such as Linear-4  [-1, 50, 64]  4,160 and no line Total params is in it"
        yield Claim("summary", "summary", homework.summary.strip()[:40], Verdict.UNCHECKED, why=(why,))
        return
    wrong = [claim for row in _distinct(found.rows) if (claim := _summary_row(homework.network, row))]
    yield from wrong
    if found.rows and not wrong:
        yield Claim("summary", "rows", f"{len(found.rows)} rows", Verdict.RIGHT)
    for kind, claimed in found.totals.items():
        target = Target(homework.network, kind)
        yield judge(
            "summary",
            f"total {'MACs' if kind == 'macs' else kind}",
            claimed,
            target.exact,
            search.explain(claimed, target),
        )
    total = found.totals.get("parameters")
    by_torchsummary = found.rows and all(row.index.isdecimal() for row in found.rows)
    if total and by_torchsummary and total.exact != sum(row.parameters for row in found.rows):
        rows = sum(row.parameters for row in found.rows)
        why = "the rows do not add up to the total: is one missing?"
        yield Claim("summary", "sum of the rows", total.text, Verdict.WRONG, f"{rows:,}", (why,))


def _distinct(rows: tuple[SummaryRow, ...]) -> list[SummaryRow]:
    """Return the first row of each type, shape and parameters."""
    return list({(row.type, row.output_shape, row.parameters): row for row in reversed(rows)}.values())[::-1]


def _summary_row(config: ViTConfig, row: SummaryRow) -> Claim | None:
    """Return what is wrong with a row of a summary, or nothing."""
    name, kind = f"{row.type}-{row.index}", row.type.lower()
    value = f"{list(row.output_shape or [])} {row.parameters:,}".removeprefix("[] ")
    known = terms.NORMS if "norm" in kind and row.parameters else terms.LINEAR if re.search("linear|conv", kind) else ()
    if not known:
        return None
    tokens = row.output_shape[1] if row.output_shape and len(row.output_shape) == 3 else None
    width = row.output_shape[-1] if row.output_shape and "conv" not in kind else None
    candidates: list[tuple[str, ...]] = [(name,) for name in known if width in (None, _width(config, name))]
    if known is terms.LINEAR and width in (None, 3 * config.embed_dim):
        candidates.append(terms.PROJECTIONS)
    claimed = printed.number(str(row.parameters))
    targets = [Target(config, "parameters", rows, layer=True) for rows in candidates]
    best = min(((search.explain(claimed, t), t) for t in targets if t.exact), key=size, default=None)
    if best is None:
        widths = sorted({_width(config, name) for name in known})
        why = f"no {row.type} of this network is {width} wide; the widths are {', '.join(map(str, widths))}"
        return Claim("summary", name, value, Verdict.WRONG, why=(why,))
    found, target = best
    if not found or found[0].steps:
        return judge("summary", name, claimed, target.exact, found)
    expected = config.num_patches if target.rows == ("Patch projection",) else config.num_tokens
    if tokens not in (None, expected, 1):
        why = (
            "the class token is missing"
            if tokens == config.num_patches
            else "the tokens are the patches and the class token"
        )
        shape = list(row.output_shape or ())
        if (
            tokens == config.num_patches
            and ("Patch projection",) in candidates
            and row.parameters == _exact(config, "Patch projection")
        ):
            return None
        return Claim("summary", name, str(shape), Verdict.WRONG, f"{expected} tokens", (why,))
    return None


def _exact(config: ViTConfig, row: str) -> int:
    return Target(config, "parameters", (row,), layer=True).exact


def _width(config: ViTConfig, row: str) -> int:
    """Return how many numbers a row writes for a token."""
    return {"MLP, first layer": config.hidden_dim, "Head": config.num_classes}.get(row, config.embed_dim)


def size(found: tuple[list[Explanation], Target]) -> tuple[int, int]:
    """Sort explanations: those that exist first, then by slips and steps."""
    explanations, _ = found
    return (explanations[0].slips, len(explanations[0].steps)) if explanations else (99, 0)
