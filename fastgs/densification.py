"""Gaussians that come, go and move while a fit runs: one interface, which the loop of fitting.py calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from fastgs.descent import Descent
from fastgs.gaussians import Gaussians
from fastgs.initializers.attributes import gaussians_at
from fastgs.initializers.filters import mix_with_uniform, smooth
from fastgs.render import Backend, rasterize, render
from fastgs.render.reference import EPSILON
from fastgs.sampling import project, sample


class Edit(NamedTuple):
    """What becomes of N Gaussians."""

    keep: Tensor  # (N,) bool
    added: Gaussians  # behind those


class Densification(Protocol):
    """A strategy, made for one fit.

    Attributes:
        events: shares of the run at which it acts, ascending, in [0, 1].
    """

    @property
    def events(self) -> Sequence[float]:
        """See above."""

    def edit(self, event: int, target: Tensor, descent: Descent) -> Edit:
        """What to do at `events[event]`; after the last one there are as many Gaussians as were asked for."""


@dataclass
class Relocation:
    """Ours: the Gaussians that do least move to where the error is largest.

    Attributes:
        events: see `Densification`.
        share: of the Gaussians that move at each.
        generator: of the draw of the new places.
    """

    events: Sequence[float]
    share: float
    generator: torch.Generator | None = None

    def edit(self, event: int, target: Tensor, descent: Descent) -> Edit:
        """See `Densification`."""
        gaussians = descent.gaussians()
        count = round(self.share * len(gaussians))
        idle = removal_errors(gaussians).argsort()[:count]
        keep = torch.ones(len(gaussians), dtype=torch.bool, device=idle.device)
        keep[idle] = False
        return Edit(keep, place(target, descent.image(), gaussians.means[keep], count, self.generator, gaussians))


def place(
    target: Tensor,
    image: Tensor,
    means: Tensor,
    count: int,
    generator: torch.Generator | None,
    like: Gaussians,
) -> Gaussians:
    """Gaussians where the squared error is, with attributes by the rule of heuristic starts.

    Args:
        target, image: (3, H, W).
        means: (N, 2) of those that are there, among which they find their size.
        count: how many.
        generator: of the draw of their places.
        like: has their blend rule.
    """
    error = (image - target).square().sum(0)
    spacing = (error.numel() / (len(means) + count)) ** 0.5
    # Uniform where nothing is wrong, as with a black image.
    wanted = mix_with_uniform(smooth(error, 0.5 * spacing), power=1.0, uniform=0.0)
    places = sample(wanted, count, generator=generator).to(error.device)
    everything = torch.cat([means, places])
    fresh = gaussians_at(everything, target, project(everything, *error.shape))
    new = slice(len(means), None)
    return replace(
        fresh,
        means=places,
        scales=fresh.scales[new],
        rotations=fresh.rotations[new],
        colors=fresh.colors[new],
        blend=like.blend,
    )


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
def relocate(target: Tensor, gaussians: Gaussians, share: float, generator: torch.Generator | None = None) -> Gaussians:
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
    added = place(target, render(gaussians), gaussians.means[stay], count, generator, gaussians)
    return replace(
        gaussians,
        means=torch.cat([gaussians.means[stay], added.means]),
        scales=torch.cat([gaussians.scales[stay], added.scales]),
        rotations=torch.cat([gaussians.rotations[stay], added.rotations]),
        colors=torch.cat([gaussians.colors[stay], added.colors]),
    )
