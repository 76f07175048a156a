"""The check of a homework: as text, and its wrong claims as rows of a table."""

import html
import re
import textwrap
from collections import Counter
from collections.abc import Iterable

from vitlib.checking import counts, hand_counts, results
from vitlib.checking.claims import Claim, Verdict
from vitlib.config import ViTConfig
from vitlib.homework import Homework

ORDER = (Verdict.WRONG, Verdict.CONVENTION, Verdict.UNCHECKED, Verdict.RIGHT)
WIDTH = 100  # characters of a line


def check(homework: Homework) -> list[Claim]:
    """Check every claim of a homework, in the order of its file."""
    return [*results.check(homework), *counts.check(homework), *hand_counts.check(homework)]


def network(config: ViTConfig) -> str:
    """Return the network that the counts are of, in one line."""
    norms = "one LayerNorm a layer, applied twice" if config.share_norm else "two LayerNorms a layer"
    image = f"{config.image_size} × {config.image_size} × {config.channels}"
    return (
        f"Network: image {image}, patch {config.patch_size}, width {config.embed_dim}, {config.depth} layers, "
        f"{config.num_heads} heads, MLP ratio {config.mlp_ratio}, {config.num_classes} classes, {norms}"
    )


def summary(claims: Iterable[Claim]) -> str:
    """Return how many claims have each verdict, such as ``2 wrong, 20 right``."""
    number = Counter(claim.verdict for claim in claims)
    return ", ".join(f"{number[verdict]} {verdict}" for verdict in ORDER if number[verdict]) or "no claims"


def text(claims: list[Claim]) -> str:
    """Return the verdicts as lines: what is wrong first, with the reasons, and last what is right, by name."""
    lines = []
    for verdict in ORDER[:-1]:
        of_verdict = [claim for claim in claims if claim.verdict is verdict]
        lines += ["", verdict.capitalize()] if of_verdict else []
        for claim in of_verdict:
            exact = f", exact: {claim.exact}" if claim.exact else ""
            lines += _wrapped(f"{claim.where}, {claim.name}: {claim.value}{exact}", 2)
            for i, why in enumerate(claim.why):
                lines += _wrapped(f"{'or ' if i else ''}{why}", 4)
    right = [claim for claim in claims if claim.verdict is Verdict.RIGHT]
    lines += ["", "Right"] if right else []
    for where in dict.fromkeys(claim.where for claim in right):
        lines += _wrapped(f"{where}: {'; '.join(claim.name for claim in right if claim.where == where)}", 2)
    lines += [line for claim in right for why in claim.why for line in _wrapped(f"{claim.name}: {why}", 2)]
    return printable("\n".join(lines).strip("\n"))


def printable(text: str) -> str:
    """Return text without the control characters that could steer a terminal."""
    return "".join(character for character in text if character.isprintable() or character == "\n")


def rows(claims: Iterable[Claim]) -> list[list[str]]:
    """Return the claims that are not right, the wrong ones first, as cells of a Markdown table."""
    return [
        [
            f"`{c.where}`: {_escaped(f'{c.name}: {c.value}')}",
            c.exact,
            f"**{c.verdict}**: {_escaped('; or '.join(c.why))}",
        ]
        for c in sorted(claims, key=lambda claim: ORDER.index(claim.verdict))
        if c.verdict is not Verdict.RIGHT
    ]


def _escaped(cell: str) -> str:
    """Return text that Markdown and HTML show as it is."""
    return re.sub(r"([\\`*_|$\[\]{}])", r"\\\1", html.escape(cell, quote=False))


def _wrapped(sentence: str, indent: int) -> list[str]:
    return textwrap.wrap(sentence, WIDTH, initial_indent=" " * indent, subsequent_indent=" " * (indent + 4))
