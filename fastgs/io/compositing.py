"""Tensors of pixels: channels joined, composited on a background, resized and cropped."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fastgs.io.pixels import Background, Floats
from fastgs.io.transfer import decode_light, encode_light


def join_channels(
    colors: Floats, alpha: Floats | None, associated: bool, background: Background | None, transfer: str = "srgb"
) -> tuple[Tensor, bool]:
    """Return (C, H, W) values of (H, W, C) colours, and whether they end in alpha."""
    values = to_tensor(colors.transpose(2, 0, 1))
    if alpha is None or alpha.min() >= 1:
        return values.contiguous(), False
    opacity = to_tensor(alpha)[None]
    values = values if associated else values * opacity
    if background is not None:
        return lay_over(values, opacity, background, transfer), False
    return torch.cat([torch.minimum(values, opacity), opacity]), True


def lay_over(colors: Tensor, opacity: Tensor, background: Background, transfer: str = "srgb") -> Tensor:
    """Lay premultiplied colours (1 or 3, H, W) over a background; gray stays gray on gray."""
    behind = torch.tensor(background, dtype=torch.float32).view(3, 1, 1) / 255
    if transfer != "srgb":
        behind = encode_light(decode_light(behind, "srgb"), transfer)
    if len(colors) == 1 and len(set(background)) == 1:
        behind = behind[:1]
    return (colors + behind.to(colors) * (1 - opacity)).clamp_(0, 1)


def to_tensor(array: Floats) -> Tensor:
    """Return a tensor of an array, which is copied only if it is not contiguous or not writable."""
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def resize_and_crop(image: Tensor, size: int, alpha: bool = False) -> Tensor:
    """Resize the shorter side of an image to `size`, and cut out the centre (C, size, size).

    Sizes and offsets are rounded as in torchvision's Resize and CenterCrop.
    """
    _, height, width = image.shape
    shorter = min(height, width)
    new_height, new_width = size * height // shorter, size * width // shorter
    top, left = round((new_height - size) / 2), round((new_width - size) / 2)
    if shorter == size:
        return image[:, top : top + size, left : left + size].contiguous()
    # Only the window is resized: a long thin image could otherwise grow to gigabytes before it is cropped.
    box = (
        left * width / new_width,
        top * height / new_height,
        (left + size) * width / new_width,
        (top + size) * height / new_height,
    )
    resized = [
        Image.fromarray(channel).resize((size, size), Image.Resampling.LANCZOS, box=box) for channel in image.numpy()
    ]
    values = torch.from_numpy(np.stack([np.asarray(channel) for channel in resized])).clamp(0, 1)
    if alpha:  # the overshoot at edges must not make colours exceed their alpha
        values[:-1] = torch.minimum(values[:-1], values[-1:])
    return values
