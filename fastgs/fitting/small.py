"""Fits of many small images of one size by one thread, with the results of `fastgs.fitting.fit.fit`, to the bit."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from fastgs.fitting.densification import Relocation
from fastgs.fitting.fit import HISTORY_INTERVAL, Fit, HistoryEntry
from fastgs.fitting.loop import optimize
from fastgs.fitting.optimizer import LearningRates
from fastgs.fitting.optimizer_small import SmallDescent
from fastgs.fitting.options import FitOptions
from fastgs.fitting.small_relocation import SmallRelocation
from fastgs.gaussians import Gaussians
from fastgs.metrics.quality import psnr_of_error


def fit_small(
    targets: Tensor,
    starts: Sequence[Gaussians],
    iterations: int,
    relocation: Relocation | None = None,
    rates: LearningRates | None = None,
) -> list[Fit]:
    """Fit as many Gaussians to each of some small images on the CPU, as `fastgs.fitting.fit.fit` would.

    Args:
        targets: (B, C, H, W) float32 images in [0, 1], of at most `fastgs.render.cpu_kernels.MOST_CHANNELS` channels.
        starts: K Gaussians for each image, K at least 1, on its canvas.
        iterations: Number of steps, from 0 up.
        relocation: Relocation of the Gaussians of one image, whose generator each image finds in the same state; by
            default none is moved.
        rates: Learning rates; by default those for this number of steps.

    Returns:
        The fits; the seconds of their histories are shares of those of all.

    Raises:
        ValueError: An image is not finite, or a fit diverged to NaN.
    """
    if not torch.isfinite(targets).all():
        raise ValueError("target: holds NaN or infinity")
    rates = rates or LearningRates.for_iterations(iterations)
    descent = SmallDescent(targets, starts, rates)
    recorder = _Recorder(descent)
    strategy = None if relocation is None else SmallRelocation(relocation)
    optimize(descent, rates.factor, FitOptions(iterations), recorder, target=targets, densification=strategy)
    results = descent.gaussians().split(descent.counts), recorder.images, recorder.histories()
    return [Fit(*each) for each in zip(*results, strict=True)]


class _Recorder:
    """Observer of `optimize` that keeps the histories.

    Attributes:
        images: (B, C, H, W) renderings at the end.
    """

    images: Tensor

    def __init__(self, descent: SmallDescent) -> None:
        self._descent = descent
        self._entries: list[tuple[int, float, list[float]]] = []
        self._due: tuple[int, float] | None = None  # iteration and seconds of an entry whose PSNRs the next steps find
        self._start = time.perf_counter()

    def __call__(self, iteration: int, last: bool, growing: bool) -> int:
        """Add an entry if one is due; return the number of steps to the next one."""
        descent = self._descent
        if self._due is not None:
            self._entries.append((*self._due, descent.psnrs()))
            self._due = None
        if last:
            self.images = descent.image()
            errors = (self.images.clamp(0, 1) - descent.targets.clamp(0, 1)).square().flatten(1).mean(1)
            self._entries.append((iteration, self._seconds(), [psnr_of_error(error) for error in errors.tolist()]))
        elif iteration % HISTORY_INTERVAL == 0:
            self._due = iteration, self._seconds()
        # The rasterizer cannot draw a Gaussian at NaN, so the image alone would not show it.
        is_finite = not any(math.isnan(psnr) for *_, psnrs in self._entries[-1:] for psnr in psnrs)
        if not is_finite or not descent.finite():
            raise ValueError(f"the fit diverged before iteration {iteration}; use lower rates")
        return 0 if last else HISTORY_INTERVAL - iteration % HISTORY_INTERVAL

    def _seconds(self) -> float:
        return (time.perf_counter() - self._start) / len(self._descent.counts)

    def histories(self) -> list[list[HistoryEntry]]:
        """Return the history of each image."""
        columns = [[HistoryEntry(taken, seconds, psnr) for psnr in psnrs] for taken, seconds, psnrs in self._entries]
        return [list(history) for history in zip(*columns, strict=True)]
