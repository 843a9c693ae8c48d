"""Encoder of the scheme "fastgs": fit under the normalized rule, search the symbols worth their bits, fill the file."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace

import torch
from torch import Tensor

from fastgs.codec.channels import Channels
from fastgs.codec.effort import Effort
from fastgs.codec.frame import Frame, read_frame, write_frame
from fastgs.codec.layer import decode_layers, encode_layers, most_gaussians
from fastgs.codec.learned import UnlikelyError
from fastgs.codec.rdo import search
from fastgs.codec.restoration import choose, correct
from fastgs.codec.restoration_entry import RESTORATION_BYTES
from fastgs.codec.sizing import Sizing
from fastgs.codec.symbol_models import LATEST
from fastgs.codec.symbols import dequantize
from fastgs.fitting.densification import Densification, Relocation
from fastgs.fitting.fit import Callback, HistoryEntry
from fastgs.fitting.optimizer import LearningRates
from fastgs.fitting.options import FitOptions
from fastgs.gaussians import Gaussians
from fastgs.initializers import DEFAULT, INITIALIZERS
from fastgs.methods import Result
from fastgs.methods.fastgs import make_method, make_relocation

# To fill a file of a given size, quantization steps are made coarser or finer.
COARSEST, FINEST = 2.0, 0.5  # bounds of the factor of all steps
TRIALS = 8  # number of factors that are tried at most
FULL = 0.97  # share of the bytes that is enough
FITS = 3  # with fewer Gaussians, where steps alone do not make it small enough
MIDDLE = 0.5 * (1 + FULL)
INSIDE = 0.1  # least share of what is left that a trial cuts off
NEXT = 1.01  # factor of two coarsenesses between which no other one is tried
# Sweeps of a search in the midst of a fit, and the factor of the size of its file for what the rest of the fit adds:
# more in a short one.
SKETCH_SWEEPS = 2
GROWTH = 1.11
GROWTH_OF_SHORT = 5.0  # over the number of steps
# Bits that a Gaussian costs less where steps are twice as coarse, about; one more for each channel.
BITS_OF_COARSENESS = 2.5

RESTORATION_ROOM = 1 + RESTORATION_BYTES  # of a file, with the flag

# A long memory of gradients and large steps of colours overshoot: their gain in a fit is lost, and more, in rounding.
LONGEST_MEMORY = 6.0
RATES = {"means": 0.2, "scales": 0.19, "rotations": 0.15, "colors": 0.26, "hold": 0.8}
# Files have few Gaussians, so where they are matters more: that many times as many as usual are relocated, for longer.
RELOCATED = 10 / 3
LONGER = 15 / 14


def encode(
    image: Tensor,
    num_gaussians: int,
    alpha: bool,
    effort: Effort,
    seed: int,
    target_bytes: int | None,
    callback: Callback | None,
    restores: bool = True,
) -> tuple[list[bytes], list[HistoryEntry]]:
    """Fit an image and write it, once or several times; the arguments are those of `Scheme.encode`.

    With `restores`, files of RGB ask for restoration where that helps.

    Returns:
        The files, the smallest first, and the histories of the fits, one after the other.

    Raises:
        ValueError: A file holds no such number of Gaussians.
    """
    files: list[bytes] = []
    history: list[HistoryEntry] = []
    restores = restores and Channels(len(image), alpha).are_rgb
    if restores and target_bytes is not None:
        target_bytes = max(1, target_bytes - RESTORATION_ROOM)
    for coarseness in (1.0,) if target_bytes is None else effort.coarsenesses:
        aim = target_bytes
        for _ in range(FITS):
            result = fit(image, num_gaussians, alpha, effort.iterations, seed, callback, aim, coarseness)
            history += result.history
            gaussians, model = result.gaussians, _choose_model(image, alpha)
            data = fill(image, gaussians, target_bytes, coarseness, effort.sweeps, model)
            files.append(data)
            if _is_unlikely(data):
                files.append(fill(image, gaussians, target_bytes, coarseness, effort.sweeps))
            if aim is None or target_bytes is None or len(data) <= target_bytes:
                break
            # The coarsest steps do not make it small enough; fewer Gaussians will.
            aim = max(1, round(aim * MIDDLE * target_bytes / len(data)))
    if restores:
        files = [add_restoration(data, image) for data in files]
    return sorted(files, key=len), history


def fit(
    image: Tensor,
    num_gaussians: int,
    alpha: bool,
    iterations: int,
    seed: int,
    callback: Callback | None,
    target_bytes: int | None = None,
    coarseness: float = 1.0,
) -> Result:
    """Fit an image for a file; the arguments are those of `fastgs.codec.scheme.Scheme.encode`.

    If `target_bytes` is given, the number of Gaussians changes on the way to one whose file, at steps of the given
    coarseness, has this size, about.

    Raises:
        ValueError: A file holds no such number of Gaussians.
    """
    most = most_gaussians(Channels(image.shape[0], alpha))
    if not 1 <= num_gaussians <= most:
        raise ValueError(f"num_gaussians: must be from 1 to {most}, got {num_gaussians}")

    def measure(gaussians: Gaussians) -> int:
        return round(
            (GROWTH + GROWTH_OF_SHORT / max(1, iterations))
            * len(_write(image, gaussians, coarseness, SKETCH_SWEEPS, _choose_model(image, alpha))[0])
        )

    def densify(count: int, pixels: int, steps: int, generator: torch.Generator | None) -> Densification:
        relocation = _relocate_more(make_relocation(count, pixels, steps, generator))
        if target_bytes is None:
            return relocation
        return Sizing(relocation, steps, target_bytes, min(most, pixels), measure)

    method = make_method(INITIALIZERS[DEFAULT], optimization=_rates(iterations).config())
    return replace(method, densification=densify)(
        image, num_gaussians, FitOptions(iterations), seed=seed, alpha=alpha, callback=callback
    )


def _rates(iterations: int) -> LearningRates:
    """Return the learning rates for a fit that will be quantized."""
    usual = LearningRates.for_iterations(iterations)
    gradient, square = (each._replace(longest=LONGEST_MEMORY) for each in (usual.gradient_betas, usual.square_betas))
    return replace(usual, gradient_betas=gradient, square_betas=square, **RATES)


def _relocate_more(relocation: Relocation) -> Relocation:
    """Return the relocation for a fit that will be quantized."""
    events, shares = relocation.events, relocation.shares
    return replace(
        relocation, events=[LONGER * event for event in events], shares=[RELOCATED * share for share in shares]
    )


def fill(
    image: Tensor,
    gaussians: Gaussians,
    target_bytes: int | None,
    coarseness: float,
    sweeps: int,
    model: int | None = None,
) -> bytes:
    """Write a file of at most `target_bytes` bytes, if that can be done with these Gaussians.

    Args:
        image: (C, H, W) in [0, 1].
        gaussians: Gaussians fitted to it.
        target_bytes: Size that the file should fill; None for steps of the given coarseness.
        coarseness: Factor of the quantization steps to begin with.
        sweeps: Number of sweeps of each search.
        model: Number of the learned model of symbols, for RGB; None for models that are fitted to each layer.
    """
    channels = Channels(gaussians.channels, gaussians.alpha)
    best: bytes | None = None
    # Steps between these give the right size, as their files are too large and too small; sizes where they are known.
    finer, coarser = (FINEST, 0), (COARSEST, 0)
    for _ in range(TRIALS):
        data, count = _write(image, gaussians, coarseness, sweeps, model)
        if target_bytes is None:
            return data
        if best is None or len(best) > target_bytes or len(best) < len(data) <= target_bytes:
            best = data
        if FULL * target_bytes <= len(data) <= target_bytes:
            break
        if len(data) > target_bytes:
            finer = coarseness, len(data)
        else:
            coarser = coarseness, len(data)
        if coarser[0] < NEXT * finer[0]:
            break
        wanted, bracket = MIDDLE * target_bytes, math.log(coarser[0] / finer[0])
        if finer[1] and coarser[1]:
            share = math.log(finer[1] / wanted) / math.log(finer[1] / coarser[1])
        else:
            step = 8 * (len(data) - wanted) / max(1, count) / (BITS_OF_COARSENESS + channels.count) * math.log(2)
            share = (math.log(coarseness / finer[0]) + step) / bracket
        share = min(1 - INSIDE * (coarser[1] > 0), max(INSIDE * (finer[1] > 0), share))
        coarseness = finer[0] * math.exp(share * bracket)
    assert best is not None
    return best


def _choose_model(image: Tensor, alpha: bool) -> int | None:
    """Return the number of the learned model of symbols for an image."""
    return LATEST if Channels(len(image), alpha).are_rgb else None


def _is_unlikely(data: bytes) -> bool:
    """Tell whether models that are fitted to each layer would take fewer bytes than the learned one in a file."""
    frame = read_frame(data)
    if frame.symbols is None:
        return False
    canvas = frame.height, frame.width
    layers = decode_layers(frame.layers, canvas, model=frame.symbols)
    return sum(map(len, encode_layers(layers, canvas))) < sum(map(len, frame.layers))


def add_restoration(data: bytes, image: Tensor) -> bytes:
    """Return a file that asks for restoration if that brings it nearer to the (3, H, W) image, or else as it is."""
    frame = read_frame(data)
    canvas = frame.height, frame.width
    gaussians = dequantize(decode_layers(frame.layers, canvas, model=frame.symbols), *canvas)
    return write_frame(replace(frame, restoration=choose(correct(gaussians), image.cpu().numpy())))


def _write(image: Tensor, gaussians: Gaussians, coarseness: float, sweeps: int, model: int | None) -> tuple[bytes, int]:
    """Return the file of fitted Gaussians at steps of a given coarseness, and how many Gaussians are in it."""
    canvas, channels = (gaussians.height, gaussians.width), Channels(gaussians.channels, gaussians.alpha)
    layers = search(image, gaussians, coarseness, sweeps, model).layers
    count = sum(len(layer.symbols) for layer in layers)
    if model is not None:
        with suppress(UnlikelyError):
            payloads = encode_layers(layers, canvas, channels, model)
            return write_frame(Frame("fastgs", *canvas, payloads, symbols=model)), count
    return write_frame(Frame("fastgs", *canvas, encode_layers(layers, canvas, channels), channels=channels)), count
