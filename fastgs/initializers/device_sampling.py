"""Positions that follow a density, and the density of positions, on any device, by operators of torch alone.

sampling.py does the same on the CPU, where error diffusion is faster and spreads a little more evenly. On a GPU, that
walk from pixel to pixel would have to wait for the density, and the GPU for the walk.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from fastgs.initializers.sampling import SIGMA, make_taps


@lru_cache(maxsize=2)
def curve(height: int, width: int, device: torch.device) -> Tensor:
    """Return the (H W,) numbers of all pixels in the order in which a Hilbert curve visits them.

    Neighbours on the curve (Hilbert 1891) are neighbours in the image, so that what is spread evenly along it is spread
    evenly in the image. The curve fills a square; pixels beyond the image are left out.
    """
    bits = max(1, math.ceil(math.log2(max(height, width))))
    y, x = torch.meshgrid(*(torch.arange(size, device=device) for size in (height, width)), indexing="ij")
    place = torch.zeros_like(x)
    for bit in reversed(range(bits)):
        right, low = x >> bit & 1, y >> bit & 1
        place = place << 2 | 3 * right ^ low
        # The upper quarters are mirrored, so that each begins where the last one ended.
        turn = (low == 0) & (right == 1)
        x, y = (torch.where(turn, 2**bits - 1 - each, each) for each in (x, y))
        x, y = torch.where(low == 0, y, x), torch.where(low == 0, x, y)
    return place.flatten().argsort().int()


def sample(density: Tensor, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Return M positions that follow a density; nothing waits for the device.

    The curve is cut into M parts of equal mass, and each has one position, at a random place of its mass.

    Args:
        density: (H, W) density, not negative; its scale does not matter. Where it is not finite or zero everywhere,
            positions are uniform.
        count: M, at least 0.
        generator: Source of everything random, on the CPU; by default torch's global one.

    Returns:
        (M, 2) float32 x, y in pixels, inside the canvas, in the order of the curve. The first position in a pixel is
        its centre.
    """
    height, width = density.shape
    device = density.device
    order = curve(height, width, device)
    random = torch.rand(3, count, generator=generator, dtype=torch.float64).to(device, non_blocking=True)
    ends = density.flatten()[order].double().cumsum(0)
    usable = ends[-1].isfinite() & (ends[-1] > 0)
    ends = torch.where(usable, ends, torch.arange(1, len(ends) + 1, dtype=torch.float64, device=device))
    parts = (torch.arange(count, device=device) + random[0]) / max(1, count)
    found = torch.searchsorted(ends, parts * ends[-1], right=True).clamp_(max=len(ends) - 1)
    pixels = order[found]
    again = torch.zeros_like(found, dtype=torch.bool)
    again[1:] = found[1:] == found[:-1]
    # Not quite to the right edge, so that rounding to float32 cannot leave the pixel.
    inside = torch.where(again, random[1:] * 0.999, 0.5)
    return torch.stack([pixels % width + inside[0], pixels // width + inside[1]], dim=1).float()


def project_at(points: Tensor, means: Tensor, height: int, width: int, sigma: float = SIGMA) -> Tensor:
    """Return (M,) values of the density of positions, in the pixels of (M, 2) points.

    It is that of `fastgs.initializers.sampling.project`, to rounding, on any device.
    """
    rows, columns = (means[:, axis].long().clamp(0, size - 1) for axis, size in ((1, height), (0, width)))
    impulses = torch.zeros(height * width, dtype=torch.int32, device=means.device)
    impulses.scatter_add_(0, rows * width + columns, torch.ones_like(rows, dtype=torch.int32))
    taps = torch.from_numpy(make_taps(sigma * (height * width / len(means)) ** 0.5)).to(means, non_blocking=True)
    offsets = torch.arange(len(taps), device=means.device) - len(taps) // 2
    near = []
    for axis, size in ((1, height), (0, width)):
        # Mirrored at the borders, as often as it takes.
        place = (points[:, axis].long().clamp(0, size - 1)[:, None] + offsets) % (2 * size)
        near.append(torch.where(place < size, place, 2 * size - 1 - place))
    found = impulses[near[0][:, :, None] * width + near[1][:, None, :]]
    return (found * taps[:, None] * taps).sum((1, 2)) / len(means)
