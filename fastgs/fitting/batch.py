"""Fits of many small images at once: one descent over all their Gaussians, each image with its own K and size.

A step for one image of 32 x 32 pixels is mostly overhead; a step for a thousand of them is one rendering of a ragged
batch (see `fastgs.render`) and one step of Adam. The gradients of one image do not depend on the others, Adam works by
element, and colours move in units of their own image's error; so each image is fitted as if it were alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple, cast

import torch
from torch import Tensor
from typing_extensions import override

from fastgs.fitting.densification import Densification, Edit
from fastgs.fitting.loop import optimize
from fastgs.fitting.optimizer import AutogradDescent, Descent, LearningRates
from fastgs.fitting.options import FitOptions
from fastgs.fitting.parametrization import Attributes, Relative
from fastgs.fitting.removal import Appraisal, Appraiser
from fastgs.gaussians import Gaussians
from fastgs.metrics.quality import MAX_PSNR
from fastgs.render import Backend, rasterize, render_device
from fastgs.runtime import threads


class BatchFit(NamedTuple):
    """Result of `fit_batch`, in the order of the images.

    Attributes:
        gaussians: The fitted Gaussians of each image, detached.
        psnrs: PSNR of each image in dB.
        first_psnrs: PSNR of each image before the fit, in dB.
        images: (C, H, W) rendering of each image, not clamped.
    """

    gaussians: list[Gaussians]
    psnrs: list[float]
    first_psnrs: list[float]
    images: list[Tensor]


@threads.reserved()
def fit_batch(
    targets: Sequence[Tensor],
    starts: Sequence[Gaussians],
    iterations: int,
    rates: LearningRates | None = None,
    backend: Backend = "auto",
    callback: Callable[[int], None] | None = None,
    densifications: Sequence[Densification] | None = None,
) -> BatchFit:
    """Fit Gaussians to each of a batch of images, all in the same steps.

    Args:
        targets: B images (C, H, W) in [0, 1], of any sizes; a batch is rendered at the largest height and width in it.
        starts: B sets of Gaussians, each on the canvas of its image; of one blend rule.
        iterations: Number of steps, from 0 up.
        rates: Learning rates; by default those for this number of steps.
        backend: Renderer, see `fastgs.render`.
        callback: Callable that gets the number of steps that are done, after each.
        densifications: Strategies that move Gaussians on the way, one for each image, with the same events; the number
            of Gaussians stays as it is.

    Raises:
        ValueError: The batch is empty, the lists differ in length, an image is not of the size of its canvas or not
            finite, or the fit diverged to NaN (see `Gaussians`).
    """
    _check(targets, starts)
    rates = rates or LearningRates.for_iterations(iterations)
    home = starts[0].means.device
    place = render_device(home, backend)
    targets, starts = [each.to(place) for each in targets], [each.to(place) for each in starts]
    descent = _BatchDescent(targets, starts, rates, backend)
    first = descent.psnrs()

    def observe(iteration: int, last: bool, growing: bool) -> bool:
        if callback is not None and iteration:
            callback(iteration)
        return False

    strategy = None if densifications is None else _Together(densifications, targets)
    optimize(descent, rates.factor, FitOptions(iterations), observe, target=targets[0], densification=strategy)
    return descent.result(first, home)


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
        self._units = torch.repeat_interleave(units, torch.tensor(self._counts, device=units.device))
        self._variables.set_units(self._units)
        self._color_unit = 1.0  # of variables that have units of their own

    @torch.no_grad()
    def result(self, first_psnrs: list[float], device: torch.device) -> BatchFit:
        """Return each image as it is now, on a device.

        Raises:
            ValueError: Values are NaN or infinite.
        """
        self._variables.gaussians()  # which checks all at once
        gaussians = [each.to(device) for each in self.each()]
        return BatchFit(gaussians, self.psnrs(), first_psnrs, [each.to(device) for each in self.images()])

    @property
    def canvas(self) -> tuple[int, int]:
        """Height and width of the batch."""
        return self._variables.canvas

    def images(self) -> list[Tensor]:
        """Return the rendering of each image as it is now."""
        pairs = zip(self._render().detach(), self._starts, strict=True)
        return [image[:, : start.height, : start.width] for image, start in pairs]

    @torch.no_grad()
    def each(self) -> list[Gaussians]:
        """Return the Gaussians of each image as they are now, whose values are not checked."""
        columns = (torch.split(each.detach().clone(), self._counts) for each in self._variables.attributes())
        return [start.with_tensors(*each) for each, start in zip(zip(*columns, strict=True), self._starts, strict=True)]

    @torch.no_grad()
    def psnrs(self) -> list[float]:
        """Return the PSNR of each image as it is now in dB, as in metrics/quality.py, of all at once."""
        errors = self._mean_errors(0, 1).clamp(min=10 ** (-MAX_PSNR / 10))
        found: list[float] = (-10 * errors.log10()).tolist()
        return found

    @override
    @torch.no_grad()
    def edit(self, keep: Tensor, added: Gaussians) -> None:
        """Keep Gaussians by a mask, and add others in the order of the images; each has as many as before."""
        super().edit(keep, added)
        # Now there are all that were kept, then all that were added; those of one image belong together.
        kept = [int(part.sum()) for part in torch.split(keep.cpu(), self._counts)]
        gone = [count - stay for count, stay in zip(self._counts, kept, strict=True)]
        old, new = torch.split(torch.arange(sum(kept)), kept), torch.split(torch.arange(sum(kept), len(keep)), gone)
        order = torch.cat([part for pair in zip(old, new, strict=True) for part in pair]).to(keep.device)
        for name in self._variables.fixed:
            self._variables.fixed[name] = self._variables.fixed[name][order]
        for group in self._optimizer.param_groups:
            before = self._variables.free[group["name"]]
            now = before.detach()[order].requires_grad_()
            self._variables.free[group["name"]] = now
            group["params"] = [now]
            state = self._optimizer.state.pop(before, {})
            self._optimizer.state[now] = {
                name: value[order] if isinstance(value, Tensor) and value.shape == before.shape else value
                for name, value in state.items()
            }
        self._variables.set_units(self._units)

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
        assert isinstance(descent, _BatchDescent)
        images = descent.images()
        edits = [
            strategy.edit(event, each, cast(Descent, _One(gaussians, image)))
            for strategy, each, gaussians, image in zip(
                self._strategies, self._targets, descent.each(), images, strict=True
            )
        ]
        height, width = descent.canvas
        return Edit(torch.cat([each.keep for each in edits]), _join([each.added for each in edits], height, width))


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
