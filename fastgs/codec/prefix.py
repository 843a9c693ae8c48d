"""Decoder of the first bytes of a stream: it returns the numbers that these bytes settle, and no others.

Whatever bytes are missing lie between zeros and ones. So the stream is read twice, once with zeros in their place and
once with ones: as long as both give the same numbers, so does the whole stream.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from fastgs.codec.entropy import CATEGORICAL, Decoder, IntArray, Table
from fastgs.codec.frame import FormatError

# Mark of symbols that are not settled.
UNREAD = np.iinfo(np.int64).min
# Ones that stand for missing bytes: the state of the coder has eight bytes, so both readings part before.
_ONES = b"\xff" * 16


class EndOfPrefixError(FormatError):
    """Error for a number that must be known and that the bytes do not settle."""


class PrefixDecoder(Decoder):
    """Decoder of a stream that was cut.

    `available` gives `UNREAD` for symbols beyond the cut. All other methods raise `EndOfPrefixError` there.

    Args:
        data: First bytes of the stream.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._lower, self._upper = Decoder(data), Decoder(data + _ONES)
        self._ended = False

    @override
    def available(self, count: int, table: Table) -> IntArray:
        if len(table.frequencies) == 1 or not count:
            # They take no bits; but none are read beyond the cut, so that what is known is a prefix.
            return np.full(count, UNREAD if self._ended else table.low, np.int64)
        symbols = np.full(count, UNREAD, np.int64)
        known = self._read_settled(count, table.model)
        symbols[: len(known)] = known + table.low
        return symbols

    @override
    def each(self, frequencies: NDArray[np.float64]) -> IntArray:
        count, size = frequencies.shape
        if size == 1 or not count:
            return np.full(count, UNREAD if self._ended else 0, np.int64)
        symbols = np.full(count, UNREAD, np.int64)
        known = self._read_settled(count, CATEGORICAL, frequencies)
        symbols[: len(known)] = known
        return symbols

    @override
    def read(self, count: int, model: Any, *parameters: NDArray[np.float64]) -> IntArray:
        known = self._read_settled(count, model, *parameters)
        if len(known) < count:
            raise EndOfPrefixError("is cut")
        return known

    def _read_settled(self, count: int, model: Any, *parameters: NDArray[np.float64]) -> IntArray:
        """Return the first of `count` indices into a model of constriction, as many as are settled."""
        if self._ended:
            return np.empty(0, np.int64)
        lower, upper = self._lower.copy(), self._upper.copy()
        try:
            both = np.stack([each.read(count, model, *parameters) for each in (lower, upper)])
        except FormatError:  # bytes of ones may be such as no encoder writes
            both = self._read_one_by_one(count, model, *parameters)
        else:
            self._lower, self._upper = lower, upper
        parted = np.flatnonzero(both[0] != both[1])
        settled = int(parted[0]) if len(parted) else both.shape[1]
        self._ended = settled < count
        known: IntArray = both[0, :settled]
        return known

    def _read_one_by_one(self, count: int, model: Any, *parameters: NDArray[np.float64]) -> IntArray:
        """Return (2, n) indices that both readings give, up to the first that is no number in one of them."""
        found: list[tuple[int, int]] = []
        try:
            for place in range(count):
                one = [each[place : place + 1] for each in parameters]
                found.append((int(self._lower.read(1, model, *one)[0]), int(self._upper.read(1, model, *one)[0])))
        except FormatError:
            pass
        both: IntArray = np.array(found, np.int64).reshape(-1, 2).T
        return both
