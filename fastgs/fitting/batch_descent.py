"""Descents of many images at once, whose Gaussians are one set of variables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from fastgs.fitting.optimizer import AutogradDescent, Descent, LearningRates
from fastgs.fitting.parametrization import Attributes, Relative
from fastgs.gaussians import Gaussians
from fastgs.metrics.quality import MAX_PSNR
from fastgs.render import Backend, rasterize


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


class Batch(Descent):
    """Descent of all images of a batch, whose Gaussians are one set of variables.

    Its image is (B, C, H, W) at the largest height and width.

    Attributes:
        starts: Gaussians of each image at the start.
    """

    starts: Sequence[Gaussians]

    def attributes(self) -> Attributes:
        """Return the tensors of all Gaussians as they are now, detached, in the order of the images."""
        raise NotImplementedError

    def mean_errors(self, low: float = -math.inf, high: float = math.inf) -> Tensor:
        """Return the (B,) mean squared errors over the pixels of each image, its rendering clamped."""
        raise NotImplementedError

    @torch.no_grad()
    def result(self, first_psnrs: list[float], device: torch.device) -> BatchFit:
        """Return each image as it is now, on a device.

        Raises:
            ValueError: Values are NaN or infinite.
        """
        self.gaussians()  # which checks all at once
        gaussians = [each.to(device) for each in self.each()]
        return BatchFit(gaussians, self.psnrs(), first_psnrs, [each.clone().to(device) for each in self.images()])

    @torch.no_grad()
    def images(self) -> list[Tensor]:
        """Return the rendering of each image as it is now."""
        return [image[:, : start.height, : start.width] for image, start in zip(self.image(), self.starts, strict=True)]

    @torch.no_grad()
    def each(self) -> list[Gaussians]:
        """Return the Gaussians of each image as they are now, whose values are not checked."""
        columns = (torch.split(each, list(map(len, self.starts))) for each in self.attributes())
        return [start.with_tensors(*each) for each, start in zip(zip(*columns, strict=True), self.starts, strict=True)]

    @torch.no_grad()
    def psnrs(self) -> list[float]:
        """Return the PSNR of each image as it is now in dB, as in metrics/quality.py, of all at once."""
        errors = self.mean_errors(0, 1).clamp(min=10 ** (-MAX_PSNR / 10))
        found: list[float] = (-10 * errors.log10()).tolist()
        return found


class AutogradBatch(Batch, AutogradDescent):
    """Descent by autograd, of images of any sizes; beyond an image's own size there is no error.

    Args:
        targets: B images (C, H, W).
        starts: B sets of Gaussians, each on the canvas of its image; of one blend rule.
        rates: Learning rates.
        backend: Renderer, see `fastgs.render`.
    """

    _variables: _ColorOffsets

    def __init__(
        self, targets: Sequence[Tensor], starts: Sequence[Gaussians], rates: LearningRates, backend: Backend
    ) -> None:
        self.starts = starts
        self._counts = [len(each) for each in starts]
        height, width = find_canvas(starts)
        padded = targets[0].new_zeros(len(targets), starts[0].channels, height, width)
        inside = torch.zeros_like(padded[:, :1])
        for place, mask, target in zip(padded, inside, targets, strict=True):
            _, rows, columns = target.shape
            place[:, :rows, :columns] = target
            mask[:, :rows, :columns] = 1
        self._inside = inside
        self._is_padded = not bool(inside.all())
        super().__init__(_ColorOffsets(join(starts)), padded, rates.config(), backend)
        with torch.no_grad():
            units = self.mean_errors().sqrt()
        self._units = torch.repeat_interleave(units, torch.tensor(self._counts, device=units.device))
        self._variables.set_units(self._units)
        self._color_unit = 1.0  # of variables that have units of their own

    @override
    @torch.no_grad()
    def attributes(self) -> Attributes:
        return Attributes(*(each.detach().clone() for each in self._variables.attributes()))

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

    @override
    def mean_errors(self, low: float = -math.inf, high: float = math.inf) -> Tensor:
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


def find_canvas(starts: Sequence[Gaussians]) -> tuple[int, int]:
    """Return the largest height and width of canvases."""
    return max(each.height for each in starts), max(each.width for each in starts)


def join(starts: Sequence[Gaussians]) -> Gaussians:
    """Return all Gaussians as if on one canvas."""
    tensors = (torch.cat([getattr(each, name) for each in starts]) for name in Attributes._fields)
    columns, (height, width) = Attributes(*tensors)._asdict(), find_canvas(starts)
    return replace(starts[0], **columns, height=height, width=width)
