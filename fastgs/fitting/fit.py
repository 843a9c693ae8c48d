"""The fit of one image: render, compare, step. Everything that fits Gaussians to the pixels of an image calls `fit`.

Adam with one rate per attribute, held and then decayed exponentially. The meaning of the rates does not depend on the
size of the image, on its contrast or on K: means move in units of the size of their own Gaussian, scales in logarithms,
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

from fastgs.fitting.densification import Densification
from fastgs.fitting.loop import optimize
from fastgs.fitting.loss_functions import SquaredError
from fastgs.fitting.optimizer import AutogradDescent, Descent, LearningRates, OptimizationConfig
from fastgs.fitting.optimizer_cpu import CpuDescent
from fastgs.fitting.options import DEFAULT_ITERATIONS, FitOptions
from fastgs.fitting.parametrization import Relative
from fastgs.gaussians import Gaussians
from fastgs.metrics.quality import psnr
from fastgs.render import Backend, choose, cpu_kernels, render_device
from fastgs.runtime import threads

__all__ = ["HISTORY_INTERVAL", "Callback", "Fit", "HistoryEntry", "fit"]

# Number of steps that are timed to plan a run with a budget of seconds.
TRIAL_STEPS = 2

# Number of steps from one entry of the history to the next, unless the target PSNR is near; the PSNR is measured and
# compared with the target there.
HISTORY_INTERVAL = 10

# Most pixels of an image that one thread fits alone: two would wait for each other longer than they work.
MOST_ALONE = 192**2


class HistoryEntry(NamedTuple):
    """State of a fit on its way.

    Attributes:
        iteration: Number of steps so far.
        seconds: Wall clock of the steps so far.
        psnr: PSNR in dB, as `fastgs.metrics.quality.psnr` measures it.
    """

    iteration: int
    seconds: float
    psnr: float


Callback = Callable[[HistoryEntry], None]


@dataclass(frozen=True)
class Fit:
    """Result of `fit`.

    Attributes:
        gaussians: The fitted Gaussians, detached.
        image: (C, H, W) their rendering, not clamped.
        history: Entries along the fit, both ends included.
    """

    gaussians: Gaussians
    image: Tensor
    history: list[HistoryEntry]


def fit(
    target: Tensor,
    gaussians: Gaussians,
    options: FitOptions | None = None,
    *,
    optimization: OptimizationConfig | None = None,
    densification: Callable[[int], Densification] | None = None,
    frozen: Gaussians | None = None,
    callback: Callback | None = None,
) -> Fit:
    """Optimize Gaussians so that they render as an image.

    The run ends at the first limit of `options`; the schedule of the rates follows whichever of `iterations` and
    `seconds` is nearer its end. On one machine the result repeats exactly unless `seconds` is given.

    Args:
        target: (C, H, W) image in [0, 1], of the size of the canvas.
        gaussians: Gaussians to start from; fitted with their own blend rule, on their device or, where that has no
            kernels, on the CPU. The result is on their device.
        options: Limits, loss and renderer; by default `DEFAULT_ITERATIONS` steps of the squared error. Seconds count
            the steps only (the first call of a process also compiles or loads kernels).
        optimization: Parametrization, optimizer, rates and loss; by default `LearningRates` for the number of steps
            that are planned, and the loss of the options (that is not used if this is given).
        densification: Callable that makes the strategy which adds, removes or moves Gaussians on the way, given the
            number of steps that are planned; `target_psnr` counts once all Gaussians are there.
        frozen: Further Gaussians on the canvas, which are drawn and stay as they are; they are not in the result.
        callback: Callable that gets every new entry of the history.

    Raises:
        ValueError: The target has the wrong shape or is not finite, or the fit diverged to NaN.
    """
    options = (options or FitOptions()).or_iterations(DEFAULT_ITERATIONS)
    with threads.reserved(1 if gaussians.height * gaussians.width <= MOST_ALONE else None):
        target = _check_target(target, gaussians)
        home = gaussians.means.device
        place = render_device(home, options.backend, None if optimization is None else optimization.top_k)
        target, gaussians = target.to(place), gaussians.to(place)
        frozen = None if frozen is None else frozen.to(place)
        fitted = _fit(target, gaussians, options, optimization, densification, frozen, callback)
        return replace(fitted, gaussians=fitted.gaussians.to(home), image=fitted.image.to(home))


def _fit(
    target: Tensor,
    gaussians: Gaussians,
    options: FitOptions,
    optimization: OptimizationConfig | None,
    densification: Callable[[int], Densification] | None,
    frozen: Gaussians | None,
    callback: Callback | None,
) -> Fit:
    """Optimize Gaussians where they are rendered, see `fit`."""
    trial = optimization or LearningRates().config(options.loss_function())
    steps = _planned_steps(target, gaussians, options, trial, frozen)
    config = optimization or LearningRates.for_iterations(steps).config(options.loss_function())
    descent = _make_descent(gaussians, target, config, options.backend, frozen)
    strategy = None if densification is None or not len(gaussians) else densification(steps)
    if not len(gaussians):
        options = replace(options, iterations=0)  # there is nothing to move
    recorder = _Recorder(descent, target, options.target_psnr, callback, config.keep_best)
    optimize(
        descent,
        lambda progress: config.schedule(progress, recorder.psnrs),
        options,
        recorder,
        target=target,
        densification=strategy,
    )
    best = recorder.best
    if best is not None:
        return Fit(best.gaussians, best.image, recorder.history)
    return Fit(descent.gaussians(), recorder.image.detach().clone(), recorder.history)


class _State(NamedTuple):
    """State of a fit that is kept.

    Attributes:
        psnr: PSNR in dB.
        gaussians: Gaussians, detached.
        image: (C, H, W) their rendering, not clamped.
    """

    psnr: float
    gaussians: Gaussians
    image: Tensor


class _Recorder:
    """Observer of `optimize` that keeps the history, and the best state if that is wanted; stops at the target PSNR."""

    image: Tensor
    best: _State | None = None

    def __init__(
        self,
        descent: Descent,
        target: Tensor,
        target_psnr: float | None,
        callback: Callback | None,
        keep_best: bool = False,
    ) -> None:
        self.history: list[HistoryEntry] = []
        self.psnrs: list[float] = []
        self._descent = descent
        self._target = target
        self._target_psnr = target_psnr
        self._callback = callback
        self._keep_best = keep_best
        self._next = 0  # iteration of the next entry
        self._start = time.perf_counter()

    def __call__(self, iteration: int, last: bool, growing: bool) -> int:
        """Add an entry if one is due; return the number of steps to the next one, 0 at the target PSNR."""
        if not last and iteration < self._next:
            return self._next - iteration
        if last or self._keep_best:
            with torch.set_grad_enabled(not last):  # the next step uses an image that was made with gradients
                self.image = self._descent.image().detach()
            quality = psnr(self.image, self._target)
        else:
            quality = self._descent.quality()
        # The rasterizer cannot draw a Gaussian at NaN, so the image alone would not show it.
        if math.isnan(quality) or not self._descent.finite():
            raise ValueError(f"the fit diverged before iteration {iteration}; use lower rates")
        if last or iteration % HISTORY_INTERVAL == 0:
            self.psnrs.append(quality)
        if self._keep_best and not growing and (self.best is None or quality > self.best.psnr):
            self.best = _State(quality, self._descent.gaussians(), self.image.clone())
        if last and self.best is not None:
            quality = self.best.psnr
        self.history.append(HistoryEntry(iteration, time.perf_counter() - self._start, quality))
        self._next = iteration + self._pause()
        if self._callback is not None:
            self._callback(self.history[-1])
        reached = self._target_psnr is not None and quality >= self._target_psnr and not growing
        if reached and not last:
            self.image = self._descent.image().detach()
        return 0 if reached else self._next - iteration

    def _pause(self) -> int:
        """Return the number of steps to the next entry: fewer where the target PSNR will be reached by then."""
        now = self.history[-1]
        pause = HISTORY_INTERVAL - now.iteration % HISTORY_INTERVAL
        if self._target_psnr is None or len(self.history) < 2:
            return pause
        before = self.history[-2]
        gain = (now.psnr - before.psnr) / (now.iteration - before.iteration)
        missing = self._target_psnr - now.psnr
        return max(1, min(pause, math.ceil(missing / gain))) if gain > 0 else pause


def _make_descent(
    gaussians: Gaussians,
    target: Tensor,
    config: OptimizationConfig,
    backend: Backend,
    frozen: Gaussians | None = None,
) -> Descent:
    """Return the fastest descent that there is for these tensors and this configuration."""
    rates = config.known_rates()
    if len(gaussians) and rates is not None:
        chosen = choose(gaussians.means.device, backend, dtype=gaussians.means.dtype)
        if chosen == "cpu" and gaussians.channels <= cpu_kernels.MOST_CHANNELS:
            return CpuDescent(Relative(gaussians), target, rates, config.loss, frozen)
        if chosen == "cuda" and isinstance(config.loss, SquaredError) and frozen is None:
            from fastgs.fitting.optimizer_cuda import CudaDescent  # deferred: Triton is not everywhere
            from fastgs.render.cuda import MOST_CHANNELS

            if gaussians.channels <= MOST_CHANNELS:
                return CudaDescent(Relative(gaussians), target, rates)
    return AutogradDescent(config.parametrization(gaussians), target, config, backend, frozen)


def _planned_steps(
    target: Tensor, gaussians: Gaussians, options: FitOptions, config: OptimizationConfig, frozen: Gaussians | None
) -> int:
    """Return the number of steps that was asked for, or that the seconds allow, by the time of a trial step."""
    if options.seconds is None:
        assert options.iterations is not None
        return options.iterations
    trial = _make_descent(gaussians, target, config, options.backend, frozen)
    start = 0.0
    for trial_step in range(1 + TRIAL_STEPS):
        trial.steps([1.0])
        if trial_step == 0:  # that one also compiled
            trial.image()
            start = time.perf_counter()
    trial.image()  # wait for what runs on a GPU
    elapsed = (time.perf_counter() - start) / TRIAL_STEPS
    steps = int(options.seconds / elapsed)
    return steps if options.iterations is None else min(steps, options.iterations)


def _check_target(target: Tensor, gaussians: Gaussians) -> Tensor:
    expected = (gaussians.channels, gaussians.height, gaussians.width)
    if tuple(target.shape) != expected:
        raise ValueError(f"target: expected shape {expected} like the canvas, got {tuple(target.shape)}")
    if not torch.isfinite(target).all():
        raise ValueError("target: holds NaN or infinity")
    return target.to(gaussians.means)
