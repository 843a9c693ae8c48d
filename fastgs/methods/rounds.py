"""Rounds behind a fit: the number of Gaussians changes, and they settle in a few steps at low rates."""

from __future__ import annotations

from dataclasses import replace

import torch

from fastgs.fitting.fit import Callback, HistoryEntry, fit
from fastgs.fitting.optimizer import LearningRates
from fastgs.fitting.options import FitOptions
from fastgs.methods.result import Result
from fastgs.methods.steering import Resizing

RATE = 0.3  # rates of a round relative to those of a fit
HOLD, DECAY = 0.3, 10.0  # share of a round at these rates, and their fall in the rest


def settle(
    result: Result,
    count: int,
    options: FitOptions,
    device: torch.device,
    generator: torch.Generator,
    callback: Callback | None = None,
) -> Result:
    """Change the number of Gaussians of a result and let them settle.

    Args:
        result: Result of a fit, or of the round before.
        count: Number of Gaussians.
        options: Limits of the round, loss and renderer.
        device: Device to work on; the new result is where the old one is.
        generator: Random generator of new places.
        callback: Callable that gets every new entry of the history, counted from the start of the fit.
    """
    home, last = result.image.device, result.history[-1]

    def behind(entry: HistoryEntry) -> HistoryEntry:
        return HistoryEntry(last.iteration + entry.iteration, last.seconds + entry.seconds, entry.psnr)

    usual = LearningRates(hold=HOLD, decay=DECAY)
    rates = {name: RATE * getattr(usual, name) for name in ("means", "scales", "rotations", "colors")}
    fitted = fit(
        result.target.to(device),
        result.gaussians.to(device),
        options,
        optimization=replace(usual, **rates).config(options.loss_function()),
        densification=lambda _: Resizing(count, generator),
        callback=None if callback is None else lambda entry: callback(behind(entry)),
    )
    entries = [behind(entry) for entry in fitted.history]
    if len(entries) > 1:
        entries[0] = last  # the new one is of Gaussians that had not settled
    return replace(
        result,
        gaussians=fitted.gaussians.to(home),
        image=fitted.image.clamp(0, 1).to(home),
        history=[*result.history[:-1], *entries],
    )
