"""Check a count by hand: each row by its name, formula and count, and the total by its rows."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

from vitlib import printed
from vitlib.checking import names
from vitlib.checking.claims import Claim, Verdict
from vitlib.checking.counts import judge, size
from vitlib.config import ViTConfig
from vitlib.counting import search, terms
from vitlib.counting.search import Explanation, Target
from vitlib.homework import Homework
from vitlib.printed import HandRow

SECTIONS = ("layer_macs", "layer_parameters", "network_macs", "network_parameters")
NOTHING_READ = "no line ends in a count; write one such as: Fc1: 50 * 64 * 256 = 819200"

TOTAL = r"^(?!.*(weighted|mlp|attention|head|norm|feed|projection)).*\b(total|sum|overall)\b|^(one )?encoder layer$"
ATTENTION = (*terms.PROJECTIONS, "Scores", "Weighted sum", "Output projection")
MLP = ("MLP, first layer", "MLP, second layer")
ROWS: tuple[
    tuple[str, tuple[tuple[str, ...], ...]], ...
] = (  # the first pattern that fits a row's name, and what it may mean
    (r"layer ?norm.*\b1\b|\bln_?1|norm_?1|first (layer ?)?norm", (("Norm 1",),)),
    (r"layer ?norm.*\b2\b|\bln_?2|norm_?2|second (layer ?)?norm", (("Norm 2",),)),
    (r"(final|last|head|output|classif\w*) ?(layer ?)?norm", (("Final norm",),)),
    (r"norm", (("Norm 1",), ("Norm 1", "Norm 2"), ("Final norm",))),
    (r"multi-?head|\bmha\b|\bmsa\b|self-?attention$|attention block|attention total", (ATTENTION,)),
    (r"q\W{0,2}(and )?k\W{0,2}(and )?v|qkv|query\b.*\bkey\b.*\bvalue", (terms.PROJECTIONS,)),
    (r"score|\bq\W{0,4}k|similarit", (("Scores",),)),
    (r"weighted|context|\ba\W{0,4}v\b|attn\W*v\b|softmax.*v\b|^attention$|attention output$", (("Weighted sum",),)),
    (r"\bquery|\bw_?q\b|^q\b", (("Query",),)),
    (r"\bkey|\bw_?k\b|^k\b", (("Key",),)),
    (r"\bvalue|\bw_?v\b|^v\b", (("Value",),)),
    (r"patch|^embedding", (("Patch projection",),)),
    (r"pos", (("Positions",),)),
    (r"\bcls\b|class.?token", (("Class token",),)),
    (r"\bfc_?1|linear.?1\b|mlp.?1\b|mlp.*(first|hidden|up)|first|expan|\bup\b|w_?1\b", (("MLP, first layer",),)),
    (r"\bfc_?2|linear.?2\b|mlp.?2\b|mlp.*(second|out|down)|second|contract|\bdown\b|w_?2\b", (("MLP, second layer",),)),
    (r"mlp|feed.?forward|\bffn?\b", (MLP,)),
    (r"head$|classif|logit", (("Head",),)),
    (r"encoder|layers|blocks", (terms.LAYER,)),
    (r"\bout|proj|\bw_?o\b", (("Output projection",),)),
)


def check(homework: Homework) -> Iterator[Claim]:
    """Check every count by hand, and the names in its formulas."""
    for name in SECTIONS:
        text = getattr(homework, name).strip()
        rows = printed.hand_count(text)
        if text and not rows:
            yield Claim(name, name, text[:40], Verdict.UNCHECKED, why=(NOTHING_READ,))
        yield from Section(name, homework.network).check(rows)
        yield from names.check(homework.network, name, rows)


def _meanings(name: str) -> tuple[tuple[str, ...], ...]:
    """Return the rows of the derivation that a row's name may mean, each as the names of one or more."""
    return next((found for pattern, found in ROWS if re.search(pattern, name, re.IGNORECASE)), ())


@dataclass
class Section:
    """A part of a homework's file that counts by hand, such as ``layer_macs``, and the rows checked so far."""

    name: str
    config: ViTConfig
    rows: list[tuple[HandRow, Claim]] = field(default_factory=list)
    counted: set[str] = field(default_factory=set)  # rows of the derivation

    def target(self, rows: tuple[str, ...] | None = None) -> Target:
        """Return what the section counts, of some rows or of all."""
        scope, kind = self.name.split("_")
        return Target(self.config, kind, rows, scope == "layer")

    def check(self, rows: list[HandRow]) -> Iterator[Claim]:
        """Check the rows in their order."""
        flops = self._counts_flops(rows)
        for row in rows:
            if re.search(TOTAL, row.name, re.IGNORECASE):
                yield self._total(row)
                continue
            meaning, claim = self._row(row, flops)
            if not self.counted & set(meaning):  # a subtotal repeats rows
                self.rows.append((row, claim))
                self.counted |= set(meaning)
            yield claim

    def _counts_flops(self, rows: list[HandRow]) -> bool:
        """Return whether every row that is understood has two for each MAC."""
        targets = [(row, self.target(found[0])) for row in rows if (found := _meanings(row.name))]
        counts = [(row, target) for row, target in targets if target.kind == "macs" and target.exact]
        return len(counts) > 1 and all(row.count.fits(2 * target.exact) for row, target in counts)

    def _row(self, row: HandRow, flops: bool) -> tuple[tuple[str, ...], Claim]:
        """Judge a row by the meaning of its name that explains it best, and return that meaning."""
        meanings = _meanings(row.name)
        if not meanings:
            why = ("its name says no operation that is known",)
            return (), Claim(self.name, row.name, row.count.text, Verdict.UNCHECKED, why=why)
        found, target = min((self._explained(row, meaning, flops) for meaning in meanings), key=size)
        given = self._given(row)
        if given is not None and not row.count.fits(given):
            why = (f"the formula as written gives {_integer(given)}",)
            return tuple(target.counted), Claim(
                self.name, row.name, row.count.text, Verdict.WRONG, f"{target.exact:,}", why
            )
        return tuple(target.counted), judge(self.name, row.name, row.count, target.exact, found)

    def _explained(self, row: HandRow, meaning: tuple[str, ...], flops: bool) -> tuple[list[Explanation], Target]:
        target = self.target(meaning)
        if flops:
            return [target.explanation(None, (), terms.SCALES["macs"][0])], target
        return search.explain(row.count, target), target

    def _given(self, row: HandRow) -> Fraction | None:
        """Return what a row's last formula gives: with numbers, or else with the names of dimensions."""
        trees = [printed.parse(text) for text in row.products]
        for known in ({}, names.values(self.config)):
            values = [value for tree in trees if (value := printed.value(tree, known)) is not None]
            if values:
                return values[-1]
        return None

    def _total(self, row: HandRow) -> Claim:
        """Judge a total: by its rows, and by what it should be."""
        target = self.target()
        claim = (self.name, row.name, row.count.text)
        total = sum((other.count.value for other, _ in self.rows), Fraction(0))
        rounded = sum((other.count.tolerance for other, _ in self.rows), row.count.tolerance)
        wrong = [claim for _, claim in self.rows if claim.verdict is Verdict.WRONG]
        missing = [name for name in target.counted if name not in self.counted and self.target((name,)).exact]
        if self.rows and abs(row.count.value - total) > rounded:
            why = f"the rows above add up to {_integer(total)}"
        elif wrong and not row.count.fits(target.exact):
            why = f"follows from {', '.join(other.name for other in wrong)}"
        elif self.rows and missing and row.count.fits(target.exact - self.target(tuple(missing)).exact):
            why = f"no row counts {', '.join(map(str.lower, missing))}"
        else:
            return judge(self.name, row.name, row.count, target.exact, search.explain(row.count, target))
        return Claim(*claim, Verdict.WRONG, f"{target.exact:,}", (why,))


def _integer(value: Fraction) -> str:
    return f"{value.numerator:,}" if value.denominator == 1 else f"{float(value):g}"
