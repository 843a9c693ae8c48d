"""The optimization loop: every fit, of one image or of many at once, takes its steps here."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fastgs.fitting.densification import Densification
from fastgs.fitting.optimizer import Descent
from fastgs.fitting.options import FitOptions


def optimize(
    descent: Descent,
    schedule: Callable[[float], float],
    limits: FitOptions,
    observe: Callable[[int, bool, bool], int],
    *,
    target: Tensor | None = None,
    densification: Densification | None = None,
) -> None:
    """Take steps until a limit is reached or the observer has seen enough.

    Args:
        descent: Gaussians on their way to a target.
        schedule: Factor of the learning rates at a share of the run in [0, 1].
        limits: Number of steps and seconds, at least one of the two.
        observe: Callable (iteration, last, growing) -> number of steps that may be taken before it looks again, 0 to
            end the run; called at the start and at the end, and perhaps before it wants to. `last` says that a limit
            is reached, `growing` that Gaussians are still to be added.
        target: (C, H, W) image that `densification` compares with.
        densification: Strategy that adds, removes or moves Gaussians on the way.
    """
    events: Sequence[float] = () if densification is None else densification.events
    acted, iteration, start = 0, 0, time.perf_counter()
    while True:
        progress = limits.progress(iteration, time.perf_counter() - start)
        while densification is not None and acted < len(events) and progress >= events[acted]:
            assert target is not None
            with torch.no_grad():
                edit = densification.edit(acted, target, descent)
            descent.edit(*edit)
            acted += 1
        last = progress >= 1
        growing = densification is not None and densification.grows and acted < len(events)
        pause = observe(iteration, last, growing)
        if last or not pause:
            return
        factors = [schedule(progress)]
        while limits.seconds is None and len(factors) < pause:
            ahead = limits.progress(iteration + len(factors), 0.0)
            if ahead >= 1 or (acted < len(events) and ahead >= events[acted]):
                break
            factors.append(schedule(ahead))
        descent.steps(factors)
        iteration += len(factors)
