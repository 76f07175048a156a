"""Random changes of training images, drawn for each image and applied to a whole batch at once.

Axes: B images of L by L pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def augment(images: Tensor, generator: torch.Generator, *, flip: bool, crop: int) -> Tensor:
    """Mirror and shift each image by its own draw.

    Args:
        images: uint8 (B, L, L), on the generator's device.
        generator: source of the draws.
        flip: mirror left to right with probability 1/2.
        crop: pad with black by this many pixels on every side and crop L by L at random (0: not at all).

    Returns:
        uint8 (B, L, L).
    """
    if not flip and not crop:
        return images
    B, L, _ = images.shape
    device = images.device
    pixels = torch.arange(L, device=device).expand(B, L)
    if crop:
        images = F.pad(images, (crop, crop, crop, crop))
    down, right = torch.randint(2 * crop + 1, (2, B, 1), generator=generator, device=device)
    mirrored = torch.rand(B, 1, generator=generator, device=device) < 0.5 if flip else False
    rows = pixels + down  # (B, L): which row of the padded image each row comes from
    columns = torch.where(torch.as_tensor(mirrored, device=device), L - 1 - pixels, pixels) + right
    which = torch.arange(B, device=device)[:, None, None]
    return images[which, rows[:, :, None], columns[:, None, :]]
