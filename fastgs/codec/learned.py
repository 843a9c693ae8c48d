"""Columns of symbols as bits by the learned model: each symbol by a distribution of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fastgs.codec.entropy import BOUNDS, Decoder, Encoder, IntArray, bell
from fastgs.codec.frame import FormatError
from fastgs.codec.prefix import UNREAD
from fastgs.codec.surroundings import Surroundings
from fastgs.codec.surroundings_kernels import COLUMNS
from fastgs.codec.symbol_model import GROUPS, Mixture, SymbolModel, load_model
from fastgs.codec.symbol_model_kernels import MEANS, MEANS_BEGIN, PART, tabulate
from fastgs.codec.symbols import AREA, Steps, X, Y

_MAX_CENTER = 1 << 11
_MAX_SPREAD, _MAX_REACH = 63, 16
_CENTERS = bell(8.0, 0, 2 * _MAX_CENTER)
_SPREADS = bell(3.0, 0, _MAX_SPREAD)
_REACHES = bell(2.0, 0, _MAX_REACH)


@dataclass(frozen=True)
class Summary:
    """Numbers of a column that the header of a layer tells.

    Attributes:
        center: Middle value in units of 1 / 16.
        spread: Mean difference from it, 2^(spread / 4) / 256.
        reach: Half octave of the bound of the residuals.
    """

    center: int
    spread: int
    reach: int


# Before the first layer, of area to chroma2.
FIRST = (
    Summary(64, 33, 10),
    Summary(0, 32, 10),
    Summary(0, 32, 10),
    Summary(13, 26, 10),
    Summary(0, 16, 10),
    Summary(0, 12, 10),
)

_MOST_FREQUENCIES = 1 << 20  # in tables that are made at once


class UnlikelyError(ValueError):
    """Error for a symbol that the learned model has no place for."""


class LearnedAttributes:
    """Coder of the columns of RGB by the learned model, see `fastgs.codec.attributes.Attributes`.

    Args:
        canvas: Height and width in pixels.
        number: Number of the model.
    """

    PER_BYTE = 4  # fewer, since each takes more work

    def __init__(self, canvas: tuple[int, int], number: int) -> None:
        self._model = load_model(number)
        self._around = Surroundings(canvas)
        self._summaries = list(FIRST)
        self._before = self._summaries

    def fit(self, symbols: IntArray, steps: Steps) -> None:
        """Summarize columns and find the distributions of symbols; raise `UnlikelyError` if one has no place."""
        self._symbols = symbols[AREA:]
        self._before = self._summaries
        summaries = summarize(self._symbols, steps.columns()[AREA:])
        self._parts: list[tuple[int, IntArray, Mixture]] = []
        largest = [0] * COLUMNS

        def tell(column: int, index: IntArray, mixture: Mixture) -> IntArray:
            chosen: IntArray = self._symbols[column, index]
            largest[column] = max(largest[column], int(np.abs(chosen - find_nearest(mixture)).max()))
            self._parts.append((column, index, mixture))
            return chosen

        begin_layer(self._around, symbols[X], symbols[Y], steps, summaries)
        predict(self._model, self._around, steps, summaries, tell)
        bounds = BOUNDS[: _MAX_REACH + 1]
        if max(largest) > bounds[-1]:
            raise UnlikelyError(f"symbols: at most {bounds[-1]} from what the model expects, got {max(largest)}")
        reaches = np.searchsorted(bounds, largest)
        self._summaries = [replace(each, reach=int(reach)) for each, reach in zip(summaries, reaches, strict=True)]

    def write_parameters(self, encoder: Encoder) -> None:
        """Write the summaries of the columns."""
        write_summaries(encoder, self._summaries, self._before)

    def write(self, encoder: Encoder) -> None:
        """Write the columns."""
        for column, index, mixture in self._parts:
            bound = int(BOUNDS[self._summaries[column].reach])
            residuals = self._symbols[column, index] - find_nearest(mixture)
            for part in split(mixture, bound):
                encoder.each(residuals[part] + bound, make_tables(mixture.take(part), self._model, bound))

    def read_parameters(self, decoder: Decoder) -> None:
        """Read the summaries of the columns of the next layer."""
        self._summaries = read_summaries(decoder, self._summaries)

    def read(
        self, decoder: Decoder, x: IntArray, y: IntArray, steps: Steps, known: NDArray[np.bool_] | None = None
    ) -> tuple[IntArray, list[float]]:
        """Read the columns."""
        symbols, bits = np.zeros((COLUMNS, len(x)), np.int64), [0.0] * COLUMNS

        def tell(column: int, index: IntArray, mixture: Mixture) -> IntArray:
            begin, bound = decoder.bits, int(BOUNDS[self._summaries[column].reach])
            tables = (make_tables(mixture.take(part), self._model, bound) for part in split(mixture, bound))
            residuals = np.concatenate([decoder.each(each) for each in tables])
            if known is not None:
                known[column, index] = residuals != UNREAD
            found = find_nearest(mixture) + np.where(residuals == UNREAD, 0, residuals - bound)
            symbols[column, index] = found
            bits[column] += decoder.bits - begin
            return found

        begin_layer(self._around, x, y, steps, self._summaries)
        predict(self._model, self._around, steps, self._summaries, tell)
        return symbols, bits


def summarize(symbols: IntArray, units: NDArray[np.float64]) -> list[Summary]:
    """Return the summaries of (6, N) symbols, with a reach that is not known yet."""
    result = []
    for column, unit in zip(symbols, units, strict=True):
        values = column * unit
        middle = float(np.median(values)) if len(values) else 0.0
        spread = float(np.abs(values - middle).mean()) if len(values) else 0.0
        center = int(np.clip(np.rint(middle * 16), -_MAX_CENTER, _MAX_CENTER))
        result.append(Summary(center, int(np.clip(np.rint(4 * np.log2(max(256 * spread, 1))), 0, _MAX_SPREAD)), 0))
    return result


def write_summaries(encoder: Encoder, summaries: Sequence[Summary], before: Sequence[Summary]) -> None:
    """Write summaries as differences to those of the layer before."""
    for each, last in zip(summaries, before, strict=True):
        encoder.symbols(np.array([each.center - last.center]), _CENTERS)
        encoder.symbols(np.array([each.spread - last.spread]), _SPREADS)
        encoder.symbols(np.array([each.reach - last.reach]), _REACHES)


def read_summaries(decoder: Decoder, before: Sequence[Summary]) -> list[Summary]:
    """Read what `write_summaries` wrote.

    Raises:
        FormatError: A number is out of range.
    """
    result = []
    for last in before:
        center, spread, reach = (
            number + int(decoder.symbols(1, table)[0])
            for number, table in ((last.center, _CENTERS), (last.spread, _SPREADS), (last.reach, _REACHES))
        )
        if abs(center) > _MAX_CENTER or not 0 <= spread <= _MAX_SPREAD or not 0 <= reach <= _MAX_REACH:
            raise FormatError("is damaged (the summary of a column makes no sense)")
        result.append(Summary(center, spread, reach))
    return result


def begin_layer(around: Surroundings, x: IntArray, y: IntArray, steps: Steps, summaries: Sequence[Summary]) -> None:
    """Tell the places of the Gaussians of a layer."""
    centers = np.array([each.center for each in summaries])
    spreads = np.array([each.spread for each in summaries])
    around.begin_layer(x, y, steps, centers, spreads)


def predict(
    model: SymbolModel, around: Surroundings, steps: Steps, summaries: Sequence[Summary],
    tell: Callable[[int, IntArray, Mixture], IntArray],
) -> None:  # fmt: skip
    """Go through the symbols of a layer in the order in which they are coded, each with its distribution.

    Args:
        model: Model of the symbols.
        around: What is known, the places of the layer included.
        steps: Units of the symbols.
        summaries: Summaries of the columns.
        tell: Callable that takes a column, the (n,) indices of Gaussians and the distributions of their symbols, and
            returns the symbols.
    """
    units = steps.columns()[AREA:]
    for level in around.levels():
        for group, columns in GROUPS.items():
            each, common = level.describe(model.exponential, shaped=group == "color")
            pooled = model.pool(group, each)
            means = common[:, MEANS_BEGIN : MEANS_BEGIN + MEANS]
            for column in columns:
                own = level.own()[:, :column]
                mixture = model.predict(
                    *(column, np.concatenate([pooled, common, own], axis=1), means, around.of_layer),
                    *(float(units[column]), summaries[column].center / 16),
                )
                around.set_values(level.index, column, tell(column, level.index, mixture))


def find_nearest(mixture: Mixture) -> IntArray:
    """Return the (n,) symbols that residuals count from."""
    nearest: IntArray = (mixture.places[:, 0] + PART // 2) // PART
    return nearest


def split(mixture: Mixture, bound: int) -> list[slice]:
    """Return slices of n symbols whose tables take little memory."""
    size = max(1, _MOST_FREQUENCIES // (2 * bound + 1))
    return [slice(begin, begin + size) for begin in range(0, len(mixture.places), size)]


def make_tables(mixture: Mixture, model: SymbolModel, bound: int) -> NDArray[np.float64]:
    """Return the (n, 2 bound + 1) frequencies of residuals, each less 1, which constriction adds."""
    frequencies = np.empty((len(mixture.places), 2 * bound + 1))
    tabulate(mixture.places, mixture.inverses, mixture.shares, model.logistic, bound, frequencies)
    return frequencies
