"""Check a count by hand: each row by its name, formula and count, and the total by its rows."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache

from vitlib import printed
from vitlib.checking import dimension_names, row_names
from vitlib.checking.claims import Claim, Verdict
from vitlib.checking.counts import judge, simplest_first
from vitlib.checking.row_names import Rows
from vitlib.config import ViTConfig
from vitlib.counting import search, terms
from vitlib.counting.search import Explanation, Step, Target
from vitlib.homework import Homework
from vitlib.printed import HandRow

SECTIONS = ("layer_macs", "layer_parameters", "network_macs", "network_parameters")
UNREAD = "this line does not end in a count; write it such as: Fc1: 50 * 64 * 256 = 819200"
UNKNOWN = "neither its name nor its count is known (docs/check.md lists names)"


def check(homework: Homework) -> Iterator[Claim]:
    """Check every count by hand, and the names in its formulas."""
    totals: dict[str, Claim] = {}
    for name in SECTIONS:
        rows, unread = printed.hand_count(getattr(homework, name), name.split("_")[1])
        kind = name.split("_")[1]
        section = Section(name, homework.network, not unread, totals.get(f"layer_{kind}"))
        claims = list(section.check(rows))
        for claim in claims:
            if row_names.is_total(claim.name, name.startswith("layer")):
                totals[name] = claim
        yield from claims
        yield from (Claim(name, "line", line[:60], Verdict.UNCHECKED, why=(UNREAD,)) for line in unread)
        yield from dimension_names.check(homework.network, name, rows)


@cache
def _target(config: ViTConfig, kind: str, rows: Rows | None, layer: bool) -> Target:
    return Target(config, kind, rows, layer)


@dataclass
class Section:
    """A part of a homework's file that counts by hand, such as ``layer_macs``, and the rows checked so far."""

    name: str
    config: ViTConfig
    complete: bool = True  # every line is understood
    layer_total: Claim | None = None  # of the count of one layer, for a count of the network
    rows: list[tuple[HandRow, Claim]] = field(default_factory=list)  # those that a total adds up
    counted: set[str] = field(default_factory=set)  # rows of the derivation

    def targets(self, rows: Rows | None = None) -> list[Target]:
        """Return what the section may count: of one layer, and in a network of all layers."""
        scope, kind = self.name.split("_")
        layers = [True] if scope == "layer" else [False, True]
        if rows is None or not {*rows} <= {*terms.LAYER}:
            layers = layers[:1]
        if scope == "layer" and rows and not {*rows} <= {*terms.LAYER}:
            return []
        return [_target(self.config, kind, rows, layer) for layer in layers]

    def check(self, rows: list[HandRow]) -> Iterator[Claim]:
        """Check the rows in their order."""
        flops = self._counts_flops(rows)
        for row in rows:
            if row_names.is_total(row.name, self.name.startswith("layer")):
                yield self._total(row)
                continue
            meaning, claim = self._row(row, flops)
            if row_names.is_subtotal(row.name):
                pass
            elif not meaning:
                self.complete = False
            elif not self.counted & {*meaning}:
                self.rows.append((row, claim))
                self.counted |= {*meaning}
            else:
                self.complete = False  # it repeats other rows, or says more than is known
            yield claim

    def _counts_flops(self, rows: list[HandRow]) -> bool:
        """Return whether every row that is understood has two for each MAC."""
        understood = [(row, self.targets(meanings[0])) for row in rows if (meanings := row_names.meanings(row.name))]
        counts = [(row, targets) for row, targets in understood if any(t.kind == "macs" and t.exact for t in targets)]
        return len(counts) > 1 and all(any(row.count.fits(2 * t.exact) for t in targets) for row, targets in counts)

    def _row(self, row: HandRow, flops: bool) -> tuple[Rows, Claim]:
        """Judge a row, and return the rows of the derivation that it counts."""
        named = [target for rows in row_names.meanings(row.name) for target in self.targets(rows)]
        catalogue = [target for rows in row_names.CATALOGUE for target in self.targets(rows) if target.exact]
        exact = [target for target in named or catalogue if row.count.fits(target.exact)]
        exact = [target for target in exact if not self.counted & {*target.counted}] or exact
        wrong = self._formula(row)
        if wrong:
            target = next(iter(exact or named), None)
            return tuple(target.counted) if target else (), self._wrong(row, target, wrong)
        if exact:
            return tuple(exact[0].counted), Claim(self.name, row.name, row.count.text, Verdict.RIGHT)
        if not named:
            return (), Claim(self.name, row.name, row.count.text, Verdict.UNCHECKED, why=(UNKNOWN,))
        explanations, target = min((self._explained(row, target, flops) for target in named), key=simplest_first)
        layer = self.layer_total
        if (
            layer
            and layer.verdict is Verdict.WRONG
            and row.count.fits(self.config.depth * printed.number(layer.value).value)
        ):
            return tuple(target.counted), self._wrong(row, target, f"follows from {layer.where}, {layer.name}")
        return tuple(target.counted), judge(self.name, row.name, row.count, target.exact, explanations)

    def _explained(self, row: HandRow, target: Target, flops: bool) -> tuple[list[Explanation], Target]:
        if flops and row.count.fits(2 * target.exact):
            return [target.explanation(None, (), terms.SCALES["macs"][0])], target
        explanations = search.explain(row.count, target)
        if target.kind == "macs" and row.count.exact == 2 * target.exact:
            alone = Step("counts FLOPs, two for each MAC, in this row alone", Fraction(target.exact), True)
            explanations = [Explanation(target.exact, (alone,)), *explanations]
        return explanations, target

    def _wrong(self, row: HandRow, target: Target | None, why: str) -> Claim:
        exact = f"{target.exact:,}" if target else ""
        return Claim(self.name, row.name, row.count.text, Verdict.WRONG, exact, (why,))

    def _formula(self, row: HandRow) -> str:
        """Return what a formula gives if it is not the row's count."""
        trees = [printed.parse(text) for text in row.products]
        numbers = [value for tree in trees if (value := printed.value(tree)) is not None]
        named = [
            value for tree in trees if (value := printed.value(tree, dimension_names.values(self.config))) is not None
        ]
        for result in numbers or named[-1:]:
            if not row.count.fits(result):
                return f"the formula as written gives {_integer(result)}"
        return ""

    def _total(self, row: HandRow) -> Claim:
        """Judge a total: by what it should be, and else by its rows."""
        (target,) = self.targets()
        if row.count.fits(target.exact):
            wrong = self._formula(row)
            return (
                self._wrong(row, target, wrong) if wrong else Claim(self.name, row.name, row.count.text, Verdict.RIGHT)
            )
        explanations = search.explain(row.count, target)
        total = sum((other.count.value for other, _ in self.rows), Fraction(0))
        rounded = sum((other.count.tolerance for other, _ in self.rows), row.count.tolerance)
        adds_up = bool(self.rows) and abs(row.count.value - total) <= rounded
        wrong_rows = [claim.name for _, claim in self.rows if claim.verdict is Verdict.WRONG]
        by_convention = [claim.name for _, claim in self.rows if claim.verdict is Verdict.CONVENTION]
        missing = tuple(r for r in target.counted if r not in self.counted and self.targets((r,))[0].exact)
        if adds_up and wrong_rows:
            return self._wrong(row, target, f"follows from {', '.join(wrong_rows)}")
        if explanations and not explanations[0].slips:
            return judge(self.name, row.name, row.count, target.exact, explanations)
        if adds_up and missing and row.count.fits(target.exact - self.targets(missing)[0].exact):
            return self._wrong(row, target, f"no row counts {', '.join(map(str.lower, missing))}")
        if adds_up and by_convention and not explanations:
            why = (f"follows from {', '.join(by_convention)}",)
            return Claim(self.name, row.name, row.count.text, Verdict.CONVENTION, f"{target.exact:,}", why)
        if not explanations and self.rows and self.complete and not adds_up:
            return self._wrong(row, target, f"the rows above add up to {_integer(total)}")
        return judge(self.name, row.name, row.count, target.exact, explanations)


def _integer(value: Fraction) -> str:
    return f"{value.numerator:,}" if value.denominator == 1 else f"{float(value):g}"
