"""The range coder and its tables: integers come back, and files read the same on every machine."""

import numpy as np
import pytest

from fastgs.codec.entropy import (
    TOTAL,
    Decoder,
    Encoder,
    Table,
    bell,
    decode_histogram,
    encode_histogram,
    half_octaves,
    least_of,
)


def test_half_octaves_round_trip():
    values = np.concatenate([np.arange(3000), 2 ** np.arange(3, 52), 2 ** np.arange(3, 53) - 1])
    magnitudes, rest, lengths = half_octaves(values)
    least, bits = least_of(magnitudes)
    assert (least + rest == values).all() and (bits == lengths).all() and (rest < 1 << lengths).all()


@pytest.mark.parametrize("width", [0.25, 1.0, 7.0, 1000.0])
@pytest.mark.parametrize("doublings", range(4))
@pytest.mark.parametrize("bound", [0, 1, 300, 32768])
def test_bell_is_a_table_that_falls_from_its_middle(width, doublings, bound):
    table = bell(width, doublings, bound)
    assert table.frequencies.sum() == TOTAL and table.frequencies.min() >= 1
    assert table.low == -bound and len(table.frequencies) == 2 * bound + 1
    assert (np.diff(table.frequencies[bound:]) <= 0).all()


class PlainDecoder:
    """Range decoder of FORMAT.md, word by word, without floating point."""

    def __init__(self, data: bytes) -> None:
        data += bytes(-len(data) % 4)
        self.words = [int.from_bytes(data[place : place + 4], "big") for place in range(0, len(data), 4)]
        self.range = 2**64 - 1
        self.point = self.word() << 32 | self.word()

    def word(self) -> int:
        return self.words.pop(0) if self.words else 0

    def symbol(self, table: Table) -> int:
        scale = self.range >> 24
        quantile, below, index = self.point // scale, 0, 0
        while below + table.frequencies[index] <= quantile:
            below += int(table.frequencies[index])
            index += 1
        self.point -= scale * below
        self.range = scale * int(table.frequencies[index])
        if self.range < 2**32:
            self.range <<= 32
            self.point = self.point << 32 | self.word()
        return table.low + index


def test_encoder_writes_the_documented_stream():
    """Tables reach the coder exactly, so that a decoder without floating point reads the same."""
    rng = np.random.default_rng(0)
    tables = [bell(width, doublings, 40) for width in (0.25, 1.25, 14.0) for doublings in range(4)]
    tables += [Table.of(rng.integers(0, 2**20, 500), -3), Table(0, np.full(1 << 16, TOTAL >> 16))]
    encoder, expected = Encoder(), []
    for table in tables:
        symbols = rng.integers(0, len(table.frequencies), 60) + table.low
        expected.append(symbols.tolist())
        encoder.symbols(symbols, table)
    numbers = rng.integers(0, 1 << 20, 60)
    encoder.raw(numbers, 20)
    plain = PlainDecoder(encoder.finish())
    assert [[plain.symbol(table) for _ in range(60)] for table in tables] == expected
    low, high = ([plain.symbol(Table(0, np.full(1 << b, TOTAL >> b))) for _ in range(60)] for b in (16, 4))
    assert [a + (b << 16) for a, b in zip(low, high, strict=True)] == numbers.tolist()


@pytest.mark.parametrize("count", [0, 1, 2, 3, 100])
def test_encoder_wastes_no_bytes(count):
    encoder, table = Encoder(), bell(4.0, 1, 20)
    symbols = np.random.default_rng(count).integers(-20, 21, count)
    encoder.number(count)
    encoder.symbols(symbols, table)
    data = encoder.finish()
    decoder = Decoder(data, counts=True)
    assert decoder.number() == count and (decoder.symbols(count, table) == symbols).all()
    assert 8 * len(data) <= decoder.bits + 9


def test_numbers_of_all_sizes_round_trip():
    numbers = [0, 1, 2, 3, 255, 2**16, 2**32 + 5, 2**62]
    encoder = Encoder()
    for number in numbers:
        encoder.number(number)
    decoder = Decoder(encoder.finish())
    assert [decoder.number() for _ in numbers] == numbers


@pytest.mark.parametrize("alphabet", [1, 2, 3, 64, 256, 1000, 65536])
@pytest.mark.parametrize("count", [0, 1, 5, 3000])
def test_histogram_round_trip(alphabet, count):
    rng = np.random.default_rng(alphabet + count)
    symbols = np.clip(rng.normal(alphabet / 2, alphabet / 8, count).astype(np.int64), 0, alphabet - 1)
    data = b"before" + encode_histogram(symbols, alphabet)
    decoded, end = decode_histogram(data + b"behind", 6, count, alphabet)
    assert (decoded == symbols).all() and end == len(data)
    assert len(data) < 6 + 10 + count * np.log2(alphabet) / 8
