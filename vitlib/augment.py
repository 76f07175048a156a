"""Random changes of training images, drawn for each image and applied to a whole batch at once.

Drawing and changing are apart, so that the draws of many seeds change one batch. Axes: B images of L by L pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def augment(images: Tensor, generator: torch.Generator, *, flip: bool, crop: int) -> Tensor:
    """Mirror and shift each image by its own draw: what `change` does with the draws of `draw`.

    Args:
        images: uint8 (B, L, L), on the generator's device.
        generator: source of the draws.
        flip: mirror left to right with probability 1/2.
        crop: pad with black by this many pixels on every side and crop L by L at random (0: not at all).

    Returns:
        uint8 (B, L, L).
    """
    return change(images, draw(len(images), generator, flip=flip, crop=crop), crop=crop)


def draw(number: int, generator: torch.Generator, *, flip: bool, crop: int) -> Tensor | None:
    """Draw how each of B images changes: int64 (3, B, 1), pixels down, pixels right, and 1 where it is mirrored.

    None where nothing is to change.
    """
    if not flip and not crop:
        return None
    device = generator.device
    shifts = torch.randint(2 * crop + 1, (2, number, 1), generator=generator, device=device)
    if not flip:
        return torch.cat([shifts, torch.zeros_like(shifts[:1])])
    mirrored = torch.rand(1, number, 1, generator=generator, device=device) < 0.5
    return torch.cat([shifts, mirrored.long()])


def change(images: Tensor, draws: Tensor | None, *, crop: int) -> Tensor:
    """Apply the draws (3, B, 1) of `draw` to images (B, L, L)."""
    if draws is None:
        return images
    B, L, _ = images.shape
    down, right, mirrored = draws
    pixels = torch.arange(L, device=images.device).expand(B, L)
    if crop:
        images = F.pad(images, (crop, crop, crop, crop))
    rows = pixels + down  # (B, L): which row of the padded image each row comes from
    columns = torch.where(mirrored.bool(), L - 1 - pixels, pixels) + right
    which = torch.arange(B, device=images.device)[:, None, None]
    return images[which, rows[:, :, None], columns[:, None, :]]
