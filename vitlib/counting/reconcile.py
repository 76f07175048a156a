"""Why counting tools disagree: the terms that add up from the exact count to what each tool reports."""

from collections.abc import Mapping

from vitlib import cost
from vitlib.config import ViTConfig, require
from vitlib.counting import terms


def rows(config: ViTConfig, tool: str, reported: Mapping[str, int | None]) -> list[list[str]]:
    """Return rows of a table: what a tool reports, and below it the signed terms that lead there from the exact count.

    Args:
        config: the network.
        tool: a name of `tools.TOOLS`.
        reported: the ``macs`` and ``parameters`` that the tool reports, None where it reports none.

    Returns:
        Rows of three cells: the tool or what it does, MACs, parameters.

    Raises:
        ValueError: the terms do not add up to what the tool reports.
    """
    network, counts = cost.model(config), (reported["macs"], reported["parameters"])
    table = [[f"**{tool}**", *("none" if count is None else f"**{count:,}**" for count in counts)]]
    for kind in terms.KINDS:
        by_tool = differences(config, kind)
        total = getattr(network, kind) + sum(value for _, value in by_tool.get(tool, ()))
        fits = reported[kind] == (total if tool in by_tool else None)
        require(fits, f"{tool}'s {kind}", reported[kind], f"{total}, the sum of its terms")
        signed = [(text, f"{value:+,}".replace("-", "−")) for text, value in by_tool.get(tool, ())]
        table += [[text, value, ""] if kind == "macs" else [text, "", value] for text, value in signed]
    return table


def differences(config: ViTConfig, kind: str) -> dict[str, list[tuple[str, int]]]:
    """Return by tool what it does, and by how much its ``macs`` or ``parameters`` of one image differ for that."""
    values = cost.dimensions(config)
    tools = terms.tools(kind, config.share_norm).items()
    return {tool: [(term.text, term.value(term.changes, values)) for term in parts] for tool, parts in tools}
