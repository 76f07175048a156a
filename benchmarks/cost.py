"""Time each operation of an encoder layer.

    python benchmarks/cost.py

Writes benchmarks/results/cost.json, the seconds of every round: each operation alone (forward, float32, CPU). Rounds
are interleaved; compare only numbers of one run.
"""

import argparse
import statistics
from collections.abc import Callable
from functools import partial

import measure
import torch
import torch.nn.functional as F

from vitlib import ViT, ViTConfig, paths, runs
from vitlib.training import provenance

BATCH = 128
CPU = torch.device("cpu")


def operations(config: ViTConfig, batch: int) -> dict[str, Callable[[], torch.Tensor]]:
    """Return each operation of an encoder layer as a function without arguments; its inputs are allocated here."""
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


def main() -> None:
    """Measure, write the result, and print the shares."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    layer = operations(ViTConfig(), BATCH)
    with torch.inference_mode():
        cases = {name: partial(measure.seconds, function, CPU) for name, function in layer.items()}
        seconds = measure.interleave(cases, rounds=31, warmup=3)
    result = {
        "batch": BATCH,
        "seconds": seconds,
        "environment": provenance.environment(CPU) | {"data_sha256": None},  # no data set is involved
    }
    path = paths.ROOT / "benchmarks" / "results" / "cost.json"
    runs.write_json(path, result)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    whole = sum(median[name] for name in layer)
    for name in layer:
        print(f"{name:20s} {100 * median[name] / whole:5.1f} % of the layer's time")
    print(f"Wrote {paths.relative(path)}.")


if __name__ == "__main__":
    main()
