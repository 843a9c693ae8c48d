"""One step of the optimization: render, compare, move. fitting.py says how many, and when to stop."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from fastgs.gaussians import Gaussians
from fastgs.render import Backend, rasterize

Loss = Callable[[Tensor, Tensor], Tensor]

# A fit makes no Gaussian thinner than this many pixels: it would fall between the pixel centres, where it costs nothing
# at the fitted size and shows as a hairline when zoomed in. Given narrower ones, it keeps 0.9 of their scales.
MIN_SCALE = 0.3

ADAM_EPSILON = 1e-15


@dataclass(frozen=True)
class Rates:
    """Step sizes and schedule of `fit`; `Rates.for_iterations` has the defaults.

    Attributes:
        means: in diameters (two standard deviations, the geometric mean of the axes) of the initial Gaussian.
        scales: in natural logarithms of the standard deviation.
        rotations: in radians.
        colors: in units of the root mean square error of the first image.
        betas: Adam's decay of the mean and of the squared gradient.
        hold: share of the run at full rates.
        decay: factor by which the rates have fallen at the end.
    """

    means: float = 0.12
    scales: float = 0.12
    rotations: float = 0.09
    colors: float = 0.3
    betas: tuple[float, float] = (0.9, 0.9)
    hold: float = 0.7
    decay: float = 30.0

    @classmethod
    def for_iterations(cls, iterations: int, near: bool = False) -> Rates:
        """Rates for a run of this length: a short run cannot afford a long memory nor a deep decay.

        From a start that is near the end, as the networks' is, smaller steps held for longer are better.
        """
        momentum = 1 - min(1.0, max(0.1, 1.6 / math.sqrt(max(iterations, 1))))
        decay = min(30.0, max(4.0, iterations / 5))
        if not near:
            return cls(betas=(momentum, 0.9), decay=decay)
        return cls(
            means=0.082,
            scales=0.103,
            rotations=0.063,
            colors=0.44,
            betas=(momentum, momentum),
            hold=0.85,
            decay=max(decay, 6.6),
        )

    def steps(self, color_unit: float) -> tuple[float, float, float, float]:
        """Full rates of offsets, log scales, rotations and colours, given the error of the first image."""
        return self.means, self.scales, self.rotations, self.colors * color_unit

    def factor(self, progress: float) -> float:
        """What all rates are multiplied by when `progress` in [0, 1] of the run is done."""
        return self.decay ** (-max(0.0, progress - self.hold) / (1 - self.hold)) if self.hold < 1 else 1.0


class Descent(Protocol):
    """Gaussians on their way to a target."""

    def image(self) -> Tensor:
        """(3, H, W) their rendering as of now."""

    def step(self, factor: float) -> None:
        """Move once, at the rates times a factor."""

    def gaussians(self) -> Gaussians:
        """As of now, detached."""

    def finite(self) -> bool:
        """Whether all parameters are."""


class Variables(NamedTuple):
    """What a descent moves, none of it bounded, and what turns it back into Gaussians.

    Means are `start.means + unit * offsets`; scales are `sqrt(exp(log_scales)^2 + floors^2)`.
    """

    start: Gaussians
    unit: Tensor  # (K, 1) diameters at the start, in pixels
    floors: Tensor  # (K, 2) pixels
    offsets: Tensor  # (K, 2)
    log_scales: Tensor  # (K, 2)
    rotations: Tensor  # (K,)
    colors: Tensor  # (K, 3)

    @classmethod
    def of(cls, gaussians: Gaussians) -> Variables:
        """The variables that these Gaussians are."""
        scales = gaussians.scales.detach()
        floors = (0.9 * scales).clamp(max=MIN_SCALE)
        return cls(
            start=gaussians,
            unit=2 * scales.prod(1, keepdim=True).sqrt(),
            floors=floors,
            offsets=torch.zeros_like(gaussians.means),
            log_scales=0.5 * (scales.square() - floors.square()).log(),
            rotations=gaussians.rotations.detach().clone(),
            colors=gaussians.colors.detach().clone(),
        )


class AutogradDescent:
    """Any loss, on any backend, with torch's Adam.

    Args:
        gaussians: where to start.
        target: (3, H, W).
        rates: of the steps.
        loss: of (3, H, W) image and target.
        backend: see `fastgs.render`.
    """

    def __init__(self, gaussians: Gaussians, target: Tensor, rates: Rates, loss: Loss, backend: Backend) -> None:
        self._variables = Variables.of(gaussians)
        self._target = target
        self._rates = rates
        self._loss = loss
        self._backend = backend
        self._image: Tensor | None = None
        self._color_unit: float | None = None  # known once an image is
        # Reused: memory for a new one in every step would be mapped anew.
        self._error = torch.empty_like(target)
        moved = self._variables[3:]
        groups = [{"params": [each.requires_grad_()]} for each in moved]
        # The mean over pixels makes gradients small: Adam's usual eps of 1e-8 would swallow them.
        self._optimizer = torch.optim.Adam(groups, betas=rates.betas, eps=ADAM_EPSILON, fused=True)

    def _means(self) -> Tensor:
        return self._variables.start.means + self._variables.unit * self._variables.offsets

    def _scales(self) -> Tensor:
        return torch.hypot(self._variables.log_scales.exp(), self._variables.floors)

    def image(self) -> Tensor:
        """See `Descent`; the next step uses it, unless made where gradients are off."""
        start = self._variables.start
        self._image = rasterize(
            self._means(),
            self._scales(),
            self._variables.rotations,
            self._variables.colors,
            counts=[len(start)],
            pitches=[(1.0, 1.0)],
            height=start.height,
            width=start.width,
            blend=start.blend,
            backend=self._backend,
        ).squeeze(0)  # not [0], whose gradient is a copy of the whole image
        return self._image

    def step(self, factor: float) -> None:
        """See `Descent`."""
        image = self.image() if self._image is None else self._image
        self._image = None
        error = torch.sub(image.detach(), self._target, out=self._error)
        if self._color_unit is None:
            self._color_unit = error.square().mean().sqrt().item()
        for group, rate in zip(self._optimizer.param_groups, self._rates.steps(self._color_unit), strict=True):
            group["lr"] = rate * factor
        self._optimizer.zero_grad()
        if self._loss is functional.mse_loss:
            # Its gradient up to a factor, to which Adam is blind: this spares three passes over the image.
            image.backward(error)  # type: ignore[no-untyped-call]
        else:
            self._loss(image, self._target).backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()

    def finite(self) -> bool:
        """See `Descent`."""
        moved = (self._means(), self._scales(), self._variables.rotations, self._variables.colors)
        return all(bool(torch.isfinite(each).all()) for each in moved)

    @torch.no_grad()
    def gaussians(self) -> Gaussians:
        """See `Descent`."""
        return replace(
            self._variables.start,
            means=self._means(),
            scales=self._scales(),
            rotations=self._variables.rotations.detach().clone(),
            colors=self._variables.colors.detach().clone(),
        )
