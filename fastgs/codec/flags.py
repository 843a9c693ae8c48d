"""One bit for each Gaussian, coded by the bits of its neighbours: whether it has a colour at all.

Where an image is transparent, alpha and the colours multiplied by it are exactly 0. Such Gaussians are many around
shapes with sharp edges, which they cut off.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastgs.codec.contexts import FRACTION, Level
from fastgs.codec.entropy import Decoder, Encoder, IntArray, Table, least_of

# Contexts: no neighbours are known; none of them has a colour; some have; all have.
_CONTEXTS = 4
_ODDS_BITS = 5
# Frequency of 0, where that of 1 is the least value of one of the half octaves from 2 on: odds of 1 / 256 to 192.
_ZERO = 512
_FIRST = 2


def find_colored(colors: IntArray) -> NDArray[np.bool_]:
    """Return the (N,) mask of the Gaussians that have a colour.

    Args:
        colors: (C, N) symbols of colours.
    """
    colored: NDArray[np.bool_] = (colors != 0).any(0)
    return colored


def write_flags(encoder: Encoder, flags: NDArray[np.bool_], parts: Sequence[Level]) -> None:
    """Write (N,) flags, behind the odds of each context.

    Args:
        encoder: Encoder to write to.
        flags: (N,) flags in the order of the curve.
        parts: Levels of the N Gaussians.
    """
    values, contexts = flags.astype(np.int64), np.zeros(len(flags), np.int64)
    for level in parts:
        contexts[level.index] = _find_contexts(level, values)
    tables = []
    for context in range(_CONTEXTS):
        counts = np.bincount(values[contexts == context], minlength=2)
        odds = min(range(1 << _ODDS_BITS), key=lambda each: float(_make_table(each).bits @ counts))
        encoder.raw(np.array([odds]), _ODDS_BITS)
        tables.append(_make_table(odds))
    for level in parts:
        for context, table in enumerate(tables):
            encoder.symbols(values[level.index][contexts[level.index] == context], table)


def read_flags(decoder: Decoder, count: int, parts: Sequence[Level]) -> NDArray[np.bool_]:
    """Read the (count,) flags that `write_flags` wrote.

    Raises:
        FormatError: No encoder writes such bytes.
    """
    tables = [_make_table(int(odds)) for odds in decoder.raw(_CONTEXTS, _ODDS_BITS)]
    values = np.zeros(count, np.int64)
    for level in parts:
        contexts = _find_contexts(level, values)
        for context, table in enumerate(tables):
            chosen = np.flatnonzero(contexts == context)
            values[level.index][chosen] = decoder.symbols(len(chosen), table)
    return values.astype(bool)


def _find_contexts(level: Level, values: IntArray) -> IntArray:
    """Return the (n,) contexts of a level, given the (N,) flags of the levels before it."""
    if not len(level.weights):
        return np.zeros(len(level.density), np.int64)
    mean = level.means(values[None])[0][0]
    contexts: IntArray = 1 + (mean > 0).astype(np.int64) + (mean >= FRACTION)
    return contexts


def _make_table(odds: int) -> Table:
    """Return the distribution of flags for a symbol of their odds."""
    return Table.of(np.array([_ZERO, int(least_of(np.array([_FIRST + odds]))[0][0])]))
