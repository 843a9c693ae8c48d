"""From positions to Gaussians: scales, rotations and colours by one rule."""

from __future__ import annotations

import torch
from torch import Tensor

from fastgs.gaussians import Gaussians
from fastgs.initializers.filters import first_derivatives, smooth
from fastgs.initializers.sampling import sample

# Standard deviation in units of the local spacing 1 / sqrt(K density).
SCALE = 0.42
# Smaller than this a Gaussian would lie between the pixel centres and see none of them.
MIN_SCALE = 0.3
# Axis ratio exp(2 ELONGATION) where the local gradients all point one way: long along an edge, short across it.
ELONGATION = 0.5
# Gradients of less than this (in units of the colour range per pixel) are noise and elongate nothing.
NOISE = 0.01


def gaussians_from_density(
    image: Tensor, density: Tensor, num_gaussians: int, generator: torch.Generator | None
) -> Gaussians:
    """Draw K positions from an (H, W) density by error diffusion and give them attributes."""
    density = density / density.sum()
    return gaussians_at(sample(density, num_gaussians, generator=generator).to(image.device), image, density)


def gaussians_at(means: Tensor, image: Tensor, density: Tensor) -> Gaussians:
    """Gaussians at given positions.

    Scales follow the spacing that the density promises, colours are the pixels', and the ellipses lie along the local
    structure: axes and coherence of the structure tensor (Foerstner and Guelch 1987) smoothed over a pixel.

    Args:
        means: (K, 2) x, y in pixels.
        image: (3, H, W).
        density: (H, W), summing to 1.
    """
    _, height, width = image.shape
    columns = means[:, 0].long().clamp(0, width - 1)
    rows = means[:, 1].long().clamp(0, height - 1)
    xx, xy, yy = (smooth(plane, 1.0)[rows, columns] for plane in _structure_tensor(image))
    spread = torch.sqrt((xx - yy) ** 2 + 4 * xy**2)
    elongation = torch.exp(ELONGATION * spread / (xx + yy + NOISE**2))
    spacing = (len(means) * density[rows, columns]).rsqrt()
    across = (SCALE * spacing / elongation).clamp(min=MIN_SCALE)
    along = (SCALE * spacing * elongation).clamp(min=MIN_SCALE)
    return Gaussians(
        means=means,
        scales=torch.stack([across, along], dim=1),
        rotations=0.5 * torch.atan2(2 * xy, xx - yy),  # the direction of the gradient
        colors=image[:, rows, columns].T.contiguous(),
        height=height,
        width=width,
    )


def _structure_tensor(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Products of the first derivatives of (3, H, W), summed over colour: xx, xy, yy, each (H, W)."""
    xx, xy, yy = (torch.zeros_like(image[0]) for _ in range(3))
    for plane in image:
        dx, dy = first_derivatives(plane)
        xx += dx * dx
        xy += dx * dy
        yy += dy * dy
    return xx, xy, yy
