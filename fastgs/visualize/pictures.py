"""Plain pictures: densities, errors, centres, and strips of several pictures, as tensors and PIL images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from fastgs.gaussians import Gaussians

DOT = "#ffd54a"  # colour of centres
DIM = 0.35  # brightness of the photo behind centres
STRIP_SIDE = (256, 512)  # smallest and largest longer side in pixels of a picture in a strip


def show(values: Tensor, alpha: bool = False) -> Tensor:
    """Return values of any number of channels as RGB: on white with alpha, gray three times, else three channels.

    Args:
        values: (C, ...) values, or colours, with the channels first.
        alpha: True if the last channel is opacity and the other ones are multiplied by it.
    """
    if alpha:
        values = values[:-1] + (1 - values[-1:])
    return values[:3] if len(values) >= 3 else values[:1].expand(3, *values.shape[1:])


def density_of_centres(gaussians: Gaussians) -> Tensor:
    """Estimate the density of centres, which shows where an initializer has placed Gaussians.

    Args:
        gaussians: K >= 1 Gaussians.

    Returns:
        (h, w) Gaussians per cell. Cells are about a quarter of the mean spacing wide, and at least a pixel; counts are
        blurred over the mean spacing.
    """
    from scipy.ndimage import gaussian_filter

    per_spacing = 4
    spacing = math.sqrt(gaussians.height * gaussians.width / len(gaussians))
    # Cells smaller than a pixel would show nothing more.
    cell = max(spacing / per_spacing, 1.0)
    shape = [max(1, round(size / cell)) for size in (gaussians.height, gaussians.width)]
    x, y = gaussians.means.detach().cpu().double().numpy().T
    canvas = ((0, gaussians.height), (0, gaussians.width))
    counts, _, _ = np.histogram2d(y, x, bins=shape, range=canvas)
    return torch.from_numpy(gaussian_filter(counts, max(spacing / cell, 1.0)))


def density_image(density: Tensor) -> Tensor:
    """Draw a density.

    Args:
        density: (H, W) density of any scale.

    Returns:
        (3, H, W) picture in [0, 1], from dark (0) to bright (the highest values).
    """
    values = density.detach().float().cpu().numpy()
    return _apply_colormap(values, "viridis", density_limit(values))


def error_image(image: Tensor, target: Tensor) -> Tensor:
    """Draw the absolute error of an image, mean over channels.

    Args:
        image: (3, H, W) reconstruction, clamped to [0, 1].
        target: (3, H, W) input in [0, 1].

    Returns:
        (3, H, W) picture in [0, 1], bright where the error is large.
    """
    error = (image.detach().clamp(0, 1) - target).abs().mean(dim=0).float().cpu().numpy()
    return _apply_colormap(error, "magma", error_limit(error))


def centres_image(gaussians: Gaussians, target: Tensor) -> Tensor:
    """Mark the pixels that hold centres on a darkened photo.

    Args:
        gaussians: Gaussians on the canvas of the target.
        target: (3, H, W) input in [0, 1].

    Returns:
        (3, H, W) picture in [0, 1].
    """
    from matplotlib.colors import to_rgb

    picture = dim(target).cpu().clone()
    columns, rows = gaussians.means.detach().cpu().long().unbind(1)
    inside = (columns >= 0) & (columns < gaussians.width) & (rows >= 0) & (rows < gaussians.height)
    picture[:, rows[inside], columns[inside]] = torch.tensor(to_rgb(DOT))[:, None]
    return picture


def strip(panels: Sequence[tuple[str, Tensor]]) -> Image.Image:
    """Place pictures of one size side by side, under their titles.

    Args:
        panels: (title, (3, H, W) picture), each clamped to [0, 1], enlarged if it is small and reduced if it is large;
            or (title, (N, 3, H, W) pictures) with the same N, which are placed below each other.
    """
    margin, heading = 4, 20
    columns = [[_resize_for_strip(picture) for picture in each.view(-1, *each.shape[-3:])] for _, each in panels]
    width, height = columns[0][0].size
    size = len(columns) * (width + margin) - margin, heading + len(columns[0]) * (height + margin) - margin
    result, font = Image.new("RGB", size, "white"), ImageFont.load_default(13)
    for column, ((title, _), pictures) in enumerate(zip(panels, columns, strict=True)):
        left = column * (width + margin)
        above = Image.new("RGB", (width, heading), "white")  # cuts off a long title where the next begins
        ImageDraw.Draw(above).text((0, 2), title, "black", font)
        result.paste(above, (left, 0))
        for row, picture in enumerate(pictures):
            result.paste(picture, (left, heading + row * (height + margin)))
    return result


def _resize_for_strip(picture: Tensor) -> Image.Image:
    """Convert a (3, H, W) picture for a strip; it is enlarged by whole factors, so that its pixels stay visible."""
    lowest, highest = STRIP_SIDE
    pixels = picture.detach().float().clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
    result = Image.fromarray(pixels)
    factor = lowest // max(result.size)
    if factor > 1:
        return result.resize((factor * result.width, factor * result.height), Image.Resampling.NEAREST)
    result.thumbnail((highest, highest))
    return result


def _apply_colormap(values: NDArray[np.float32], colormap: str, limit: float) -> Tensor:
    """Convert (H, W) values from 0 to limit to (3, H, W) colours."""
    from matplotlib import colormaps

    return torch.from_numpy(colormaps[colormap](values / limit)[..., :3]).permute(2, 0, 1).float()


def density_limit(values: NDArray[np.float32]) -> float:
    """Return the density that is shown brightest: a quantile, since a few peaks would make everything else black."""
    return max(float(np.quantile(values, 0.995)), 1e-12)


def error_limit(values: NDArray[np.float32]) -> float:
    """Return the error that is shown brightest, a quantile likewise, and at least one step of 8 bits."""
    return max(float(np.quantile(values, 0.998)), 1 / 255)


def dim(target: Tensor) -> Tensor:
    """Return a (3, H, W) photo in dark gray, to draw on."""
    return DIM * target.detach().clamp(0, 1).mean(dim=0, keepdim=True).expand(3, -1, -1)
