"""The per-image optimization loop: render, compare, step. Everything that fits Gaussians to pixels calls `fit`.

Adam with one rate per attribute, held and then decayed exponentially. What the rates mean does not depend on the size
of the image, on its contrast or on K: centres move in units of the size of their own Gaussian, scales in logarithms,
rotations in radians, colours in units of the error at the start. benchmarks/LOG.md tells how they were found.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from fastgs.gaussians import Gaussians
from fastgs.metrics import psnr, ssim_loss
from fastgs.render import Backend, rasterize, threads

Loss = Callable[[Tensor, Tensor], Tensor]

# Of (3, H, W) image and target. Weights of SSIM: Image-GS adds 0.1 of it to L1; the same share of MSE, whose values are
# some ten times smaller, is 0.01.
LOSSES: dict[str, Loss] = {
    "mse": functional.mse_loss,
    "l1": functional.l1_loss,
    "mse+ssim": lambda image, target: functional.mse_loss(image, target) + 0.01 * ssim_loss(image, target),
    "l1+ssim": lambda image, target: functional.l1_loss(image, target) + 0.1 * ssim_loss(image, target),
}

# A fit makes no Gaussian thinner than this many pixels: it would fall between the pixel centres, where it costs nothing
# at the fitted size and shows as a hairline when zoomed in. Given narrower ones, it keeps 0.9 of their scales.
MIN_SCALE = 0.3

DEFAULT_ITERATIONS = 200

# PSNR is measured, written to the history and compared with the target this often.
HISTORY_INTERVAL = 10


class HistoryEntry(NamedTuple):
    """State of a fit: after `iteration` steps and `seconds`, PSNR in dB as in metrics.py."""

    iteration: int
    seconds: float
    psnr: float


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

    def factor(self, progress: float) -> float:
        """What all rates are multiplied by when `progress` in [0, 1] of the run is done."""
        return self.decay ** (-max(0.0, progress - self.hold) / (1 - self.hold)) if self.hold < 1 else 1.0


@dataclass(frozen=True)
class Fit:
    """What `fit` returns: the Gaussians, detached; their image (3, H, W), not clamped; the whole history."""

    gaussians: Gaussians
    image: Tensor
    history: list[HistoryEntry]


class _Parameters:
    """Gaussians as free variables: offsets in units of the initial size, log scales, rotations, colours.

    Scales are `sqrt(exp(log_scale)^2 + floor^2)`.
    """

    def __init__(self, gaussians: Gaussians, rates: Rates) -> None:
        self.start = gaussians
        self.rates = rates
        self.unit = 2 * gaussians.scales.detach().prod(1, keepdim=True).sqrt()
        self.offsets = torch.zeros_like(gaussians.means, requires_grad=True)
        scales = gaussians.scales.detach()
        self.floors = (0.9 * scales).clamp(max=MIN_SCALE)
        self.log_scales = (0.5 * (scales.square() - self.floors.square()).log()).requires_grad_()
        self.rotations = gaussians.rotations.detach().clone().requires_grad_()
        self.colors = gaussians.colors.detach().clone().requires_grad_()
        self.color_unit: float | None = None  # known once an image is
        # Reused: memory for a new one in every step would be mapped anew.
        self.error = torch.empty(3, gaussians.height, gaussians.width, dtype=self.unit.dtype, device=self.unit.device)
        groups = [{"params": [each]} for each in (self.offsets, self.log_scales, self.rotations, self.colors)]
        # The mean over pixels makes gradients small: Adam's usual eps of 1e-8 would swallow them.
        self.optimizer = torch.optim.Adam(groups, betas=rates.betas, eps=1e-15, fused=True)

    def means(self) -> Tensor:
        return self.start.means + self.unit * self.offsets

    def scales(self) -> Tensor:
        return torch.hypot(self.log_scales.exp(), self.floors)

    def finite(self) -> bool:
        return all(
            bool(torch.isfinite(each).all()) for each in (self.means(), self.scales(), self.rotations, self.colors)
        )

    def render(self, backend: Backend) -> Tensor:
        return rasterize(
            self.means(),
            self.scales(),
            self.rotations,
            self.colors,
            counts=[len(self.unit)],
            pitches=[(1.0, 1.0)],
            height=self.start.height,
            width=self.start.width,
            blend=self.start.blend,
            backend=backend,
        ).squeeze(0)  # not [0], whose gradient is a copy of the whole image

    def step(self, image: Tensor, target: Tensor, loss: Loss, progress: float) -> None:
        error = torch.sub(image.detach(), target, out=self.error)
        if self.color_unit is None:
            self.color_unit = error.square().mean().sqrt().item()
        full = (self.rates.means, self.rates.scales, self.rates.rotations, self.rates.colors * self.color_unit)
        for group, rate in zip(self.optimizer.param_groups, full, strict=True):
            group["lr"] = rate * self.rates.factor(progress)
        self.optimizer.zero_grad()
        if loss is functional.mse_loss:
            # Its gradient up to a factor, to which Adam is blind: this spares three passes over the image.
            image.backward(error)  # type: ignore[no-untyped-call]
        else:
            loss(image, target).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    @torch.no_grad()
    def gaussians(self) -> Gaussians:
        return replace(
            self.start,
            means=self.means(),
            scales=self.scales(),
            rotations=self.rotations.detach().clone(),
            colors=self.colors.detach().clone(),
        )


@threads.reserved()
def fit(
    target: Tensor,
    gaussians: Gaussians,
    *,
    iterations: int | None = None,
    seconds: float | None = None,
    target_psnr: float | None = None,
    loss: str | Loss = "mse",
    rates: Rates | None = None,
    near: bool = False,
    callback: Callable[[HistoryEntry], None] | None = None,
    backend: Backend = "auto",
) -> Fit:
    """Optimize Gaussians so that they render as `target`.

    The run ends after `iterations`, after `seconds` or at `target_psnr`, whichever comes first; the schedule follows
    whichever of the first two is nearer its end. On one machine the result
    repeats exactly unless `seconds` is given.

    Args:
        target: (3, H, W) in [0, 1], of the size of the canvas.
        gaussians: where to start; fitted with their own blend rule.
        iterations: number of steps, from 0 up; 200 if neither this nor `seconds` is given.
        seconds: wall-clock budget, for the steps only (the first call of a process also compiles or loads kernels).
        target_psnr: stop at this PSNR in dB, looked at every `HISTORY_INTERVAL` steps.
        loss: a name in `LOSSES`, or a function of (3, H, W) image and target that gives a scalar.
        rates: step sizes and schedule; by default those for the number of steps that are planned or fit in the budget.
        near: of the default rates: the start is what networks predict, not what a heuristic does.
        callback: called with every new entry of the history.
        backend: see `fastgs.render`.

    Raises:
        ValueError: the target has the wrong shape or is not finite, a limit is negative, the loss is unknown, or the
            fit diverged to NaN.
    """
    target = _check_target(target, gaussians)
    if iterations is None and seconds is None:
        iterations = DEFAULT_ITERATIONS
    for name, limit in (("iterations", iterations), ("seconds", seconds)):
        if limit is not None and not limit >= 0:
            raise ValueError(f"{name}: must be 0 or more, got {limit}")
    if isinstance(loss, str) and loss not in LOSSES:
        raise ValueError(f"loss: expected one of {', '.join(LOSSES)}, got {loss!r}")
    measure = LOSSES[loss] if isinstance(loss, str) else loss
    if rates is None:
        rates = Rates.for_iterations(_planned_steps(target, gaussians, iterations, seconds, measure, backend), near)

    parameters = _Parameters(gaussians, rates)
    history: list[HistoryEntry] = []

    def record(iteration: int, image: Tensor) -> bool:
        """Note where the fit stands; True if that is good enough."""
        entry = HistoryEntry(iteration, time.perf_counter() - start, psnr(image.detach(), target))
        # The rasterizer cannot draw a Gaussian at NaN, so the image alone would not show it.
        if math.isnan(entry.psnr) or not parameters.finite():
            raise ValueError(f"the fit diverged before iteration {iteration}; use lower rates")
        history.append(entry)
        if callback is not None:
            callback(entry)
        return target_psnr is not None and entry.psnr >= target_psnr

    start, iteration = time.perf_counter(), 0
    while True:
        progress = _progress(iteration, time.perf_counter() - start, iterations, seconds)
        last = progress >= 1 or not len(gaussians)
        with torch.set_grad_enabled(not last):
            image = parameters.render(backend)
        if (last or iteration % HISTORY_INTERVAL == 0) and (record(iteration, image) or last):
            return Fit(parameters.gaussians(), image.detach(), history)
        parameters.step(image, target, measure, progress)
        iteration += 1


def _progress(iteration: int, elapsed: float, iterations: int | None, seconds: float | None) -> float:
    """Share of the run that is done: 1 when either limit is reached."""
    by_count = 0.0 if iterations is None else (iteration / iterations if iterations else 1.0)
    by_time = 0.0 if seconds is None else (elapsed / seconds if seconds else 1.0)
    return min(1.0, max(by_count, by_time))


def _planned_steps(
    target: Tensor, gaussians: Gaussians, iterations: int | None, seconds: float | None, measure: Loss, backend: Backend
) -> int:
    """The number of steps asked for, or that the budget allows, by the time of a trial step."""
    if seconds is None:
        assert iterations is not None
        return iterations
    trial = _Parameters(gaussians, Rates())
    elapsed = math.inf
    for _ in range(3):  # the first also compiles
        start = time.perf_counter()
        trial.step(trial.render(backend), target, measure, 0.0)
        elapsed = time.perf_counter() - start
    steps = int(seconds / elapsed)
    return steps if iterations is None else min(steps, iterations)


def _check_target(target: Tensor, gaussians: Gaussians) -> Tensor:
    expected = (3, gaussians.height, gaussians.width)
    if tuple(target.shape) != expected:
        raise ValueError(f"target: expected shape {expected} like the canvas, got {tuple(target.shape)}")
    if not torch.isfinite(target).all():
        raise ValueError("target: holds NaN or infinity")
    return target.to(gaussians.means)
