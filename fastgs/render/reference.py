"""The rasterizer in plain torch: slow, short, and what every other backend is held to.

For Gaussian k and a pixel centre x, with `d` the distance in standard deviations along the axes of the ellipse:

    d_k^2(x) = |diag(1 / s) R(theta)^T (x - mu)|^2
    w_k(x)   = exp(-d^2 / 2) * fade(d^2)
    sum:         I(x) = sum_k w_k c_k
    normalized:  I(x) = sum_k w_k c_k / (sum_k w_k + EPSILON)

`fade` is 1 up to 3 standard deviations and falls linearly in d^2 to 0 at 3.5, where the support ends. A weight that
jumps to zero at its edge makes the normalized blend diverge (the gradient cannot see the hole behind the edge), and
makes two backends differ wherever rounding moves a pixel across it; a continuous one costs nothing.

With `top_k`, the sums run over the Gaussians of the `top_k` largest w_k(x), as in Image-GS; among equal ones the first
count.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

FADE_START = 3.0  # standard deviations
CUTOFF = 3.5
# Half of a pixel's colour is its own where the weights sum to EPSILON; below that the normalized blend goes to black.
EPSILON = 1e-2

# At most this many (pixel, Gaussian) pairs are in memory at a time: 32 MB for each intermediate in float64.
CHUNK = 1 << 22


def weights(means: Tensor, scales: Tensor, rotations: Tensor, pixels: Tensor) -> Tensor:
    """w_k(x): (P, 2) pixel centres and K Gaussians give (P, K)."""
    offset = pixels[:, None] - means
    cosine, sine = torch.cos(rotations), torch.sin(rotations)
    u = (offset[..., 0] * cosine + offset[..., 1] * sine) / scales[:, 0]
    v = (offset[..., 1] * cosine - offset[..., 0] * sine) / scales[:, 1]
    d2 = u * u + v * v
    fade = (CUTOFF**2 - d2) / (CUTOFF**2 - FADE_START**2)
    return torch.exp(-0.5 * d2) * fade.clamp(0, 1)


def largest(weight: Tensor, top_k: int) -> Tensor:
    """(P, K) mask of the `top_k` largest of each row, `top_k` from 1 to K; among equal ones the first."""
    least = weight.topk(top_k).values[:, -1:]
    above, level = weight > least, weight == least
    # torch.topk may take any of those that are equal.
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
    """(P, 2) pixel centres to (P, 3) colours."""
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
    """Render a ragged batch; see `fastgs.render.rasterize` for the arguments. Any floating dtype, any device.

    Memory is bounded: pixels are taken in chunks, and each chunk is computed again in the backward pass.
    """
    grid_y = torch.arange(height, dtype=means.dtype, device=means.device) + 0.5
    grid_x = torch.arange(width, dtype=means.dtype, device=means.device) + 0.5
    images = []
    parameters = zip(*(torch.split(tensor, counts) for tensor in (means, scales, rotations, colors)), strict=True)
    for gaussians, (pitch_y, pitch_x) in zip(parameters, pitches, strict=True):
        pixels = torch.cartesian_prod(grid_y * pitch_y, grid_x * pitch_x).flip(1)
        chunks = torch.split(pixels, max(1, CHUNK // max(1, len(gaussians[0]))))
        blended = [checkpoint(_blend, *gaussians, chunk, normalized, top_k, use_reentrant=False) for chunk in chunks]
        images.append(torch.cat(blended).T.reshape(3, height, width))
    return torch.stack(images)
