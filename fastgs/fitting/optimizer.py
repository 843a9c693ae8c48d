"""One step of the optimization: render, compare, move. fit.py says how many, and when to stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from fastgs.fitting.adam import BetaSchedule, GrowingAdam
from fastgs.fitting.parametrization import Parametrization, Relative
from fastgs.gaussians import Gaussians
from fastgs.render import Backend, rasterize

Loss = Callable[[Tensor, Tensor], Tensor]


# For runs of any length, from heuristics and from networks. Squares must be remembered at least half as long as
# gradients: where a gradient vanishes, the step, which is their ratio, would grow without a bound.
GRADIENT_BETAS = BetaSchedule(first=1.1, growth=0.19, longest=25.0)
SQUARE_BETAS = BetaSchedule(first=1.4, growth=0.15, longest=20.0)


@dataclass(frozen=True)
class LearningRates:
    """Step sizes and schedule of `fit`; `LearningRates.for_iterations` has the defaults.

    Attributes:
        means: in diameters (two standard deviations, the geometric mean of the axes) of the initial Gaussian, along
            either of its axes.
        scales: in natural logarithms of the standard deviation.
        rotations: in radians.
        colors: in units of the root mean square error of the first image.
        gradient_betas, square_betas: of Adam's averages of the gradient and of its square.
        hold: share of the run at full rates.
        decay: factor by which the rates have fallen at the end.
    """

    means: float = 0.105
    scales: float = 0.11
    rotations: float = 0.095
    colors: float = 0.55
    gradient_betas: BetaSchedule = GRADIENT_BETAS
    square_betas: BetaSchedule = SQUARE_BETAS
    hold: float = 0.85
    decay: float = 30.0

    @classmethod
    def for_iterations(cls, iterations: int) -> LearningRates:
        """LearningRates for a run of this length: a short run cannot afford a deep decay."""
        return cls(decay=min(30.0, max(10.0, iterations / 10)))

    def steps(self, color_unit: float) -> dict[str, float]:
        """Full rates of the variables of `Relative`, given the error of the first image."""
        rates = self.means, self.scales, self.rotations, self.colors * color_unit
        return dict(zip(Relative.NAMES, rates, strict=True))

    def config(self, loss: Loss) -> OptimizationConfig:
        """Adam at these rates."""
        optimizer = partial(GrowingAdam, gradient=self.gradient_betas, square=self.square_betas)
        ours = self if loss is functional.mse_loss else None
        return OptimizationConfig(
            Relative, optimizer, self.steps, lambda progress, _: self.factor(progress), loss, ours=ours
        )

    def factor(self, progress: float) -> float:
        """What all rates are multiplied by when `progress` in [0, 1] of the run is done."""
        return self.decay ** (-max(0.0, progress - self.hold) / (1 - self.hold)) if self.hold < 1 else 1.0


@dataclass(frozen=True)
class OptimizationConfig:
    """How Gaussians descend.

    Attributes:
        parametrization: what is moved.
        optimizer: made from groups of parameters, one for each free variable, with its "name".
        rates: of each free variable at the start, by the root mean square error of the first image.
        schedule: factor of the rates at a share of the run, in [0, 1], given the PSNRs in dB so far, one for every
            `HISTORY_INTERVAL` steps.
        loss: of (3, H, W) image and target.
        top_k: if given, a pixel is blended of so many Gaussians, those that weigh most in it.
        ours: the rates, if it is Adam on `Relative` variables and the squared error, for which there are short cuts.
    """

    parametrization: type[Parametrization]
    optimizer: Callable[[list[dict[str, Any]]], torch.optim.Optimizer]
    rates: Callable[[float], Mapping[str, float]]
    schedule: Callable[[float, Sequence[float]], float]
    loss: Loss
    top_k: int | None = None
    ours: LearningRates | None = None


class Descent(Protocol):
    """Gaussians on their way to a target."""

    def image(self) -> Tensor:
        """(3, H, W) their rendering as of now."""

    def step(self, factor: float) -> None:
        """Move once, at the rates times a factor."""

    def edit(self, keep: Tensor, added: Gaussians) -> None:
        """Keep Gaussians by a (K,) mask, and append others."""

    def gaussians(self) -> Gaussians:
        """As of now, detached."""

    def finite(self) -> bool:
        """Whether all parameters are."""


class AutogradDescent:
    """Any parametrization, optimizer and loss, on any backend.

    Args:
        variables: where to start; moved.
        target: (3, H, W).
        optimization: how.
        backend: see `fastgs.render`.
    """

    def __init__(
        self, variables: Parametrization, target: Tensor, optimization: OptimizationConfig, backend: Backend
    ) -> None:
        self._variables = variables
        self._target = target
        self._config = optimization
        self._backend = backend
        self._image: Tensor | None = None
        self._color_unit: float | None = None  # known once an image is
        # Reused: memory for a new one in every step would be mapped anew.
        self._error = torch.empty_like(target)
        self._optimizer = optimization.optimizer(
            [{"params": [each], "name": name} for name, each in variables.free.items()]
        )

    def image(self) -> Tensor:
        """See `Descent`; the next step uses it, unless made where gradients are off."""
        height, width = self._variables.canvas
        self._image = rasterize(
            *self._variables.attributes(),
            counts=[len(self._variables)],
            pitches=[(1.0, 1.0)],
            height=height,
            width=width,
            blend=self._variables.blend,
            backend=self._backend,
            top_k=self._config.top_k,
        ).squeeze(0)  # not [0], whose gradient is a copy of the whole image
        return self._image

    def step(self, factor: float) -> None:
        """See `Descent`."""
        image = self.image() if self._image is None else self._image
        self._image = None
        error = torch.sub(image.detach(), self._target, out=self._error)
        if self._color_unit is None:
            self._color_unit = error.square().mean().sqrt().item()
        rates = self._config.rates(self._color_unit)
        for group in self._optimizer.param_groups:
            group["lr"] = rates[group["name"]] * factor
        self._optimizer.zero_grad()
        if self._config.ours is not None:
            # Its gradient up to a factor, to which Adam is blind: this spares three passes over the image.
            image.backward(error)  # type: ignore[no-untyped-call]
        else:
            self._config.loss(image, self._target).backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()

    def edit(self, keep: Tensor, added: Gaussians) -> None:
        """See `Descent`."""
        self._image = None
        old = dict(self._variables.free)
        self._variables.edit(keep, added)
        for group in self._optimizer.param_groups:
            before, now = old[group["name"]], self._variables.free[group["name"]]
            group["params"] = [now]
            state = self._optimizer.state.pop(before, {})
            self._optimizer.state[now] = {name: _edited(value, keep, before, now) for name, value in state.items()}

    def finite(self) -> bool:
        """See `Descent`."""
        return all(bool(torch.isfinite(each).all()) for each in self._variables.attributes())

    def gaussians(self) -> Gaussians:
        """See `Descent`."""
        return self._variables.gaussians()


def _edited(value: Any, keep: Tensor, before: Tensor, now: Tensor) -> Any:
    """What an optimizer remembers of a variable, with nothing remembered of the added rows."""
    if not isinstance(value, Tensor) or value.shape != before.shape:
        return value  # the number of steps
    added = value.new_zeros(len(now) - int(keep.sum()), *value.shape[1:])
    return torch.cat([value[keep], added])
