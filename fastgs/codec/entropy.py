"""Entropy coding of integers: a range coder with integer models, so that files decode alike on every machine.

The coder is that of constriction (Bamler, 2022). All models are tables of integer frequencies with the total 2^24,
which constriction takes as they are. Frequencies are computed from integers, or from 64-bit floating point with one
rounding per operation and no sums, which IEEE 754 makes the same everywhere.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, TypeAlias

import constriction
import numpy as np
from numpy.typing import NDArray

from fastgs.codec.frame import FormatError, Reader, varint

IntArray: TypeAlias = NDArray[np.int64]

TOTAL = 1 << 24

_RAW_BITS = 16  # bits of a uniform number that are coded in one piece
_FLOOR = 10  # 2^-10 of the probability is shared evenly, so that no symbol of a bell takes very many bits
_TAIL = 8  # last bytes of a stream, which its last bits may touch; `Encoder.finish` tries to leave them out
_LAST_WORDS = 8  # of 32 bits; more than these bytes, those that were left out before, and the state of the coder
_MAX_COUNT = 48  # largest half octave of a count in a histogram

_stream = constriction.stream
_Categorical, _Uniform = _stream.model.Categorical, _stream.model.Uniform
CATEGORICAL = _Categorical(perfect=False)  # the family of all tables


@dataclass(frozen=True, eq=False)
class Table:
    """Distribution over the symbols `low, low + 1, ...`.

    Attributes:
        low: Least symbol.
        frequencies: (n,) frequencies of at least 1, whose sum is `TOTAL`; n is at most 2^20.
    """

    low: int
    frequencies: IntArray

    @classmethod
    def of(cls, weights: IntArray, low: int = 0) -> Table:
        """Return the table whose frequencies are in proportion to weights.

        Args:
            weights: (n,) weights from 0 to 2^32; their sum is at least 1.
            low: Least symbol.
        """
        frequencies = weights * (TOTAL - len(weights)) // int(weights.sum()) + 1
        frequencies[np.argmax(weights)] += TOTAL - int(frequencies.sum())
        return cls(low, frequencies)

    @cached_property
    def model(self) -> Any:
        """Model for constriction, which has none for a single symbol."""
        # Constriction adds 1 to each frequency; so there is nothing left for it to round.
        return _Categorical((self.frequencies - 1).astype(np.float64), perfect=False)

    @cached_property
    def bits(self) -> NDArray[np.float64]:
        """(n,) bits that each symbol takes."""
        return np.log2(TOTAL / self.frequencies)


def bell(width: float, doublings: int, bound: int) -> Table:
    """Return a bell-shaped distribution over `-bound, ..., bound`.

    Symbol k has a probability proportional to `(1 + (k / width)^2 / (2 m - 1)) ^ -m`, where `m = 2 ** doublings`.

    Args:
        width: Scale of the distribution in symbols, positive.
        doublings: Shape of the tails, from 0 (heavy, Student's t) up (light, nearly Gaussian).
        bound: Largest symbol.
    """
    distance = np.arange(bound + 1) / width
    density = 1 + distance * distance / (2 * 2**doublings - 1)
    for _ in range(doublings):
        density = density * density
    half = (2.0**26 / density).astype(np.int64)
    weights = np.concatenate([half[:0:-1], half])
    return Table.of(weights + (int(weights.sum()) >> _FLOOR) // len(weights) + 1, -bound)


class _Written(NamedTuple):
    """Numbers that were written at once.

    Attributes:
        indices: (n,) indices into a model.
        model: Model of constriction, or a family of models with parameters.
        parameters: Parameters of the models.
        place: Place in the stream, as `RangeDecoder.seek` takes it.
    """

    indices: IntArray
    model: Any
    parameters: tuple[NDArray[np.float64], ...]
    place: tuple[int, Any]


@dataclass
class Encoder:
    """Encodes integers into bytes."""

    _coder: Any = field(default_factory=_stream.queue.RangeEncoder)
    _written: list[_Written] = field(default_factory=list)

    def symbols(self, symbols: IntArray, table: Table) -> None:
        """Write symbols of a table."""
        if len(table.frequencies) > 1 and len(symbols):
            self._write(symbols - table.low, table.model)

    def raw(self, values: IntArray, bits: int) -> None:
        """Write values from 0 to `2 ** bits - 1`; any number of bits is possible."""
        for shift in range(0, bits if len(values) else 0, _RAW_BITS):
            size = 1 << min(_RAW_BITS, bits - shift)
            self._write(values >> shift & size - 1, _Uniform(size))

    def each(self, index: IntArray, frequencies: NDArray[np.float64]) -> None:
        """Write symbols of tables of their own.

        Args:
            index: (n,) symbols, counted from 0.
            frequencies: (n, S) frequencies of all symbols, each less 1; the sum of a row is `TOTAL` less S.
        """
        if frequencies.shape[1] > 1 and len(index):
            self._write(index, CATEGORICAL, frequencies)

    def number(self, value: int) -> None:
        """Write one number, from 0 to 2^62."""
        length = value.bit_length()
        self.raw(np.array([length]), 6)
        self.raw(np.array([value - (1 << length >> 1)]), max(length - 1, 0))

    def finish(self) -> bytes:
        """Return the stream in as few bytes as will do, since the decoder sees zeros behind its end."""
        data = bytes(self._coder.get_compressed().astype(">u4").tobytes())
        for length in range(max(len(data) - _TAIL, 0), len(data)):
            for carry in (0, 1):
                value = int.from_bytes(data[:length], "big") + carry
                if value < 256**length and self._decodes(value.to_bytes(length, "big")):
                    return value.to_bytes(length, "big")
        return data

    def _write(self, index: IntArray, model: Any, *parameters: NDArray[np.float64]) -> None:
        """Write indices into a model of constriction, or a family of models with parameters."""
        self._written.append(_Written(index, model, parameters, self._coder.pos()))
        self._coder.encode(index.astype(np.int32), model, *parameters)
        # Only what the last bytes tell is looked at again, and tables are large.
        settled = self._coder.pos()[0] - _LAST_WORDS
        while len(self._written) > 1 and self._written[1].place[0] <= settled:
            del self._written[0]

    def _decodes(self, data: bytes) -> bool:
        """Tell whether a decoder reads from the last of these bytes what was written; the others are as they were."""
        decoder, rest = Decoder(data), self._written
        try:
            if rest:
                decoder.seek(rest[0].place)
            return all(
                np.array_equal(decoder.read(len(each.indices), each.model, *each.parameters), each.indices)
                for each in rest
            )
        except FormatError:
            return False


class Decoder:
    """Decodes the integers that `Encoder` wrote.

    Args:
        data: Whole stream.
        counts: True to count the bits that symbols take.

    Attributes:
        bits: Number of bits read so far; 0 if they are not counted.

    Raises:
        FormatError: No encoder writes such bytes; every method may raise it.
    """

    def __init__(self, data: bytes, counts: bool = False) -> None:
        self.bits, self._counts = 0.0, counts
        words = np.frombuffer(data + bytes(-len(data) % 4), ">u4").astype(np.uint32)
        self._coder = _stream.queue.RangeDecoder(words)

    def symbols(self, count: int, table: Table) -> IntArray:
        """Read (count,) symbols of a table."""
        if len(table.frequencies) == 1 or not count:
            return np.full(count, table.low, np.int64)
        index = self.read(count, table.model)
        if self._counts:
            self.bits += float(table.bits[index].sum())
        return index + table.low

    def available(self, count: int, table: Table) -> IntArray:
        """Read (count,) symbols of a table, as far as the stream settles them, which a whole stream does."""
        return self.symbols(count, table)

    def each(self, frequencies: NDArray[np.float64]) -> IntArray:
        """Read the (n,) symbols that `Encoder.each` wrote, counted from 0, as far as the stream settles them."""
        count, size = frequencies.shape
        if size == 1 or not count:
            return np.zeros(count, np.int64)
        index = self.read(count, CATEGORICAL, frequencies)
        if self._counts:
            self.bits -= float(np.log2((frequencies[np.arange(count), index] + 1) / TOTAL).sum())
        return index

    def raw(self, count: int, bits: int) -> IntArray:
        """Read (count,) values from 0 to `2 ** bits - 1`."""
        values = np.zeros(count, np.int64)
        self.bits += bits * count if self._counts else 0
        for shift in range(0, bits if count else 0, _RAW_BITS):
            values |= self.read(count, _Uniform(1 << min(_RAW_BITS, bits - shift))) << shift
        return values

    def number(self) -> int:
        """Read one number that `Encoder.number` wrote."""
        length = int(self.raw(1, 6)[0])
        return (1 << length >> 1) + int(self.raw(1, max(length - 1, 0))[0])

    def seek(self, place: tuple[int, Any]) -> None:
        """Go on at a place that the encoder was at, as constriction has it."""
        self._coder.seek(*place)

    def copy(self) -> Decoder:
        """Return a decoder at the same place."""
        other = copy(self)
        other._coder = self._coder.clone()
        return other

    def read(self, count: int, model: Any, *parameters: NDArray[np.float64]) -> IntArray:
        """Read (count,) indices into a model of constriction, or a family of models with parameters."""
        try:
            return np.asarray(self._coder.decode(model, *(parameters or (count,))), np.int64)
        except AssertionError as error:
            raise FormatError("is damaged (its numbers make no sense)") from error


def half_octaves(values: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Split numbers into a magnitude, which is floating point with one bit of mantissa, and a rest.

    Args:
        values: (N,) integers from 0 to 2^52.

    Returns:
        Three arrays (N,): the magnitude, which is 0, 1, 2, 3 for these values, 4 for 4 and 5, 5 for 6 and 7, 6 for 8 to
        11, and so on; the rest, which is the value less the least value of its magnitude; and the number of bits of the
        rest.
    """
    exponents = np.frexp(values.astype(np.float64))[1].astype(np.int64) - 1
    lengths = np.maximum(exponents - 1, 0)
    magnitudes = np.where(values < 2, values, 2 * exponents + (values >> lengths & 1))
    return magnitudes, values & (1 << lengths) - 1, lengths


def least_of(magnitudes: IntArray) -> tuple[IntArray, IntArray]:
    """Return the least value of each magnitude of `half_octaves`, (N,), and the number of bits of the rest, (N,)."""
    lengths = np.maximum((magnitudes >> 1) - 1, 0)
    return np.where(magnitudes < 2, magnitudes, (2 | magnitudes & 1) << lengths), lengths


BOUNDS = least_of(np.arange(31))[0]  # largest residual of a column whose reach is this half octave


def encode_histogram(symbols: IntArray, alphabet: int) -> bytes:
    """Return the bytes of a column, coded by its own histogram, which is as coarse as makes them fewest.

    Args:
        symbols: (N,) integers from 0 to `alphabet - 1`.
        alphabet: Number of symbols that there are, from 1 to 2^16.
    """
    symbols = symbols.astype(np.int64)
    finest = (alphabet - 1).bit_length()
    data = min((_encode_merged(symbols, finest, merged) for merged in range(finest + 1)), key=len)
    return varint(len(data)) + data


def decode_histogram(data: bytes, offset: int, count: int, alphabet: int) -> tuple[IntArray, int]:
    """Read what `encode_histogram` wrote.

    Args:
        data: Bytes that contain the column.
        offset: Offset of its first byte.
        count: Number of symbols, N.
        alphabet: Number of symbols that there are, from 1 to 2^16.

    Returns:
        (N,) symbols, and the offset behind them.

    Raises:
        FormatError: No encoder writes such bytes.
    """
    reader = Reader(data, offset)
    decoder = Decoder(reader.take(reader.varint()))
    finest = (alphabet - 1).bit_length()
    merged = int(decoder.raw(1, 4 if finest < 16 else 5)[0])
    if merged > finest:
        raise FormatError("is damaged (a histogram makes no sense)")
    counts = np.cumsum(decoder.symbols(1 << finest - merged, _make_count_table()))
    if counts.min() < 0 or counts.max() > _MAX_COUNT:
        raise FormatError("is damaged (a histogram makes no sense)")
    symbols = decoder.symbols(count, _make_histogram(counts))
    symbols = symbols << merged | decoder.raw(count, merged)
    if symbols.max(initial=0) >= alphabet:
        raise FormatError("is damaged (a symbol is out of range)")
    return symbols, reader.place


@lru_cache(maxsize=1)
def _make_count_table() -> Table:
    return bell(0.75, 0, _MAX_COUNT)


def _encode_merged(symbols: IntArray, finest: int, merged: int) -> bytes:
    """Return a column coded by a histogram in which `2 ** merged` symbols share a count.

    Args:
        symbols: (N,) symbols.
        finest: Bits of a symbol.
        merged: Low bits of a symbol that the histogram leaves out.
    """
    encoder = Encoder()
    encoder.raw(np.array([merged]), 4 if finest < 16 else 5)
    counts = half_octaves(np.bincount(symbols >> merged, minlength=1 << finest - merged))[0]
    encoder.symbols(np.diff(counts, prepend=0), _make_count_table())
    encoder.symbols(symbols >> merged, _make_histogram(counts))
    encoder.raw(symbols & (1 << merged) - 1, merged)
    return encoder.finish()


def _make_histogram(magnitudes: IntArray) -> Table:
    """Return the distribution of symbols whose counts have these half octaves."""
    least, lengths = least_of(magnitudes)
    weights = 2 * least + (1 << lengths) - 1
    return Table.of(weights if weights.any() else weights + 1)
