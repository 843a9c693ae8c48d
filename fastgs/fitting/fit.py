"""The per-image optimization loop: render, compare, step. Everything that fits Gaussians to pixels calls `fit`.

Adam with one rate per attribute, held and then decayed exponentially. What the rates mean does not depend on the size
of the image, on its contrast or on K: centres move in units of the size of their own Gaussian, scales in logarithms,
rotations in radians, colours in units of the error at the start. benchmarks/LOG.md tells how they were found.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from fastgs.fitting.densification import Densification
from fastgs.fitting.optimizer import AutogradDescent, Descent, LearningRates, Loss, OptimizationConfig
from fastgs.fitting.parametrization import Relative
from fastgs.gaussians import Gaussians
from fastgs.metrics.quality import psnr, ssim_loss
from fastgs.render import Backend, choose
from fastgs.runtime import threads

# Of (3, H, W) image and target. Weights of SSIM: Image-GS adds 0.1 of it to L1; the same share of MSE, whose values are
# some ten times smaller, is 0.01.
LOSSES: dict[str, Loss] = {
    "mse": functional.mse_loss,
    "l1": functional.l1_loss,
    "mse+ssim": lambda image, target: functional.mse_loss(image, target) + 0.01 * ssim_loss(image, target),
    "l1+ssim": lambda image, target: functional.l1_loss(image, target) + 0.1 * ssim_loss(image, target),
}

DEFAULT_ITERATIONS = 200

# Steps that are timed to plan a run with a budget of seconds.
TRIAL_STEPS = 2

# PSNR is measured, written to the history and compared with the target this often.
HISTORY_INTERVAL = 10


class HistoryEntry(NamedTuple):
    """State of a fit: after `iteration` steps and `seconds`, PSNR in dB as in metrics/quality.py."""

    iteration: int
    seconds: float
    psnr: float


@dataclass(frozen=True)
class Fit:
    """What `fit` returns: the Gaussians, detached; their image (3, H, W), not clamped; the whole history."""

    gaussians: Gaussians
    image: Tensor
    history: list[HistoryEntry]


@threads.reserved()
def fit(
    target: Tensor,
    gaussians: Gaussians,
    *,
    iterations: int | None = None,
    seconds: float | None = None,
    target_psnr: float | None = None,
    loss: str | Loss = "mse",
    rates: LearningRates | None = None,
    optimization: OptimizationConfig | None = None,
    densification: Callable[[int], Densification] | None = None,
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
        optimization: another way to descend than ours, which has `loss` and `rates` of its own.
        densification: adds, removes or moves Gaussians on the way, made for the number of steps that are planned;
            `target_psnr` counts once all are there.
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
    trial = LearningRates().config(measure) if optimization is None else optimization
    steps = _planned_steps(target, gaussians, iterations, seconds, trial, backend)
    if optimization is None:
        rates = rates or LearningRates.for_iterations(steps)
        optimization = rates.config(measure)
    strategy = None if densification is None else densification(steps)

    descent = _descent(gaussians, target, optimization, backend)
    events = [] if strategy is None else list(strategy.events)
    history: list[HistoryEntry] = []
    psnrs: list[float] = []

    def record(iteration: int, image: Tensor) -> bool:
        """Note where the fit stands; True if that is good enough."""
        quality = psnr(image.detach(), target)
        # The rasterizer cannot draw a Gaussian at NaN, so the image alone would not show it.
        if math.isnan(quality) or not descent.finite():
            raise ValueError(f"the fit diverged before iteration {iteration}; use lower rates")
        psnrs.append(quality)
        history.append(HistoryEntry(iteration, time.perf_counter() - start, quality))
        if callback is not None:
            callback(history[-1])
        return target_psnr is not None and quality >= target_psnr and not (events and strategy and strategy.grows)

    start, iteration = time.perf_counter(), 0
    while True:
        progress = _progress(iteration, time.perf_counter() - start, iterations, seconds)
        while strategy is not None and events and progress >= events[0]:
            with torch.no_grad():
                edit = strategy.edit(len(strategy.events) - len(events), target, descent)
            descent.edit(*edit)
            events.pop(0)
        last = progress >= 1 or not len(gaussians)
        if last or iteration % HISTORY_INTERVAL == 0:
            with torch.set_grad_enabled(not last):
                image = descent.image()
            if record(iteration, image) or last:
                return Fit(descent.gaussians(), image.detach().clone(), history)
        descent.step(optimization.schedule(progress, psnrs))
        iteration += 1


def _descent(gaussians: Gaussians, target: Tensor, optimization: OptimizationConfig, backend: Backend) -> Descent:
    """The fastest that there is for these tensors and this optimization."""
    if len(gaussians) and optimization.ours is not None and choose(gaussians.means, backend) == "cuda":
        from fastgs.fitting.optimizer_cuda import CudaDescent  # deferred: Triton is not everywhere

        return CudaDescent(Relative(gaussians), target, optimization.ours)
    return AutogradDescent(optimization.parametrization(gaussians), target, optimization, backend)


def _progress(iteration: int, elapsed: float, iterations: int | None, seconds: float | None) -> float:
    """Share of the run that is done: 1 when either limit is reached."""
    by_count = 0.0 if iterations is None else (iteration / iterations if iterations else 1.0)
    by_time = 0.0 if seconds is None else (elapsed / seconds if seconds else 1.0)
    return min(1.0, max(by_count, by_time))


def _planned_steps(
    target: Tensor,
    gaussians: Gaussians,
    iterations: int | None,
    seconds: float | None,
    optimization: OptimizationConfig,
    backend: Backend,
) -> int:
    """The number of steps asked for, or that the budget allows, by the time of a trial step."""
    if seconds is None:
        assert iterations is not None
        return iterations
    trial = _descent(gaussians, target, optimization, backend)
    start = 0.0
    for trial_step in range(1 + TRIAL_STEPS):
        trial.step(1.0)
        if trial_step == 0:  # that one also compiled
            trial.image()
            start = time.perf_counter()
    trial.image()  # wait for what runs on a GPU
    elapsed = (time.perf_counter() - start) / TRIAL_STEPS
    steps = int(seconds / elapsed)
    return steps if iterations is None else min(steps, iterations)


def _check_target(target: Tensor, gaussians: Gaussians) -> Tensor:
    expected = (3, gaussians.height, gaussians.width)
    if tuple(target.shape) != expected:
        raise ValueError(f"target: expected shape {expected} like the canvas, got {tuple(target.shape)}")
    if not torch.isfinite(target).all():
        raise ValueError("target: holds NaN or infinity")
    return target.to(gaussians.means)
