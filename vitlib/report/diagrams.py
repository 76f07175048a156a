"""The diagram of the network: its steps, shapes and parameters, as SVG that takes the colours of the page.

Each column is as wide as a phone's screen. A wider screen shows them side by side.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from vitlib import cost
from vitlib.config import ViTConfig
from vitlib.report.output import Output, to_csv

WIDTH, LEFT, BOX = 320, 40, 190  # pixels: a column's width, its boxes' left edge and width
TOP, HEIGHT, GAP = 48, 28, 26  # pixels: height of the title, of a box and of an arrow


@dataclass(frozen=True)
class Step:
    """A step of a computation: what it does, the shape that comes out, and its parameters.

    A name with `|` stands for boxes side by side, the name `+` for a sum; `kind` is the CSS class of the box.
    """

    name: str
    shape: str
    parameters: int = 0
    kind: str = "box"


def network(config: ViTConfig) -> Output:
    """Return the diagram of a network: on the left all its steps, on the right those of one encoder layer.

    Args:
        config: the dimensions, with one LayerNorm a layer (`share_norm`).
    """
    steps, inside = network_steps(config), layer_steps(config)
    image = f"image, {config.image_size} × {config.image_size} pixels"
    tokens = f"tokens, {config.num_tokens} × {config.embed_dim}"
    columns = [_column("The network", image, steps, "class scores (logits)")]
    columns.append(_column("Inside one encoder layer", tokens, inside, "tokens", _paths(inside)))
    rows = [
        [part, s.name, s.shape, s.parameters] for part, some in (("network", steps), ("layer", inside)) for s in some
    ]
    html = '<div class="diagram">\n' + "\n".join(columns) + "\n</div>"
    return Output("text/html", html, to_csv(["part", "step", "shape", "parameters"], rows))


def network_steps(config: ViTConfig) -> list[Step]:
    """Return the steps from an image to its logits; their parameters are all of the network's."""
    D, N, M = config.embed_dim, config.num_tokens, config.num_patches
    layer = cost.encoder_layer(config).parameters
    counts = cost.model(config)
    added = counts["Class token"].parameters + counts["Positions"].parameters
    return [
        Step("cut into patches", f"{M} × {config.patch_dim}"),
        Step("linear layer", f"{M} × {D}", counts["Patch projection"].parameters),
        Step("+ class token, + positions", f"{N} × {D}", added),
        *(Step(f"encoder layer {i + 1}", f"{N} × {D}", layer, "box strong") for i in range(config.depth)),
        Step("take the class token", f"{D}"),
        Step("LayerNorm", f"{D}", counts["Final norm"].parameters),
        Step("linear layer", f"{config.num_classes}", counts["Head"].parameters),
    ]


def layer_steps(config: ViTConfig) -> list[Step]:
    """Return the steps of one encoder layer, in the order of the computation."""
    D, N, H, F = config.embed_dim, config.num_tokens, config.num_heads, config.hidden_dim
    tokens = f"{N} × {D}"
    counts = cost.encoder_layer(config)
    projections = sum(counts[name].parameters for name in ("Query", "Key", "Value"))
    return [
        Step("LayerNorm", tokens, counts["Norm 1"].parameters, "box norm"),
        Step("query|key|value", f"{H} heads, {N} × {D // H}", projections),
        Step("attention", f"{H} heads, {N} × {D // H}"),
        Step("output", tokens, counts["Output projection"].parameters),
        Step("+", tokens),
        Step("the same LayerNorm", tokens, counts["Norm 2"].parameters, "box norm"),
        Step("linear layer", f"{N} × {F}", counts["MLP, first layer"].parameters),
        Step("GELU", f"{N} × {F}"),
        Step("linear layer", tokens, counts["MLP, second layer"].parameters),
        Step("+", tokens),
    ]


def _top(i: int) -> int:
    """Return the height at which the box of step `i` starts."""
    return TOP + GAP + i * (HEIGHT + GAP)


def _column(title: str, start: str, steps: Sequence[Step], end: str, extra: Iterable[str] = ()) -> str:
    middle, bottom = LEFT + BOX // 2, _top(len(steps))
    parts = [
        f'<text class="title" x="{LEFT}" y="16">{title}</text>',
        f'<text class="small" x="{WIDTH}" y="{TOP - 6}" text-anchor="end">parameters</text>',
        f'<text x="{middle}" y="{TOP - 6}" text-anchor="middle">{start}</text>',
        *extra,
    ]
    for i, step in enumerate(steps):
        parts += [_arrow(middle, _top(i) - GAP, _top(i)), *_box(step, _top(i))]
        parts.append(f'<text class="small" x="{middle + 8}" y="{_top(i) + HEIGHT + 17}">{step.shape}</text>')
        if step.parameters:
            y = _top(i) + HEIGHT // 2 + 5
            parts.append(f'<text class="small" x="{WIDTH}" y="{y}" text-anchor="end">{step.parameters:,}</text>')
    parts.append(_arrow(middle, bottom - GAP, bottom))
    parts.append(f'<text x="{middle}" y="{bottom + 14}" text-anchor="middle">{end}</text>')
    label = escape(f"{title}: {start}; " + "; ".join(f"{step.name}, {step.shape}" for step in steps))
    size = f'width="{WIDTH}" height="{bottom + 20}" viewBox="0 0 {WIDTH} {bottom + 20}"'
    return f'<svg role="img" aria-label="{label}" {size}>\n' + "\n".join(parts) + "\n</svg>"


def _arrow(x: int, top: int, bottom: int) -> str:
    return f'<path class="line" d="M{x} {top}V{bottom - 1}m-4 -5l4 5l4 -5"/>'


def _box(step: Step, top: int) -> list[str]:
    """Draw the box or the boxes of a step, or the circle of a sum."""
    if step.name == "+":
        middle, y = LEFT + BOX // 2, top + HEIGHT // 2
        return [
            f'<circle class="box" cx="{middle}" cy="{y}" r="12"/>',
            f'<path class="line" d="M{middle - 6} {y}h12m-6 -6v12"/>',
        ]
    names, drawn = step.name.split("|"), []
    width = BOX / len(names)
    for i, name in enumerate(names):
        x = LEFT + i * width
        drawn.append(f'<rect class="{step.kind}" x="{x:.0f}" y="{top}" width="{width:.0f}" height="{HEIGHT}" rx="4"/>')
        drawn.append(f'<text x="{x + width / 2:.0f}" y="{top + 19}" text-anchor="middle">{name}</text>')
    return drawn


def _paths(steps: Sequence[Step]) -> list[str]:
    """Draw the two paths around the branches of an encoder layer, from the input of each norm to the next sum."""
    norms = [i for i, step in enumerate(steps) if "norm" in step.kind]
    sums = [i for i, step in enumerate(steps) if step.name == "+"]
    middle, drawn = LEFT + BOX // 2, []
    for norm, total in zip(norms, sums, strict=True):
        y, end = _top(norm) - GAP // 2, _top(total) + HEIGHT // 2
        drawn.append(f'<path class="line" d="M{middle} {y}H14V{end}H{middle - 13}m-5 -4l5 4l-5 4"/>')
    first, second = (_top(i) + HEIGHT // 2 for i in norms)
    drawn.append(f'<path class="line norm" d="M{LEFT + BOX} {first}h28V{second}h-28"/>')
    return drawn
