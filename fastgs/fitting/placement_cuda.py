"""New places of Gaussians, drawn on a GPU: error diffusion and the density of positions, without a wait for the host.

They are those of `fastgs.initializers.sampling`, which walks from pixel to pixel on the CPU.
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from fastgs.fitting.placement_cuda_kernels import diffuse
from fastgs.initializers.sampling import SIGMA, make_taps

MOST_LANES = 1024  # of a program: one row of the density for each
WARP = 32


def sample(density: Tensor, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Return M positions that follow a density by error diffusion, all rows from left to right.

    Args:
        density: (H, W) float32 density, finite, not negative, which sums to 1.
        count: M, at least 0.
        generator: Source of everything random, on the CPU; by default torch's global one.

    Returns:
        (M, 2) float32 x, y in pixels, inside the canvas, in raster order. The first position in a pixel is its centre.
    """
    height, width = density.shape
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    random = torch.Generator(density.device).manual_seed(seed)
    noise = torch.rand(height, width, generator=random, device=density.device)
    errors, counts = density.new_zeros(height + 1, width + 2), torch.empty_like(density, dtype=torch.int32)
    lanes = min(MOST_LANES, max(WARP, int(triton.next_power_of_2(height))))
    with torch.cuda.device_of(density):  # type: ignore[no-untyped-call]
        diffuse[(1,)](
            (density * count).contiguous(), noise, errors, counts, height, width, LANES=lanes, num_warps=lanes // WARP
        )
    # The errors that leave at the borders are a few positions: as many too many or too few are spread evenly. Where
    # none is found at all, the density itself decides.
    found = counts.flatten().double()
    ends = torch.where(counts.any(), found, density.flatten().double()).cumsum(0)
    places = (torch.arange(count, dtype=torch.float64, device=density.device) + 0.5) * (ends[-1] / max(1, count))
    pixels = torch.searchsorted(ends, places, right=True).clamp_(max=len(ends) - 1)
    again = torch.zeros_like(pixels, dtype=torch.bool)
    again[1:] = pixels[1:] == pixels[:-1]
    # Not quite to the right edge, so that rounding to float32 cannot leave the pixel.
    inside = torch.rand(2, count, generator=random, device=density.device) * 0.999
    inside = torch.where(again, inside, 0.5)
    return torch.stack([pixels % width + inside[0], pixels // width + inside[1]], dim=1)


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
