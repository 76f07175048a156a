"""The page `try_it`: the trained network runs in the reader's browser, on the weights that this module writes into it.

The weights are rounded to 16-bit integers with a scale for each tensor: as small as float16, and closer to the trained
weights, because a float16 spends five of its bits on the exponent.
"""

import copy
from base64 import b85encode
from dataclasses import dataclass
from typing import Any

import torch
from IPython.display import HTML
from torch import Tensor

from vitlib import cost, data
from vitlib.config import ViTConfig
from vitlib.evaluate import Evaluation
from vitlib.model import ViT
from vitlib.report import output
from vitlib.runs import Run

LARGEST = 2**15 - 1  # of a 16-bit integer
KINDS = ("typical", "hard", "misclassified")
SETTINGS = ("image_size", "patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio")  # that vit.js reads


@dataclass(frozen=True)
class Sample:
    """A test image on the page: why it was chosen, its index in the test set, its label and the network's answer."""

    kind: str
    index: int
    label: int
    answer: int
    probability: float  # of the answer, 0 to 1


# ---- what the page shows -------------------------------------------------------------------------------------------


def choose(result: Evaluation) -> list[Sample]:
    """Choose four test images of each class: two typical ones, a hard one and a misclassified one, kind by kind.

    Typical are the two right answers in the middle by probability, hard is the right answer with the smallest lead over
    the second class, misclassified the wrong answer with the highest probability. A class without such answers has
    fewer images.
    """
    largest = result.probabilities.topk(2).values
    sure, lead, right = largest[:, 0], largest[:, 0] - largest[:, 1], result.predictions == result.labels
    by_kind: dict[str, list[int]] = {kind: [] for kind in KINDS}
    for label in range(len(data.CLASSES)):
        mine = result.labels == label
        hits, misses = (mine & right).nonzero().flatten(), (mine & ~right).nonzero().flatten()
        by_probability = hits[sure[hits].argsort(stable=True)].tolist()
        middle = max(0, len(by_probability) // 2 - 1)
        hard = hits[lead[hits].argsort(stable=True)].tolist()[:1]
        by_kind["hard"] += hard
        by_kind["typical"] += [i for i in by_probability[middle : middle + 2] if i not in hard]
        by_kind["misclassified"] += misses[sure[misses].argsort(descending=True, stable=True)].tolist()[:1]
    return [
        Sample(kind, i, int(result.labels[i]), int(result.predictions[i]), float(sure[i]))
        for kind, indices in by_kind.items()
        for i in indices
    ]


def examples(samples: list[Sample]) -> list[Sample]:
    """Return the surest typical, least sure hard and surest misclassified samples, of two classes each."""
    chosen = []
    for kind, sign in zip(KINDS, (-1, 1, -1), strict=True):
        ordered = sorted((s for s in samples if s.kind == kind), key=lambda s: sign * s.probability)
        of_class = {sample.label: sample for sample in reversed(ordered)}  # the first of each class
        chosen += [sample for sample in ordered if sample is of_class[sample.label]][:2]
    return chosen


# ---- the weights ---------------------------------------------------------------------------------------------------


def integers(weights: Tensor) -> tuple[Tensor, float]:
    """Return weights as 16-bit integers, and the scale by which they are multiplied to get the weights back."""
    weights = weights.detach().double()
    scale = max(weights.abs().max().item() / LARGEST, torch.finfo(torch.float32).tiny)
    return (weights / scale).round().to(torch.int16), scale


def rounded(model: ViT) -> ViT:
    """Return a copy of the network with the weights that the page uses, in float64."""
    copied = copy.deepcopy(model).double()
    with torch.no_grad():
        for (_, weights), original in zip(copied.named_parameters(), model.parameters(), strict=True):
            whole, scale = integers(original)
            weights.copy_(whole.double() * scale)
    return copied


def _weights(model: ViT) -> tuple[list[tuple[str, int, float]], bytes]:
    """Return of each tensor its name, size and scale, and all of them as little-endian 16-bit integers."""
    table, content = [], b""
    for name, weights in model.named_parameters():
        whole, scale = integers(weights)
        table.append((name, whole.numel(), scale))
        content += whole.numpy().astype("<i2").tobytes()
    return table, content


def _text(content: bytes) -> str:
    """Return bytes as text of base 85, a sixteenth shorter than base 64, without the character that starts a tag."""
    return b85encode(content, pad=True).decode().replace("<", ",")


# ---- the stages of a forward pass ----------------------------------------------------------------------------------

# title, sentence, rows of vitlib.cost, result in vit.js, shapes before and after in symbols
Stage = tuple[str, str, tuple[str, ...], str, str, str]
STAGES: tuple[Stage, ...] = (
    ("Cut", "The picture is cut into {M} patches of {P} × {P} pixels, each a row of {PP} numbers.",
     (), "cut", "{S} × {S}", "{M} × {PP}"),
    ("Embed", "A linear layer turns the {PP} pixels of each patch into {D} numbers: a token.",
     ("Patch projection",), "embedded", "{M} × {PP}", "{M} × {D}"),
    ("Locate", "A class token joins in front, and each token gets the vector of its position.",
     ("Class token", "Positions"), "tokens", "{M} × {D}", "{N} × {D}"),
    ("Ask", "After a LayerNorm, three linear layers form each token’s query, key and value. Shown are the queries.",
     ("Norm 1", "Query", "Key", "Value"), "queries", "{N} × {D}", "3 × {N} × {D}"),
    ("Compare", "Every query meets every key, head by head; softmax turns the scores into attention weights. In the "
     "picture, a row is a token that reads, a column a token that is read.",
     ("Scores", "Scale", "Softmax"), "attention", "2 × {N} × {D}", "{H} × {N} × {N}"),
    ("Gather", "Each token takes the mean of all values, weighted by its attention.",
     ("Weighted sum",), "gathered", "{H} × {N} × {N}", "{N} × {D}"),
    ("Add", "A linear layer mixes the heads, and the sum with the layer’s input goes on.",
     ("Output projection", "Residual 1"), "attended", "{N} × {D}", "{N} × {D}"),
    ("Widen", "After the second LayerNorm, each token is widened by a linear layer and bent by GELU.",
     ("Norm 2", "MLP, first layer", "GELU"), "hidden", "{N} × {D}", "{N} × {F}"),
    ("Narrow", "A second linear layer leads back to {D} numbers, and the sum goes on. There are {L} such layers.",
     ("MLP, second layer", "Dropout", "Residual 2"), "layer", "{N} × {F}", "{N} × {D}"),
    ("Read", "Only the class token goes on, after a last LayerNorm.",
     ("Final norm",), "answer", "{N} × {D}", "1 × {D}"),
    ("Decide", "A linear layer gives each class a number; softmax turns the ten into probabilities.",
     ("Head",), "logits", "1 × {D}", "1 × {Y}"),
)  # fmt: skip


def stages(config: ViTConfig) -> list[dict[str, Any]]:
    """Return the stages of a forward pass: texts, shapes, and MACs by `vitlib.cost`.

    A stage of an encoder layer has the MACs of one layer, and `times` layers.
    """
    sizes = cost.dimensions(config)
    sizes |= {"S": config.image_size, "PP": config.patch_dim}
    layer, network = cost.encoder_layer(config), cost.model(config)
    in_layer = {row.name for row in layer.rows}
    entries = []
    for title, sentence, rows, result, before, after in STAGES:
        repeats = bool(in_layer & {*rows})
        entries.append({
            "title": title,
            "sentence": sentence.format(**sizes),
            "macs": sum((layer if repeats else network)[row].macs for row in rows),
            "times": config.depth if repeats else 1,
            "result": result,
            "before": before.format(**sizes),
            "after": after.format(**sizes),
        })  # fmt: skip
    return entries


# ---- the page ------------------------------------------------------------------------------------------------------


def page(run: Run, images: Tensor, samples: list[Sample]) -> HTML:
    """Return the network, ready to be tried: its weights, its code, the samples, and the elements around them.

    Args:
        run: the run whose network it is.
        images: the test images, uint8 (10,000, 28, 28), of which the samples are.
        samples: what `choose` returned.
    """
    config = run.config.model
    tensors, weights = _weights(run.model)
    inputs = {
        "config": {name: getattr(config, name) for name in SETTINGS} | {"mean": data.MEAN, "std": data.STD},
        "classes": data.CLASSES,
        "tensors": tensors,
        "samples": [{"kind": s.kind, "index": s.index, "label": s.label} for s in samples],
        "stages": stages(config),
        "macs": cost.model(config).macs,
    }
    pixels = images[[sample.index for sample in samples]].numpy().tobytes()
    scripts = {"VIT": output.file("vit.js"), "PAGE": output.file("try_it.js")}
    return output.page_part("try_it", inputs, **scripts, PIXELS=_text(pixels), WEIGHTS=_text(weights))
