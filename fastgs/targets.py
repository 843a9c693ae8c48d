"""Stage I targets: optimize Gaussians on their image, relocating the idle ones, and project them back to a density.

Sampling is not differentiable, so the position network learns from where an optimizer takes its samples (Fast-2DGS,
section 3.2: "optimize and project"). Gradient descent alone moves a Gaussian by a pixel or two, and the projection
would repeat the prediction; so the optimizer also takes the Gaussians that do least to where the error is largest.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from fastgs.descent import Rates
from fastgs.fitting import fit
from fastgs.gaussians import Gaussians
from fastgs.initializers.attributes import gaussians_at
from fastgs.initializers.filters import mix_with_uniform, smooth
from fastgs.render import Backend, rasterize, render
from fastgs.render.reference import EPSILON
from fastgs.sampling import sample

# Standard deviation of the blur that makes a density of positions, in units of the mean spacing sqrt(H W / K). Narrow,
# since cross-entropy needs none: its minimum is the expected density of the points themselves, and a wide blur would
# teach densities flatter than those (benchmarks/LOG.md).
SIGMA = 0.25
# Share of the Gaussians that each relocation moves, and how many relocations an optimization has.
SHARE = 0.05
ROUNDS = 2


def project(means: Tensor, height: int, width: int, sigma: float = SIGMA) -> Tensor:
    """(K, 2) positions in pixels, K from 1 up, to their (H, W) density: impulses blurred by `sigma` mean spacings.

    It sums to 1, to which each position adds the same: the borders are mirrors, so that nothing leaves the canvas.
    """
    columns = means[:, 0].long().clamp(0, width - 1)
    rows = means[:, 1].long().clamp(0, height - 1)
    impulses = torch.zeros(height * width, device=means.device)
    impulses.index_add_(0, rows * width + columns, torch.ones(len(means), device=means.device))
    spacing = (height * width / len(means)) ** 0.5
    blurred = gaussian_filter(impulses.view(height, width).cpu().numpy(), sigma * spacing, truncate=3, mode="reflect")
    density = torch.from_numpy(blurred).to(means.device)
    return density / density.sum()


@torch.no_grad()
def removal_errors(gaussians: Gaussians, backend: Backend = "auto") -> Tensor:
    """(K,) by how much the squared error of a well fitted image would grow if a Gaussian went, to second order.

    Under the normalized rule, with weights G_k and W = sum_k G_k, the image I changes by -G_k (c_k - I) / W. The first
    order of the error vanishes where the fit has converged; the second is the sum of squares of that change,

        sum_x G_k^2 (|c_k|^2 - 2 c_k I + |I|^2) / W^2,

    where G_k^2 is a Gaussian with scales divided by sqrt(2): its sums against images are what the rasterizer under the
    sum rule gives as gradients of colours.
    """
    image = render(gaussians, backend=backend)
    ones = torch.ones_like(gaussians.colors)
    weights = render(replace(gaussians, colors=ones, blend="sum"), backend=backend) + EPSILON
    squared = weights.square()
    energy = image.square().sum(0)
    linear = _sums(gaussians, image / squared, backend)
    rest = _sums(gaussians, torch.stack([1 / squared[0], energy / squared[0], torch.zeros_like(energy)]), backend)
    colors = gaussians.colors
    return (colors.square().sum(1) * rest[:, 0] - 2 * (colors * linear).sum(1) + rest[:, 1]).clamp(min=0)


def _sums(gaussians: Gaussians, images: Tensor, backend: Backend) -> Tensor:
    """(K, 3) sums over pixels of the squared weight of each Gaussian times each channel of (3, H, W)."""
    with torch.enable_grad():
        colors = torch.zeros_like(gaussians.colors, requires_grad=True)
        rendered = rasterize(
            gaussians.means,
            gaussians.scales / 2**0.5,
            gaussians.rotations,
            colors,
            counts=[len(gaussians)],
            pitches=[(1.0, 1.0)],
            height=gaussians.height,
            width=gaussians.width,
            blend="sum",
            backend=backend,
        )
        (result,) = torch.autograd.grad(rendered, colors, images[None].contiguous())
    return result


@torch.no_grad()
def relocate(
    target: Tensor, gaussians: Gaussians, share: float = SHARE, generator: torch.Generator | None = None
) -> Gaussians:
    """Move the Gaussians that do least to where the error is largest.

    Args:
        target: (3, H, W) in [0, 1].
        gaussians: K of them, fitted to the target for a while.
        share: of the Gaussians that move, in [0, 1].
        generator: of the draw of the new places.
    """
    count = round(share * len(gaussians))
    if not count:
        return gaussians
    stay = removal_errors(gaussians).argsort()[count:].sort().values
    error = (render(gaussians) - target).square().sum(0)
    spacing = (error.numel() / len(gaussians)) ** 0.5
    # Uniform where nothing is wrong, as with a black image.
    wanted = mix_with_uniform(smooth(error, 0.5 * spacing), power=1.0, uniform=0.0)
    places = sample(wanted, count, generator=generator).to(error.device)
    means = torch.cat([gaussians.means[stay], places])
    density = project(means, *error.shape)
    fresh = gaussians_at(means, target, density)
    new = slice(len(stay), None)
    return replace(
        gaussians,
        means=means,
        scales=torch.cat([gaussians.scales[stay], fresh.scales[new]]),
        rotations=torch.cat([gaussians.rotations[stay], fresh.rotations[new]]),
        colors=torch.cat([gaussians.colors[stay], fresh.colors[new]]),
    )


def optimize(
    target: Tensor,
    gaussians: Gaussians,
    iterations: int,
    *,
    rounds: int = ROUNDS,
    share: float = SHARE,
    generator: torch.Generator | None = None,
) -> Gaussians:
    """Fit Gaussians with relocation: `rounds` times a part of the iterations and a relocation, then the last part."""
    steps = iterations // (rounds + 1)
    steady = replace(Rates.for_iterations(steps), decay=1.0)
    for _ in range(rounds):
        gaussians = fit(target, gaussians, iterations=steps, rates=steady).gaussians
        gaussians = relocate(target, gaussians, share, generator)
    return fit(target, gaussians, iterations=iterations - rounds * steps).gaussians


class TargetStore:
    """Optimized Gaussians of images, kept on disk from one visit to the next.

    A visit is read by the next one only, and written again when a run is resumed from before it; so the last two are
    kept, and what a resumed run reads is what the first run read.

    Args:
        folder: made when first written to; all processes of a run share it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _path(self, index: int, slot: int, visit: int) -> Path:
        return self.folder / f"{index:06d}-{slot}-{visit}.safetensors"

    def load(self, index: int, slot: int, visit: int) -> Gaussians | None:
        """What a visit left; None if there was none."""
        try:
            return Gaussians.load(self._path(index, slot, visit))
        except FileNotFoundError:
            return None

    def save(self, index: int, slot: int, visit: int, gaussians: Gaussians) -> None:
        """Keep what a visit leaves, for the next; forget the one before the last."""
        self.folder.mkdir(parents=True, exist_ok=True)
        gaussians.save(self._path(index, slot, visit))
        self._path(index, slot, visit - 2).unlink(missing_ok=True)
