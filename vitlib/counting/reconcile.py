"""Why counting tools disagree: the signed terms that lead from the exact counts to what each tool reports.

Each tool is right about a question of its own. What it counts besides or instead is read from its source (versions in
studies/counting.json), priced here from the derivation of `vitlib.cost`, and so holds for any dimensions of the network
as `vitlib.model` writes it, with the products of attention as ``q @ k``.
"""

from vitlib import cost
from vitlib.config import ViTConfig

Term = tuple[str, int]  # what is counted otherwise, and by how much

PRODUCTS = "does not see Q Kᵀ and A V, which belong to no module"
TOKENS = "does not see the class token and the positions, which belong to no module"


def macs(config: ViTConfig) -> dict[str, list[Term]]:
    """Return, for each tool, the terms from the network's MACs to the MACs that the tool reports for one image."""
    network = cost.model(config)
    linear = [row for row in network.rows if row.macs and row.parameters]
    unseen = network["Scores"].macs + network["Weighted sum"].macs
    normed = sum(network[name].activations for name in ("Norm 1", "Norm 2", "Final norm"))
    biases = sum(row.activations for row in linear)
    norm_calls = 2 * config.depth + 1
    return {
        "FlopCounterMode": [],
        "fvcore": [("counts 5 for each number that a LayerNorm normalises", 5 * normed)],
        "ptflops, aten": [("counts the addition of each bias", biases)],
        "calflops": [(PRODUCTS, -unseen)],
        "thop": [(PRODUCTS, -unseen), ("counts 4 for each number that a LayerNorm normalises", 4 * normed)],
        "ptflops": [
            (PRODUCTS, -unseen),
            ("counts the addition of each bias", biases),
            ("counts 1 for each number that a LayerNorm normalises", normed),
            (
                "counts 1 for each number of a GELU, as a module and again as a function",
                2 * network["GELU"].activations,
            ),
        ],
        "torchinfo": [
            (PRODUCTS, -unseen),
            ("takes a linear layer once, not once per token", -sum(row.macs for row in linear) + _weights(config)),
            ("counts each bias once", sum(row.parameters for row in linear) - _weights(config)),
            ("counts the parameters of a LayerNorm at each call", norm_calls * 2 * config.embed_dim),
        ],
    }


def parameters(config: ViTConfig) -> dict[str, list[Term]]:
    """Return, for each tool, the terms from the network's parameters to the parameters that the tool reports."""
    network = cost.model(config)
    tokens = network["Class token"].parameters + network["Positions"].parameters
    again = config.depth * 2 * config.embed_dim if config.share_norm else 0
    recounted = [("counts a layer's one norm again at its second call", again)] if again else []
    return {
        "torchinfo": [],
        "fvcore": [],
        "ptflops": [],
        "ptflops, aten": [],
        "calflops": [],
        "thop": [(TOKENS, -tokens)],
        "torchsummary": [(TOKENS, -tokens), *recounted],
    }


def _weights(config: ViTConfig) -> int:
    """Return the number of weights in all linear layers, without biases."""
    D, F = config.embed_dim, config.hidden_dim
    return config.patch_dim * D + config.depth * (4 * D * D + 2 * D * F) + D * config.num_classes
