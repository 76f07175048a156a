"""Why counting tools disagree: the terms that add up from the exact count to what each tool reports.

What a tool adds and misses is read from its source (versions in studies/counting.json). The terms are computed from
`vitlib.cost`, so they hold for any dimensions of `vitlib.model`, with attention written as ``q @ k``.
"""

from vitlib import cost
from vitlib.config import ViTConfig

Term = tuple[str, int]  # what the tool does, and by how much its count differs for that


def macs(config: ViTConfig) -> dict[str, list[Term]]:
    """Return by tool the terms from the network's MACs to the MACs that the tool reports for one image."""
    network = cost.model(config)
    linear = [row for row in network.rows if row.macs and row.parameters]
    biases = sum(row.activations for row in linear)  # one addition for each output
    weights = _linear_weights(config)
    norm_elements = sum(network[name].activations for name in ("Norm 1", "Norm 2", "Final norm"))
    norm_calls = 2 * config.depth + 1
    attention = (
        "misses the attention matmuls Q Kᵀ and A V, which are not modules",
        -network["Scores"].macs - network["Weighted sum"].macs,
    )
    bias = ("counts each addition of a bias", biases)
    return {
        "FlopCounterMode": [],
        "fvcore": [("counts 5 per element of a LayerNorm", 5 * norm_elements)],
        "ptflops, aten": [bias],
        "calflops": [attention],
        "thop": [attention, ("counts 4 per element of a LayerNorm", 4 * norm_elements)],
        "ptflops": [
            attention,
            bias,
            ("counts 1 per element of a LayerNorm", norm_elements),
            ("counts 1 per element of GELU, twice: as a module and as a function", 2 * network["GELU"].activations),
        ],
        "torchinfo": [
            attention,
            ("counts a linear layer's weights once, not once per token", weights - sum(row.macs for row in linear)),
            ("counts each bias once", sum(row.parameters for row in linear) - weights),
            ("counts a LayerNorm's parameters once per call", norm_calls * 2 * config.embed_dim),
        ],
    }


def parameters(config: ViTConfig) -> dict[str, list[Term]]:
    """Return by tool the terms from the network's parameters to the parameters that the tool reports."""
    network = cost.model(config)
    embeddings = network["Class token"].parameters + network["Positions"].parameters
    missed = ("misses the class token and the position embedding, which are not modules", -embeddings)
    second_calls = [("counts a shared LayerNorm at both of its calls", config.depth * 2 * config.embed_dim)]
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
