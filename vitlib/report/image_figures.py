"""Figures of images: one of each class, the patches of one, and the network's most confident mistakes."""

from base64 import b64encode
from html import escape
from io import BytesIO

import torch
from PIL import Image
from torch import Tensor

from vitlib.data import CLASSES
from vitlib.report.output import Output, to_csv


def classes(images: Tensor, labels: Tensor, shown: int = 0) -> Output:
    """Return a gallery with one image of each class and the class's name.

    Args:
        images: uint8 (N, 28, 28).
        labels: int64 (N,).
        shown: which image of each class, counted from 0.
    """
    items, rows = [], []
    for label, name in enumerate(CLASSES):
        index = int((labels == label).nonzero()[shown])
        image = picture(images[index], f"Image {index:,} of the set: {name}")
        items.append(f"<li>{image}<span>{escape(name)}</span></li>")
        rows.append([label, name, index])
    html = '<ul class="gallery classes">\n' + "\n".join(items) + "\n</ul>"
    return Output("text/html", html, to_csv(["label", "class", "image"], rows))


def patches(image: Tensor, cut: Tensor) -> Output:
    """Return an image under the grid of its cuts, and its patches in the order of the tokens.

    Args:
        image: uint8 (L, L).
        cut: uint8 (R R, P, P), its patches row by row.
    """
    L, P = len(image), cut.shape[-1]
    R, pitch = L // P, P + 1
    apart = torch.zeros(R * pitch - 1, R * pitch - 1, 2, dtype=torch.uint8)  # grey and opacity
    for i, patch in enumerate(cut):
        y, x = i // R * pitch, i % R * pitch
        apart[y : y + P, x : x + P] = torch.stack([patch, torch.full_like(patch, 255)], dim=-1)
    edges = [30 + 224 * i / R for i in range(R + 1)]
    grid = "".join(f"M28 {y:.1f}H252M{28 + y - 30:.1f} 30V254" for y in edges)
    rows = [30 + 224 * (i + 0.5) / R + 4 for i in range(R)]
    numbers = [
        f'<text class="small" x="{x}" y="{y:.0f}" text-anchor="{anchor}">{i * R + shift}</text>'
        for i, y in enumerate(rows)
        for x, anchor, shift in ((24, "end", 1), (256, "start", R))
    ]
    html = [
        _panel(f"{L} × {L} pixels, cut every {P}", image, f'<path class="line cut" d="{grid}"/>'),
        _panel(f"{R * R} patches, read row by row", apart, *numbers),
    ]
    table = ([i + 1, *patch.flatten().tolist()] for i, patch in enumerate(cut))
    head = ["patch", *(f"pixel {i + 1}" for i in range(P * P))]
    return Output("text/html", '<div class="diagram">\n' + "\n".join(html) + "\n</div>", to_csv(head, table))


def _panel(title: str, image: Tensor, *marks: str) -> str:
    """Return an image with its title and marks as SVG, 280 pixels wide."""
    return (
        f'<svg role="img" aria-label="{title}" width="280" height="260" viewBox="0 0 280 260">\n'
        f'<text class="title" x="28" y="16">{title}</text>\n'
        f'<image class="photo" x="28" y="30" width="224" height="224" href="{_data_uri(image)}"/>\n'
        + "\n".join(marks)
        + "\n</svg>"
    )


def mistakes(images: Tensor, indices: Tensor, labels: Tensor, probabilities: Tensor) -> Output:
    """Return a gallery of images with label, prediction and its probability; details on hover, tap or key.

    Args:
        images: uint8 (N, 28, 28).
        indices: int64 (N,), their indices in the test set.
        labels: int64 (N,).
        probabilities: float (N, Y), what the network gave each class.
    """
    items, rows = [], []
    for image, index, label, p in zip(images, indices.tolist(), labels.tolist(), probabilities.tolist(), strict=True):
        ranking = sorted(range(len(p)), key=lambda j: -p[j])
        listed = ranking[:3] if label in ranking[:3] else [*ranking[:3], label]
        listing = ", ".join(f"{escape(CLASSES[j])} {in_percent(p[j])}" for j in listed)
        name, prediction = escape(CLASSES[label]), escape(CLASSES[ranking[0]])
        shown = picture(image, f"Test image {index}, labelled {name}")
        items.append(
            f'<li><div data-detail="Test image {index:,}, labelled {name}. The network’s probabilities: {listing}.">'
            f"{shown}<span>{name}</span> <b>→ {prediction}</b> <span>{in_percent(p[ranking[0]])}</span></div></li>"
        )
        rows.append([index, CLASSES[label], CLASSES[ranking[0]], *p])
    hint = "Hover over an image, tap it, or use the arrow keys to see the network’s probabilities."
    html = f'<ul class="closer gallery" data-hint="{hint}">\n' + "\n".join(items) + "\n</ul>"
    return Output("text/html", html, to_csv(["test image", "label", "answer", *CLASSES], rows))


def in_percent(probability: float) -> str:
    """Return a probability in per cent with one decimal place, and neither 0.0 nor 100.0 %."""
    if probability < 0.0005:
        return "below 0.1 %"
    return "above 99.9 %" if probability >= 0.9995 else f"{100 * probability:.1f} %"


def picture(image: Tensor, alt: str) -> str:
    """Return an image, uint8 (H, W) or in colours (H, W, 3), as HTML: light on dark in both themes."""
    return f'<img class="photo" width="84" height="84" alt="{escape(alt)}" src="{_data_uri(image)}">'


def _data_uri(image: Tensor) -> str:
    """Return an image, uint8 (H, W), with opacity (H, W, 2) or in colours (H, W, 3), as a PNG."""
    content = BytesIO()
    Image.fromarray(image.numpy()).save(content, format="png", compress_level=0)  # the same bytes everywhere
    return f"data:image/png;base64,{b64encode(content.getvalue()).decode()}"
