"""From Gaussians to the symbols that are worth their bits: coordinate descent on error plus price, in integers.

Rounding every attribute to symbols of a few bits costs several dB, and gradients do not see symbols. But a Gaussian
covers few pixels: it can be taken out of the image, moved by one symbol at a time, given the best colour for where it
is, and put back where

    squared error + price * bits

is least: exactly, for the image as it is with all others rounded. Each then makes up for the rounding of its
neighbours. A price that equals the slope of error over bits (rate-distortion optimization, Sullivan and Wiegand 1998)
also tells which Gaussians are not worth theirs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from fastgs.codec import rdo_kernels as search_kernels
from fastgs.codec.symbols import AREA, BASIS, Layer, Steps, values
from fastgs.gaussians import MIN_SCALE, Gaussians
from fastgs.metrics.quality import psnr
from fastgs.render import render

Symbols = NDArray[np.int64]

# Of the Gaussians, by falling size. A few large ones make a coarse image.
SHARES = (1 / 8, 3 / 8, 1 / 2)
LEAST = 300  # Gaussians that are worth the headers of several layers

# Steps for Gaussians of mean size, where the fit has 34.5 dB; benchmarks/LOG.md, "Codec", tells how they were found.
STEPS = {"position": 0.5, "area": 0.2, "shape": 0.2, "luma": 0.035, "chroma": 0.035}
STEPS_PSNR = 34.5
# A larger error allows larger steps, and so do smaller Gaussians for their colours: as many bits tell of fewer pixels.
BY_ERROR = 0.6
COLOR_BY_SIZE = -0.5
POSITION_BY_SIZE = 0.5

REACH = 1.0  # longest axis, in sides of the canvas

SWEEPS = 10
# Error goes about as 1 / bits: one more bit spares their ratio. Twice that is a little better for symbols, as what it
# saves goes into finer steps; whole Gaussians are kept for less, since busy photos would lose all of theirs.
PRICE = 2.0
WORTH = 0.2
CONTEXT_BITS = 1.7  # of a Gaussian, that neighbours save

MIDDLE = 512  # largest symbol but for positions
_BLUR = 2.0  # of histograms, in symbols
_FLOOR = 1e-3


@dataclass(frozen=True)
class Found:
    """Result of a search.

    Attributes:
        layers: the most important first; together at most as many Gaussians as at the start.
        error: sum of squares over pixels and channels.
    """

    layers: list[Layer]
    error: float


def search(
    target: Tensor,
    gaussians: Gaussians,
    coarseness: float = 1.0,
    sweeps: int = SWEEPS,
    generator: np.random.Generator | None = None,
) -> Found:
    """Round fitted Gaussians.

    Args:
        target: (3, H, W) in [0, 1].
        gaussians: K of them under the normalized rule, fitted to the target.
        coarseness: factor of all steps but those of positions, which are powers of two.
        sweeps: how often each Gaussian is moved.
        generator: of the order; by default the same every time.
    """
    generator = generator or np.random.default_rng(0)
    # Needles that leave the canvas may be of any length.
    longest = REACH * max(gaussians.height, gaussians.width)
    rows = values(replace(gaussians, scales=gaussians.scales.clamp(MIN_SCALE, longest)))
    rows[:, :2] = rows[:, :2].clip(0, [gaussians.width, gaussians.height])
    layers = _layers(rows[:, AREA])
    error_factor = 10 ** (BY_ERROR * (STEPS_PSNR - psnr(render(gaussians), target)) / 20)
    steps = layer_steps(rows[:, AREA], layers, coarseness, error_factor)
    units = np.stack([each.columns() for each in steps])
    symbols = _round(rows, units[layers], (gaussians.height, gaussians.width))

    image = np.einsum("ij,jhw->ihw", BASIS, target.detach().cpu().double().numpy())
    goal = np.ascontiguousarray(image, np.float32)
    numerator, weight = np.zeros_like(goal), np.zeros_like(goal[0])
    alive = np.ones(len(rows), bool)
    place = float(
        np.log2(goal[0].size / np.prod(units[layers][:, :2], axis=1) / max(len(rows), 1)).mean()
    ) + 1 / math.log(2)
    for number in range(sweeps + 1):
        error = _build(numerator, weight, goal, symbols, units[layers], alive)
        if number == sweeps or not alive.any():
            break
        bits = _histogram_bits(symbols, layers, alive, len(units))
        total = sum(_bits(bits, symbols, layers, alive)) + alive.sum() * (place - CONTEXT_BITS)
        order = generator.permutation(np.flatnonzero(alive))
        price = PRICE * error / total
        search_kernels.sweep(
            numerator, weight, goal, symbols, units, layers, bits, place, price, WORTH * price, order, alive
        )
    kept = [symbols[alive & (layers == number)].astype(np.int32) for number in range(len(units))]
    return Found([Layer(each, step) for each, step in zip(kept, steps, strict=True)], error)


def _layers(areas: NDArray[np.float64]) -> NDArray[np.int64]:
    """(K,) which layer each Gaussian is in."""
    shares = SHARES if len(areas) >= LEAST else (1.0,)
    ends = np.rint(np.cumsum(shares) * len(areas))
    layers = np.empty(len(areas), np.int64)
    layers[np.argsort(-areas, kind="stable")] = np.searchsorted(ends, np.arange(len(areas)), side="right")
    return layers


def layer_steps(
    areas: NDArray[np.float64], layers: NDArray[np.int64], coarseness: float, error_factor: float
) -> list[Steps]:
    """The steps of each layer, by the mean size of its Gaussians."""
    factor = coarseness * error_factor
    steps = []
    for number in range(layers.max(initial=0) + 1):
        members = areas[layers == number]
        size = math.exp(0.5 * (members.mean() - areas.mean())) if len(members) else 1.0
        position = STEPS["position"] * error_factor * size**POSITION_BY_SIZE
        color = factor * size**COLOR_BY_SIZE
        steps.append(
            Steps(
                position=min(6, max(-3, round(-math.log2(position)))),
                area=STEPS["area"] * factor,
                shape=STEPS["shape"] * factor,
                luma=STEPS["luma"] * color,
                chroma=STEPS["chroma"] * color,
            )
        )
    return steps


def _round(rows: NDArray[np.float64], units: NDArray[np.float64], canvas: tuple[int, int]) -> Symbols:
    """(K, 8) symbols that can be written."""
    symbols = np.rint(rows / units).astype(np.int64)
    symbols[:, 2:] = symbols[:, 2:].clip(-MIDDLE, MIDDLE)
    last = np.floor(np.array(canvas[::-1]) / units[:, :2]).astype(np.int64)
    symbols[:, :2] = np.minimum(symbols[:, :2], last)
    return symbols


def _build(
    numerator: NDArray[np.float32],
    weight: NDArray[np.float32],
    target: NDArray[np.float32],
    symbols: Symbols,
    units: NDArray[np.float64],
    alive: NDArray[np.bool_],
) -> float:
    """The sums anew, free of what rounding left in them; the squared error."""
    numerator[:], weight[:] = 0, 0
    for row in (symbols * units)[alive]:
        search_kernels.add(numerator, weight, row, 1.0)
    error = target - numerator / (weight + search_kernels.EPS)
    return float(np.square(error, dtype=np.float64).sum())


def _histogram_bits(
    symbols: Symbols, layers: NDArray[np.int64], alive: NDArray[np.bool_], count: int
) -> NDArray[np.float64]:
    """(L, 8, S) price of each symbol by the smoothed histogram of its column; nothing for positions."""
    bits = np.zeros((count, symbols.shape[1], 2 * MIDDLE + 1))
    for layer in range(count):
        members = symbols[alive & (layers == layer)]
        for column in range(AREA, symbols.shape[1]):
            counts = np.bincount(members[:, column] + MIDDLE, minlength=2 * MIDDLE + 1)
            smooth = gaussian_filter1d(counts.astype(float), _BLUR, mode="constant") + _FLOOR
            bits[layer, column] = -np.log2(smooth / smooth.sum())
    return bits


def _bits(
    bits: NDArray[np.float64], symbols: Symbols, layers: NDArray[np.int64], alive: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """(A,) those of each Gaussian that is there, but for its position."""
    columns = np.arange(AREA, symbols.shape[1])
    picked = bits[layers[alive][:, None], columns, symbols[alive][:, AREA:] + MIDDLE]
    total: NDArray[np.float64] = picked.sum(1)
    return total
