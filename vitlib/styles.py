"""One style sheet for all pages: of the theme's, its extensions' and the report's own, the rules that a page can use.

A rule can be used where the names of classes and ids in its selector are words of a page or of a script; what stands in
the parentheses of :not() and the like does not count against it.
"""

import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import tinycss2
from tinycss2.ast import AtRule, Node, QualifiedRule

ADDRESS = re.compile(r"""url\(\s*["']?([^"')]+)["']?\s*\)""")
IMPORT = re.compile(r"""@import\s+["']([^"']+)["'];""")
PUT_TOGETHER = "bs-"  # bootstrap makes these names of classes while it runs


def words(text: str) -> set[str]:
    """Return the words of a page or script, whatever they are there."""
    return set(re.findall(r"[\w-]+", text))


def _names(selector: list[Node]) -> set[str]:
    """Return the classes and ids that a selector asks for."""
    classes = {name.value for dot, name in pairwise(selector) if dot == "." and name.type == "ident"}
    return classes | {token.value for token in selector if token.type == "hash"}


def _usable(prelude: list[Node], known: set[str]) -> str:
    """Return those selectors of a rule that can be used, as text."""
    selectors: list[list[Node]] = [[]]
    for token in prelude:
        if token == ",":
            selectors.append([])
        else:
            selectors[-1].append(token)
    kept = (s for s in selectors if all(name in known or name.startswith(PUT_TOGETHER) for name in _names(s)))
    return ",".join(tinycss2.serialize(selector).strip() for selector in kept)


def trim(css: str | list[Node], known: set[str]) -> str:
    """Return the rules of a style sheet that can be used where `known` are the words of pages and scripts."""
    made = []
    for rule in tinycss2.parse_stylesheet(css, skip_comments=True, skip_whitespace=True):
        match rule:
            case QualifiedRule():
                if selectors := _usable(rule.prelude, known):
                    made.append(f"{selectors}{{{tinycss2.serialize(rule.content).strip()}}}")
            case AtRule(lower_at_keyword="media" | "supports" | "layer" | "container", content=list()):
                if inner := trim(rule.content, known):
                    made.append(f"@{rule.at_keyword}{tinycss2.serialize(rule.prelude)}{{\n{inner}}}")
            case AtRule(lower_at_keyword="charset"):  # the sheet is UTF-8, as its pages are
                pass
            case _:
                made.append(rule.serialize())
    return "".join(f"{rule}\n" for rule in made)


def whole(sheet: Path, folder: Path) -> str:
    """Return a style sheet with what it imports in place, and its addresses as seen from `folder`."""

    def address(found: re.Match[str]) -> str:
        path = (sheet.parent / found[1]).resolve()
        return f"url({path.relative_to(folder.resolve())})" if path.is_file() else found[0]

    css = ADDRESS.sub(address, sheet.read_text())
    return IMPORT.sub(lambda found: whole(sheet.parent / found[1], folder), css)


def bundle(sheets: Iterable[Path], known: set[str], folder: Path) -> str:
    """Return what can be used of several style sheets, in their order, as one that lies in `folder`."""
    return "".join(trim(whole(sheet, folder), known) for sheet in sheets)
