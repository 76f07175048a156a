"""Where the time of an encoder layer goes, against where its MACs go; and what deriving a cost takes against thop.

    make benchmark        (or: python benchmarks/cost.py)

Writes benchmarks/results/cost.json: for each operation of a layer of the homework's network, alone, forward, float32,
the seconds of every round; the machine's own peaks of matrix products and memory traffic, measured in the same rounds;
the seconds of 50 derivations of the whole network and of 50 calls of thop. Rounds interleave everything, so that a slow
moment of the machine hits all of it. Only ratios within one run mean anything.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import thop
import torch
import torch.nn.functional as F

from vitlib import ViT, ViTConfig, cost, paths
from vitlib.training import provenance

RESULT = paths.ROOT / "benchmarks" / "results" / "cost.json"
SIDE = 1536  # of the square matrices whose product stands for the arithmetic peak
COUNTS = 50  # derivations, and calls of thop, in a row: once alone would time the caches that the copy emptied
COPIED = 2**26  # numbers, 256 MiB, whose copy stands for the peak of memory traffic


def operations(config: ViTConfig, batch: int) -> dict[str, Callable[[], torch.Tensor]]:
    """Return each operation of an encoder layer as a function of no arguments, on tensors made beforehand."""
    B, N, D, F_, H = batch, config.num_tokens, config.embed_dim, config.hidden_dim, config.num_heads
    x, y, hidden = torch.randn(B, N, D), torch.randn(B, N, D), torch.randn(B, N, F_)
    q, k = torch.randn(B, H, N, D // H), torch.randn(B, H, N, D // H)
    scores = torch.randn(B, H, N, N)
    layer = ViT(config).encoder[0]
    linear = layer.attention
    return {
        "Norm 1": lambda: layer.norm1(x),
        "Query": lambda: linear.query(x),
        "Key": lambda: linear.key(x),
        "Value": lambda: linear.value(x),
        "Scores": lambda: q @ k.transpose(-2, -1),
        "Scale": lambda: scores / 4.0,
        "Softmax": lambda: scores.softmax(-1),
        "Weighted sum": lambda: scores @ k,
        "Output projection": lambda: linear.output(x),
        "Residual 1": lambda: x + y,
        "Norm 2": lambda: layer.norm2(x),
        "MLP, first layer": lambda: layer.mlp.fc1(x),
        "GELU": lambda: F.gelu(hidden),
        "MLP, second layer": lambda: layer.mlp.fc2(hidden),
        "Residual 2": lambda: x + y,
    }


def timed(function: Callable[[], object]) -> float:
    """Return the seconds of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main() -> None:
    """Measure, write the result, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--batch", type=int, default=128)
    arguments = parser.parse_args()
    if min(arguments.rounds, arguments.batch) < 1:
        parser.error(f"rounds is {arguments.rounds} and batch {arguments.batch}, but both have to be at least 1.")

    config = ViTConfig()
    square = torch.randn(SIDE, SIDE)
    source, target = torch.randn(COPIED), torch.empty(COPIED)
    work: dict[str, Callable[[], object]] = dict(operations(config, arguments.batch))
    names = list(work)
    work["peak of products"] = lambda: square @ square
    work["peak of traffic"] = lambda: target.copy_(source)
    network, image = ViT(config), torch.zeros(1, config.channels, config.image_size, config.image_size)
    work["derivation"] = lambda: [((table := cost.model(config)).macs, table.parameters) for _ in range(COUNTS)]
    work["thop"] = lambda: [thop.profile(network, inputs=(image,), verbose=False) for _ in range(COUNTS)]
    seconds: dict[str, list[float]] = {name: [] for name in work}
    with torch.inference_mode():
        for round_ in range(arguments.rounds + 3):
            for name, function in work.items():
                taken = timed(function)
                if round_ >= 3:  # the first rounds warm up
                    seconds[name].append(taken)
    result = {
        "batch": arguments.batch,
        "peak_flops": 2 * SIDE**3,
        "peak_bytes": 2 * cost.BYTES * COPIED,
        "seconds": seconds,
        "environment": provenance.environment(torch.device("cpu")) | {"data_sha256": None},
    }
    RESULT.parent.mkdir(exist_ok=True)
    scratch = RESULT.with_suffix(".part")
    scratch.write_text(json.dumps(result) + "\n")
    scratch.replace(RESULT)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    whole = sum(median[name] for name in names)
    for name in names:
        print(f"{name:20s} {100 * median[name] / whole:5.1f} % of the layer's time")
    print(f"thop's time over the derivation's: {median['thop'] / median['derivation']:,.0f}")
    print(f"Kept in {paths.show(RESULT)}; the page on growth reads it.")


if __name__ == "__main__":
    main()
