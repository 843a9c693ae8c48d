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
from fastgs.fitting.removal import Appraiser, smooth_errors
from fastgs.gaussians import Gaussians
from fastgs.initializers.filters import mix_with_uniform
from fastgs.initializers.from_density import Structure, gaussians_at
from fastgs.initializers.sampling import project, sample


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


class _Ground:
    """What is kept of a (C, H, W) target from one event to the next."""

    def __init__(self, target: Tensor) -> None:
        self.target = target
        self.appraise = Appraiser(target)
        self.structure = Structure.of(target)


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

    def edit(self, event: int, target: Tensor, descent: Descent) -> Edit:
        """Move the Gaussians that do least to where the error is largest."""
        if self._ground is None or self._ground.target is not target:
            self._ground = _Ground(target)
        gaussians = descent.gaussians()
        removal, errors = self._ground.appraise(gaussians, descent.image)
        keep = _select_useful(removal, round(self.shares[event] * len(gaussians)))
        return Edit(keep, place(target, errors, gaussians, keep, self.generator, self._ground.structure))


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
    target: Tensor,
    errors: Tensor,
    gaussians: Gaussians,
    keep: Tensor,
    generator: torch.Generator | None,
    structure: Structure | None = None,
) -> Gaussians:
    """Make Gaussians in place of those that go: where the squared error is, with attributes as heuristics give them.

    Args:
        target: (C, H, W) image that is fitted.
        errors: (H, W) squared errors of the rendering, summed over channels.
        gaussians: N Gaussians.
        keep: (N,) bool, the Gaussians that stay.
        generator: Random generator of the places.
        structure: That of the target, if it is known.
    """
    total, count = len(gaussians), len(gaussians) - int(keep.sum())
    spacing = (errors.numel() / total) ** 0.5
    # Uniform where nothing is wrong, as with a black image.
    wanted = mix_with_uniform(smooth_errors(errors, 0.5 * spacing), power=1.0, uniform=0.0)
    places = sample(wanted, count, generator=generator).to(errors.device)
    if not count:
        return gaussians_at(places, target, wanted, structure)
    # They are as wide as there is room among all.
    density = project(torch.cat([gaussians.means[keep], places]), *errors.shape)
    return replace(gaussians_at(places, target, density * (total / count), structure), blend=gaussians.blend)


def _select_useful(removal: Tensor, count: int) -> Tensor:
    """Return an (N,) bool mask of all Gaussians but the `count` whose removal errors, (N,), are the least."""
    keep = torch.ones_like(removal, dtype=torch.bool)
    if removal.device.type != "cpu":
        keep[removal.argsort()[:count]] = False
    elif count:
        # Sorting 50,000 numbers takes as long as rendering them.
        values = removal.numpy()
        limit = np.partition(values, count - 1)[count - 1]
        keep[removal < limit] = False
        equal = np.flatnonzero(values == limit)  # the first of them go
        keep[equal[: count - int((values < limit).sum())]] = False
    return keep
