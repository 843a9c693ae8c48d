"""Checks of the arguments of `fastgs.Predictor`, which commands make before anything slow is imported."""

from __future__ import annotations

from pathlib import Path

from fastgs.definition import check_blend
from fastgs.fitting.options import check_integer
from fastgs.initializers import DEFAULT, INITIALIZERS
from fastgs.io.pixels import Background, check_background
from fastgs.methods import LEARNED

MAX_ZOOM = 16  # far beyond what networks are trained for; more is a mistake


def check_init(init: str | None = None, weights: str | Path | None = None) -> str:
    """Return the name of the initializer that arguments of `Predictor` stand for; no weights are loaded.

    Raises:
        ValueError: As `Predictor` raises it; the message begins with the name of the argument.
    """
    if init is None:
        return DEFAULT if weights is None else LEARNED
    INITIALIZERS.check("init", init)
    if weights is not None and init != LEARNED:
        raise ValueError(f"weights: are for init {LEARNED!r}, not {init!r}; leave one of the two out")
    return init


def check_arguments(
    *,
    num_gaussians: int,
    seed: int = 0,
    size: int | None = None,
    zoom: float | None = None,
    blend: str = "normalized",
    background: Background | None = None,
) -> None:
    """Check what depends neither on the image nor on the fit, so that a mistake shows before any work is done.

    `FitOptions` checks the options of the fit when it is made.

    Raises:
        ValueError: An argument of `Predictor.__call__` has the wrong type or range; the message begins with its name.
    """
    check_integer("num_gaussians", num_gaussians, least=1)
    check_integer("seed", seed, least=0)
    if seed >= 2**64:
        raise ValueError(f"seed: must be below 2^64, got {seed}")
    if size is not None:
        check_integer("size", size, least=1)
    if zoom is not None and not 1 <= zoom <= MAX_ZOOM:
        raise ValueError(f"zoom: must be from 1 to {MAX_ZOOM}, got {zoom}")
    check_blend(blend)
    if background is not None:
        check_background(background)
