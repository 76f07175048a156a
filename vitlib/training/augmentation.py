"""Random changes of training images, drawn for each image and applied to a whole batch at once.

Drawing and changing are apart: the draws of an epoch lie on the device before its first step, and those of many seeds
change one batch. Axes: B images of L by L pixels, Y classes.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vitlib.config import TrainConfig

# What one of RandAugment's operations does at full strength (Cubuk et al., 2020, their ranges; colours are left out).
OPERATIONS = (
    "identity", "rotate", "shear x", "shear y", "translate x", "translate y", "contrast", "brightness", "posterise",
    "solarise",
)  # fmt: skip
ROTATION, SHEAR, TRANSLATION, TONE, BITS = math.radians(30), 0.3, 0.45, 0.9, 4
ERASED_AREA, ERASED_ASPECT = (0.02, 0.4), (0.3, 1 / 0.3)  # Zhong et al., 2020, section 3


def draw(number: int, generator: torch.Generator, config: TrainConfig) -> dict[str, Tensor]:
    """Draw how each of B images changes: for each kind of change that `config` asks for, (B, values).

    ``place``: int64, pixels down, pixels right, 1 where it is mirrored. ``policy``: float32, the six numbers of an
    affine map, then contrast, brightness, posterised step and solarised threshold. ``erase``: int64, top, bottom,
    left and right of a rectangle, and its grey. ``mix``: float32, the image's own weight, and a rectangle of another.
    """
    device, L = generator.device, config.model.image_size

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=device)

    draws = {}
    if config.flip or config.crop_padding:
        shifts = torch.randint(2 * config.crop_padding + 1, (2, number, 1), generator=generator, device=device)
        mirrored = (uniform(1, number, 1) < 0.5).long() if config.flip else torch.zeros_like(shifts[:1])
        draws["place"] = torch.cat([shifts, mirrored])[..., 0].T
    if config.randaugment:
        which = torch.randint(len(OPERATIONS), (2, number), generator=generator, device=device)
        signs = torch.randint(2, (2, number), generator=generator, device=device) * 2 - 1
        draws["policy"] = _policy(which, signs, config.randaugment)
    if config.erase:
        hit, area, aspect, *corner, grey = uniform(6, number)
        area = L * L * _between(area, *ERASED_AREA) * (hit < config.erase)
        aspect = _between(aspect, *map(math.log, ERASED_ASPECT)).exp()
        sides = [(area * aspect).sqrt().round().clamp(max=L), (area / aspect).sqrt().round().clamp(max=L)]
        starts = [(at * (L - side + 1)).floor() for at, side in zip(corner, sides, strict=True)]
        box = [edge for start, side in zip(starts, sides, strict=True) for edge in (start, start + side)]
        draws["erase"] = torch.stack([*box, (256 * grey).floor()], dim=1).long()
    if config.mixup or config.cutmix:
        kind, share, *middle = uniform(4, number)
        blended = kind < config.mixup
        pasted = ~blended & (kind < config.mixup + config.cutmix)
        half = (1 - share).sqrt() * L / 2 * pasted
        box = [edge.round().clamp(0, L) for at in middle for edge in (at * L - half, at * L + half)]
        draws["mix"] = torch.stack([torch.where(blended, share, 1.0), *box], dim=1)
    return draws


def change(images: Tensor, draws: dict[str, Tensor], config: TrainConfig) -> Tensor:
    """Apply the draws of `draw` to images uint8 (B, L, L), each alone."""
    if "place" in draws:
        images = _place(images, draws["place"], config.crop_padding)
    if "policy" in draws:
        images = _apply_policy(images, draws["policy"])
    if "erase" in draws:
        *box, grey = draws["erase"].T
        images = torch.where(_inside(box, images), grey.to(images.dtype)[:, None, None], images)
    return images


def mix(images: Tensor, targets: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Mix each image with the one before it in the batch, and the classes by what is seen of both.

    MixUp (Zhang et al., 2018) blends the two, CutMix (Yun et al., 2019) pastes a rectangle of the other; the share is
    uniform, which is their Beta distribution for alpha = 1.

    Args:
        images: uint8 (..., B, L, L).
        targets: shares of the classes (..., B, Y).
        draws: (..., B, 5), ``mix`` of `draw`.

    Returns:
        Images as float32, and targets, in the same shapes.
    """
    weight, *box = draws.movedim(-1, 0)
    images = images.float()
    inside = _inside(box, images)
    blended = images.roll(1, -3).lerp(images, weight[..., None, None])
    seen = torch.where(inside, images.roll(1, -3), blended)
    share = (weight * (1 - inside.float().mean(dim=(-2, -1))))[..., None]
    return seen, targets.roll(1, -2).lerp(targets, share)


def _between(uniform: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * uniform


def _inside(box: list[Tensor], images: Tensor) -> Tensor:
    """Return which pixels (..., B, L, L) lie in each image's rectangle."""
    L = images.shape[-1]
    rows, columns = (torch.arange(L, device=images.device).view(side) for side in ((L, 1), (1, L)))
    top, bottom, left, right = (edge[..., None, None] for edge in box)
    return (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)


def _place(images: Tensor, draws: Tensor, crop_padding: int) -> Tensor:
    """Mirror left to right, pad with black by `crop` pixels on every side and cut L by L out."""
    B, L, _ = images.shape
    down, right, mirrored = draws.T[..., None]
    pixels = torch.arange(L, device=images.device).expand(B, L)
    if crop:
        images = F.pad(images, (crop, crop, crop, crop))
    rows = pixels + down  # (B, L): which row of the padded image each row comes from
    columns = torch.where(mirrored.bool(), L - 1 - pixels, pixels) + right
    which = torch.arange(B, device=images.device)[:, None, None]
    return images[which, rows[:, :, None], columns[:, None, :]]


def _policy(which: Tensor, signs: Tensor, strength: float) -> Tensor:
    """Return what two operations (2, B) with these signs do: the affine maps one after the other, then the tones."""
    is_ = {name: which == i for i, name in enumerate(OPERATIONS)}
    size = strength * signs  # (2, B)

    def where(name: str, value: Tensor, otherwise: float) -> Tensor:
        return torch.where(is_[name], value, otherwise)

    angle = where("rotate", ROTATION * size, 0.0)
    shear_x, shear_y = (where(f"shear {axis}", SHEAR * size, 0.0) for axis in "xy")
    move_x, move_y = (where(f"translate {axis}", 2 * TRANSLATION * size, 0.0) for axis in "xy")  # L is 2 wide there
    rows = [angle.cos(), shear_x - angle.sin(), move_x, shear_y + angle.sin(), angle.cos(), move_y]
    first, second = torch.stack(rows, dim=-1).unflatten(-1, (2, 3))  # (B, 2, 3) each
    turn = first[..., :2] @ second[..., :2]
    move = first[..., :2] @ second[..., 2:] + first[..., 2:]
    contrast, brightness = (where(name, 1 + TONE * size, 1.0).prod(dim=0) for name in ("contrast", "brightness"))
    full = torch.full_like(size, strength)
    step = where("posterise", 2 ** (BITS * full).round(), 1.0).amax(dim=0)
    threshold = where("solarise", 256 * (1 - full), 256.0).amin(dim=0)
    tones = torch.stack([contrast, brightness, step, threshold], dim=1)
    return torch.cat([torch.cat([turn, move], dim=2).flatten(1), tones], dim=1)


def _apply_policy(images: Tensor, draws: Tensor) -> Tensor:
    """Apply affine maps and tones (B, 10) to images uint8 (B, L, L); what comes from outside is black."""
    shape = len(images), 1, *images.shape[1:]
    grid = F.affine_grid(draws[:, :6].unflatten(1, (2, 3)), list(shape), align_corners=False)
    seen = F.grid_sample(images.view(shape).float(), grid, align_corners=False)[:, 0].round()
    contrast, brightness, step, threshold = draws[:, 6:].T[..., None, None]
    mean = seen.mean(dim=(1, 2), keepdim=True)
    seen = ((mean + contrast * (seen - mean)) * brightness).clamp(0, 255).round()
    seen = (seen / step).floor() * step
    return torch.where(seen >= threshold, 255 - seen, seen).byte()
