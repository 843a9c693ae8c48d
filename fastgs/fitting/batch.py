"""Many small images at once: one descent over all their Gaussians, each image with its own number of them and size.

A step for one image of 32 x 32 pixels is mostly overhead; a step for a thousand of them is one rendering of a ragged
batch (see `fastgs.render`) and one step of Adam. The gradients of one image do not depend on the others, Adam works by
element, and colours move in units of their own image's error; so each image is fitted as if it were alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fastgs.fitting.adam import GrowingAdam
from fastgs.fitting.optimizer import LearningRates
from fastgs.fitting.parametrization import Attributes, Relative
from fastgs.gaussians import Blend, Gaussians
from fastgs.metrics.quality import MAX_PSNR
from fastgs.render import Backend, rasterize
from fastgs.runtime import threads


class BatchFit(NamedTuple):
    """What `fit_batch` returns, in the order of the images: their Gaussians, detached, and PSNRs in dB."""

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
        targets: B images (3, H, W) in [0, 1], of any sizes; a batch is rendered at the largest height and width in it.
        starts: the Gaussians of each, on its canvas; of one blend rule.
        iterations: number of steps, from 0 up.
        rates: as for `fastgs.fitting.fit.fit`.
        backend: see `fastgs.render`.
        callback: called with the number of steps that are done.

    Raises:
        ValueError: the batch is empty, the lists differ in length, an image is not of the size of its canvas or not
            finite, or the fit diverged to NaN (see `Gaussians`).
    """
    _check(targets, starts)
    batch = _Batch(targets, starts, backend)
    rates = rates or LearningRates.for_iterations(iterations)
    groups = [{"params": [each], "name": name} for name, each in batch.variables.free.items()]
    optimizer = GrowingAdam(groups, rates.gradient_betas, rates.square_betas)
    full = rates.steps(color_unit=1.0)
    for iteration in range(iterations):
        factor = rates.factor(iteration / iterations)
        for group in optimizer.param_groups:
            group["lr"] = full[group["name"]] * factor
        optimizer.zero_grad()
        images = batch.images()
        # The gradient of the squared error up to a factor, to which Adam is blind.
        images.backward(batch.errors(images.detach()))  # type: ignore[no-untyped-call]
        optimizer.step()
        if callback is not None:
            callback(iteration + 1)
    return batch.result()


def _check(targets: Sequence[Tensor], starts: Sequence[Gaussians]) -> None:
    if not targets:
        raise ValueError("targets: the batch is empty")
    if len(starts) != len(targets):
        raise ValueError(f"targets: expected as many as there are starts, got {len(targets)} and {len(starts)} starts")
    for number, (target, start) in enumerate(zip(targets, starts, strict=True)):
        expected = (3, start.height, start.width)
        if tuple(target.shape) != expected:
            raise ValueError(f"targets[{number}]: expected shape {expected} like the canvas, got {tuple(target.shape)}")
        if not torch.isfinite(target).all():
            raise ValueError(f"targets[{number}]: holds NaN or infinity")


class _Batch:
    """All images of a batch as one tall one, and all their Gaussians as one set of variables."""

    def __init__(self, targets: Sequence[Tensor], starts: Sequence[Gaussians], backend: Backend) -> None:
        self.starts = starts
        self.backend = backend
        self.counts = [len(each) for each in starts]
        self.height, self.width = (max(getattr(each, name) for each in starts) for name in ("height", "width"))
        self.blend = starts[0].blend
        self.variables = _Colors(_joined(starts, self.height, self.width))
        self.targets = targets[0].new_zeros(len(targets), 3, self.height, self.width)
        self.inside = torch.zeros_like(self.targets[:, :1])
        for place, mask, target in zip(self.targets, self.inside, targets, strict=True):
            _, height, width = target.shape
            place[:, :height, :width] = target
            mask[:, :height, :width] = 1
        self.padded = not bool(self.inside.all())
        with torch.no_grad():
            self.variables.set_units(torch.repeat_interleave(self._mean_errors().sqrt(), torch.tensor(self.counts)))

    def images(self) -> Tensor:
        """(B, 3, H, W) renderings as of now."""
        return rasterize(
            *self.variables.attributes(),
            counts=self.counts,
            pitches=[(1.0, 1.0)] * len(self.counts),
            height=self.height,
            width=self.width,
            blend=self.blend,
            backend=self.backend,
        )

    def errors(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) less the targets; nothing beyond the images' own sizes."""
        errors = images - self.targets
        return errors.mul_(self.inside) if self.padded else errors

    def _mean_errors(self, low: float = -math.inf, high: float = math.inf) -> Tensor:
        """(B,) mean squared errors over the pixels of each image, its rendering clamped."""
        errors = self.errors(self.images().clamp(low, high))
        return errors.square().sum((1, 2, 3)) / (3 * self.inside.sum((1, 2, 3)))

    @torch.no_grad()
    def result(self) -> BatchFit:
        """The Gaussians as of now."""
        columns = (torch.split(each.detach().clone(), self.counts) for each in self.variables.attributes())
        gaussians = [
            _gaussians(Attributes(*each), start.height, start.width, self.blend)
            for *each, start in zip(*columns, self.starts, strict=True)
        ]
        # PSNR as in metrics/quality.py, of all at once.
        errors = self._mean_errors(0, 1).clamp(min=10 ** (-MAX_PSNR / 10))
        return BatchFit(gaussians, (-10 * errors.log10()).tolist())


class _Colors(Relative):
    """`Relative`, but colours are `start + unit * colors`, with a unit for each Gaussian."""

    def _split(self, gaussians: Gaussians) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        free, fixed = super()._split(gaussians)
        fixed["colors"], free["colors"] = free["colors"], torch.zeros_like(free["colors"])
        fixed["color_units"] = torch.ones_like(free["colors"][:, :1])
        return free, fixed

    def set_units(self, units: Tensor) -> None:
        """(N,), before the first step."""
        self.fixed["color_units"] = units[:, None]

    def attributes(self) -> Attributes:
        """See `Parametrization`."""
        colors = torch.addcmul(self.fixed["colors"], self.fixed["color_units"], self.free["colors"])
        return super().attributes()._replace(colors=colors)


def _joined(starts: Sequence[Gaussians], height: int, width: int) -> Gaussians:
    """All Gaussians as if on one canvas."""
    tensors = (torch.cat([getattr(each, name) for each in starts]) for name in Attributes._fields)
    return _gaussians(Attributes(*tensors), height, width, starts[0].blend)


def _gaussians(attributes: Attributes, height: int, width: int, blend: Blend) -> Gaussians:
    return Gaussians(**attributes._asdict(), height=height, width=width, blend=blend)
