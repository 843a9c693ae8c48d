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
from copy import copy, deepcopy
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fastgs.codec import rdo_image_kernels, rdo_kernels
from fastgs.codec.channels import RGB, Channels
from fastgs.codec.layer import MAX_SYMBOL
from fastgs.codec.mixing import find_mixing, to_basis
from fastgs.codec.prices import Prices, price_by_histograms, price_by_model
from fastgs.codec.rdo_image_kernels import Scene
from fastgs.codec.symbols import AREA, COLOR, Layer, Steps, dequantize, values
from fastgs.gaussians import CHANNELS, MIN_SCALE, Gaussians
from fastgs.metrics.quality import psnr
from fastgs.render import render

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
WORTH = 0.6
# The last sweeps count less for bits: finer symbols, at coarser steps, for the same number of Gaussians.
LAST = 3  # one sweep in so many
LAST_SHARE = 0.3  # of the price
RENEWED = 3  # sweeps for which prices of the learned model are kept, as to find them takes as long as a sweep
CONTEXT_BITS = 1.7  # bits of a Gaussian that contexts save

MIDDLE = 512  # largest symbol by magnitude, except for positions, unless steps are too fine for that
_CLIPPED = 0.001  # share of the Gaussians from which larger symbols are more than outliers


@dataclass(frozen=True)
class Found:
    """Result of a search.

    Attributes:
        layers: Layers, the most important first; together they hold no more Gaussians than the search started with.
        error: Squared error, summed over pixels and channels, each pixel times its importance.
    """

    layers: list[Layer]
    error: float


class Search:
    """Search of the symbols of fitted Gaussians, sweep by sweep, beginning with rounded ones.

    Args:
        target: (C, H, W) image in [0, 1].
        gaussians: K Gaussians under the normalized rule, fitted to the target.
        coarseness: Factor of all steps except those of positions, which are powers of two.
        model: Number of the learned model that will code the symbols of RGB; None for models fitted to each layer.
        worth: Share of the price that each bit of a Gaussian must save for the Gaussian to stay.
        importance: (H, W) factor of the squared error of each pixel; None for 1.
        price: Squared error that a bit is worth at most.

    Attributes:
        channels: Channels of the image.
        canvas: Height and width in pixels.
        bits: Bits of the symbols before the last sweep, as the search counts them.
        price: Squared error that a bit is worth.
    """

    def __init__(
        self,
        target: Tensor,
        gaussians: Gaussians,
        coarseness: float = 1.0,
        model: int | None = None,
        worth: float = WORTH,
        importance: NDArray[np.float32] | None = None,
        price: float = math.inf,
    ) -> None:
        self.channels = channels = Channels(gaussians.channels, gaussians.alpha)
        self._mixing = find_mixing(gaussians) if channels.are_mixed else None
        transform = channels.basis if self._mixing is None else np.linalg.inv(to_basis(self._mixing)).T
        rows = _take_values(gaussians, transform)
        self._model, self._layers = model, _assign_layers(rows[:, AREA])
        error_factor = 10 ** (STEPS.by_error * (STEPS.psnr - psnr(render(gaussians), target)) / 20)
        self._steps = layer_steps(rows[:, AREA], self._layers, coarseness, error_factor, channels)
        self._units = np.stack([each.columns(channels) for each in self._steps])
        self.canvas = canvas = gaussians.height, gaussians.width
        self._symbols, self._middle = _round_to_symbols(rows, self._units[self._layers], canvas)
        image = np.einsum("ij,jhw->ihw", transform, target.detach().cpu().double().numpy())
        self._scene = Scene.make(image, importance)
        self._alive = np.ones(len(rows), bool)
        self._generator = np.random.default_rng(0)  # of the order of Gaussians: the same file every time
        self._position_bits = _price_position(image[0].size, self._units[self._layers])
        self.price, self.bits, self._worth = price, 0.0, worth
        self._number = 0
        self._prices: Prices | None = None  # of the learned model, until they are out of date
        self._rebuild()

    @property
    def count(self) -> int:
        """Return the number of Gaussians that are left."""
        return int(self._alive.sum())

    @property
    def lost(self) -> float:
        """Return the share of the Gaussians that were dropped."""
        return 1 - self.count / max(1, len(self._alive))

    @property
    def found(self) -> Found:
        """Return the result so far."""
        kept = [
            self._symbols[self._alive & (self._layers == number)].astype(np.int32) for number in range(len(self._steps))
        ]
        layers = [Layer(each, steps, self._mixing) for each, steps in zip(kept, self._steps, strict=True)]
        return Found(layers, self._error)

    @property
    def gaussians(self) -> Gaussians:
        """Return the Gaussians that the symbols so far stand for, on the CPU."""
        return Gaussians.from_arrays(dequantize(self.found.layers, *self.canvas, self.channels))

    def copy(self) -> Search:
        """Return a search at the same place, which goes on by itself."""
        if self._model is not None:
            self._find_prices()  # the same ones for all copies
        other = copy(self)
        for name in ("_symbols", "_scene", "_alive"):
            setattr(other, name, getattr(self, name).copy())
        other._generator = deepcopy(self._generator)
        return other

    def count_bits(self) -> float:
        """Return the bits of the symbols, about."""
        return self._sum_bits(self._find_prices())

    def _sum_bits(self, prices: Prices) -> float:
        spared = CONTEXT_BITS if self._model is None else 0.0
        bits = prices.sum(self._symbols, self._layers, self._alive)
        return float(bits + self._alive.sum() * (self._position_bits - spared))

    def run(self, sweeps: int, share: float = 1.0) -> None:
        """Move each Gaussian a number of times.

        Args:
            sweeps: Number of times.
            share: Factor of the price of the bits of symbols. What a Gaussian must save is the same for any.
        """
        for _ in range(sweeps):
            if self._alive.any():
                self._sweep(share)

    def _sweep(self, share: float) -> None:
        prices = self._find_prices()
        self.bits = total = self._sum_bits(prices)
        order = self._generator.permutation(np.flatnonzero(self._alive))
        # It never rises: Gaussians that are dropped leave more error to fewer bits, so others would follow.
        self.price = min(self.price, float(PRICE * self._error / total))
        rdo_kernels.sweep(
            *(self._scene, self._symbols, self._units, self._layers),
            *(prices.symbols, prices.bases, prices.rows, prices.flags),
            *(self._middle, self._position_bits, share * self.price, self._worth * self.price, order, self._alive),
        )
        self._number += 1
        if self._number % RENEWED == 0:
            self._prices = None
        self._rebuild()

    def _find_prices(self) -> Prices:
        """Return the prices for the next sweep."""
        if self._model is None:
            return price_by_histograms(
                *(self._symbols, self._layers, self._alive, len(self._units), self._middle, self.channels)
            )
        if self._prices is None:
            self._prices = price_by_model(
                *(self._symbols, self._layers, self._alive, self._steps, self.canvas, self._model)
            )
        return self._prices

    def _rebuild(self) -> None:
        """Sum Gaussians anew, free of the rounding errors of many updates, and measure the squared error."""
        rows = (self._symbols * self._units[self._layers])[self._alive]
        rows = np.pad(rows, [(0, 0), (0, COLOR + self._scene.size[2] - rows.shape[1])])
        rdo_image_kernels.clear(self._scene)
        self._error = rdo_image_kernels.add_all(self._scene, rows)


def count_last(sweeps: int) -> int:
    """Return how many sweeps of a search are at the lower price, the last ones."""
    return min(sweeps, max(1, sweeps // LAST))


def search(
    target: Tensor,
    gaussians: Gaussians,
    coarseness: float = 1.0,
    sweeps: int = SWEEPS,
    model: int | None = None,
) -> Found:
    """Round fitted Gaussians to the symbols that are worth their bits.

    The arguments but `sweeps`, the number of times that each Gaussian is moved, are those of `Search`.
    """
    searching = Search(target, gaussians, coarseness, model)
    searching.run(sweeps - count_last(sweeps))
    searching.run(count_last(sweeps), LAST_SHARE)
    return searching.found


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
