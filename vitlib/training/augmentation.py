"""Random augmentations of training images: sampled for each image, applied to a whole batch at once.

Sampling and applying are apart, so that the parameters of a whole epoch lie on the device before its first step, and
images of several seeds share one batch. Axes: B images of L by L pixels, Y classes.
"""

import hashlib
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vitlib.config import TrainConfig

# RandAugment's operations and what each does at strength 1 (Cubuk et al., 2020, without those on colours)
OPERATIONS = (
    "identity", "rotate", "shear x", "shear y", "translate x", "translate y", "contrast", "brightness", "posterise",
    "solarise",
)  # fmt: skip
ROTATION, SHEAR, TRANSLATION, TONE, BITS = math.radians(30), 0.3, 0.45, 0.9, 4
ERASED_AREA, ERASED_ASPECT = (0.02, 0.4), (0.3, 1 / 0.3)  # Zhong et al., 2020, section 3


def named_generator(name: str, device: torch.device) -> torch.Generator:
    """Return a generator on a device whose stream belongs to a name alone, such as ``seed 0, epoch 3``."""
    digest = hashlib.sha256(name.encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:6], "big"))


def sample_augmentations(number: int, generator: torch.Generator, config: TrainConfig) -> dict[str, Tensor]:
    """Sample the parameters of every augmentation that `config` turns on.

    Args:
        number: of images, B.
        generator: on the device where the parameters are wanted.
        config: which augmentations, and how strong.

    Returns:
        By name, a tensor (B, parameters):
        ``crop_flip`` int64: rows down, columns right, 1 if mirrored;
        ``randaugment`` float32: an affine map (6 values), contrast, brightness, posterise step, solarise threshold;
        ``erase`` int64: top, bottom, left, right of the rectangle, and its grey;
        ``mix`` float32: weight of the image itself, and top, bottom, left, right of a rectangle of the other image.
    """
    sampled = {}
    if config.flip or config.crop_padding:
        sampled["crop_flip"] = _sample_crop_flip(number, generator, config)
    if config.randaugment:
        sampled["randaugment"] = _sample_randaugment(number, generator, config.randaugment)
    if config.erase:
        sampled["erase"] = _sample_erase(number, generator, config)
    if config.mixup or config.cutmix:
        sampled["mix"] = _sample_mix(number, generator, config)
    return sampled


def augment(images: Tensor, sampled: dict[str, Tensor], config: TrainConfig) -> Tensor:
    """Apply crop, flip, RandAugment and erasing to images uint8 (B, L, L), with one row of parameters for each."""
    if "crop_flip" in sampled:
        images = _crop_and_flip(images, sampled["crop_flip"], config.crop_padding)
    if "randaugment" in sampled:
        images = _randaugment(images, sampled["randaugment"])
    if "erase" in sampled:
        *box, grey = sampled["erase"].T
        images = torch.where(_inside(box, images), grey.to(images.dtype)[:, None, None], images)
    return images


def mix(images: Tensor, targets: Tensor, sampled: Tensor) -> tuple[Tensor, Tensor]:
    """Mix each image with its predecessor in the batch, and their classes in proportion.

    MixUp (Zhang et al., 2018) blends the two images; CutMix (Yun et al., 2019) pastes a rectangle of the other one.
    The proportion is uniform: their Beta distribution for alpha = 1.

    Args:
        images: uint8 (..., B, L, L).
        targets: probabilities of the classes (..., B, Y).
        sampled: (..., B, 5), ``mix`` of `sample_augmentations`.

    Returns:
        Images as float32, and targets, in the same shapes.
    """
    weight, *box = sampled.movedim(-1, 0)
    images = images.float()
    inside = _inside(box, images)
    blended = images.roll(1, -3).lerp(images, weight[..., None, None])
    mixed = torch.where(inside, images.roll(1, -3), blended)
    own = (weight * (1 - inside.float().mean(dim=(-2, -1))))[..., None]
    return mixed, targets.roll(1, -2).lerp(targets, own)


# ---- crop and flip, erasing, mixing --------------------------------------------------------------------------------


def _uniform(number: int, count: int, generator: torch.Generator) -> Tensor:
    return torch.rand(count, number, generator=generator, device=generator.device)


def _sample_crop_flip(number: int, generator: torch.Generator, config: TrainConfig) -> Tensor:
    offsets = 2 * config.crop_padding + 1
    shift = torch.randint(offsets, (2, number), generator=generator, device=generator.device)
    flip = _uniform(number, 1, generator) < 0.5 if config.flip else torch.zeros_like(shift[:1])
    return torch.cat([shift, flip.long()]).T


def _crop_and_flip(images: Tensor, sampled: Tensor, padding: int) -> Tensor:
    """Pad with black on every side, crop L by L pixels and mirror, in one gather."""
    B, L, _ = images.shape
    down, right, mirrored = sampled.T[..., None]
    pixels = torch.arange(L, device=images.device).expand(B, L)
    if padding:
        images = F.pad(images, (padding, padding, padding, padding))
    rows = pixels + down  # (B, L): the padded image's row that each row comes from
    columns = torch.where(mirrored.bool(), L - 1 - pixels, pixels) + right
    index = torch.arange(B, device=images.device)[:, None, None]
    return images[index, rows[:, :, None], columns[:, None, :]]


def _sample_erase(number: int, generator: torch.Generator, config: TrainConfig) -> Tensor:
    L = config.model.image_size
    hit, area, aspect, *corner, grey = _uniform(number, 6, generator)
    area = L * L * _scale(area, *ERASED_AREA) * (hit < config.erase)
    aspect = _scale(aspect, *map(math.log, ERASED_ASPECT)).exp()
    sides = [(area * aspect).sqrt().round().clamp(max=L), (area / aspect).sqrt().round().clamp(max=L)]
    starts = [(at * (L - side + 1)).floor() for at, side in zip(corner, sides, strict=True)]
    box = [edge for start, side in zip(starts, sides, strict=True) for edge in (start, start + side)]
    return torch.stack([*box, (256 * grey).floor()], dim=1).long()


def _sample_mix(number: int, generator: torch.Generator, config: TrainConfig) -> Tensor:
    L = config.model.image_size
    kind, proportion, *centre = _uniform(number, 4, generator)
    is_mixup = kind < config.mixup
    is_cutmix = ~is_mixup & (kind < config.mixup + config.cutmix)
    half = (1 - proportion).sqrt() * L / 2 * is_cutmix  # of the rectangle's side
    box = [edge.round().clamp(0, L) for at in centre for edge in (at * L - half, at * L + half)]
    return torch.stack([torch.where(is_mixup, proportion, 1.0), *box], dim=1)


def _scale(uniform: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * uniform


def _inside(box: list[Tensor], images: Tensor) -> Tensor:
    """Return which pixels (..., B, L, L) lie in each image's rectangle."""
    L = images.shape[-1]
    rows, columns = (torch.arange(L, device=images.device).view(side) for side in ((L, 1), (1, L)))
    top, bottom, left, right = (edge[..., None, None] for edge in box)
    return (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)


# ---- RandAugment ---------------------------------------------------------------------------------------------------


def _sample_randaugment(number: int, generator: torch.Generator, strength: float) -> Tensor:
    device = generator.device
    operation = torch.randint(len(OPERATIONS), (2, number), generator=generator, device=device)
    sign = torch.randint(2, (2, number), generator=generator, device=device) * 2 - 1
    return randaugment_parameters(operation, sign, strength)


def randaugment_parameters(operation: Tensor, sign: Tensor, strength: float) -> Tensor:
    """Return what two successive operations do: their affine maps, composed, and their changes of tone.

    Args:
        operation: int64 (2, B), indices into `OPERATIONS`.
        sign: int64 (2, B), 1 or -1: their direction.
        strength: 0 to 1.

    Returns:
        float32 (B, 10), as ``randaugment`` of `sample_augmentations`.
    """
    size = strength * sign

    def where(name: str, value: Tensor, otherwise: float) -> Tensor:
        return torch.where(operation == OPERATIONS.index(name), value, otherwise)

    angle = where("rotate", ROTATION * size, 0.0)
    shear_x, shear_y = (where(f"shear {axis}", SHEAR * size, 0.0) for axis in "xy")
    move_x, move_y = (where(f"translate {axis}", 2 * TRANSLATION * size, 0.0) for axis in "xy")  # from -1 to 1
    entries = [angle.cos(), shear_x - angle.sin(), move_x, shear_y + angle.sin(), angle.cos(), move_y]
    first, second = torch.stack(entries, dim=-1).unflatten(-1, (2, 3))  # (B, 2, 3) each
    linear = first[..., :2] @ second[..., :2]
    offset = first[..., :2] @ second[..., 2:] + first[..., 2:]
    contrast, brightness = (where(name, 1 + TONE * size, 1.0).prod(dim=0) for name in ("contrast", "brightness"))
    full = torch.full_like(size, strength)
    step = where("posterise", 2 ** (BITS * full).round(), 1.0).amax(dim=0)
    threshold = where("solarise", 256 * (1 - full), 256.0).amin(dim=0)
    tones = torch.stack([contrast, brightness, step, threshold], dim=1)
    return torch.cat([torch.cat([linear, offset], dim=2).flatten(1), tones], dim=1)


def _randaugment(images: Tensor, sampled: Tensor) -> Tensor:
    """Apply affine maps and changes of tone (B, 10); what comes from outside of the image is black."""
    shape = len(images), 1, *images.shape[1:]
    grid = F.affine_grid(sampled[:, :6].unflatten(1, (2, 3)), list(shape), align_corners=False)
    moved = F.grid_sample(images.view(shape).float(), grid, align_corners=False)[:, 0].round()
    contrast, brightness, step, threshold = sampled[:, 6:].T[..., None, None]
    mean = moved.mean(dim=(1, 2), keepdim=True)
    toned = ((mean + contrast * (moved - mean)) * brightness).clamp(0, 255).round()
    toned = (toned / step).floor() * step
    return torch.where(toned >= threshold, 255 - toned, toned).byte()
