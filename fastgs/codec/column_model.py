"""Distribution of the symbols of one column around the prediction from their neighbours: parameters and their fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from fastgs.codec.contexts import CLASSES, FRACTION
from fastgs.codec.entropy import BOUNDS, Decoder, Encoder, IntArray, Table, bell
from fastgs.codec.frame import FormatError

# Kinds of contexts: the spread of the neighbours' symbols, the symbol of the first column, or the density of the
# neighbours.
BY_SPREAD, BY_FIRST, BY_DENSITY = range(3)

_WIDTHS = [(4 + n % 4) / 4 * 2.0 ** (n // 4 - 2) for n in range(48)]
_TAILS = 4
_MAX_CENTER = 1 << 15
_MAX_GAIN = 5


@dataclass(frozen=True)
class _Range:
    """Values of a parameter of `Model`.

    Attributes:
        low: Least value.
        high: Largest value.
        spread: Width of the `bell` that codes differences to the value in the layer before.
    """

    low: int
    high: int
    spread: float

    @cached_property
    def differences(self) -> Table:
        """Distribution of the differences to the value in the layer before."""
        return bell(self.spread, 0, self.high - self.low)


_RANGES = {
    "center": _Range(-_MAX_CENTER, _MAX_CENTER, 10.0),
    "share": _Range(0, 16, 2.0),
    "width": _Range(0, len(_WIDTHS) - 1, 2.0),
    "tail": _Range(0, _TAILS - 1, 0.75),
    "reach": _Range(0, len(BOUNDS) - 1, 2.0),
    "context": _Range(0, 2, 0.5),
    "gain": _Range(-_MAX_GAIN, _MAX_GAIN, 1.0),
}

# For each class, (gains, widths): the number of the width that results from a gain and a width.
_WIDTHS_OF_CLASSES = [
    (np.arange(len(_WIDTHS)) + np.arange(-_MAX_GAIN, _MAX_GAIN + 1)[:, None] * (each - 1)).clip(0, len(_WIDTHS) - 1)
    for each in range(CLASSES)
]


@dataclass(frozen=True)
class Model:
    """Parameters of the distribution of a column.

    A symbol is `center + share / 16 * (mean of the neighbours - center)`, rounded, plus a residual, whose distribution
    is `bell` for a width, tail and reach; the width is `gain` steps larger or smaller where the context is of a higher
    or lower class.

    Attributes:
        center: A symbol, the prediction where no neighbours are known.
        share: Weight of the neighbours, from 0 to 16.
        width: Index into a table of widths, four per octave, from 1 / 4.
        tail: Shape of the distribution, from 0 (heavy tails) to 3 (light).
        reach: Half octave of the bound of the residuals.
        context: Kind of the context that the classes are of, `BY_SPREAD`, `BY_FIRST` or `BY_DENSITY`.
        gain: Steps of `width` from one class to the next, from -5 to 5.
    """

    center: int
    share: int
    width: int
    tail: int
    reach: int
    context: int
    gain: int

    def predict(self, means: IntArray) -> IntArray:
        """Return the predicted symbols.

        Args:
            means: (n,) means of the neighbours' symbols, in units of 1 / `FRACTION`.
        """
        return self.center + ((self.share * (means - FRACTION * self.center) + 128) >> 8)

    def table(self, of_class: int) -> Table:
        """Return the distribution of the residuals where the context is of a class."""
        return _residual_table(self.width + self.gain * (of_class - 1), self.tail, self.reach)


def write_model(encoder: Encoder, model: Model, before: Model) -> None:
    """Write a model as differences to that of the same column in the layer before."""
    for name, values in _RANGES.items():
        encoder.symbols(np.array([getattr(model, name) - getattr(before, name)]), values.differences)


def read_model(decoder: Decoder, before: Model) -> Model:
    """Read what `write_model` wrote.

    Raises:
        FormatError: A parameter is out of range.
    """
    parameters = {}
    for name, values in _RANGES.items():
        parameters[name] = getattr(before, name) + int(decoder.symbols(1, values.differences)[0])
        if not values.low <= parameters[name] <= values.high:
            raise FormatError(f"is damaged (the {name} of a column makes no sense)")
    return Model(**parameters)


def write_residuals(encoder: Encoder, residuals: IntArray, of_class: NDArray[np.int8] | None, model: Model) -> None:
    """Write the residuals of a level.

    Args:
        encoder: Encoder to write to.
        residuals: (n,) residuals.
        of_class: (n,) classes of the contexts; None if there is no context.
        model: Model of the column.
    """
    if of_class is None or not model.gain:
        encoder.symbols(residuals, model.table(1))
        return
    for each in range(CLASSES):
        encoder.symbols(residuals[of_class == each], model.table(each))


def read_residuals(decoder: Decoder, count: int, of_class: NDArray[np.int8] | None, model: Model) -> IntArray:
    """Read the (count,) residuals that `write_residuals` wrote.

    Raises:
        FormatError: No encoder writes such bytes.
    """
    if of_class is None or not model.gain:
        return decoder.available(count, model.table(1))
    residuals = np.empty(count, np.int64)
    numbers = np.bincount(of_class, minlength=CLASSES).tolist()
    residuals[np.argsort(of_class, kind="stable")] = np.concatenate(
        [decoder.available(number, model.table(each)) for each, number in enumerate(numbers)]
    )
    return residuals


def fit_model(
    symbols: IntArray, means: IntArray, known: IntArray, contexts: Mapping[int, NDArray[np.int8]], before: Model
) -> Model:
    """Return the model with which a column takes the fewest bits.

    Args:
        symbols: (N,) symbols of the column.
        means: (N,) means of their neighbours' symbols, in units of 1 / `FRACTION`.
        known: (N,) bool mask of the symbols that have neighbours.
        contexts: Kinds of contexts, each with the (N,) classes of the symbols; 1 where there are no neighbours.
        before: Model of the same column in the layer before.
    """
    center = int(np.sort(symbols)[len(symbols) // 2]) if len(symbols) else before.center
    kinds = list(contexts)
    # (contexts, gains, widths, tails) bits of these parameters.
    prices = (
        _price_values("context", before)[kinds][:, None, None, None]
        + _price_values("gain", before)[:, None, None]
        + _price_values("width", before)[:, None]
        + _price_values("tail", before)
    )
    rows = np.stack([contexts[kind] for kind in kinds]).astype(np.int64) + CLASSES * np.arange(len(kinds))[:, None]
    best, least = before, np.inf
    for share in range(0, 17, 2):
        predicted = np.where(known, replace(before, center=center, share=share).predict(means), center)
        residuals = symbols - predicted
        reach = int(np.searchsorted(BOUNDS, np.abs(residuals).max(initial=0)))
        total = prices + _count_bits(residuals, rows, reach)
        kind, gain, width, tail = map(int, np.unravel_index(np.argmin(total), total.shape))
        values = {"center": center + _MAX_CENTER, "share": share, "reach": reach}
        bits = float(sum(_price_values(name, before)[value] for name, value in values.items()))
        bits += float(total[kind, gain, width, tail])
        if bits < least:
            best, least = Model(center, share, width, tail, reach, kinds[kind], gain - _MAX_GAIN), bits
    return best


def _count_bits(residuals: IntArray, rows: IntArray, reach: int) -> NDArray[np.float64]:
    """Return the (contexts, gains, widths, tails) bits that residuals take.

    Args:
        residuals: (N,) residuals.
        rows: (contexts, N) classes of the residuals, and `CLASSES` more for each context before.
        reach: Half octave of the bound of the residuals.
    """
    values = residuals + BOUNDS[reach]
    present = np.bincount(values, minlength=1) > 0
    used = np.flatnonzero(present)
    ranks = np.cumsum(present) - 1
    counts = np.bincount((ranks[values] + len(used) * rows).ravel(), minlength=len(rows) * CLASSES * len(used))
    costs = counts.reshape(len(rows) * CLASSES, len(used)).astype(np.float64) @ _residual_bits(reach)[:, used].T
    costs = costs.reshape(len(rows), CLASSES, len(_WIDTHS), _TAILS)
    total: NDArray[np.float64] = sum(costs[:, each][:, widths] for each, widths in enumerate(_WIDTHS_OF_CLASSES))
    return total


def _price_values(name: str, before: Model) -> NDArray[np.float64]:
    """Return the bits that each value of a parameter takes, from the least value on."""
    values = _RANGES[name]
    table = values.differences
    start = values.low - getattr(before, name) - table.low
    return table.bits[start : start + values.high - values.low + 1]


@lru_cache(maxsize=128)
def _residual_table(width: int, tail: int, reach: int) -> Table:
    return bell(_WIDTHS[min(max(width, 0), len(_WIDTHS) - 1)], tail, int(BOUNDS[reach]))


@lru_cache(maxsize=16)
def _residual_bits(reach: int) -> NDArray[np.float64]:
    """Return the (widths * tails, residuals) bits of every residual under every distribution."""
    tables = [_residual_table(width, tail, reach) for width in range(len(_WIDTHS)) for tail in range(_TAILS)]
    return np.stack([table.bits for table in tables])
