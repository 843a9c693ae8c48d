"""Rate-distortion optimization of symbols: coordinate descent on error plus price, in integers.

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
from torch import Tensor

from fastgs.codec import rdo_kernels
from fastgs.codec.channels import RGB, Channels
from fastgs.codec.layer import MAX_SYMBOL
from fastgs.codec.mixing import find_mixing, to_basis
from fastgs.codec.prices import price_by_histograms, price_by_model
from fastgs.codec.symbols import AREA, COLOR, Layer, Steps, values
from fastgs.gaussians import CHANNELS, MIN_SCALE, Gaussians
from fastgs.metrics.quality import psnr
from fastgs.render import render
from fastgs.render.cpu_kernels import EPS

Symbols = NDArray[np.int64]

# Share of the Gaussians in each layer, by falling size: a few large ones make a coarse image. A third of a layer are
# positions, which give no better image until all are read; so no layer is so large that this takes a tenth of a file.
SHARES = (0.16, 0.28, 0.28, 0.28)
LEAST = 300  # Gaussians from which the headers of several layers are worth their bits


@dataclass(frozen=True)
class StepRule:
    """Steps of the symbols of a layer; benchmarks/LOG.md, section "Codec", tells how the values were found.

    The steps `position` to `alpha` are those of RGB Gaussians of mean size where the fit has `psnr`. A larger error
    allows larger steps, and so do smaller Gaussians for their colours, as the same bits describe fewer pixels.

    Attributes:
        position: Step of x and y in pixels, before it is rounded to a power of two.
        area: Step of the logarithm of the area.
        shape: Step of the two components of the shape.
        luma: Step of luma, or of channels of no known meaning.
        chroma: Step of both chroma components.
        alpha: Step of alpha.
        psnr: PSNR in dB of the fit that these steps are for.
        by_error: Power of the root mean square error that all steps are proportional to.
        position_by_size: Power of the mean size of a layer's Gaussians that their steps of x and y are proportional to.
        color_by_size: Power of the mean size of a layer's Gaussians that their steps of colours are proportional to.
    """

    position: float = 0.5
    area: float = 0.2
    shape: float = 0.2
    luma: float = 0.035
    chroma: float = 0.035
    alpha: float = 0.05
    psnr: float = 34.5
    by_error: float = 0.6
    position_by_size: float = 0.5
    color_by_size: float = -0.5


STEPS = StepRule()

REACH = 1.0  # longest axis of a Gaussian, in units of the longer side of the canvas

SWEEPS = 10
# The error is about proportional to 1 / bits, so one more bit saves their ratio. Twice that is a little better for
# symbols, as what it saves goes into finer steps; whole Gaussians are kept for less, since busy photos would lose all
# of theirs.
PRICE = 2.0
WORTH = 0.45
RENEWED = 2  # sweeps for which prices of the learned model are kept, but for the first
CONTEXT_BITS = 1.7  # bits of a Gaussian that contexts save

MIDDLE = 512  # largest symbol by magnitude, except for positions, unless steps are too fine for that
_CLIPPED = 0.001  # share of the Gaussians from which larger symbols are more than outliers


@dataclass(frozen=True)
class Found:
    """Result of a search.

    Attributes:
        layers: Layers, the most important first; together they hold no more Gaussians than the search started with.
        error: Squared error, summed over pixels and channels.
    """

    layers: list[Layer]
    error: float


def search(
    target: Tensor,
    gaussians: Gaussians,
    coarseness: float = 1.0,
    sweeps: int = SWEEPS,
    model: int | None = None,
) -> Found:
    """Round fitted Gaussians to the symbols that are worth their bits.

    Args:
        target: (C, H, W) image in [0, 1].
        gaussians: K Gaussians under the normalized rule, fitted to the target.
        coarseness: Factor of all steps except those of positions, which are powers of two.
        sweeps: Number of times that each Gaussian is moved.
        model: Number of the learned model that will code the symbols of RGB; None for models fitted to each layer.
    """
    channels = Channels(gaussians.channels, gaussians.alpha)
    mixing = find_mixing(gaussians) if channels.are_mixed else None
    transform = channels.basis if mixing is None else np.linalg.inv(to_basis(mixing)).T
    rows = _take_values(gaussians, transform)
    layers = _assign_layers(rows[:, AREA])
    error_factor = 10 ** (STEPS.by_error * (STEPS.psnr - psnr(render(gaussians), target)) / 20)
    steps = layer_steps(rows[:, AREA], layers, coarseness, error_factor, channels)
    units = np.stack([each.columns(channels) for each in steps])
    symbols, middle = _round_to_symbols(rows, units[layers], (gaussians.height, gaussians.width))

    image = np.einsum("ij,jhw->ihw", transform, target.detach().cpu().double().numpy())
    planes, zeros = rdo_kernels.split_channels(channels.count)
    goal = np.zeros((planes, *image.shape[1:]), np.float32)
    goal[: channels.count] = image
    numerator, weight = np.zeros_like(goal), np.zeros_like(goal[0])
    alive = np.ones(len(rows), bool)
    generator = np.random.default_rng(0)  # of the order in which Gaussians are moved: the same file every time
    position_bits = _price_position(goal[0].size, units[layers])
    price = math.inf
    for number in range(sweeps + 1):
        error = _rebuild_sums(numerator, weight, goal, (symbols * units[layers])[alive], zeros)
        if number == sweeps or not alive.any():
            break
        if model is None:
            prices, spared = price_by_histograms(symbols, layers, alive, len(units), middle, channels), CONTEXT_BITS
        elif number < 2 or number % RENEWED == 0:  # it takes as long as a sweep
            prices, spared = price_by_model(symbols, layers, alive, steps, goal.shape[1:], model), 0.0
        total = prices.sum(symbols, layers, alive) + alive.sum() * (position_bits - spared)
        order = generator.permutation(np.flatnonzero(alive))
        # It never rises: Gaussians that are dropped leave more error to fewer bits, so others would follow.
        price = min(price, PRICE * error / total)
        rdo_kernels.sweep(
            *(numerator, weight, goal, symbols, units, layers, prices.symbols, prices.bases, prices.rows, prices.flags),
            *(middle, position_bits, price, WORTH * price, order, alive, zeros),
        )
    kept = [symbols[alive & (layers == number)].astype(np.int32) for number in range(len(units))]
    return Found([Layer(each, step, mixing) for each, step in zip(kept, steps, strict=True)], error)


def _take_values(gaussians: Gaussians, transform: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (K, 5 + C) values to round, with centres on the canvas and axes of bounded length."""
    # Needles that leave the canvas may be of any length.
    longest = REACH * max(gaussians.height, gaussians.width)
    rows = values(replace(gaussians, scales=gaussians.scales.clamp(MIN_SCALE, longest)), transform)
    rows[:, :2] = rows[:, :2].clip(0, [gaussians.width, gaussians.height])
    return rows


def _assign_layers(areas: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the (K,) number of the layer of each Gaussian."""
    shares = SHARES if len(areas) >= LEAST else (1.0,)
    ends = np.rint(np.cumsum(shares) * len(areas))
    layers = np.empty(len(areas), np.int64)
    layers[np.argsort(-areas, kind="stable")] = np.searchsorted(ends, np.arange(len(areas)), side="right")
    return layers


def layer_steps(
    areas: NDArray[np.float64],
    layers: NDArray[np.int64],
    coarseness: float,
    error_factor: float,
    channels: Channels = RGB,
) -> list[Steps]:
    """Return the steps of each layer, by the mean size of its Gaussians.

    Args:
        areas: (K,) logarithms of the areas of the Gaussians.
        layers: (K,) number of the layer of each.
        coarseness: Factor of all steps except those of positions.
        error_factor: Factor of all steps.
        channels: Channels of the image.
    """
    # A bit is worth an error in proportion to the error of all channels over all bits, and an error of the shape is one
    # in all channels.
    error_factor *= channels.relative_bits**-0.5
    by_channels = math.sqrt(channels.count / CHANNELS)
    factor = coarseness * error_factor
    steps = []
    for number in range(layers.max(initial=0) + 1):
        members = areas[layers == number]
        size = math.exp(0.5 * (members.mean() - areas.mean())) if len(members) else 1.0
        position = STEPS.position * error_factor * size**STEPS.position_by_size
        color = factor * by_channels * size**STEPS.color_by_size
        steps.append(
            Steps(
                position=min(6, max(-3, round(-math.log2(position)))),
                area=STEPS.area * factor,
                shape=STEPS.shape * factor,
                luma=STEPS.luma * color,
                chroma=STEPS.chroma * color if "chroma" in channels.attributes else None,
                alpha=STEPS.alpha * color if channels.alpha else None,
            )
        )
    return steps


def _round_to_symbols(
    rows: NDArray[np.float64], units: NDArray[np.float64], canvas: tuple[int, int]
) -> tuple[Symbols, int]:
    """Return (K, 5 + C) symbols within the limits of the search, and the largest one except for positions."""
    symbols, middle = np.rint(rows / units).astype(np.int64), MIDDLE
    largest = np.abs(symbols[:, AREA:]).max(1, initial=0)
    while middle < MAX_SYMBOL and np.count_nonzero(largest > middle) > _CLIPPED * len(rows):
        middle = min(2 * middle, MAX_SYMBOL)
    symbols[:, AREA:] = symbols[:, AREA:].clip(-middle, middle)
    last = np.floor(np.array(canvas[::-1]) / units[:, :2]).astype(np.int64)
    symbols[:, :2] = np.minimum(symbols[:, :2], last)
    return symbols, middle


def _price_position(pixels: int, units: NDArray[np.float64]) -> float:
    """Return the mean bits of a position, as one of a set of K positions on an image of so many pixels."""
    cells = pixels / np.prod(units[:, :2], axis=1)
    return float(np.log2(cells / max(len(units), 1)).mean()) + 1 / math.log(2)


def _rebuild_sums(
    numerator: NDArray[np.float32],
    weight: NDArray[np.float32],
    target: NDArray[np.float32],
    rows: NDArray[np.float64],
    zeros: tuple[np.float32, ...],
) -> float:
    """Sum Gaussians anew, free of the rounding errors of many updates, and return the squared error."""
    numerator[:], weight[:] = 0, 0
    for row in np.pad(rows, [(0, 0), (0, COLOR + len(target) - rows.shape[1])]):
        rdo_kernels.add(numerator, weight, row, 1.0, zeros)
    error = target - numerator / (weight + EPS)
    return float(np.square(error, dtype=np.float64).sum())
