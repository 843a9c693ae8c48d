"""Fits of many small images at once, each image with its own K and size.

On a CPU each thread takes an image for itself. On a GPU there is one descent over the Gaussians of all: a step for an
image of 32 x 32 pixels is mostly overhead; a step for a thousand of one size takes as many launches. Those of several
sizes are rendered as a ragged batch (see `fastgs.render`), and moved by Adam of torch. The gradients of one image do
not depend on the others, Adam works by element, and colours move in units of their own image's error; so each image is
fitted as if it were alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from fastgs.fitting.batch_descent import AutogradBatch, Batch, BatchFit, join
from fastgs.fitting.densification import Densification, Edit
from fastgs.fitting.fit import Fit, fit
from fastgs.fitting.loop import optimize
from fastgs.fitting.optimizer import Descent, LearningRates
from fastgs.fitting.options import FitOptions
from fastgs.fitting.removal import Appraisal, Appraiser
from fastgs.gaussians import Gaussians
from fastgs.render import Backend, choose, render_device
from fastgs.runtime import threads


@threads.reserved()
def fit_batch(
    targets: Sequence[Tensor],
    starts: Sequence[Gaussians],
    iterations: int,
    rates: LearningRates | None = None,
    backend: Backend = "auto",
    densifications: Sequence[Densification] | None = None,
) -> BatchFit:
    """Fit Gaussians to each of a batch of images.

    On a CPU each is fitted as by `fastgs.fitting.fit.fit`, in a thread of its own. Elsewhere, and with backend
    "reference", all are fitted in the same steps, which gives the same but for rounding.

    Args:
        targets: B images (C, H, W) in [0, 1], of any sizes; a batch is rendered at the largest height and width in it.
        starts: B sets of Gaussians, each on the canvas of its image; of one blend rule.
        iterations: Number of steps, from 0 up.
        rates: Learning rates; by default those for this number of steps.
        backend: Renderer, see `fastgs.render`.
        densifications: Strategies that move Gaussians on the way, one for each image, with the same events; the number
            of Gaussians stays as it is.

    Raises:
        ValueError: The batch is empty, the lists differ in length, an image is not of the size of its canvas or not
            finite, or the fit diverged to NaN (see `Gaussians`).
    """
    _check(targets, starts)
    rates, options = rates or LearningRates.for_iterations(iterations), FitOptions(iterations, backend=backend)
    home = starts[0].means.device
    place = render_device(home, backend)
    targets, starts = [each.to(place) for each in targets], [each.to(place) for each in starts]
    if choose(place, backend, dtype=starts[0].means.dtype) == "cpu":

        def work(number: int) -> Fit:
            make = None if densifications is None else lambda _: densifications[number]
            return fit(targets[number], starts[number], options, optimization=rates.config(), densification=make)

        fits = threads.apply(work, range(len(targets)))
        return BatchFit(
            gaussians=[each.gaussians.to(home) for each in fits],
            psnrs=[each.history[-1].psnr for each in fits],
            first_psnrs=[each.history[0].psnr for each in fits],
            images=[each.image.to(home) for each in fits],
        )
    descent = _make_descent(targets, starts, rates, backend)
    first = descent.psnrs()
    strategy = None if densifications is None else _Together(densifications, targets)
    optimize(descent, rates.factor, options, lambda *_: 1, target=targets[0], densification=strategy)
    return descent.result(first, home)


def _make_descent(
    targets: Sequence[Tensor], starts: Sequence[Gaussians], rates: LearningRates, backend: Backend
) -> Batch:
    """Return the fastest descent of a batch that there is for these tensors."""
    one, is_even = starts[0], len({target.shape for target in targets}) == 1
    if is_even and choose(one.means.device, backend, dtype=one.means.dtype) == "cuda" and any(map(len, starts)):
        from fastgs.fitting.batch_cuda import KernelBatch  # deferred: Triton is not everywhere
        from fastgs.render.cuda import MOST_CHANNELS

        if one.channels <= MOST_CHANNELS:
            return KernelBatch(targets, starts, rates)
    return AutogradBatch(targets, starts, rates, backend)


def _check(targets: Sequence[Tensor], starts: Sequence[Gaussians]) -> None:
    if not targets:
        raise ValueError("targets: the batch is empty")
    if len(starts) != len(targets):
        raise ValueError(f"targets: expected as many as there are starts, got {len(targets)} and {len(starts)} starts")
    for number, (target, start) in enumerate(zip(targets, starts, strict=True)):
        expected = (start.channels, start.height, start.width)
        if tuple(target.shape) != expected:
            raise ValueError(f"targets[{number}]: expected shape {expected} like the canvas, got {tuple(target.shape)}")
        if not torch.isfinite(target).all():
            raise ValueError(f"targets[{number}]: holds NaN or infinity")


class _One:
    """One image of a batch, as a strategy for one image sees it."""

    def __init__(self, gaussians: Gaussians, image: Tensor) -> None:
        self._gaussians, self._image = gaussians, image

    def appraise(self, appraiser: Appraiser) -> Appraisal:
        """Return what the Gaussians are worth."""
        return appraiser(self._gaussians, lambda: self._image)


class _Together:
    """Strategies of the images of a batch as one.

    Args:
        strategies: One for each image, with the same events.
        targets: The images.
    """

    def __init__(self, strategies: Sequence[Densification], targets: Sequence[Tensor]) -> None:
        self.events, self.grows = strategies[0].events, False
        self._strategies, self._targets = strategies, targets

    def edit(self, event: int, target: Tensor, descent: Descent) -> Edit:
        """Decide on the change of all images, see `Densification`."""
        assert isinstance(descent, Batch)
        images = descent.images()
        edits = [
            strategy.edit(event, each, cast(Descent, _One(gaussians, image)))
            for strategy, each, gaussians, image in zip(
                self._strategies, self._targets, descent.each(), images, strict=True
            )
        ]
        added = join([each.added for each in edits])
        return Edit(torch.cat([each.keep for each in edits]), added)
