"""The reference rasterizer in plain torch: slow and short, and the definition that all backends are tested against.

For Gaussian k and a pixel centre x, with the distance `d` in standard deviations along the axes of the ellipse:

    d_k^2(x) = |diag(1 / s) R(theta)^T (x - mu)|^2
    w_k(x)   = exp(-d^2 / 2) * fade(d^2)
    sum:         I(x) = sum_k w_k c_k
    normalized:  I(x) = sum_k w_k c_k / (sum_k w_k + EPSILON)

`fade` is 1 up to 3 standard deviations, and falls linearly in d^2 to 0 at 3.5, where the support ends. If weights
jumped to 0 there, fits by the normalized rule would diverge (the gradient does not see the hole behind the edge), and
backends would differ wherever rounding moves a pixel across the edge. The fade costs no time.

With `top_k`, the sums are over the Gaussians with the `top_k` largest w_k(x), as in Image-GS; among equal weights the
first Gaussians are taken.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from fastgs.definition import CUTOFF, EPSILON, FADE_START
from fastgs.gaussians import weights

__all__ = ["CUTOFF", "EPSILON", "FADE_START", "largest", "rasterize", "weights"]

# Largest number of (pixel, Gaussian) pairs in memory at a time: 32 MB for each intermediate result in float64.
CHUNK = 1 << 22


def largest(weight: Tensor, top_k: int) -> Tensor:
    """Return a (P, K) mask of the `top_k` largest weights of each row, among equal ones the first; 1 <= top_k <= K."""
    least = weight.topk(top_k).values[:, -1:]
    above, level = weight > least, weight == least
    # torch.topk may return any of several equal weights.
    return above | (level & (level.cumsum(1, dtype=torch.int32) <= top_k - above.sum(1, keepdim=True)))


def _blend(
    means: Tensor,
    scales: Tensor,
    rotations: Tensor,
    colors: Tensor,
    pixels: Tensor,
    normalized: bool,
    top_k: int | None,
) -> Tensor:
    """Return the colours (P, C) at pixel centres (P, 2)."""
    weight = weights(means, scales, rotations, pixels)
    if top_k is not None and top_k < len(means):
        weight = torch.where(largest(weight.detach(), top_k), weight, 0)
    image = weight @ colors
    return image / (weight.sum(1, keepdim=True) + EPSILON) if normalized else image


def rasterize(
    means: Tensor,
    scales: Tensor,
    rotations: Tensor,
    colors: Tensor,
    counts: list[int],
    pitches: list[tuple[float, float]],
    height: int,
    width: int,
    normalized: bool,
    top_k: int | None = None,
) -> Tensor:
    """Render a ragged batch of any floating-point dtype and any number of channels C on any device.

    The arguments are those of `fastgs.render.rasterize`. Memory is bounded: pixels are processed in chunks, and each
    chunk is computed again in the backward pass.

    Returns:
        (B, C, H, W).
    """
    grid_y = torch.arange(height, dtype=means.dtype, device=means.device) + 0.5
    grid_x = torch.arange(width, dtype=means.dtype, device=means.device) + 0.5
    images = []
    parameters = zip(*(torch.split(tensor, counts) for tensor in (means, scales, rotations, colors)), strict=True)
    for gaussians, (pitch_y, pitch_x) in zip(parameters, pitches, strict=True):
        pixels = torch.cartesian_prod(grid_y * pitch_y, grid_x * pitch_x).flip(1)
        chunks = torch.split(pixels, max(1, CHUNK // max(1, len(gaussians[0]))))
        blended = [checkpoint(_blend, *gaussians, chunk, normalized, top_k, use_reentrant=False) for chunk in chunks]
        images.append(torch.cat(blended).T.reshape(colors.shape[1], height, width))
    return torch.stack(images)
