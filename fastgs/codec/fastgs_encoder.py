"""Encoder of the scheme "fastgs": fit under the normalized rule, search the symbols worth their bits, fill the file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastgs.codec.alternation import Rounded, alternate
from fastgs.codec.channels import Channels
from fastgs.codec.effort import Effort
from fastgs.codec.frame import Frame, read_frame, write_frame
from fastgs.codec.layer import decode_layers, encode_layers, most_gaussians
from fastgs.codec.learned import UnlikelyError
from fastgs.codec.rdo import LAST_SHARE, Search, count_last
from fastgs.codec.restoration import choose, correct
from fastgs.codec.restoration_entry import RESTORATION_BYTES
from fastgs.codec.sizing import Sizing
from fastgs.codec.symbol_models import LATEST
from fastgs.codec.symbols import dequantize
from fastgs.codec.tuning import WeightedSquaredError
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
FULL = 0.99  # share of the bytes that is enough
FITS = 3  # with fewer Gaussians, where steps alone do not make it small enough
# The last search, at a lower price, makes files so many times larger than those on the way to it.
GROWTH_OF_LAST = 1.055
# Searches in turns with fits drop more than half of the Gaussians of a busy photo, for a better image. If the others
# would need steps finer than this share of the usual ones to fill the file, there is another fit, for a file so many
# times as large; steps that are finer still are left to fits that lost the more.
FEW, MORE = 0.65, 1.85
MIDDLE = 0.992  # share that is aimed at
INSIDE = 0.1  # least share of what is left that a trial cuts off
NEXT = 1.01  # factor of two coarsenesses between which no other one is tried
# Sweeps after which the first trials end if their files would be so many times too large or too small.
PROBES, PROBE, FAR = 2, 3, 1.12
PROBED = 1.05  # size of the file in units of the bits that are counted then, about
# From about the right size on, the last sweeps of the search are done again at another price.
NEAR = (0.98, 1.01)  # shares of the bytes
FILLED = (0.997, 0.9985)  # share that is enough then, and the one that is aimed at
REFINEMENTS = 3
SHARES = (0.03, 1.5)  # bounds of the factor of the price
BYTES_OF_PRICE = -0.008  # share of the bytes that e times the price spares, about
# Sweeps of a search in the midst of a fit, and the factor of the size of its file for what the rest of the fit adds:
# more in a short one.
SKETCH_SWEEPS = 2
SKETCH_WORTH = 0.45  # of the price; Gaussians that are dropped then would be made up for by too many others
GROWTH = 1.11
GROWTH_OF_SHORT = 5.0  # over the number of steps
# Bits that a Gaussian costs less where steps are twice as coarse, about; one more for each channel. A search that drops
# this share of the Gaussians, or more, spares twice as many, as coarser steps leave fewer.
BITS_OF_COARSENESS = 2.5
LOSING = 0.25

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
    importance: Tensor | None = None,
) -> tuple[list[bytes], list[HistoryEntry]]:
    """Fit an image and write it, once or several times; the arguments are those of `Scheme.encode`.

    With `restores`, files of RGB ask for restoration where that helps. `importance` has (H, W) factors of the squared
    errors of pixels, None for 1.

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
        model = _choose_model(image, alpha)
        for trial in range(FITS):
            result = fit(image, num_gaussians, alpha, effort.iterations, seed, callback, aim, coarseness, importance)
            history += result.history
            state, least = Rounded(result.gaussians, coarseness), 0.0 if trial else FEW * coarseness
            state = _alternate(image, state, target_bytes, effort, least, model, importance)
            if state.coarseness < least and aim is not None:
                aim = round(MORE * aim)
                continue
            data = fill(image, state, target_bytes, effort.sweeps, model, importance)
            files.append(data)
            if _is_unlikely(data):
                files.append(fill(image, state, target_bytes, effort.sweeps, None, importance))
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
    importance: Tensor | None = None,
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
            * len(_sketch(image, gaussians, coarseness, _choose_model(image, alpha), importance))
        )

    def densify(count: int, pixels: int, steps: int, generator: torch.Generator | None) -> Densification:
        relocation = _relocate_more(make_relocation(count, pixels, steps, generator))
        if target_bytes is None:
            return relocation
        return Sizing(relocation, steps, target_bytes, min(most, pixels), measure)

    loss = None if importance is None else WeightedSquaredError(importance)
    method = make_method(INITIALIZERS[DEFAULT], optimization=_rates(iterations).config(loss))
    return replace(method, densification=densify)(
        image, num_gaussians, FitOptions(iterations), seed=seed, alpha=alpha, callback=callback
    )


def _sketch(
    image: Tensor, gaussians: Gaussians, coarseness: float, model: int | None, importance: Tensor | None
) -> bytes:
    """Return the file that Gaussians on their way would have after a short search."""
    searching = Search(image, gaussians, coarseness, model, SKETCH_WORTH, _to_array(importance))
    searching.run(SKETCH_SWEEPS)
    return _write(searching, model)


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


def _alternate(
    image: Tensor,
    state: Rounded,
    target_bytes: int | None,
    effort: Effort,
    least: float,
    model: int | None,
    importance: Tensor | None,
) -> Rounded:
    """Return Gaussians after searches and short fits in turns, whose files come nearer to `target_bytes`."""

    def search(state: Rounded) -> Search:
        return Search(
            *(image, state.gaussians, state.coarseness, model),
            importance=_to_array(importance),
            price=state.price,
        )

    def steer(searching: Search, state: Rounded) -> Rounded:
        coarseness, price = state.coarseness, searching.price
        if target_bytes is not None:
            size, wanted = GROWTH_OF_LAST * _estimate_size(searching), MIDDLE * target_bytes
            coarseness = min(COARSEST, max(FINEST, coarseness * math.exp(_find_step(searching, size, wanted))))
            if coarseness < FEW * state_coarseness and not least:
                price *= min(1.0, size / wanted)  # so that no more Gaussians go
        return Rounded(searching.gaussians, coarseness, price)

    state_coarseness = state.coarseness
    return alternate(image, state, effort.rounds, _rates(effort.iterations), search, steer, least, importance)


def _estimate_size(searching: Search) -> int:
    """Return the bytes of the file at the end of a search that is on its way, about."""
    return round(PROBED * searching.bits / 8)


def _find_step(searching: Search, size: float, wanted: float) -> float:
    """Return the logarithm of the factor of the steps for a file of another size, about.

    Args:
        searching: Search whose file has `size` bytes.
        size: Size in bytes.
        wanted: Size in bytes that is wanted.
    """
    bits = (BITS_OF_COARSENESS + searching.channels.count) * (1 + min(1, searching.lost / LOSING))
    return 8 * (size - wanted) / max(1, searching.count) / bits * math.log(2)


def fill(
    image: Tensor,
    state: Rounded,
    target_bytes: int | None,
    sweeps: int,
    model: int | None = None,
    importance: Tensor | None = None,
) -> bytes:
    """Write a file of at most `target_bytes` bytes, if that can be done with these Gaussians.

    Args:
        image: (C, H, W) in [0, 1].
        state: Gaussians fitted to it, and the factor of the quantization steps to begin with.
        target_bytes: Size that the file should fill; None for those steps.
        sweeps: Number of sweeps of each search.
        model: Number of the learned model of symbols, for RGB; None for models that are fitted to each layer.
        importance: (H, W) factors of the squared errors of pixels; None for 1.
    """
    coarseness = state.coarseness
    best: bytes | None = None
    # Steps between these give the right size, as their files are too large and too small; sizes where they are known.
    finer, coarser = (FINEST, 0), (COARSEST, 0)
    usual = sweeps - count_last(sweeps)
    probes = PROBES if target_bytes is not None and usual > PROBE else 0
    for trial in range(TRIALS):
        searching = Search(
            *(image, state.gaussians, coarseness, model), importance=_to_array(importance), price=state.price
        )
        searching.run(min(PROBE, usual))
        size = _estimate_size(searching)
        if trial >= probes or 1 / FAR <= size / (target_bytes or size) <= FAR:
            searching.run(usual - PROBE)
            data = _finish(searching, sweeps, LAST_SHARE, model)
            if target_bytes is None:
                return data
            size, best = len(data), _choose_fuller(best, data, target_bytes)
            if NEAR[0] * target_bytes <= size <= NEAR[1] * target_bytes:
                for refined in _refine(searching, sweeps, size, target_bytes, model):
                    best = _choose_fuller(best, refined, target_bytes)
            if FULL * target_bytes <= len(best) <= target_bytes:
                break
        assert target_bytes is not None
        if size > target_bytes:
            finer = coarseness, size
        else:
            coarser = coarseness, size
        if coarser[0] < NEXT * finer[0]:
            if best is not None:
                break
            probes = 0  # the last steps that are tried are tried to their end
            continue
        wanted, bracket = MIDDLE * target_bytes, math.log(coarser[0] / finer[0])
        if finer[1] and coarser[1]:
            share = math.log(finer[1] / wanted) / math.log(finer[1] / coarser[1])
        else:
            share = (math.log(coarseness / finer[0]) + _find_step(searching, size, wanted)) / bracket
        share = min(1 - INSIDE * (coarser[1] > 0), max(INSIDE * (finer[1] > 0), share))
        coarseness = finer[0] * math.exp(share * bracket)
    assert best is not None
    return best


def _to_array(importance: Tensor | None) -> NDArray[np.float32] | None:
    return None if importance is None else importance.cpu().numpy()


def _choose_fuller(best: bytes | None, data: bytes, target_bytes: int) -> bytes:
    """Return the larger file of at most so many bytes, or the second one if there is none."""
    return data if best is None or len(best) > target_bytes or len(best) < len(data) <= target_bytes else best


def _finish(searching: Search, sweeps: int, share: float, model: int | None) -> bytes:
    """Return the file at the end of a search of which the last sweeps are missing, at a share of the price."""
    last = searching.copy()
    last.run(count_last(sweeps), share)
    return _write(last, model)


def _refine(searching: Search, sweeps: int, size: int, target_bytes: int, model: int | None) -> Iterator[bytes]:
    """Yield files whose sizes come nearer to `target_bytes`, by other prices in the last sweeps.

    Args:
        searching: Search of which the last sweeps are missing.
        sweeps: Number of all sweeps.
        size: Size of the file at the usual price.
        target_bytes: Size that is wanted at most.
        model: Number of the learned model of symbols.
    """
    known = {math.log(LAST_SHARE): size}
    place, slope = math.log(LAST_SHARE), BYTES_OF_PRICE * target_bytes
    for _ in range(REFINEMENTS):
        if FILLED[0] * target_bytes <= known[place] <= target_bytes:
            return
        wanted = place + (FILLED[1] * target_bytes - known[place]) / slope
        before, place = place, min(max(wanted, math.log(SHARES[0])), math.log(SHARES[1]))
        if place in known:
            return
        data = _finish(searching, sweeps, math.exp(place), model)
        yield data
        known[place] = len(data)
        slope = min(0.3 * slope, (known[place] - known[before]) / (place - before))


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


def _write(searching: Search, model: int | None) -> bytes:
    """Return the file of what a search has found."""
    layers, canvas, channels = searching.found.layers, searching.canvas, searching.channels
    if model is not None:
        with suppress(UnlikelyError):
            payloads = encode_layers(layers, canvas, channels, model)
            return write_frame(Frame("fastgs", *canvas, payloads, symbols=model))
    return write_frame(Frame("fastgs", *canvas, encode_layers(layers, canvas, channels), channels=channels))
