"""Bits of symbols, as the search for them counts: by histograms, or by the learned model that a file will have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from fastgs.codec import hilbert
from fastgs.codec.channels import Channels
from fastgs.codec.entropy import TOTAL, IntArray
from fastgs.codec.flags import find_colored
from fastgs.codec.learned import begin_layer, find_nearest, make_tables, predict, summarize
from fastgs.codec.surroundings import Surroundings
from fastgs.codec.symbol_model import Mixture, load_model
from fastgs.codec.symbols import AREA, COLOR, Steps, X, Y

_BLUR = 2.0  # standard deviation in symbols by which histograms are smoothed
_FLOOR = 1e-3  # added to smoothed counts, so that every symbol has a price
_BOUND = 32  # largest residual that has a price of its own


@dataclass(frozen=True)
class Prices:
    """Bits of symbols.

    Attributes:
        symbols: (R, 5 + C, S) tables of the bits of symbols; 0 for positions.
        bases: (R, 5 + C) symbols in the middle of the tables.
        rows: (K,) row of the tables of each Gaussian.
        flags: (L, 2) bits of the flag that a Gaussian has no colour, infinite without alpha, and that it has one.
    """

    symbols: NDArray[np.float64]
    bases: IntArray
    rows: IntArray
    flags: NDArray[np.float64]

    def sum(self, symbols: IntArray, layers: IntArray, alive: NDArray[np.bool_]) -> float:
        """Return the bits of the Gaussians that are kept, without those of their positions.

        Args:
            symbols: (K, 5 + C) symbols.
            layers: (K,) number of the layer of each.
            alive: (K,) mask of the Gaussians that are kept.
        """
        columns, rows = np.arange(AREA, symbols.shape[1]), self.rows[alive]
        last = self.symbols.shape[2] - 1
        places = symbols[alive][:, AREA:] - self.bases[rows][:, AREA:] + last // 2
        inside = places.clip(0, last)
        picked = self.symbols[rows[:, None], columns, inside] + np.abs(places - inside)
        without, with_color = self.flags[layers[alive]].T
        flagged = np.isfinite(without) & ~find_colored(symbols[alive, COLOR:].T)
        picked[flagged, COLOR - AREA :] = 0
        return float(picked.sum() + np.where(flagged, without, with_color).sum())


def price_by_histograms(
    symbols: IntArray, layers: IntArray, alive: NDArray[np.bool_], count: int, middle: int, channels: Channels
) -> Prices:
    """Return the prices by the smoothed histograms of what there is in each of the L layers.

    Args:
        symbols: (K, 5 + C) symbols.
        layers: (K,) number of the layer of each.
        alive: (K,) mask of the Gaussians that are kept.
        count: Number of layers, L.
        middle: Largest symbol by magnitude, but for positions.
        channels: Channels of the image.
    """
    bits = np.zeros((count, symbols.shape[1], 2 * middle + 1))
    flags = np.tile([np.inf, 0.0], (count, 1))
    colored = find_colored(symbols[:, COLOR:].T)
    for layer in range(count):
        members = alive & (layers == layer)
        colors = members
        if channels.alpha:
            numbers = np.bincount(colored[members], minlength=2) + 0.5
            flags[layer] = -np.log2(numbers / numbers.sum())
            colors = members & colored
        for column in range(AREA, symbols.shape[1]):
            chosen = symbols[members if column < COLOR else colors, column]
            counts = np.bincount(chosen + middle, minlength=2 * middle + 1)
            smooth = gaussian_filter1d(counts.astype(float), _BLUR, mode="constant") + _FLOOR
            bits[layer, column] = -np.log2(smooth / smooth.sum())
    return Prices(bits, np.zeros(bits.shape[:2], np.int64), layers, flags)


def price_by_model(
    symbols: IntArray,
    layers: IntArray,
    alive: NDArray[np.bool_],
    steps: list[Steps],
    canvas: tuple[int, int],
    number: int,
) -> Prices:
    """Return the prices by the learned model, for each Gaussian among the others as they are.

    Args:
        symbols: (K, 8) symbols.
        layers: (K,) number of the layer of each.
        alive: (K,) mask of the Gaussians that are kept; the others have no price.
        steps: Units of the symbols of each layer.
        canvas: Height and width in pixels.
        number: Number of the model.
    """
    model, around = load_model(number), Surroundings(canvas)
    bits = np.zeros((*symbols.shape, 2 * _BOUND + 1))
    bases = np.zeros(symbols.shape, np.int64)
    for layer, units in enumerate(steps):
        members = np.flatnonzero(alive & (layers == layer))
        order = hilbert.order_for(*(int(side * 2.0**units.position) + 1 for side in canvas[::-1]))
        along = hilbert.index(symbols[members, X], symbols[members, Y], order)
        members = members[np.argsort(along, kind="stable")]
        columns = symbols[members].T

        def tell(
            column: int,
            index: IntArray,
            mixture: Mixture,
            members: IntArray = members,
            columns: IntArray = columns,
        ) -> IntArray:
            frequencies = make_tables(mixture, model, _BOUND) + 1
            bits[members[index], AREA + column] = np.log2(TOTAL / frequencies)
            bases[members[index], AREA + column] = find_nearest(mixture)
            chosen: IntArray = columns[AREA + column, index]
            return chosen

        summaries = summarize(columns[AREA:], units.columns()[AREA:])
        begin_layer(around, columns[X], columns[Y], units, summaries)
        predict(model, around, units, summaries, tell)
    flags = np.tile([np.inf, 0.0], (len(steps), 1))
    return Prices(bits, bases, np.arange(len(symbols)), flags)
