"""Fits of many small images at once: one descent over all their Gaussians, each image with its own K and size.

A step for one image of 32 x 32 pixels is mostly overhead; a step for a thousand of them is one rendering of a ragged
batch (see `fastgs.render`) and one step of Adam. The gradients of one image do not depend on the others, Adam works by
element, and colours move in units of their own image's error; so each image is fitted as if it were alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from fastgs.fitting.loop import optimize
from fastgs.fitting.optimizer import AutogradDescent, LearningRates
from fastgs.fitting.options import FitOptions
from fastgs.fitting.parametrization import Attributes, Relative
from fastgs.gaussians import Gaussians
from fastgs.metrics.quality import MAX_PSNR
from fastgs.render import Backend, rasterize
from fastgs.runtime import threads


class BatchFit(NamedTuple):
    """Result of `fit_batch`, in the order of the images.

    Attributes:
        gaussians: The fitted Gaussians of each image, detached.
        psnrs: PSNR of each image in dB.
    """

    gaussians: list[Gaussians]
    psnrs: list[float]


@threads.reserved()
def fit_batch(
    targets: Sequence[Tensor],
    starts: Sequence[Gaussians],
    iterations: int,
    rates: LearningRates | None = None,
    backend: Backend = "auto",
    callback: Callable[[int], None] | None = None,
) -> BatchFit:
    """Fit Gaussians to each of a batch of images, all in the same steps.

    Args:
        targets: B images (C, H, W) in [0, 1], of any sizes; a batch is rendered at the largest height and width in it.
        starts: B sets of Gaussians, each on the canvas of its image; of one blend rule.
        iterations: Number of steps, from 0 up.
        rates: Learning rates; by default those for this number of steps.
        backend: Renderer, see `fastgs.render`.
        callback: Callable that gets the number of steps that are done, after each.

    Raises:
        ValueError: The batch is empty, the lists differ in length, an image is not of the size of its canvas or not
            finite, or the fit diverged to NaN (see `Gaussians`).
    """
    _check(targets, starts)
    rates = rates or LearningRates.for_iterations(iterations)
    descent = _BatchDescent(targets, starts, rates, backend)

    def observe(iteration: int, last: bool, growing: bool) -> bool:
        if callback is not None and iteration:
            callback(iteration)
        return False

    optimize(descent, rates.factor, FitOptions(iterations), observe)
    return descent.result()


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


class _BatchDescent(AutogradDescent):
    """Descent of all images of a batch, whose Gaussians are one set of variables.

    Its image is (B, C, H, W) at the largest height and width; beyond an image's own size there is no error.
    """

    _variables: _ColorOffsets

    def __init__(
        self, targets: Sequence[Tensor], starts: Sequence[Gaussians], rates: LearningRates, backend: Backend
    ) -> None:
        self._starts = starts
        self._counts = [len(each) for each in starts]
        height, width = (max(getattr(each, name) for each in starts) for name in ("height", "width"))
        padded = targets[0].new_zeros(len(targets), starts[0].channels, height, width)
        inside = torch.zeros_like(padded[:, :1])
        for place, mask, target in zip(padded, inside, targets, strict=True):
            _, rows, columns = target.shape
            place[:, :rows, :columns] = target
            mask[:, :rows, :columns] = 1
        self._inside = inside
        self._is_padded = not bool(inside.all())
        super().__init__(_ColorOffsets(_join(starts, height, width)), padded, rates.config(), backend)
        with torch.no_grad():
            units = self._mean_errors().sqrt()
        self._variables.set_units(torch.repeat_interleave(units, torch.tensor(self._counts)))
        self._color_unit = 1.0  # of variables that have units of their own

    @torch.no_grad()
    def result(self) -> BatchFit:
        """Return the Gaussians of each image as they are now."""
        columns = (torch.split(each.detach().clone(), self._counts) for each in self._variables.attributes())
        gaussians = [
            replace(start, **Attributes(*each)._asdict()) for *each, start in zip(*columns, self._starts, strict=True)
        ]
        # PSNR as in metrics/quality.py, of all at once.
        errors = self._mean_errors(0, 1).clamp(min=10 ** (-MAX_PSNR / 10))
        return BatchFit(gaussians, (-10 * errors.log10()).tolist())

    def _mean_errors(self, low: float = -math.inf, high: float = math.inf) -> Tensor:
        """Return the (B,) mean squared errors over the pixels of each image, its rendering clamped."""
        errors = self._subtract_target(self._render().clamp(low, high))
        return errors.square().sum((1, 2, 3)) / (errors.shape[1] * self._inside.sum((1, 2, 3)))

    @override
    def _render(self) -> Tensor:
        height, width = self._variables.canvas
        return rasterize(
            *self._variables.attributes(),
            counts=self._counts,
            pitches=[(1.0, 1.0)] * len(self._counts),
            height=height,
            width=width,
            blend=self._variables.blend,
            backend=self._backend,
        )

    @override
    def _subtract_target(self, image: Tensor) -> Tensor:
        errors = super()._subtract_target(image)
        return errors.mul_(self._inside) if self._is_padded else errors


class _ColorOffsets(Relative):
    """Variables as of `Relative`, but colours are `start + unit * colors`, with a unit for each Gaussian."""

    @override
    def _split(self, gaussians: Gaussians) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        free, fixed = super()._split(gaussians)
        fixed["colors"], free["colors"] = free["colors"], torch.zeros_like(free["colors"])
        fixed["color_units"] = torch.ones_like(free["colors"][:, :1])
        return free, fixed

    def set_units(self, units: Tensor) -> None:
        """Set the (N,) units, before the first step."""
        self.fixed["color_units"] = units[:, None]

    @override
    def attributes(self) -> Attributes:
        colors = torch.addcmul(self.fixed["colors"], self.fixed["color_units"], self.free["colors"])
        return super().attributes()._replace(colors=colors)


def _join(starts: Sequence[Gaussians], height: int, width: int) -> Gaussians:
    """Return all Gaussians as if on one canvas."""
    tensors = (torch.cat([getattr(each, name) for each in starts]) for name in Attributes._fields)
    columns = Attributes(*tensors)._asdict()
    return replace(starts[0], **columns, height=height, width=width)
