"""Gaussians that come, go and move while a fit runs: one interface, which the loop of fit.py calls."""

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
    """What becomes of N Gaussians."""

    keep: Tensor  # (N,) bool
    added: Gaussians  # behind those


class Densification(Protocol):
    """A strategy, made for one fit.

    Attributes:
        events: shares of the run at which it acts, ascending, in [0, 1].
        grows: whether there are fewer Gaussians than were asked for until the last event; no fit may end before it.
    """

    @property
    def events(self) -> Sequence[float]:
        """See above."""

    @property
    def grows(self) -> bool:
        """See above."""

    def edit(self, event: int, target: Tensor, descent: Descent) -> Edit:
        """What to do at `events[event]`; after the last one there are as many Gaussians as were asked for."""


# Of ours: the share of the Gaussians that move at the first event, down to none behind the last; the densest canvas, in
# Gaussians per pixel, where so many do; and when the last event is. A relocation costs about as much as five steps, and
# what it moves takes some to settle: a run that is too short for a few events has none.
SHARE = 0.06
DENSITY = 0.04
LAST = 0.7
STEPS_APART = 20
LEAST_EVENTS = 3


@dataclass
class Relocation:
    """Ours: the Gaussians that do least move to where the error is largest (benchmarks/LOG.md, "Relocation").

    Attributes:
        events: see `Densification`.
        shares: of the Gaussians that move, at each event.
        generator: of the draw of the new places.
    """

    events: Sequence[float]
    shares: Sequence[float]
    generator: torch.Generator | None = None
    grows: bool = False

    @classmethod
    def for_steps(cls, steps: int, per_pixel: float, generator: torch.Generator | None = None) -> Relocation:
        """The schedule for a fit of so many steps, with so many Gaussians per pixel."""
        count = min(round(math.sqrt(steps)), steps // STEPS_APART)
        count = count if count >= LEAST_EVENTS else 0
        first = SHARE * min(1.0, math.sqrt(DENSITY / per_pixel)) if per_pixel else 0.0
        events = [LAST * (event + 1) / count for event in range(count)]
        return cls(events, [first * (1 - event / count) for event in range(count)], generator)

    def edit(self, event: int, target: Tensor, descent: Descent) -> Edit:
        """See `Densification`."""
        gaussians, image = descent.gaussians(), descent.image()
        keep = _useful(gaussians, image, round(self.shares[event] * len(gaussians)))
        return Edit(keep, place(target, image, gaussians, keep, self.generator))


def relocation(gaussians: Gaussians, generator: torch.Generator | None = None) -> Callable[[int], Relocation] | None:
    """Ours for a fit that starts from these, as `fastgs.fitting.fit.fit` takes it.

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
    """Gaussians for those that go, where the squared error is, with attributes by the rule of heuristic starts.

    Args:
        target, image: (3, H, W).
        gaussians: N of them.
        keep: (N,) bool, which stay.
        generator: of the draw of the places.
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
    """(K,) by how much the squared error of a well fitted image would grow if a Gaussian went, to second order.

    Under the normalized rule, with weights G_k and W = sum_k G_k, the image I changes by -G_k (c_k - I) / W. The first
    order of the error vanishes where the fit has converged; the second is the sum of squares of that change,

        sum_x G_k^2 (|c_k|^2 - 2 c_k I + |I|^2) / W^2,

    where G_k^2 is a Gaussian with scales divided by sqrt(2): its sums against images are what the rasterizer under the
    sum rule gives as gradients of colours.
    """
    ones = torch.ones_like(gaussians.colors)
    weights = render(replace(gaussians, colors=ones, blend="sum"), backend=backend) + EPSILON
    squared = weights.square()
    energy = image.square().sum(0)
    linear = _sums(gaussians, image / squared, backend)
    rest = _sums(gaussians, torch.stack([1 / squared[0], energy / squared[0], torch.zeros_like(energy)]), backend)
    colors = gaussians.colors
    return (colors.square().sum(1) * rest[:, 0] - 2 * (colors * linear).sum(1) + rest[:, 1]).clamp(min=0)


def _useful(gaussians: Gaussians, image: Tensor, count: int) -> Tensor:
    """(N,) bool, all but the `count` that do least."""
    keep = torch.ones(len(gaussians), dtype=torch.bool, device=image.device)
    keep[removal_errors(gaussians, image).argsort()[:count]] = False
    return keep


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
