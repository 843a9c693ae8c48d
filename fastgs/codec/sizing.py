"""The number of Gaussians for a file of a given size, found while they are fitted instead of by fit after fit."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fastgs.fitting.densification import Edit, Relocation, leave, resize
from fastgs.fitting.optimizer import Descent
from fastgs.gaussians import Gaussians

# Shares of a run at which the file that there would be is measured. The first one finds Gaussians that are rough still;
# behind the last one those that were added need time to settle. A short run has the last one only, and one that is too
# short for that has none.
EVENTS = (0.15, 0.5)
SHORT = 150  # steps
LEAST_STEPS = 40

# Gaussians that stay at an event are at least this share, and are multiplied at most by this factor.
FEWEST, MOST = 0.3, 3.0
# Difference from the right number that is not worth a change: steps of symbols make up for it.
NEGLIGIBLE = 0.02


class Sizing:
    """Relocation that also adds Gaussians, or takes some away, until their file has a given size.

    Args:
        relocation: Relocation for the run.
        steps: Number of steps of the run.
        size: Size of the file in bytes.
        most: Largest number of Gaussians.
        measure: Callable that estimates the bytes of the file that Gaussians on their way will have at the end.
    """

    grows = False  # a fit may end at any time

    def __init__(
        self, relocation: Relocation, steps: int, size: int, most: int, measure: Callable[[Gaussians], int]
    ) -> None:
        first = 0 if steps >= SHORT else len(EVENTS) - 1 if steps >= LEAST_STEPS else len(EVENTS)
        own = [(share, None) for share in EVENTS[first:]]
        relocations = [(share, number) for number, share in enumerate(relocation.events)]
        self._plan: list[tuple[float, int | None]] = sorted([*own, *relocations], key=lambda each: each[0])
        self.events = [share for share, _ in self._plan]
        self._relocation = relocation
        self._size = size
        self._most = most
        self._measure = measure

    @torch.no_grad()
    def edit(self, event: int, target: Tensor, descent: Descent) -> Edit:
        """Relocate, or change the number, see `fastgs.fitting.densification.Densification`."""
        number = self._plan[event][1]
        if number is not None:
            return self._relocation.edit(number, target, descent)
        gaussians = descent.gaussians()
        change = self._missing(gaussians)
        if not change:
            return leave(target, descent)
        return resize(len(gaussians) + change, target, descent, self._relocation.generator)

    def _missing(self, gaussians: Gaussians) -> int:
        """Return the number of Gaussians to add, negative for those to take away."""
        ratio = min(MOST, max(FEWEST, self._size / max(1, self._measure(gaussians))))
        if abs(ratio - 1) < NEGLIGIBLE:
            return 0
        return min(self._most, max(1, round(ratio * len(gaussians)))) - len(gaussians)
