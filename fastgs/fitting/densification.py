"""Strategies that add, remove and move Gaussians while a fit runs: one interface, which loop.py calls."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from fastgs.fitting.optimizer import Descent
from fastgs.gaussians import Gaussians
from fastgs.initializers.filters import mix_with_uniform, smooth
from fastgs.initializers.from_density import gaussians_at
from fastgs.initializers.sampling import project, sample
from fastgs.render import Backend, rasterize, render
from fastgs.render.reference import EPSILON


class Edit(NamedTuple):
    """Change of a set of N Gaussians.

    Attributes:
        keep: (N,) bool, the Gaussians that stay.
        added: Gaussians that are appended to those.
    """

    keep: Tensor
    added: Gaussians


class Densification(Protocol):
    """Strategy that adds, removes or moves Gaussians during one fit.

    Attributes:
        events: Shares of the run, ascending, in [0, 1], at which it acts.
        grows: True if there are fewer Gaussians than were asked for until the last event; no fit may end before it.
    """

    @property
    def events(self) -> Sequence[float]:
        """Return the shares of the run at which it acts."""

    @property
    def grows(self) -> bool:
        """Return whether Gaussians are missing until the last event."""

    def edit(self, event: int, target: Tensor, descent: Descent) -> Edit:
        """Decide on the change at `events[event]`; after the last one there are as many Gaussians as were asked for.

        Args:
            event: Index into `events`.
            target: (C, H, W) image that is fitted.
            descent: Gaussians on their way.
        """


# Constants of `Relocation` (benchmarks/LOG.md, "Relocation"): the share of the Gaussians that move at the first event,
# down to none behind the last; the densest canvas, in Gaussians per pixel, where so many do; and the share of the run
# at the last event. A relocation costs about as much as five steps, and the Gaussians that it moves take some to
# settle: a run that is too short for a few events has none.
SHARE = 0.06
DENSITY = 0.04
LAST = 0.7
STEPS_APART = 20
LEAST_EVENTS = 3


@dataclass
class Relocation:
    """Moves the Gaussians that do least to where the error is largest (benchmarks/LOG.md, "Relocation").

    Attributes:
        events: Shares of the run at which it acts, see `Densification`.
        shares: Shares of the Gaussians that move, at each event.
        generator: Random generator of the new places.
    """

    events: Sequence[float]
    shares: Sequence[float]
    generator: torch.Generator | None = None
    grows: bool = False

    @classmethod
    def for_steps(cls, steps: int, per_pixel: float, generator: torch.Generator | None = None) -> Relocation:
        """Return the strategy for a fit of so many steps, with so many Gaussians per pixel."""
        count = min(round(math.sqrt(steps)), steps // STEPS_APART)
        count = count if count >= LEAST_EVENTS else 0
        first = SHARE * min(1.0, math.sqrt(DENSITY / per_pixel)) if per_pixel else 0.0
        events = [LAST * (event + 1) / count for event in range(count)]
        return cls(events, [first * (1 - event / count) for event in range(count)], generator)

    def edit(self, event: int, target: Tensor, descent: Descent) -> Edit:
        """Move the Gaussians that do least to where the error is largest."""
        gaussians, image = descent.gaussians(), descent.image()
        keep = _select_useful(gaussians, image, round(self.shares[event] * len(gaussians)))
        return Edit(keep, place(target, image, gaussians, keep, self.generator))


def relocation(gaussians: Gaussians, generator: torch.Generator | None = None) -> Callable[[int], Relocation] | None:
    """Return the relocation for a fit that starts from these Gaussians, as `fastgs.fitting.fit.fit` takes it.

    None under the sum rule: which Gaussians are idle is known for the normalized one only.
    """
    if gaussians.blend != "normalized":
        return None
    per_pixel = len(gaussians) / (gaussians.height * gaussians.width)
    return lambda steps: Relocation.for_steps(steps, per_pixel, generator)


@torch.no_grad()
def place(
    target: Tensor, image: Tensor, gaussians: Gaussians, keep: Tensor, generator: torch.Generator | None
) -> Gaussians:
    """Make Gaussians in place of those that go: where the squared error is, with attributes as heuristics give them.

    Args:
        target: (C, H, W) image that is fitted.
        image: (C, H, W) rendering.
        gaussians: N Gaussians.
        keep: (N,) bool, the Gaussians that stay.
        generator: Random generator of the places.
    """
    total, count = len(gaussians), len(gaussians) - int(keep.sum())
    error = (image - target).square().sum(0)
    spacing = (error.numel() / total) ** 0.5
    # Uniform where nothing is wrong, as with a black image.
    wanted = mix_with_uniform(smooth(error, 0.5 * spacing), power=1.0, uniform=0.0)
    places = sample(wanted, count, generator=generator).to(error.device)
    if not count:
        return gaussians_at(places, target, wanted)
    # They are as wide as there is room among all.
    density = project(torch.cat([gaussians.means[keep], places]), *error.shape)
    return replace(gaussians_at(places, target, density * (total / count)), blend=gaussians.blend)


@torch.no_grad()
def removal_errors(gaussians: Gaussians, image: Tensor, backend: Backend = "auto") -> Tensor:
    """Return, (K,), by how much the squared error of a well fitted image grows if a Gaussian goes, to second order.

    Under the normalized rule, with weights G_k and W = sum_k G_k, the image I changes by -G_k (c_k - I) / W. The first
    order of the error vanishes where the fit has converged; the second is the sum of squares of that change,

        sum_x G_k^2 (|c_k|^2 - 2 c_k I + |I|^2) / W^2,

    where G_k^2 is a Gaussian with scales divided by sqrt(2): its sums against images are what the rasterizer under the
    sum rule gives as gradients of colours.
    """
    ones = torch.ones_like(gaussians.colors[:, :1])
    weights = render(replace(gaussians, colors=ones, blend="sum", alpha=False), backend=backend) + EPSILON
    squared = weights.square()
    energy = image.square().sum(0, keepdim=True)
    linear = _sum_over_pixels(gaussians, image / squared, backend)
    planes = torch.cat([1 / squared, energy / squared])
    rest = _sum_over_pixels(gaussians, planes, backend)
    colors = gaussians.colors
    return (colors.square().sum(1) * rest[:, 0] - 2 * (colors * linear).sum(1) + rest[:, 1]).clamp(min=0)


def _select_useful(gaussians: Gaussians, image: Tensor, count: int) -> Tensor:
    """Return an (N,) bool mask of all Gaussians but the `count` that do least."""
    keep = torch.ones(len(gaussians), dtype=torch.bool, device=image.device)
    keep[removal_errors(gaussians, image).argsort()[:count]] = False
    return keep


def _sum_over_pixels(gaussians: Gaussians, images: Tensor, backend: Backend) -> Tensor:
    """Return (K, C) sums over pixels of the squared weight of each Gaussian times each channel of (C, H, W)."""
    with torch.enable_grad():
        colors = gaussians.colors.new_zeros(len(gaussians), len(images)).requires_grad_()
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
