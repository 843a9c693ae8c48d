"""Steering of a fit to a PSNR: Gaussians are added or taken away on the way, as a model of the end says."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fastgs.fitting.densification import Densification, Edit, leave, resize
from fastgs.fitting.optimizer import Descent
from fastgs.methods.count_model import SHARES, Look

# Largest factor of the number of Gaussians, up and down, at each of `SHARES`: what comes late has no time to settle,
# and what goes late is not made up for.
LIMITS = (1.0, 1.3, 1.2, 1.12, 1.08, 1.03)
NEGLIGIBLE = 0.03  # difference in dB that is worth no change
FARTHEST = 8.0  # factor by which the number of Gaussians of a fit that begins anew is another one at most


class WrongStartError(Exception):
    """Exception that ends a fit which began with a wrong number of Gaussians.

    Attributes:
        count: Number of Gaussians to begin with.
    """

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.count = count


class Steering:
    """Relocation that also changes the number of Gaussians so that the fit ends at a PSNR.

    Args:
        relocation: Relocation for the run; None without.
        predict: Callable from the looks so far to the PSNR that the fit will end at with as many Gaussians as now.
        slope: Callable from the number of Gaussians to the gain in dB of twice as many.
        target_psnr: PSNR in dB that the fit is to end at.
        most: Largest number of Gaussians.
        generator: Random generator of new places.
        wrong: Factors of the number of Gaussians at the first looks beyond which `WrongStartError` ends the fit.
        known: Numbers of Gaussians of earlier fits, and the PSNRs that were predicted for them; this one's is added.

    Attributes:
        looks: States of the fit at `SHARES`, so far.
        work: Gaussians times share of the run, up to the last look.
    """

    grows = True  # a fit may end at the PSNR behind the last look only, when it is nearly done

    def __init__(
        self,
        relocation: Densification | None,
        predict: Callable[[Sequence[Look]], float],
        slope: Callable[[int], float],
        target_psnr: float,
        most: int,
        generator: torch.Generator | None,
        wrong: Sequence[float],
        known: dict[int, float],
    ) -> None:
        own = [(share, -1) for share in SHARES]
        relocations = [] if relocation is None else [(share, number) for number, share in enumerate(relocation.events)]
        self._plan = sorted([*own, *relocations])
        self.events = [share for share, _ in self._plan]
        self.looks: list[Look] = []
        self.work = 0.0
        self._relocation, self._generator = relocation, generator
        self._predict, self._slope = predict, slope
        self._target_psnr, self._most = target_psnr, most
        self._wrong, self._known = wrong, known

    @torch.no_grad()
    def edit(self, event: int, target: Tensor, descent: Descent) -> Edit:
        """Relocate, or change the number, see `fastgs.fitting.densification.Densification`."""
        share, number = self._plan[event]
        if number >= 0:
            assert self._relocation is not None
            return self._relocation.edit(number, target, descent)
        gaussians = descent.gaussians()
        self.work += len(gaussians) * (share - (self.looks[-1].share if self.looks else 0.0))
        self.looks.append(Look(share, descent.quality(), len(gaussians)))
        count = self._next(len(gaussians))
        if count == len(gaussians):
            return leave(target, descent)
        return resize(count, target, descent, self._generator)

    def _next(self, count: int) -> int:
        """Return the number of Gaussians to go on with."""
        predicted, number = self._predict(self.looks), len(self.looks) - 1
        missing = self._target_psnr - predicted
        factor = min(FARTHEST, max(1 / FARTHEST, 2 ** (missing / self._slope(count))))
        beyond = [each for each, psnr in self._known.items() if (psnr > self._target_psnr) == (missing > 0)]
        beyond = [each for each in beyond if (each > count) == (missing > 0)]
        if beyond:  # between this number and the nearest one on the other side
            other = min(beyond, key=lambda each: abs(each - count))
            factor = (other / count) ** (missing / (self._known[other] - predicted))
        self._known[count] = predicted
        if number < len(self._wrong) and max(factor, 1 / factor) > self._wrong[number]:
            anew = self._clip(count * factor)
            if anew != count or not self._wrong[number]:
                raise WrongStartError(anew)
        if abs(missing) < NEGLIGIBLE:
            return count
        return self._clip(count * min(LIMITS[number], max(1 / LIMITS[number], factor)))

    def _clip(self, count: float) -> int:
        return min(self._most, max(1, round(count)))


class Resizing:
    """Strategy that changes the number of Gaussians at the start of a fit.

    Args:
        count: Number of Gaussians to fit.
        generator: Random generator of new places.
    """

    grows = False
    events = (0.0,)

    def __init__(self, count: int, generator: torch.Generator | None) -> None:
        self._count, self._generator = count, generator

    @torch.no_grad()
    def edit(self, event: int, target: Tensor, descent: Descent) -> Edit:
        """Change the number, see `fastgs.fitting.densification.Densification`."""
        if self._count == len(descent.gaussians()):
            return leave(target, descent)
        return resize(self._count, target, descent, self._generator)
