"""A claim of a homework, and how it compares with what is right."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What a check finds of a claim, the mildest first."""

    RIGHT = "right"
    CONVENTION = "right under another convention"
    UNCHECKED = "not checked"
    WRONG = "wrong"


@dataclass(frozen=True)
class Claim:
    """A claim and its verdict.

    Args:
        where: the part of the homework's file, such as ``layer_macs``.
        name: what is claimed, such as ``Fc1``.
        value: the claim as it stands in the text.
        verdict: what the check finds.
        exact: the exact value, or nothing if the claim is right or none is known.
        why: what explains the difference, each a possible explanation, or a remark.
    """

    where: str
    name: str
    value: str
    verdict: Verdict
    exact: str = ""
    why: tuple[str, ...] = ()
