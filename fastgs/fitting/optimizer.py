"""One step of the optimization: render, compare, move. loop.py says how many, and when to stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from typing_extensions import override

from fastgs.fitting.adam import BetaSchedule, GrowingAdam
from fastgs.fitting.backward import backpropagate
from fastgs.fitting.loss_functions import KnownGradient, SquaredError
from fastgs.fitting.losses import Loss
from fastgs.fitting.parametrization import Attributes, Parametrization, Relative
from fastgs.fitting.removal import Appraisal, Appraiser
from fastgs.gaussians import Gaussians
from fastgs.metrics.quality import psnr
from fastgs.render import Backend, rasterize

# For runs of any length, from heuristics and from networks (benchmarks/LOG.md, "Memory that grows"). Squares must be
# remembered at least half as long as gradients: where a gradient vanishes, the step, which is their ratio, would grow
# without a bound.
GRADIENT_BETAS = BetaSchedule(first=1.1, growth=0.19, longest=25.0)
SQUARE_BETAS = BetaSchedule(first=1.4, growth=0.15, longest=20.0)


@dataclass(frozen=True)
class OptimizationConfig:
    """Everything that decides how Gaussians descend to a target.

    Attributes:
        parametrization: Type of the free variables.
        optimizer: Callable that makes the optimizer from groups of parameters, one for each free variable, with its
            "name".
        rates: Callable that gives the learning rate of each free variable at the start, by name, from the root mean
            square error of the first image.
        schedule: Callable that gives the factor of the rates at a share of the run, in [0, 1], from that share and the
            PSNRs in dB so far, one for every `fastgs.fitting.fit.HISTORY_INTERVAL` steps.
        loss: Callable (image, target) -> scalar on (C, H, W) tensors.
        top_k: Number of Gaussians that a pixel is blended of, those that weigh most in it; None for all.
        learning_rates: Rates that this was made from, if it was made by `LearningRates.config`.
        keep_best: True if a fit ends with the best state among those that the history has once all Gaussians are there,
            instead of with the last one; for rates that are still so high at the end that the PSNR sways.
    """

    parametrization: Callable[[Gaussians], Parametrization]
    optimizer: Callable[[list[dict[str, Any]]], torch.optim.Optimizer]
    rates: Callable[[float], Mapping[str, float]]
    schedule: Callable[[float, Sequence[float]], float]
    loss: Loss
    top_k: int | None = None
    learning_rates: LearningRates | None = None
    keep_best: bool = False

    def known_rates(self) -> LearningRates | None:
        """Return the rates if this is `GrowingAdam` on `Relative` variables, for which there are kernels, else None."""
        return self.learning_rates if self.parametrization is Relative and self.top_k is None else None


@dataclass(frozen=True)
class LearningRates:
    """Learning rates and their schedule; `LearningRates.for_iterations` has the defaults.

    Attributes:
        means: Rate in diameters (two standard deviations, the geometric mean of the axes) of the initial Gaussian,
            along either of its axes.
        scales: Rate in natural logarithms of the standard deviation.
        rotations: Rate in radians.
        colors: Rate in units of the root mean square error of the first image.
        gradient_betas: Schedule of Adam's average of the gradient.
        square_betas: Schedule of Adam's average of the squared gradient.
        hold: Share of the run at full rates.
        decay: Factor by which the rates have fallen at the end.
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
        """Return the rates for a run of this length: a short run cannot afford a deep decay."""
        return cls(decay=min(30.0, max(10.0, iterations / 10)))

    def steps(self, color_unit: float) -> dict[str, float]:
        """Return the full rates of the variables of `Relative`.

        Args:
            color_unit: Root mean square error of the first image.
        """
        rates = self.means, self.scales, self.rotations, self.colors * color_unit
        return dict(zip(Relative.NAMES, rates, strict=True))

    def config(self, loss: Loss | None = None) -> OptimizationConfig:
        """Return Adam at these rates, on `Relative` variables.

        Args:
            loss: Callable (image, target) -> scalar; by default the squared error.
        """
        return OptimizationConfig(
            parametrization=Relative,
            optimizer=partial(GrowingAdam, gradient=self.gradient_betas, square=self.square_betas),
            rates=self.steps,
            schedule=lambda progress, _: self.factor(progress),
            loss=SquaredError() if loss is None else loss,
            learning_rates=self,
        )

    def factor(self, progress: float) -> float:
        """Return the factor of all rates when `progress` in [0, 1] of the run is done."""
        return self.decay ** (-max(0.0, progress - self.hold) / (1 - self.hold)) if self.hold < 1 else 1.0


class Descent(Protocol):
    """Gaussians on their way to a target."""

    def image(self) -> Tensor:
        """Render the Gaussians as they are now, (C, H, W)."""

    def quality(self) -> float:
        """Return the PSNR of the Gaussians as they are now in dB, to some decimals; NaN if the image holds NaN."""

    def step(self, factor: float) -> None:
        """Move once, at the rates times a factor."""

    def steps(self, factors: Sequence[float]) -> None:
        """Move as often as there are factors, without a look at what comes of it on the way."""
        for factor in factors:
            self.step(factor)

    def edit(self, keep: Tensor, added: Gaussians) -> None:
        """Keep Gaussians by a (K,) mask, and add others; their order may be another one afterwards."""

    def gaussians(self) -> Gaussians:
        """Return the Gaussians as they are now, detached."""

    def finite(self) -> bool:
        """Return whether all parameters are finite."""

    def appraise(self, appraiser: Appraiser) -> Appraisal:
        """Return what the Gaussians are worth as they are now, valid until the next step or appraisal.

        Args:
            appraiser: Appraiser for the target.
        """
        return appraiser(self.gaussians(), self.image)


class AutogradDescent(Descent):
    """Descent with any parametrization, optimizer and loss, on any backend.

    Args:
        variables: Variables at their start; moved.
        target: (C, H, W) image.
        config: Optimizer, rates and loss.
        backend: Renderer, see `fastgs.render`.
        frozen: Gaussians on the same canvas that are drawn, too, and stay as they are.
    """

    def __init__(
        self,
        variables: Parametrization,
        target: Tensor,
        config: OptimizationConfig,
        backend: Backend,
        frozen: Gaussians | None = None,
    ) -> None:
        self._variables = variables
        self._frozen = frozen if frozen is not None and len(frozen) else None
        self._target = target
        self._config = config
        self._backend = backend
        self._image: Tensor | None = None
        self._color_unit: float | None = None  # known once an image is
        # Reused: memory for a new one in every step would be mapped anew.
        self._error = torch.empty_like(target)
        self._optimizer = config.optimizer([{"params": [each], "name": name} for name, each in variables.free.items()])

    @override
    def image(self) -> Tensor:
        # The next step uses it, unless it was made where gradients are off.
        self._image = self._render()
        return self._image

    @override
    def quality(self) -> float:
        return psnr(self.image().detach(), self._target)

    @override
    def step(self, factor: float) -> None:
        image = self.image() if self._image is None else self._image
        self._image = None
        error = self._subtract_target(image.detach())
        if self._color_unit is None:
            self._color_unit = error.square().mean().sqrt().item()
        rates = self._config.rates(self._color_unit)
        for group in self._optimizer.param_groups:
            group["lr"] = rates[group["name"]] * factor
        self._optimizer.zero_grad()
        loss = self._config.loss
        if isinstance(loss, SquaredError) and self._config.known_rates() is not None:
            backpropagate(image, error)  # the gradient up to a factor, to which Adam is blind
        elif isinstance(loss, KnownGradient):
            backpropagate(image, loss.gradient(image.detach(), error))
        else:
            loss(image, self._target).backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()

    def _subtract_target(self, image: Tensor) -> Tensor:
        return torch.sub(image, self._target, out=self._error)

    @override
    def edit(self, keep: Tensor, added: Gaussians) -> None:
        self._image = None
        old = dict(self._variables.free)
        self._variables.edit(keep, added)
        for group in self._optimizer.param_groups:
            before, now = old[group["name"]], self._variables.free[group["name"]]
            group["params"] = [now]
            state = self._optimizer.state.pop(before, {})
            self._optimizer.state[now] = {name: _edit_state(value, keep, before, now) for name, value in state.items()}

    @override
    def appraise(self, appraiser: Appraiser) -> Appraisal:
        if self._frozen is None:
            return super().appraise(appraiser)
        return Appraisal(self.gaussians(), self.image().detach(), appraiser.target)  # it would draw without them

    @override
    def finite(self) -> bool:
        return all(bool(torch.isfinite(each).all()) for each in self._variables.attributes())

    @override
    def gaussians(self) -> Gaussians:
        return self._variables.gaussians()

    def _render(self) -> Tensor:
        height, width = self._variables.canvas
        attributes = self._variables.attributes()
        if self._frozen is not None:
            fixed = (getattr(self._frozen, name) for name in Attributes._fields)
            attributes = Attributes(*map(torch.cat, zip(fixed, attributes, strict=True)))
        image = rasterize(
            *attributes,
            counts=[len(attributes.means)],
            pitches=[(1.0, 1.0)],
            height=height,
            width=width,
            blend=self._variables.blend,
            backend=self._backend,
            top_k=self._config.top_k,
        )
        return image.squeeze(0)  # not [0], whose gradient is a copy of the whole image


def _edit_state(value: Any, keep: Tensor, before: Tensor, now: Tensor) -> Any:
    """Return what an optimizer remembers of a variable, with nothing remembered of the added rows."""
    if not isinstance(value, Tensor) or value.shape != before.shape:
        return value  # the number of steps
    added = value.new_zeros(len(now) - int(keep.sum()), *value.shape[1:])
    return torch.cat([value[keep], added])
