"""Checks of the arguments of `fastgs.Predictor`, which commands make before anything slow is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from fastgs.definition import check_blend
from fastgs.fitting.options import FitOptions, check_integer
from fastgs.initializers import DEFAULT, INITIALIZERS
from fastgs.io.pixels import Background, check_background
from fastgs.methods import LEARNED

MAX_ZOOM = 16  # far beyond what networks are trained for; more is a mistake
Auto = Literal["auto"]
AUTO: Auto = "auto"  # number of Gaussians that stands for as many as a PSNR takes
LEAST_ITERATIONS = 20  # of a fit to a PSNR, which is looked at on its way


def check_init(init: str | None = None, weights: str | Path | None = None) -> str:
    """Return the name of the initializer that arguments of `Predictor` stand for; no weights are loaded.

    Raises:
        ValueError: The name is unknown, or weights are given for another initializer; the message begins with the name
            of the argument.
    """
    if init is None:
        return DEFAULT if weights is None else LEARNED
    INITIALIZERS.check("init", init)
    if weights is not None and init != LEARNED:
        raise ValueError(f"weights: are for init {LEARNED!r}, not {init!r}; leave one of the two out")
    return init


def check_arguments(
    *,
    num_gaussians: int | Auto,
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
    if num_gaussians != AUTO:
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


def check_wish(options: FitOptions) -> float:
    """Check the options of a fit whose number of Gaussians follows from a PSNR, and return the PSNR in dB.

    Raises:
        ValueError: There is no PSNR, or another limit than a number of steps, of which there must be enough; the
            message begins with the name of an argument of `Predictor.__call__`.
    """
    if options.target_psnr is None:
        raise ValueError(
            f"num_gaussians: {AUTO!r} needs a PSNR to reach; give target_psnr (--target-psnr) too, or a number"
        )
    if options.seconds is not None:
        raise ValueError(f"seconds: not with num_gaussians {AUTO!r}; give iterations")
    if options.iterations is not None and options.iterations < LEAST_ITERATIONS:
        raise ValueError(
            f"iterations: must be at least {LEAST_ITERATIONS} with num_gaussians {AUTO!r}, got {options.iterations}"
        )
    return options.target_psnr
