"""Which count is this? The fewest terms of `vitlib.counting.terms` that lead from the exact count to a given number.

One term is tried, then a typing error, then two terms, then three of which at most one is a slip. The search stops at
the first of these with a match and returns all its matches, conventions first. A rounded number fits too many
combinations, so it is explained by one term at most, or by a tool's convention in FLOPs.
The page `what_if` runs the same search in the reader's browser (vitlib/report/which_count.js).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import combinations

from vitlib import cost
from vitlib.config import ViTConfig
from vitlib.counting import terms
from vitlib.counting.terms import Scale, Swap, Term
from vitlib.printed import Number

BATCHES = range(2, 4097)  # images


@dataclass(frozen=True)
class Step:
    """One term of an explanation, its text filled in, and by how much it changes the count."""

    text: str
    change: Fraction
    slip: bool


@dataclass(frozen=True)
class Explanation:
    """How a number comes about: the exact count and the steps to the number, none if it is exact."""

    exact: int
    steps: tuple[Step, ...]
    tools: tuple[str, ...] = ()  # whose convention this is

    @property
    def slips(self) -> int:
        """The number of mistakes among the steps."""
        return sum(step.slip for step in self.steps)

    @property
    def sentence(self) -> str:
        """Words and numbers, such as ``misses the class token (−64)``."""
        slips_first = sorted(self.steps, key=lambda step: not step.slip)
        steps = "; ".join(f"{step.text} ({signed(step.change)})" for step in slips_first)
        verb = "count" if len(self.tools) > 1 else "counts"
        return f"{steps}, as {' and '.join(self.tools)} {verb}" if self.tools and steps else steps


def signed(change: Fraction) -> str:
    """Return a change with its sign and thousands separators."""
    return f"{'−' if change < 0 else '+'}{abs(float(change)):,.0f}"


@dataclass(frozen=True)
class Target:
    """What is counted: ``macs`` or ``parameters``, of some rows of the derivation, for one layer or for all.

    Args:
        config: the network.
        kind: ``macs`` or ``parameters``.
        rows: names of rows of `vitlib.cost`; by default all of the network, or of one layer.
        layer: count one encoder layer instead of the network.
    """

    config: ViTConfig
    kind: str
    rows: tuple[str, ...] | None = None
    layer: bool = False

    @cached_property
    def counted(self) -> dict[str, cost.Sum]:
        """The sum of products of each row."""
        table = cost.model(self.config)
        names = self.rows or (terms.LAYER if self.layer else [row.name for row in table.rows])
        return {name: getattr(table[name], self.kind).products for name in names}

    @cached_property
    def values(self) -> dict[str, int]:
        """The value of each symbol."""
        return cost.dimensions(self.config) | ({"L": 1} if self.layer else {})

    @cached_property
    def exact(self) -> int:
        """The exact count."""
        return self.count((), self.values)

    @cached_property
    def terms(self) -> tuple[Term, ...]:
        """The terms that change these rows; those that change them alike are one."""
        return tuple(self._terms.values())

    @cached_property
    def _terms(self) -> dict[cost.Sum, Term]:
        by_change: dict[cost.Sum, Term] = {}
        for term in terms.terms(self.kind, self.config.share_norm):
            change = terms.add(*(term.changes[row] for row in self.counted if row in term.changes))
            if change:
                by_change[change] = by_change[change].merged(term) if change in by_change else term
        return by_change

    @cached_property
    def swaps(self) -> tuple[Swap, ...]:
        """The exchanges of a dimension that change this count."""
        return tuple(swap for swap in self.possible_swaps if self.count((), self.swapped(swap)) != self.exact)

    @property
    def possible_swaps(self) -> tuple[Swap, ...]:
        """The exchanges that change this count for some dimensions, and are not the same as a term."""
        exact, covered = terms.add(*self.counted.values()), {(), *self._terms}
        return tuple(
            swap
            for swap in terms.SWAPS[self.kind]
            if not (self.layer and "L" in swap.symbols)
            and terms.difference(terms.substitute(exact, swap.symbols), exact) not in covered
        )

    @property
    def scales(self) -> tuple[Scale, ...]:
        """The factors that this count may have; a single row has none, as the others would have it too."""
        return tuple(s for s in terms.SCALES[self.kind] if not self.rows and (self.layer or not s.layer_only))

    def swapped(self, swap: Swap | None) -> dict[str, int]:
        """Return the values of the symbols after an exchange."""
        if swap is None:
            return self.values
        return self.values | {symbol: cost.evaluate(sums, self.values) for symbol, sums in swap.symbols.items()}

    def count(self, chosen: tuple[Term, ...], values: Mapping[str, int]) -> int:
        """Return the sum of the rows and of what some terms change, for the values of the symbols."""
        rows = sum(cost.evaluate(products, values) for products in self.counted.values())
        return rows + sum(term.value(self.counted, values) for term in chosen)

    def explanation(self, swap: Swap | None, chosen: tuple[Term, ...], scale: Scale | None) -> Explanation:
        """Return what an exchange, some terms and a factor lead to, step by step."""
        values = self.swapped(swap)
        total = Fraction(self.count((), values))
        steps = [Step(self.filled(swap.text), total - self.exact, swap.slip)] if swap else []
        for term in chosen:
            for part in term.parts or (term,):
                steps.append(Step(self.filled(part.text), Fraction(part.value(self.counted, values)), part.slip))
                total += steps[-1].change
        if scale:
            steps.append(Step(self.filled(scale.text), total * self.factor(scale) - total, scale.slip))
        tools = chosen[0].tools if len(chosen) == 1 and not (swap or scale) else ()
        return Explanation(self.exact, tuple(steps), tools)

    def factor(self, scale: Scale) -> Fraction:
        """Return by what a count is multiplied."""
        factor = Fraction(cost.evaluate(scale.factor, cost.dimensions(self.config)))
        return 1 / factor if scale.divides else factor

    def filled(self, text: str) -> str:
        """Return a text with the symbols in braces replaced by their values."""
        return text.format_map({name: f"{value:,}" for name, value in cost.dimensions(self.config).items()})


def explain(claim: Number, target: Target) -> list[Explanation]:
    """Return the smallest explanations of a number, conventions first; none if nothing fits."""
    if claim.fits(target.exact):
        return [Explanation(target.exact, ())]
    for level in (_one, _digits, _two, _three):
        explanations = list(level(claim, target))
        if explanations:
            return sorted(explanations, key=lambda explanation: explanation.slips)
        if claim.exact is None:
            break
    return []


Choice = tuple[Swap | None, tuple[Term, ...], Scale | None]


def _fitting(claim: Number, target: Target, choices: Iterator[Choice]) -> Iterator[Explanation]:
    exact = claim.exact
    bases: dict[Swap | None, tuple[int, dict[Term, int]]] = {}
    factors = {scale: target.factor(scale) for scale in target.scales} | {None: Fraction(1)}
    for swap, chosen, scale in choices:
        if swap not in bases:
            values = target.swapped(swap)
            bases[swap] = target.count((), values), {term: term.value(target.counted, values) for term in target.terms}
        base, changes = bases[swap]
        total, factor = base + sum(map(changes.__getitem__, chosen)), factors[scale]
        # integers compare many times as fast as fractions
        if claim.fits(total * factor) if exact is None else total * factor.numerator == exact * factor.denominator:
            yield target.explanation(swap, chosen, scale)


def _one(claim: Number, target: Target) -> Iterator[Explanation]:
    choices: Iterator[Choice] = ((None, (term,), None) for term in target.terms)
    yield from _fitting(claim, target, choices)
    yield from _fitting(claim, target, ((swap, (), None) for swap in target.swaps))
    yield from _fitting(claim, target, ((None, (), scale) for scale in target.scales))
    conventions = [term for term in target.terms if term.tools]
    yield from _fitting(claim, target, ((None, (t,), s) for t in conventions for s in target.scales if not s.slip))
    yield from _batches(claim, target, ())


def _batches(claim: Number, target: Target, chosen: tuple[Term, ...]) -> Iterator[Explanation]:
    """Explain a count of the network's MACs for several images."""
    count = target.count(chosen, target.values)
    whole = target.kind == "macs" and not (target.rows or target.layer)
    if whole and claim.exact and count > 0 and claim.exact % count == 0 and claim.exact // count in BATCHES:
        one = target.explanation(None, chosen, None)
        batch = Step(f"counts a batch of {claim.exact // count:,} images", Fraction(claim.exact - count), False)
        yield Explanation(one.exact, (*one.steps, batch), one.tools)


def _digits(claim: Number, target: Target) -> Iterator[Explanation]:
    """Explain a typing error in the exact count or in a tool's."""
    if claim.exact is None:
        return
    for term in (None, *(term for term in target.terms if term.tools)):
        chosen = (term,) if term else ()
        count = target.count(chosen, target.values)
        text = typing_error(str(claim.exact), str(count))
        if text:
            one = target.explanation(None, chosen, None)
            step = Step(f"{text} of {count:,}", Fraction(claim.exact - count), True)
            yield Explanation(one.exact, (*one.steps, step), one.tools)


def typing_error(written: str, right: str) -> str:
    """Return how digits differ by one slip: two swapped, one missing, one too many, or one wrong; or nothing."""
    if written == right or min(len(written), len(right)) < 3:
        return ""
    if len(written) == len(right):
        wrong = [i for i, (a, b) in enumerate(zip(written, right, strict=True)) if a != b]
        if len(wrong) == 1:
            return "has one wrong digit"
        i = wrong[0]
        swapped = len(wrong) == 2 and wrong[1] == i + 1 and written[i] == right[i + 1] and written[i + 1] == right[i]
        return "swaps two digits" if swapped else ""
    longer, shorter = sorted((written, right), key=len, reverse=True)
    if shorter not in (longer[:i] + longer[i + 1 :] for i in range(len(longer))):
        return ""
    return "misses a digit" if shorter == written else "has a digit too many"


def _two(claim: Number, target: Target) -> Iterator[Explanation]:
    def choices() -> Iterator[Choice]:
        yield from ((None, pair, None) for pair in combinations(target.terms, 2) if _apart(pair, target))
        yield from ((swap, (term,), None) for swap in target.swaps for term in target.terms)
        scaled = ((term, scale) for term in target.terms for scale in target.scales)
        yield from ((None, (term,), scale) for term, scale in scaled if scale.slip or not term.tools)
        yield from ((swap, (), scale) for swap in target.swaps for scale in target.scales)

    yield from _fitting(claim, target, choices())
    for term in target.terms:
        if term.tools:
            yield from _batches(claim, target, (term,))


def _three(claim: Number, target: Target) -> Iterator[Explanation]:
    def choices() -> Iterator[Choice]:
        conventions = [term for term in target.terms if not term.slip]
        slips = [term for term in target.terms if term.slip]
        pairs = list(combinations(conventions, 2))
        yield from ((None, three, None) for three in combinations(conventions, 3))
        yield from ((None, (*pair, slip), None) for pair in pairs for slip in slips)
        yield from ((swap, pair, None) for swap in target.swaps for pair in pairs)
        for scale in target.scales:
            yield from ((None, pair, scale) for pair in pairs)
            yield from ((None, (one, slip), scale) for one in conventions for slip in slips if not scale.slip)
            yield from ((swap, (one,), scale) for swap in target.swaps for one in conventions if not scale.slip)

    return _fitting(claim, target, choices())


def _apart(pair: tuple[Term, ...], target: Target) -> bool:
    """Return whether two terms can hold together: two slips do not change the same row."""
    one, other = pair
    rows = [row for row in target.counted if row in one.changes and row in other.changes]
    return not (one.slip and other.slip and rows)
