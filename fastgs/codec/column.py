"""How the symbols of a column are distributed around what their neighbours say: the parameters, and their search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fastgs.codec.contexts import CLASSES, FRACTION
from fastgs.codec.entropy import Decoder, Encoder, IntArray, Table, bell, least_of
from fastgs.codec.frame import FormatError

# What classes are of: the spread of the neighbours' symbols, the area, the neighbours' number and nearness.
BY_SPREAD, BY_AREA, BY_DENSITY = range(3)

_WIDTHS = [(4 + n % 4) / 4 * 2.0 ** (n // 4 - 2) for n in range(48)]
_TAILS = 4
_MOST = 1 << 15
_MAX_GAIN = 5

# Parameters: their least and their largest value, and how wide differences to those of the layer before spread.
_RANGES = {
    "center": (-_MOST, _MOST, 10.0),
    "share": (0, 16, 2.0),
    "width": (0, len(_WIDTHS) - 1, 2.0),
    "tail": (0, _TAILS - 1, 0.75),
    "reach": (0, 30, 2.0),
    "context": (0, 2, 0.5),
    "gain": (-_MAX_GAIN, _MAX_GAIN, 1.0),
}

# (gains, widths) by class: the width where the gain is so much.
_WIDTHS_OF_CLASSES = [
    (np.arange(len(_WIDTHS)) + np.arange(-_MAX_GAIN, _MAX_GAIN + 1)[:, None] * (each - 1)).clip(0, len(_WIDTHS) - 1)
    for each in range(CLASSES)
]


@dataclass(frozen=True)
class Model:
    """Parameters of a column.

    A symbol is `center + share / 16 * (mean of the neighbours - center)`, rounded, plus a residual, whose distribution
    is `bell` for a width, tail and reach; the width is `gain` steps more or less where the context is of a higher or
    lower class.

    Attributes:
        center: a symbol.
        share: from 0 to 16.
        width: number in a table of widths, four per octave, from 1 / 4.
        tail: from 0 (heavy) to 3 (light).
        reach: half octave of a bound of the residuals.
        context: what the classes are of.
        gain: from -5 to 5.
    """

    center: int
    share: int
    width: int
    tail: int
    reach: int
    context: int
    gain: int

    def predict(self, means: IntArray) -> IntArray:
        """What the symbol is likely to be.

        Args:
            means: of neighbours, in units of 1 / `FRACTION`.
        """
        return self.center + ((self.share * (means - FRACTION * self.center) + 128) >> 8)

    def table(self, of_class: int) -> Table:
        """Of the residual where the context is of a class."""
        return _table(self.width + self.gain * (of_class - 1), self.tail, self.reach)


def write_model(encoder: Encoder, model: Model, before: Model) -> None:
    """Write parameters as differences to others."""
    for name, table in _differences().items():
        encoder.symbols(np.array([getattr(model, name) - getattr(before, name)]), table)


def read_model(decoder: Decoder, before: Model) -> Model:
    """What `write_model` wrote; raises FormatError."""
    values = {}
    for name, table in _differences().items():
        values[name] = getattr(before, name) + int(decoder.symbols(1, table)[0])
        if not _RANGES[name][0] <= values[name] <= _RANGES[name][1]:
            raise FormatError(f"is damaged (the {name} of a column makes no sense)")
    return Model(**values)


def write_residuals(encoder: Encoder, residuals: IntArray, of_class: NDArray[np.int8] | None, model: Model) -> None:
    """Write the residuals of a level.

    Args:
        encoder: to write to.
        residuals: (n,).
        of_class: (n,) the class of the context; None if there is no context.
        model: of the column.
    """
    if of_class is None or not model.gain:
        encoder.symbols(residuals, model.table(1))
        return
    for each in range(CLASSES):
        encoder.symbols(residuals[of_class == each], model.table(each))


def read_residuals(decoder: Decoder, count: int, of_class: NDArray[np.int8] | None, model: Model) -> IntArray:
    """What `write_residuals` wrote; raises FormatError."""
    if of_class is None or not model.gain:
        return decoder.symbols(count, model.table(1))
    residuals = np.empty(count, np.int64)
    numbers = np.bincount(of_class, minlength=CLASSES).tolist()
    residuals[np.argsort(of_class, kind="stable")] = np.concatenate(
        [decoder.symbols(number, model.table(each)) for each, number in enumerate(numbers)]
    )
    return residuals


def fit_model(
    symbols: IntArray, means: IntArray, known: IntArray, contexts: Mapping[int, NDArray[np.int8]], before: Model
) -> Model:
    """The cheapest parameters for a column.

    Args:
        symbols: (N,).
        means: (N,) of their neighbours.
        known: (N,) bool, which of them have any.
        contexts: (N,) classes, by what they are of; 1 where not known.
        before: of the layer before.
    """
    best, least = before, np.inf
    center = int(np.sort(symbols)[len(symbols) // 2]) if len(symbols) else before.center
    for share in range(0, 17, 2):
        guess = np.where(known, replace(before, center=center, share=share).predict(means), center)
        model, bits = _fit_width(symbols - guess, contexts, center, share, before)
        if bits < least:
            best, least = model, bits
    return best


def _fit_width(
    residuals: IntArray, contexts: Mapping[int, NDArray[np.int8]], center: int, share: int, before: Model
) -> tuple[Model, float]:
    magnitude = int(np.abs(residuals).max(initial=0))
    reach = int(np.searchsorted(least_of(np.arange(_RANGES["reach"][1] + 1))[0], magnitude))
    bank, bound = _bank(reach), _bound(reach)
    values = {"center": center + _MOST, "share": share, "reach": reach}
    fixed = sum(float(_prices(name, before)[value]) for name, value in values.items())
    # Of every gain, width and tail.
    prices = _prices("gain", before)[:, None, None] + _prices("width", before)[:, None] + _prices("tail", before)
    best, least = before, np.inf
    for context, of_class in contexts.items():
        place = (residuals + bound) + (2 * bound + 1) * of_class.astype(np.int64)
        counts = np.bincount(place, minlength=CLASSES * (2 * bound + 1)).reshape(CLASSES, -1)
        used = np.flatnonzero(counts.sum(0))
        costs = (counts[:, used] @ bank[:, used].T).reshape(CLASSES, len(_WIDTHS), _TAILS)
        total = prices + sum(cost[widths] for cost, widths in zip(costs, _WIDTHS_OF_CLASSES, strict=True))
        gain, width, tail = map(int, np.unravel_index(np.argmin(total), total.shape))
        bits = fixed + float(_prices("context", before)[context] + total[gain, width, tail])
        if bits < least:
            best, least = Model(center, share, width, tail, reach, context, gain - _MAX_GAIN), bits
    return best, least


def _prices(name: str, before: Model) -> NDArray[np.float64]:
    """What the values of a parameter cost, from the least on."""
    low, high, _ = _RANGES[name]
    table = _differences()[name]
    start = low - getattr(before, name) - table.low
    return table.bits[start : start + high - low + 1]


def _bound(reach: int) -> int:
    return int(least_of(np.array([reach]))[0][0])


@lru_cache(maxsize=128)
def _table(width: int, tail: int, reach: int) -> Table:
    return bell(_WIDTHS[min(max(width, 0), len(_WIDTHS) - 1)], tail, _bound(reach))


@lru_cache(maxsize=8)
def _bank(reach: int) -> NDArray[np.float64]:
    """(widths * tails, residuals) bits."""
    return np.stack([_table(width, tail, reach).bits for width in range(len(_WIDTHS)) for tail in range(_TAILS)])


@lru_cache(maxsize=1)
def _differences() -> dict[str, Table]:
    return {name: bell(width, 0, high - low) for name, (low, high, width) in _RANGES.items()}
