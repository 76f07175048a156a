"""The calculator on the page `what_if`: the reader's browser evaluates the derivation of `vitlib.cost`.

The script receives the formulas as data from `vitlib.cost`, so the page and the library cannot disagree.
"""

from dataclasses import asdict
from typing import Any

from IPython.display import HTML

from vitlib import cost
from vitlib.config import ViTConfig
from vitlib.report import output

# setting, label, symbol and unit, the slider's lowest and highest value, and which setting limits where it stops
DIALS: tuple[tuple[str, str, str, int, int, dict[str, str]], ...] = (
    ("image_size", "Image side", "pixels", 4, 512, {"multiple": "patch_size"}),
    ("patch_size", "Patch side", "P, pixels", 1, 64, {"divisor": "image_size"}),
    ("channels", "Channels", "C", 1, 4, {}),
    ("embed_dim", "Token width", "D", 8, 1536, {"multiple": "num_heads"}),
    ("num_heads", "Attention heads", "H", 1, 64, {"divisor": "embed_dim"}),
    ("depth", "Encoder layers", "L", 1, 48, {}),
    ("mlp_ratio", "MLP ratio", "F over D", 1, 8, {}),
    ("num_classes", "Classes", "Y", 1, 1000, {}),
)
FLAGS = (("share_norm", "one norm a layer, applied twice"),)
GROUPS = (  # of the chart: name, and the rows in it
    ("MLP", ("MLP, first layer", "MLP, second layer")),
    ("Q, K, V, output", ("Query", "Key", "Value", "Output projection")),
    ("Attention matmuls", ("Scores", "Weighted sum")),
    ("Rest", ("Patch projection", "Class token", "Positions", "Norm 1", "Norm 2", "Final norm", "Head")),
)


def _imagenet(width: int, depth: int, heads: int, patch: int) -> ViTConfig:
    return ViTConfig(
        image_size=224,
        patch_size=patch,
        channels=3,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        num_classes=1000,
        share_norm=False,
    )


# Networks and their published parameters, by timm, which agrees with torchvision where both have the network.
# No tool that the homework used prints the true count.
PRESETS: dict[str, tuple[ViTConfig, int | None]] = {
    "This homework": (ViTConfig(), None),
    "DeiT-Ti": (_imagenet(192, 12, 3, 16), 5_717_416),
    "ViT-S/16": (_imagenet(384, 12, 6, 16), 22_050_664),
    "ViT-B/16": (_imagenet(768, 12, 12, 16), 86_567_656),
    "ViT-L/16": (_imagenet(1024, 24, 16, 16), 304_326_632),
    "ViT-H/14": (_imagenet(1280, 32, 16, 14), 632_045_800),
}


def calculator() -> HTML:
    """Return the calculator: sliders, totals, a chart, every operation. The address after ``#`` holds its state."""
    names = [name for name, *_ in DIALS + FLAGS]
    inputs = {
        "rows": {"shared": _formulas(share_norm=True), "separate": _formulas(share_norm=False)},
        "dials": [dict(zip(("name", "label", "unit", "low", "high", "stops"), dial, strict=True)) for dial in DIALS],
        "flags": [dict(zip(("name", "label"), flag, strict=True)) for flag in FLAGS],
        "groups": [name for name, _ in GROUPS],
        "presets": [
            {"name": name, "config": {key: asdict(config)[key] for key in names}, "published": published}
            for name, (config, published) in PRESETS.items()
        ],
    }
    return output.page_part("calculator", inputs)


def _formulas(share_norm: bool) -> list[dict[str, Any]]:
    """Return the rows in a group: name, group, and MACs and parameters as lists of products of factors."""
    group = {row: i for i, (_, rows) in enumerate(GROUPS) for row in rows}
    rows = [row for row in cost.model(ViTConfig(share_norm=share_norm)).rows if row.name in group]
    return [
        {"name": row.name, "group": group[row.name], "macs": row.macs.products, "parameters": row.parameters.products}
        for row in rows
    ]
