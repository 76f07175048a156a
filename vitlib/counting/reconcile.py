"""Why counting tools disagree: the terms that add up from the exact count to what each tool reports.

What a tool adds and misses is read from its source (versions in studies/counting.json). The terms are computed from
`vitlib.cost`, so they hold for any dimensions of `vitlib.model`, with attention written as ``q @ k``.
"""

from collections.abc import Mapping

from vitlib import cost
from vitlib.config import ViTConfig, require

Term = tuple[str, int]  # what the tool does, and by how much its count differs for that


def explain(config: ViTConfig, tool: str, reported: Mapping[str, int | None]) -> list[list[str]]:
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
    rows = [[f"**{tool}**", *("none" if count is None else f"**{count:,}**" for count in counts)]]
    for kind, terms in (("macs", macs(config)), ("parameters", parameters(config))):
        total = getattr(network, kind) + sum(value for _, value in terms.get(tool, ()))
        fits = reported[kind] == (total if tool in terms else None)
        require(fits, f"{tool}'s {kind}", reported[kind], f"{total}, the sum of its terms")
        signed = [(text, f"{value:+,}".replace("-", "−")) for text, value in terms.get(tool, ())]
        rows += [[text, value, ""] if kind == "macs" else [text, "", value] for text, value in signed]
    return rows


def macs(config: ViTConfig) -> dict[str, list[Term]]:
    """Return by tool the terms from the network's MACs to the MACs that the tool reports for one image."""
    network = cost.model(config)
    linear = [row for row in network.rows if row.macs and row.parameters]
    biases = sum(row.activations for row in linear)  # one addition for each output
    weights = _linear_weights(config)
    norm_elements = sum(network[name].activations for name in ("Norm 1", "Norm 2", "Final norm"))
    norm_calls = 2 * config.depth + 1
    attention = ("misses the attention matmuls", -network["Scores"].macs - network["Weighted sum"].macs)
    bias = ("counts each addition of a bias", biases)
    return {
        "FlopCounterMode": [],
        "fvcore": [("counts 5 for each element of a LayerNorm", 5 * norm_elements)],
        "ptflops, aten": [bias],
        "calflops": [attention],
        "thop": [attention, ("counts 4 for each element of a LayerNorm", 4 * norm_elements)],
        "ptflops": [
            attention,
            bias,
            ("counts 1 for each element of a LayerNorm", norm_elements),
            ("counts 2 for each element of a GELU", 2 * network["GELU"].activations),  # as a module and as a function
        ],
        "torchinfo": [
            attention,
            ("counts each weight once, not once a token", weights - sum(row.macs for row in linear)),
            ("counts each bias once", sum(row.parameters for row in linear) - weights),
            ("counts a LayerNorm's parameters at each call", norm_calls * 2 * config.embed_dim),
        ],
    }


def parameters(config: ViTConfig) -> dict[str, list[Term]]:
    """Return by tool the terms from the network's parameters to the parameters that the tool reports."""
    network = cost.model(config)
    embeddings = network["Class token"].parameters + network["Positions"].parameters
    missed = ("misses the class token and the positions", -embeddings)
    second_calls = [("counts a shared LayerNorm at both calls", config.depth * 2 * config.embed_dim)]
    return {
        "torchinfo": [],
        "fvcore": [],
        "ptflops": [],
        "ptflops, aten": [],
        "calflops": [],
        "thop": [missed],
        "torchsummary": [missed, *(second_calls if config.share_norm else [])],
    }


def _linear_weights(config: ViTConfig) -> int:
    """Return the number of weights in all linear layers, without biases."""
    D, F = config.embed_dim, config.hidden_dim
    return config.patch_dim * D + config.depth * (4 * D * D + 2 * D * F) + D * config.num_classes
