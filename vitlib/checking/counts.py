"""Check counts of multiply-accumulates and parameters that tools printed, in a line or in a summary."""

import re
from collections.abc import Iterator

from vitlib import printed
from vitlib.checking.claims import Claim, Verdict
from vitlib.config import ViTConfig
from vitlib.counting import search, terms
from vitlib.counting.search import Explanation, Target
from vitlib.homework import Homework
from vitlib.printed import Number, Summary, SummaryRow

SHOWN = 5  # explanations of one claim


def check(homework: Homework) -> Iterator[Claim]:
    """Check every count that a tool printed."""
    yield from _summary(homework)
    yield from _tools(homework)


def judge(where: str, name: str, claimed: Number, exact: int, explanations: list[Explanation]) -> Claim:
    """Return a claim about a count with the explanations of the difference."""
    if not explanations:
        difference = search.signed(claimed.value - exact)
        why = f"the difference is {difference}; no known convention or slip explains it"
        return Claim(where, name, claimed.text, Verdict.WRONG, f"{exact:,}", (why,))
    if not explanations[0].steps:
        return Claim(where, name, claimed.text, Verdict.RIGHT)
    verdict = Verdict.WRONG if explanations[0].slips else Verdict.CONVENTION
    sentences = [explanation.sentence for explanation in explanations[:SHOWN]]
    if len(explanations) > SHOWN:
        sentences.append(f"{len(explanations) - SHOWN} more explanations of the same size fit")
    return Claim(where, name, claimed.text, verdict, f"{exact:,}", tuple(sentences))


# ---- counting tools ------------------------------------------------------------------------------------------------


def _tools(homework: Homework) -> Iterator[Claim]:
    for tool, text in homework.tools.items():
        why = "no number follows a word such as MACs or Params"
        try:
            counts = printed.counts(text)
        except ValueError as error:
            counts, why = {}, str(error)
        if not counts:
            yield Claim("tools", tool, text.strip()[:40], Verdict.UNCHECKED, why=(why,))
        elif "count" in counts:
            yield _of_either_kind(homework, tool, counts["count"])
        elif _exchanged(homework, counts):
            value = f"MACs {counts['macs'].text}, parameters {counts['parameters'].text}"
            yield Claim("tools", tool, value, Verdict.WRONG, why=("MACs and parameters are exchanged",))
        else:
            for kind, claimed in counts.items():
                yield _tool(homework, tool, kind, claimed)


def _exchanged(homework: Homework, counts: dict[str, Number]) -> bool:
    """Return whether a tool's numbers are known counts if each is taken for the other, and not as they stand."""
    if counts.keys() != {"macs", "parameters"}:
        return False
    targets = [Target(homework.network, kind) for kind in counts]
    numbers = list(counts.values())
    straight, crossed = (
        [bool(explained) and not explained[0].slips for explained in map(search.explain, order, targets)]
        for order in (numbers, numbers[::-1])
    )
    return all(crossed) and not all(straight)


def _tool(homework: Homework, tool: str, kind: str, claimed: Number) -> Claim:
    target = Target(homework.network, "macs" if kind == "flops" else kind)
    explanations = search.explain(claimed, target)
    own = [e for e in explanations if tool.lower() in map(str.lower, e.tools)] or explanations
    if kind == "flops" and len(own) > 1:  # then two for each MAC, not a batch of two
        own = [e for e in own if any("FLOPs" in step.text for step in e.steps)] or own
    return judge("tools", f"{tool}, {'MACs' if kind == 'macs' else kind}", claimed, target.exact, own)


def _of_either_kind(homework: Homework, tool: str, claimed: Number) -> Claim:
    """Judge a number without a word by what explains it."""
    claims = [_tool(homework, tool, kind, claimed) for kind in ("macs", "parameters")]
    best = min(claims, key=lambda claim: list(Verdict).index(claim.verdict))
    if best.verdict is Verdict.WRONG:
        why = "neither MACs nor Params stands before it, and it is none of the known counts"
        return Claim("tools", tool, claimed.text, Verdict.UNCHECKED, why=(why,))
    return best


# ---- a pasted summary ----------------------------------------------------------------------------------------------


def _summary(homework: Homework) -> Iterator[Claim]:
    if not homework.summary.strip():
        return
    why = "no row such as Linear-4  [-1, 50, 64]  4,160 and no line Total params is in it"
    try:
        summary = printed.summary(homework.summary)
    except ValueError as error:
        summary, why = Summary((), {}), str(error)
    if not summary.rows and not summary.totals:
        yield Claim("summary", "summary", homework.summary.strip()[:40], Verdict.UNCHECKED, why=(why,))
        return
    wrong = [claim for row in _distinct(summary.rows) if (claim := _summary_row(homework.network, row))]
    yield from wrong
    if summary.rows and not wrong:
        yield Claim("summary", "rows", f"{len(summary.rows)} rows", Verdict.RIGHT)
    totals = {kind: summary.totals[kind] for kind in terms.KINDS if kind in summary.totals}
    for kind, claimed in totals.items():
        target = Target(homework.network, kind)
        name = f"total {'MACs' if kind == 'macs' else kind}"
        yield judge("summary", name, claimed, target.exact, search.explain(claimed, target))
    yield from _sums(summary)


def _sums(summary: Summary) -> Iterator[Claim]:
    """Check that the rows, and what is trainable and what is not, add up to the total."""
    total, rows = summary.totals.get("parameters"), sum(row.parameters for row in summary.rows)
    by_torchsummary = summary.rows and all(row.index.isdecimal() for row in summary.rows)
    if total and by_torchsummary and total.exact != rows:
        why = "the rows do not add up to the total: is one missing?"
        yield Claim("summary", "sum of the rows", total.text, Verdict.WRONG, f"{rows:,}", (why,))
    parts = [summary.totals.get(kind) for kind in ("trainable", "non-trainable")]
    if total and parts[0] and parts[1] and not total.fits(parts[0].value + parts[1].value):
        texts = f"{parts[0].text} + {parts[1].text}"
        why = "trainable and other parameters do not add up to the total"
        yield Claim("summary", "trainable parameters", texts, Verdict.WRONG, total.text, (why,))


def _distinct(rows: tuple[SummaryRow, ...]) -> list[SummaryRow]:
    """Return the first row of each type, shape and parameters."""
    return list({(row.type, row.output_shape, row.parameters): row for row in reversed(rows)}.values())[::-1]


def _summary_row(config: ViTConfig, row: SummaryRow) -> Claim | None:
    """Return what is wrong with a row of a summary, or nothing."""
    name, kind = f"{row.type}-{row.index}", row.type.lower()
    value = f"{list(row.output_shape or [])} {row.parameters:,}".removeprefix("[] ")
    rows = terms.NORMS if "norm" in kind and row.parameters else terms.LINEAR if re.search("linear|conv", kind) else ()
    if not rows:
        return None
    tokens = row.output_shape[1] if row.output_shape and len(row.output_shape) == 3 else None
    width = row.output_shape[-1] if row.output_shape and "conv" not in kind else None
    candidates: list[tuple[str, ...]] = [(name,) for name in rows if width in (None, _width(config, name))]
    if rows is terms.LINEAR and width in (None, 3 * config.embed_dim):
        candidates.append(terms.PROJECTIONS)
    claimed = printed.number(str(row.parameters))
    targets = [Target(config, "parameters", rows, layer=True) for rows in candidates]
    judged = [(search.explain(claimed, target), target) for target in targets if target.exact]
    if not judged:
        widths = sorted({_width(config, name) for name in rows})
        why = f"no {row.type} of this network is {width} wide; the widths are {', '.join(map(str, widths))}"
        return Claim("summary", name, value, Verdict.WRONG, why=(why,))
    exact = [target for explanations, target in judged if explanations and not explanations[0].steps]
    if not exact:
        explanations, target = min(judged, key=simplest_first)
        return judge("summary", name, claimed, target.exact, explanations)
    expected = {1, *(config.num_patches if t.rows == ("Patch projection",) else config.num_tokens for t in exact)}
    if tokens is None or tokens in expected:
        return None
    missing = tokens == config.num_patches
    why = "the class token is missing" if missing else "the tokens are the patches and the class token"
    return Claim("summary", name, str(list(row.output_shape or ())), Verdict.WRONG, f"{max(expected)} tokens", (why,))


def _width(config: ViTConfig, row: str) -> int:
    """Return how many numbers a row writes for a token."""
    return {"MLP, first layer": config.hidden_dim, "Head": config.num_classes}.get(row, config.embed_dim)


def simplest_first(judged: tuple[list[Explanation], Target]) -> tuple[int, int]:
    """Sort explanations: those that exist first, then by slips and steps."""
    explanations, _ = judged
    return (explanations[0].slips, len(explanations[0].steps)) if explanations else (99, 0)
