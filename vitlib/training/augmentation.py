"""Random augmentations of training images: sampled for each image, applied to a whole batch at once.

Sampling is separate from applying, so that the parameters of a whole epoch lie on the device before its first step, and
images of several seeds share one batch. Axes: B images of L by L pixels, Y classes.
"""

import hashlib
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vitlib.config import TrainConfig

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
        ``erase`` int64: top, bottom, left, right of the rectangle, and its grey;
        ``mix`` float32: weight of the image itself.
    """
    sampled = {}
    if config.flip or config.crop_padding:
        sampled["crop_flip"] = _sample_crop_flip(number, generator, config)
    if config.erase:
        sampled["erase"] = _sample_erase(number, generator, config)
    if config.mixup:
        sampled["mix"] = _sample_mix(number, generator, config)
    return sampled


def augment(images: Tensor, sampled: dict[str, Tensor], config: TrainConfig) -> Tensor:
    """Apply crop, flip and erasing to images uint8 (B, L, L), with one row of parameters for each."""
    if "crop_flip" in sampled:
        images = _crop_and_flip(images, sampled["crop_flip"], config.crop_padding)
    if "erase" in sampled:
        images = _erase(images, sampled["erase"])
    return images


def mix(images: Tensor, targets: Tensor, sampled: Tensor) -> tuple[Tensor, Tensor]:
    """Blend each image with its predecessor in the batch, and their classes likewise (MixUp; Zhang et al., 2018).

    The weight is uniform: the paper's Beta distribution for alpha = 1.

    Args:
        images: uint8 (..., B, L, L).
        targets: probabilities of the classes (..., B, Y).
        sampled: (..., B, 1), ``mix`` of `sample_augmentations`.

    Returns:
        Images as float32, and targets, in the same shapes.
    """
    images = images.float()
    mixed = images.roll(1, -3).lerp(images, sampled[..., None])
    return mixed, targets.roll(1, -2).lerp(targets, sampled)


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


def _erase(images: Tensor, sampled: Tensor) -> Tensor:
    """Paint each image's rectangle in its grey."""
    pixels = torch.arange(images.shape[-1], device=images.device)
    top, bottom, left, right, grey = sampled.T[..., None, None]
    rows, columns = pixels[:, None], pixels
    inside = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)  # (B, L, L)
    return torch.where(inside, grey.to(images.dtype), images)


def _sample_mix(number: int, generator: torch.Generator, config: TrainConfig) -> Tensor:
    hit, weight = _uniform(number, 2, generator)
    return torch.where(hit < config.mixup, weight, 1.0)[:, None]


def _scale(uniform: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * uniform
