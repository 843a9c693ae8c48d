"""Strategies that add, remove and move Gaussians while a fit runs: one interface, which loop.py calls."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from fastgs.fitting.optimizer import Descent
from fastgs.fitting.parametrization import Attributes
from fastgs.fitting.removal import KEPT_BYTES, Appraisal, Appraiser
from fastgs.gaussians import Gaussians
from fastgs.initializers.filters import smooth
from fastgs.initializers.from_density import Structure, gaussians_by_spacing
from fastgs.initializers.sampling import plan, project_at
from fastgs.render import choose


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
# at the last event. A relocation costs somewhat more than a step, and the Gaussians that it moves take some to
# settle: a run that is too short for a few events has none.
SHARE = 0.06
DENSITY = 0.04
LAST = 0.7
STEPS_APART = 20
LEAST_EVENTS = 3

# Variance, in units of the side of a cell, that cells add to a place: that of the mean over a cell, and that of the
# place within it.
CELLS_VARIANCE = 2 / 12


class _Ground:
    """Facts of a (C, H, W) target that serve every event."""

    def __init__(self, target: Tensor) -> None:
        self.target = target
        self.appraise = Appraiser(target)
        small = len(Structure._fields) * target[0].nbytes <= KEPT_BYTES
        self.structure = Structure.of(target) if small else None  # then each event finds it anew


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
    _ground: _Ground | None = field(default=None, init=False, repr=False, compare=False)

    @classmethod
    def for_steps(cls, steps: int, per_pixel: float, generator: torch.Generator | None = None) -> Relocation:
        """Return the strategy for a fit of so many steps, with so many Gaussians per pixel."""
        count = min(round(math.sqrt(steps)), steps // STEPS_APART)
        count = count if count >= LEAST_EVENTS else 0
        first = SHARE * min(1.0, math.sqrt(DENSITY / per_pixel)) if per_pixel else 0.0
        events = [LAST * (event + 1) / count for event in range(count)]
        return cls(events, [first * (1 - event / count) for event in range(count)], generator)

    def count(self, event: int, num_gaussians: int) -> int:
        """Return how many of so many Gaussians move at an event."""
        return round(self.shares[event] * num_gaussians)

    @torch.no_grad()
    def edit(self, event: int, target: Tensor, descent: Descent) -> Edit:
        """Move the Gaussians that do least to where the error is largest."""
        if self._ground is None or self._ground.target is not target:
            self._ground = _Ground(target)
        appraisal = descent.appraise(self._ground.appraise)
        gaussians = appraisal.gaussians
        count = self.count(event, len(gaussians))
        draw = plan_places(appraisal, len(gaussians), count, self.generator)
        removal, places = appraisal.removal_errors(draw)
        keep = select_useful(removal, count)
        return Edit(keep, settle(places.to(gaussians.means), target, gaussians, keep, self._ground.structure))


def relocation(gaussians: Gaussians, generator: torch.Generator | None = None) -> Callable[[int], Relocation] | None:
    """Return the relocation for a fit that starts from these Gaussians, as `fastgs.fitting.fit.fit` takes it.

    None under the sum rule: which Gaussians are idle is known for the normalized one only.
    """
    if gaussians.blend != "normalized":
        return None
    per_pixel = len(gaussians) / (gaussians.height * gaussians.width)
    return lambda steps: Relocation.for_steps(steps, per_pixel, generator)


def plan_places(
    appraisal: Appraisal, num_gaussians: int, count: int, generator: torch.Generator | None
) -> Callable[[], Tensor]:
    """Return a callable that draws (M, 2) places x, y in pixels by `error_density`, once, in any thread.

    They are drawn on the device of the Gaussians.

    Args:
        appraisal: Appraisal with the errors.
        num_gaussians: Number K of all Gaussians.
        count: Number M of places.
        generator: Random generator.
    """
    side = appraisal.side
    density = error_density(appraisal.errors, num_gaussians, side)
    height, width = appraisal.gaussians.height, appraisal.gaussians.width
    # Of a cell that is cut off by the border, the centre may lie outside.
    largest = width - 0.5, height - 0.5
    if choose(density.device, "auto", dtype=density.dtype) == "cuda":
        from fastgs.fitting import placement_cuda  # deferred: Triton is not everywhere

        places = placement_cuda.sample(density, count, generator)
        return lambda: torch.minimum(side * places, places.new_tensor(largest)) if side > 1 else places
    draw = plan(density, count, generator=generator)

    def on_cpu() -> Tensor:
        places = draw()
        return torch.from_numpy(
            np.minimum(np.float32(side) * places, np.array(largest, np.float32)) if side > 1 else places
        )

    return on_cpu


def error_density(errors: Tensor, num_gaussians: int, side: int = 1) -> Tensor:
    """Return the density of new places: squared errors, blurred by half the mean spacing of K.

    Args:
        errors: (..., H, W) squared errors, means over square cells.
        num_gaussians: K.
        side: Side of a cell in pixels.

    Returns:
        (..., H, W) densities of cells; each sums to 1, or is uniform where errors say nothing.
    """
    spacing = (errors.shape[-2] * errors.shape[-1] / num_gaussians) ** 0.5
    variance = 0.25 * spacing**2 - (CELLS_VARIANCE if side > 1 else 0.0)
    density = smooth(errors, math.sqrt(max(variance, 0.25 * CELLS_VARIANCE)))
    total = density.sum((-2, -1), keepdim=True, dtype=torch.float64)
    # Uniform where nothing is wrong, as with a black image, and where nothing is right any more.
    return torch.where((total > 0) & (total < math.inf), density.mul_((1 / total).to(density)), 1.0)


@torch.no_grad()
def resize(count: int, target: Tensor, descent: Descent, generator: torch.Generator | None) -> Edit:
    """Add Gaussians where the error is largest, or take away those that do least.

    Args:
        count: Number of Gaussians afterwards, at least 1.
        target: (C, H, W) image that is fitted.
        descent: Descent on its way.
        generator: Random generator of new places.
    """
    appraisal = descent.appraise(Appraiser(target))
    gaussians = appraisal.gaussians
    change = count - len(gaussians)
    draw = plan_places(appraisal, count, max(change, 0), generator)
    removal, places = appraisal.removal_errors(draw)
    if gaussians.blend == "sum":  # what a Gaussian adds is what is lost without it
        removal = gaussians.colors.square().sum(1) * gaussians.scales.prod(1)
    keep = select_useful(removal, max(-change, 0))
    added = settle(places.to(gaussians.means), target, gaussians, keep)
    if gaussians.blend == "sum":
        columns = added.means[:, 0].long().clamp(0, gaussians.width - 1)
        rows = added.means[:, 1].long().clamp(0, gaussians.height - 1)
        added = replace(added, colors=(target - descent.image())[:, rows, columns].T.contiguous())
    return Edit(keep, added)


@torch.no_grad()
def leave(target: Tensor, descent: Descent) -> Edit:
    """Change nothing."""
    gaussians = descent.gaussians()
    keep = torch.ones(len(gaussians), dtype=torch.bool, device=gaussians.means.device)
    return Edit(keep, settle(gaussians.means[:0], target, gaussians, keep))


def settle(
    means: Tensor, target: Tensor, gaussians: Gaussians, keep: Tensor, structure: Structure | None = None
) -> Gaussians:
    """Make Gaussians in place of those that go, with attributes as heuristics give them; values are not checked.

    Args:
        means: (M, 2) their places, x, y in pixels.
        target: (C, H, W) image that is fitted.
        gaussians: N Gaussians.
        keep: (N,) bool, the N - M Gaussians that stay.
        structure: Structure of the target, if it is known already.
    """
    if not len(means):
        return gaussians.with_tensors(*(getattr(gaussians, name)[:0] for name in Attributes._fields))
    # They are as wide as there is room among all.
    everyone = torch.cat([gaussians.means[keep], means])
    density = _project_at(means, everyone, *target.shape[1:])
    return gaussians_by_spacing(means, target, (len(gaussians) * density).rsqrt(), structure, gaussians.blend)


def _project_at(points: Tensor, means: Tensor, height: int, width: int) -> Tensor:
    """Return the values of `fastgs.initializers.sampling.project_at`, found where the Gaussians are."""
    if choose(means.device, "auto", dtype=means.dtype) != "cuda":
        return project_at(points, means, height, width)
    from fastgs.fitting import placement_cuda  # deferred: Triton is not everywhere

    return placement_cuda.project_at(points, means, height, width)


def select_useful(removal: Tensor, count: int) -> Tensor:
    """Return a (..., N) bool mask of all Gaussians but the `count` whose removal errors, (..., N), are the least.

    Among equal ones, the first go.
    """
    keep = torch.ones_like(removal, dtype=torch.bool)
    if removal.device.type != "cpu":
        keep.scatter_(-1, removal.argsort(stable=True)[..., :count], False)
    elif count:
        # To sort 50,000 numbers takes half as long as to render them.
        values, mask = removal.numpy(), keep.numpy()
        limit = np.partition(values, count - 1)[..., count - 1, None]
        less, equal = values < limit, values == limit
        mask &= ~less & ~(equal & (np.cumsum(equal, -1) <= count - less.sum(-1, keepdims=True)))
    return keep
