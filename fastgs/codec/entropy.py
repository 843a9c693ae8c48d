"""Integers as bits: a range coder with models that are integers, so that files decode alike on every machine.

The coder is that of constriction (Bamler, 2022). All models are tables of integer frequencies with the total 2^24,
which constriction takes as they are. What frequencies are computed from is integers, or 64-bit floating point with one
rounding per operation and no sums, which IEEE 754 makes the same everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, TypeAlias

import constriction
import numpy as np
from numpy.typing import NDArray

from fastgs.codec.frame import FormatError, Reader, varint

IntArray: TypeAlias = NDArray[np.int64]

TOTAL = 1 << 24

_RAW_BITS = 16  # of a uniform number in one piece
_FLOOR = 10  # 2^-10 of the probability is shared evenly, so that surprises have a price
_TAIL = 8  # bytes that the last bits of a range coder may touch

_stream = constriction.stream
_Categorical, _Uniform = _stream.model.Categorical, _stream.model.Uniform


@dataclass(frozen=True, eq=False)
class Table:
    """A distribution over `low, low + 1, ...`.

    Attributes:
        low: the least symbol.
        frequencies: (n,) at least 1, with the sum `TOTAL`; n is at most 2^20.
    """

    low: int
    frequencies: IntArray

    @classmethod
    def of(cls, weights: IntArray, low: int = 0) -> Table:
        """Frequencies in proportion to weights.

        Args:
            weights: (n,) from 0 to 2^32; their sum is at least 1.
            low: the least symbol.
        """
        frequencies = weights * (TOTAL - len(weights)) // int(weights.sum()) + 1
        frequencies[np.argmax(weights)] += TOTAL - int(frequencies.sum())
        return cls(low, frequencies)

    @cached_property
    def model(self) -> Any:
        """For constriction, which knows no distribution over a single symbol."""
        # It adds one to each; so there is nothing left for it to round.
        return _Categorical((self.frequencies - 1).astype(np.float64), perfect=False)

    @cached_property
    def bits(self) -> NDArray[np.float64]:
        """(n,) what each symbol costs."""
        return np.log2(TOTAL / self.frequencies)


def bell(width: float, doublings: int, bound: int) -> Table:
    """A distribution over `-bound, ..., bound`, with heavy tails (Student's) or light ones (nearly Gaussian).

    Symbol k has a probability proportional to `(1 + (k / width)^2 / (2 m - 1)) ^ -m`, where `m = 2 ** doublings`.
    """
    distance = np.arange(bound + 1) / width
    density = 1 + distance * distance / (2 * 2**doublings - 1)
    for _ in range(doublings):
        density = density * density
    half = (2.0**26 / density).astype(np.int64)
    weights = np.concatenate([half[:0:-1], half])
    return Table.of(weights + (int(weights.sum()) >> _FLOOR) // len(weights) + 1, -bound)


@dataclass
class Encoder:
    """Writes integers."""

    _coder: Any = field(default_factory=_stream.queue.RangeEncoder)
    _written: list[tuple[IntArray, Any]] = field(default_factory=list)

    def symbols(self, symbols: IntArray, table: Table) -> None:
        """Write symbols that the table has."""
        if len(table.frequencies) > 1 and len(symbols):
            self._write(symbols - table.low, table.model)

    def raw(self, values: IntArray, bits: int) -> None:
        """Write values below `2 ** bits`, of any size."""
        for shift in range(0, bits if len(values) else 0, _RAW_BITS):
            size = 1 << min(_RAW_BITS, bits - shift)
            self._write(values >> shift & size - 1, _Uniform(size))

    def number(self, value: int) -> None:
        """Write one number, from 0 to 2^62."""
        length = value.bit_length()
        self.raw(np.array([length]), 6)
        self.raw(np.array([value - (1 << length >> 1)]), max(length - 1, 0))

    def finish(self) -> bytes:
        """All that was written, in as few bytes as will do: behind its end, the decoder sees zeros."""
        data = bytes(self._coder.get_compressed().astype(">u4").tobytes())
        for length in range(max(len(data) - _TAIL, 0), len(data)):
            for carry in (0, 1):
                value = int.from_bytes(data[:length], "big") + carry
                if value < 256**length and self._decodes(value.to_bytes(length, "big")):
                    return value.to_bytes(length, "big")
        return data

    def _write(self, index: IntArray, model: Any) -> None:
        self._coder.encode(index.astype(np.int32), model)
        self._written.append((index, model))

    def _decodes(self, data: bytes) -> bool:
        decoder = Decoder(data)
        try:
            return all(np.array_equal(decoder.read(len(index), model), index) for index, model in self._written)
        except FormatError:
            return False


class Decoder:
    """Reads what `Encoder` wrote.

    Args:
        data: all of it.
        counts: whether to count bits.

    Attributes:
        bits: that were read; 0 if they are not counted.

    Raises:
        FormatError: from every method: no encoder wrote this.
    """

    def __init__(self, data: bytes, counts: bool = False) -> None:
        self.bits, self._counts = 0.0, counts
        words = np.frombuffer(data + bytes(-len(data) % 4), ">u4").astype(np.uint32)
        self._coder = _stream.queue.RangeDecoder(words)

    def symbols(self, count: int, table: Table) -> IntArray:
        """(count,) symbols of the table."""
        if len(table.frequencies) == 1 or not count:
            return np.full(count, table.low, np.int64)
        index = self.read(count, table.model)
        if self._counts:
            self.bits += float(table.bits[index].sum())
        return index + table.low

    def raw(self, count: int, bits: int) -> IntArray:
        """(count,) values below `2 ** bits`."""
        values = np.zeros(count, np.int64)
        self.bits += bits * count if self._counts else 0
        for shift in range(0, bits if count else 0, _RAW_BITS):
            values |= self.read(count, _Uniform(1 << min(_RAW_BITS, bits - shift))) << shift
        return values

    def number(self) -> int:
        """One number."""
        length = int(self.raw(1, 6)[0])
        return (1 << length >> 1) + int(self.raw(1, max(length - 1, 0))[0])

    def read(self, count: int, model: Any) -> IntArray:
        """(count,) indices into a model of constriction."""
        try:
            return np.asarray(self._coder.decode(model, count), np.int64)
        except AssertionError as error:
            raise FormatError("is damaged (its numbers make no sense)") from error


def half_octaves(values: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Numbers in floating point with one bit of mantissa.

    Args:
        values: (N,) from 0 to 2^52.

    Returns:
        (N,) the magnitude, 0, 1, 2, 3 for these values, 4 for 4 and 5, 5 for 6 and 7, 6 for 8 to 11, and so on; what
        values are above the least of their magnitude; and the number of bits of that.
    """
    exponents = np.frexp(values.astype(np.float64))[1].astype(np.int64) - 1
    lengths = np.maximum(exponents - 1, 0)
    magnitudes = np.where(values < 2, values, 2 * exponents + (values >> lengths & 1))
    return magnitudes, values & (1 << lengths) - 1, lengths


def least_of(magnitudes: IntArray) -> tuple[IntArray, IntArray]:
    """(N,) the least value of half octaves, and the number of bits of what values are above it."""
    lengths = np.maximum((magnitudes >> 1) - 1, 0)
    return np.where(magnitudes < 2, magnitudes, (2 | magnitudes & 1) << lengths), lengths


_COUNTS = 48  # magnitudes of the counts in a histogram


def encode_histogram(symbols: IntArray, alphabet: int) -> bytes:
    """A column with its own histogram, as coarse as it pays.

    Args:
        symbols: (N,) integers from 0 to `alphabet - 1`.
        alphabet: from 1 to 2^16.
    """
    symbols = symbols.astype(np.int64)
    finest = (alphabet - 1).bit_length()
    data = min((_with_histogram(symbols, finest, merged) for merged in range(finest + 1)), key=len)
    return varint(len(data)) + data


def decode_histogram(data: bytes, offset: int, count: int, alphabet: int) -> tuple[IntArray, int]:
    """What `encode_histogram` wrote at an offset: (count,) symbols, and the offset behind them.

    Raises:
        FormatError: no encoder wrote such bytes.
    """
    reader = Reader(data, offset)
    decoder = Decoder(reader.take(reader.varint()))
    finest = (alphabet - 1).bit_length()
    merged = int(decoder.raw(1, 4 if finest < 16 else 5)[0])
    if merged > finest:
        raise FormatError("is damaged (a histogram makes no sense)")
    counts = np.cumsum(decoder.symbols(1 << finest - merged, _counts_table()))
    if counts.min() < 0 or counts.max() > _COUNTS:
        raise FormatError("is damaged (a histogram makes no sense)")
    symbols = decoder.symbols(count, _histogram(counts))
    symbols = symbols << merged | decoder.raw(count, merged)
    if symbols.max(initial=0) >= alphabet:
        raise FormatError("is damaged (a symbol is out of range)")
    return symbols, reader.place


@lru_cache(maxsize=1)
def _counts_table() -> Table:
    return bell(0.75, 0, _COUNTS)


def _with_histogram(symbols: IntArray, finest: int, merged: int) -> bytes:
    encoder = Encoder()
    encoder.raw(np.array([merged]), 4 if finest < 16 else 5)
    counts = half_octaves(np.bincount(symbols >> merged, minlength=1 << finest - merged))[0]
    encoder.symbols(np.diff(counts, prepend=0), _counts_table())
    encoder.symbols(symbols >> merged, _histogram(counts))
    encoder.raw(symbols & (1 << merged) - 1, merged)
    return encoder.finish()


def _histogram(magnitudes: IntArray) -> Table:
    least, lengths = least_of(magnitudes)
    weights = 2 * least + (1 << lengths) - 1
    return Table.of(weights if weights.any() else weights + 1)
