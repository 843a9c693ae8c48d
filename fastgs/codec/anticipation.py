"""Fits for files that will be restored: Gaussians do not spend themselves on what the network adds."""

from __future__ import annotations

import torch
from torch import Tensor

from fastgs.codec.restoration import add, choose, correct
from fastgs.fitting.densification import Densification, Edit, leave
from fastgs.fitting.optimizer import Descent
from fastgs.gaussians import Gaussians

# Looks of the network at the fit: the share of the run at the first one, before which Gaussians are too far from the
# image, their largest number, and the least number of steps between two.
FIRST = 0.5
LOOKS = 12
STEPS_APART = 10


def can_anticipate(image: Tensor, alpha: bool) -> bool:
    """Return whether there is restoration for images of this kind: RGB, on a CPU, where the network runs."""
    return len(image) == 3 and not alpha and image.device.type == "cpu"


def leave_to_network(image: Tensor, gaussians: Gaussians) -> Tensor:
    """Return the (3, H, W) image less what restoration will add to these Gaussians: nothing where it does not help."""
    corrected = correct(gaussians.arrays())
    entry = choose(corrected, image.numpy(), least=0)
    return image if entry is None else image - torch.from_numpy(add(corrected, entry) - corrected.drawn)


class Anticipation:
    """Densification that also subtracts from the target what the network will add, again and again along a fit.

    The answer of the network changes little from one look to the next, so it may count as a constant between them:
    gradients through the network would take many times as long, and lead to the same (benchmarks/LOG.md,
    "Restoration").

    Args:
        strategy: Densification of the fit.
        image: (3, H, W) image that will be restored.
        steps: Number of steps of the run.
    """

    def __init__(self, strategy: Densification, image: Tensor, steps: int) -> None:
        self.grows = strategy.grows
        self._strategy = strategy
        self._image = image.clone()
        looks = min(LOOKS, int((1 - FIRST) * steps / STEPS_APART))
        own = [(FIRST + (1 - FIRST) * look / looks, None) for look in range(looks)]
        others = [(share, number) for number, share in enumerate(strategy.events)]
        self._plan: list[tuple[float, int | None]] = sorted([*own, *others], key=lambda each: each[0])
        self.events = [share for share, _ in self._plan]

    @torch.no_grad()
    def edit(self, event: int, target: Tensor, descent: Descent) -> Edit:
        """Do what the strategy does, or change the target, see `fastgs.fitting.densification.Densification`."""
        number = self._plan[event][1]
        if number is not None:
            return self._strategy.edit(number, target, descent)
        # In place, since the descent has the same memory.
        target.copy_(leave_to_network(self._image, descent.gaussians()))
        return leave(target, descent)
