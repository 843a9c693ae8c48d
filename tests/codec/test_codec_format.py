"""The bytes of .fgs files: what is written comes back, whatever else there is gives one clear line."""

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fastgs.codec import hilbert as curve
from fastgs.codec.contexts import levels
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
from fastgs.codec.frame import CODES, MAGIC, VERSION, FormatError, Frame, read_frame, write_frame
from fastgs.codec.layer import (
    MAX_GAUSSIANS,
    MAX_SYMBOL,
    bit_breakdown,
    decode_layer,
    decode_layers,
    encode_layer,
    encode_layers,
)
from fastgs.codec.symbols import Layer, Steps, dequantize

DATA = Path(__file__).parents[1] / "golden"
STEPS = Steps(position=1, area=0.2, shape=0.2, luma=0.035, chroma=0.05)
CANVAS = (60, 90)


def random_layer(count: int, canvas=CANVAS, steps=STEPS, seed=0) -> Layer:
    """Like that of a photo: attributes that change slowly over the canvas, and noise."""
    rng = np.random.default_rng(seed)
    height, width = canvas
    last = np.floor(np.array([width, height]) * 2.0**steps.position)
    places = rng.random((count, 2))
    slow = np.sin(places @ rng.normal(0, 4, (2, 6))) * [4, 3, 3, 8, 4, 2]
    noise = rng.standard_t(4, (count, 6)) * [4, 3, 3, 5, 2, 1] + [14, 0, 0, 20, 0, 0]
    symbols = np.rint(np.column_stack([places * last, slow + noise])).clip(-40, 60)
    return Layer(symbols.astype(np.int32), steps)


def as_set(layer: Layer) -> list[list[int]]:
    return sorted(layer.symbols.tolist())


def assert_same(layers, decoded) -> None:
    assert len(layers) == len(decoded)
    for expected, layer in zip(layers, decoded, strict=True):
        assert as_set(expected) == as_set(layer) and expected.steps == layer.steps
        assert layer.symbols.dtype == np.int32


def sample_file(seed=0, count=60) -> bytes:
    rng = np.random.default_rng(seed)
    layers = [random_layer(int(rng.integers(0, count)), seed=seed + 10 * number) for number in range(3)]
    return write_frame(Frame("fastgs", *CANVAS, encode_layers(layers, CANVAS)))


# ---------------------------------------------------------------- the container


@pytest.mark.parametrize("scheme", CODES)
@pytest.mark.parametrize("layers", [[], [b""], [b"a", b"", b"x" * 300]])
def test_frame_comes_back(scheme, layers):
    frame = Frame(scheme, 65535, 1, layers)
    data = write_frame(frame)
    assert read_frame(data) == frame and read_frame(data, partial=True) == frame
    assert data[:4] == MAGIC + bytes([VERSION])


def test_frame_is_small():
    assert len(write_frame(Frame("fastgs", 512, 768, [bytes(900)] * 3))) == 3 * 900 + 12 + 3 * 4


def test_every_prefix_gives_its_whole_layers():
    layers = [b"a" * 5, b"b" * 200, b"c"]
    data = write_frame(Frame("fastgs", 512, 768, layers))
    ends = [len(write_frame(Frame("fastgs", 512, 768, layers[:count]))) for count in range(4)]
    for length in range(len(data)):
        with pytest.raises(FormatError):
            read_frame(data[:length])
        if length < ends[0]:
            with pytest.raises(FormatError):
                read_frame(data[:length], partial=True)
        else:
            whole = sum(end <= length for end in ends) - 1
            assert read_frame(data[:length], partial=True).layers == layers[:whole]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: b"", "not a .fgs file"),
        (lambda data: b"\x89PNG" + data[4:], "not a .fgs file"),
        (lambda data: data[:3] + bytes([VERSION + 1]) + data[4:], "version 2.*update fastgs"),
        (lambda data: data[:9], "cut short"),
        (lambda data: data[:-1], "cut short"),
        (lambda data: data + b"?", "1 bytes follow"),
        (lambda data: data[:5] + bytes([data[5] ^ 1]) + data[6:], "checksum of its header"),
        (lambda data: data[:-5] + bytes([data[-5] ^ 1]) + data[-4:], "checksum of layer 3 of 3"),
    ],
)
def test_damage_is_told_in_one_line(change, words):
    with pytest.raises(FormatError, match=words) as error:
        read_frame(change(sample_file()))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("change", [{"scheme": "jpeg"}, {"height": 0}, {"width": 65536}, {"layers": [b""] * 33}])
def test_improper_frame(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        replace(Frame("fastgs", 1, 1, []), **change)


# ---------------------------------------------------------------- its parts


@pytest.mark.parametrize("order", [0, 1, 2, 5])
def test_curve_visits_every_cell_and_its_neighbour_next(order):
    x, y = curve.position(np.arange(4**order), order)
    assert len(set(zip(x.tolist(), y.tolist(), strict=True))) == 4**order
    assert (np.abs(np.diff(x)) + np.abs(np.diff(y)) == 1).all()
    assert (curve.index(x, y, order) == np.arange(4**order)).all()


def test_curve_of_the_largest_canvas():
    rng = np.random.default_rng(0)
    order = curve.order_for(65535 * 64 + 1, 2)
    x, y = rng.integers(0, 65535 * 64 + 1, (2, 1000))
    place = curve.index(x, y, order)
    assert order == 22 and (np.array(curve.position(place, order)) == [x, y]).all()


def test_half_octaves():
    values = np.concatenate([np.arange(3000), 2 ** np.arange(3, 52), 2 ** np.arange(3, 53) - 1])
    magnitudes, rest, lengths = half_octaves(values)
    least, bits = least_of(magnitudes)
    assert (least + rest == values).all() and (bits == lengths).all() and (rest < 1 << lengths).all()


@pytest.mark.parametrize("count", [0, 1, 2, 31, 32, 33, 100, 1000])
def test_levels_are_a_partition_that_knows_its_neighbours(count):
    known = np.zeros(count, np.int64)
    for level in levels(count):
        assert (np.stack(level.neighbours(known)) == level.weights).all() if len(level.weights) else not known.any()
        assert (known[level.index] == 0).all()
        assert (level.density > 0).all() or not len(level.weights)
        known[level.index] = 1
    assert known.all()


@pytest.mark.parametrize("width", [0.25, 1.0, 7.0, 1000.0])
@pytest.mark.parametrize("doublings", range(4))
@pytest.mark.parametrize("bound", [0, 1, 300, 32768])
def test_bells_are_proper_tables(width, doublings, bound):
    table = bell(width, doublings, bound)
    assert table.frequencies.sum() == TOTAL and table.frequencies.min() >= 1
    assert table.low == -bound and len(table.frequencies) == 2 * bound + 1
    assert (np.diff(table.frequencies[bound:]) <= 0).all()


class PlainDecoder:
    """The range decoder of FORMAT.md, word by word."""

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


def test_range_coder_is_as_documented():
    """Tables reach the coder as they are: a coder without floating point reads the same."""
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
def test_coder_wastes_no_bytes(count):
    encoder, table = Encoder(), bell(4.0, 1, 20)
    symbols = np.random.default_rng(count).integers(-20, 21, count)
    encoder.number(count)
    encoder.symbols(symbols, table)
    data = encoder.finish()
    decoder = Decoder(data, counts=True)
    assert decoder.number() == count and (decoder.symbols(count, table) == symbols).all()
    assert 8 * len(data) <= decoder.bits + 9


def test_numbers_of_all_sizes():
    numbers = [0, 1, 2, 3, 255, 2**16, 2**32 + 5, 2**62]
    encoder = Encoder()
    for number in numbers:
        encoder.number(number)
    decoder = Decoder(encoder.finish())
    assert [decoder.number() for _ in numbers] == numbers


@pytest.mark.parametrize("alphabet", [1, 2, 3, 64, 256, 1000, 65536])
@pytest.mark.parametrize("count", [0, 1, 5, 3000])
def test_histogram_comes_back(alphabet, count):
    rng = np.random.default_rng(alphabet + count)
    symbols = np.clip(rng.normal(alphabet / 2, alphabet / 8, count).astype(np.int64), 0, alphabet - 1)
    data = b"before" + encode_histogram(symbols, alphabet)
    decoded, end = decode_histogram(data + b"behind", 6, count, alphabet)
    assert (decoded == symbols).all() and end == len(data)
    assert len(data) < 6 + 10 + count * np.log2(alphabet) / 8


# ---------------------------------------------------------------- layers

OTHER_STEPS = Steps(position=-3, area=0.001, shape=0.5, luma=0.1, chroma=0.3)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 31, 32, 33, 65, 700])
@pytest.mark.parametrize("canvas", [(1, 1), (1, 65535), (321, 481), (512, 768)])
def test_layer_comes_back(count, canvas):
    layer = random_layer(count, canvas)
    data = encode_layer(layer, canvas)
    decoded = decode_layer(data, canvas)
    assert_same([layer], [decoded])
    assert encode_layer(decoded, canvas) == data


@pytest.mark.parametrize("position", range(-3, 7))
def test_layers_of_all_positions(position):
    canvas = (65535, 65535)
    layer = random_layer(50, canvas, Steps(position, 0.2, 0.2, 0.1, 0.1))
    layer.symbols[0, :2] = int(65535 * 2.0**position)  # the very corner
    assert_same([layer], [decode_layer(encode_layer(layer, canvas), canvas)])


def test_layers_with_and_without_the_same_steps():
    layers = [
        random_layer(100),
        random_layer(0, seed=1),
        random_layer(300, seed=2),
        random_layer(9, steps=OTHER_STEPS, seed=3),
    ]
    assert_same(layers, decode_layers(encode_layers(layers, CANVAS), CANVAS))


def test_first_layers_alone():
    layers = [random_layer(50, seed=seed) for seed in range(3)]
    payloads = encode_layers(layers, CANVAS)
    for count in range(4):
        assert_same(layers[:count], decode_layers(payloads[:count], CANVAS))


def test_duplicates():
    layer = random_layer(1)
    same = Layer(np.repeat(layer.symbols, 5000, axis=0), STEPS)
    data = encode_layer(same, CANVAS)
    assert_same([same], [decode_layer(data, CANVAS)])
    # No more Gaussians than 16 per byte, so that no small file makes much work; what lacks at the end would read as 0.
    assert len(data) == -(-5000 // 16)
    with pytest.raises(FormatError, match=r"^is damaged \(5000 Gaussians in 312 bytes\)$"):
        decode_layer(data[:-1], CANVAS)


def test_more_gaussians_than_any_file_has():
    encoder = Encoder()
    encoder.number(MAX_GAUSSIANS + 1)
    encoder.raw(np.array([4]), 4)
    encoder.raw(np.ones(4, np.float16).view(np.uint16).astype(np.int64), 16)
    with pytest.raises(FormatError, match=r"^is damaged \(4194305 Gaussians in 300000 bytes\)$"):
        decode_layer(encoder.finish().ljust(300_000, b"\0"), CANVAS)


def test_extreme_symbols():
    fine = Steps(0, 2**-20, 2**-20, 2**-20, 2**-20)
    rng = np.random.default_rng(0)
    symbols = rng.choice([-MAX_SYMBOL, MAX_SYMBOL], (100, 8))
    symbols[:, :2] = 0
    layer = Layer(symbols.astype(np.int32), fine)
    assert_same([layer], [decode_layer(encode_layer(layer, CANVAS), CANVAS)])


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        (0, -1, "x: "),
        (0, 181, "x: "),
        (1, 121, "y: "),
        (5, MAX_SYMBOL + 1, "luma: "),
        (2, 3000, "scale"),
        (2, -100, "scale"),
        (3, 900, "scale"),
    ],
)
def test_improper_symbols(column, value, words):
    layer = random_layer(5)
    layer.symbols[2, column] = value
    with pytest.raises(ValueError, match=words):
        encode_layer(layer, CANVAS)


def test_neighbours_make_it_smaller():
    rng = np.random.default_rng(0)
    smooth = random_layer(2000)
    shuffled = Layer(smooth.symbols.copy(), STEPS)
    shuffled.symbols[:, 2:] = rng.permutation(shuffled.symbols[:, 2:])
    assert len(encode_layer(smooth, CANVAS)) < 0.97 * len(encode_layer(shuffled, CANVAS))


def test_positions_cost_what_a_set_costs():
    rng = np.random.default_rng(0)
    layer = random_layer(3000, (512, 768))
    layer.symbols[:, :2] = rng.integers(0, [1536, 1024], (3000, 2))
    (bits,) = bit_breakdown([encode_layer(layer, (512, 768))], (512, 768))
    assert bits["positions"] / 3000 < np.log2(1536 * 1024 / 3000) + 1 / np.log(2) + 0.15


def test_ledger_adds_up():
    payloads = encode_layers([random_layer(count, seed=count) for count in (0, 10, 400)], CANVAS)
    for bits, data in zip(bit_breakdown(payloads, CANVAS), payloads, strict=True):
        assert list(bits) == ["header", "positions", "area", "shape", "luma", "chroma"]
        assert sum(bits.values()) == pytest.approx(8 * len(data))
        assert min(bits.values()) >= 0


# ---------------------------------------------------------------- every machine


def test_committed_file_decodes_to_committed_symbols():
    frame = read_frame((DATA / "vector.fgs").read_bytes())
    expected = json.loads((DATA / "vector.json").read_text())
    assert (frame.scheme, frame.height, frame.width) == ("fastgs", expected["height"], expected["width"])
    layers = decode_layers(frame.layers, (frame.height, frame.width))
    assert [layer.symbols.tolist() for layer in layers] == [layer["symbols"] for layer in expected["layers"]]
    assert [vars(layer.steps) for layer in layers] == [layer["steps"] for layer in expected["layers"]]


def waves(count: int, number: int) -> Layer:
    """Attributes in waves over the canvas, and noise by the area; in integers, so that it is the same everywhere."""
    index = np.arange(1, count + 1) + 1000 * number
    noise = [index * prime % 10_007 % 11 - 5 for prime in (3_571, 5_003, 7_919, 2_221, 6_101, 9_001)]
    x, y = index * index * 4_013 % 10_007 % 181, index * 6_547 % 10_007 % 121
    wave, slope = abs((2 * x + 3 * y) % 160 - 80), abs((x - 2 * y) % 200 - 100)
    area = 8 + wave // 10 + noise[0] // 2
    shape, colors = (wave // 16 - 2 + noise[1] // 2, noise[2]), (slope // 8 - 6 + noise[4] // 3, noise[5] // 4)
    columns = x, y, area, *shape, 20 + slope // 4 + noise[3] * area // 8, *colors
    return Layer(np.stack(columns, axis=1).astype(np.int32), STEPS)


WAVES = [waves(100, 0), waves(200, 1)]


def test_committed_waves_decode_to_what_the_format_says():
    """Made by `write_frame(Frame("fastgs", *CANVAS, encode_layers(WAVES, CANVAS)))`.

    Its models have all kinds of contexts, and shares of the neighbours above 0. The format is not what encoder and
    decoder agree on, but what files have: what FORMAT.md says that symbols mean is computed back from the Gaussians.
    """
    frame = read_frame((DATA / "waves.fgs").read_bytes())
    layers = decode_layers(frame.layers, CANVAS)
    assert_same(WAVES, layers)
    gaussians = dequantize(layers, *CANVAS)
    (s1, s2), (red, green, blue) = gaussians.scales.double().numpy().T, gaussians.colors.double().numpy().T
    ratio, angle = np.log(s1 / s2), 2 * gaussians.rotations.double().numpy()
    colors = (red + green + blue) / 3**0.5, (red - blue) / 2**0.5, (red - 2 * green + blue) / 6**0.5
    columns = (*gaussians.means.numpy().T, np.log(s1 * s2), ratio * np.cos(angle), ratio * np.sin(angle), *colors)
    symbols = np.stack(columns, axis=1) / [0.5, 0.5, *np.float16([0.2, 0.2, 0.2, 0.035, 0.05, 0.05]).astype(float)]
    np.testing.assert_allclose(symbols, np.concatenate([layer.symbols for layer in layers]), rtol=0, atol=1e-4)


def test_files_are_no_larger_than_they_were():
    """From symbols to bytes; all in integers, but for the choice of models, for which half a percent is room."""
    assert sum(map(len, encode_layers(WAVES, CANVAS))) <= 1158  # 1153
    columns = np.concatenate([layer.symbols for layer in WAVES])[:, 2:].T
    assert sum(len(encode_histogram(column - column.min(), 256)) for column in columns) <= 895


# ---------------------------------------------------------------- any bytes


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """A few bytes changed, put in, taken out or cut off."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        place = int(rng.integers(0, len(changed) + 1))
        kind = rng.integers(0, 4)
        if kind == 0:
            changed[place : place + 1] = rng.bytes(1)
        elif kind == 1:
            changed[place:place] = rng.bytes(int(rng.integers(1, 9)))
        elif kind == 2:
            del changed[place : place + int(rng.integers(1, 9))]
        else:
            changed[place : place + 4] = bytes([rng.choice([0, 127, 255])]) * 4
    return bytes(changed)


def broken(data: bytes, kind: int, rng: np.random.Generator) -> bytes:
    if kind == 0:
        return mutate(data, rng)
    if kind == 1:
        return data[: rng.integers(0, len(data))]
    if kind == 2:
        return rng.bytes(int(rng.integers(0, 300)))
    if kind == 3:
        return MAGIC + bytes([VERSION]) + rng.bytes(int(rng.integers(0, 300)))
    # What checksums do not catch.
    frame = read_frame(data)
    layers = [mutate(layer, rng) if rng.random() < 0.5 else layer for layer in frame.layers]
    if kind == 4:
        layers[rng.integers(len(layers))] = rng.bytes(int(rng.integers(0, 300)))
    side = rng.choice([1, 60, 65535], 2).tolist()
    return write_frame(Frame("fastgs", *side, layers))


def check_any_bytes(count: int, seed: int, files: int = 20) -> int:
    rng = np.random.default_rng(seed)
    samples = [sample_file(seed) for seed in range(files)]
    read, lines = 0, set()
    for number in range(count):
        data = broken(samples[number % files], number % 8, rng)
        try:
            frame = read_frame(data, partial=bool(number % 2))
            layers = decode_layers(frame.layers, (frame.height, frame.width))
        except FormatError as error:
            lines.add(str(error))
        else:
            dequantize(layers, frame.height, frame.width)  # is checked when it is made
            read += 1
    assert all(line and "\n" not in line for line in lines)
    return read


def test_any_bytes():
    assert check_any_bytes(2000, seed=0) > 100


def test_damaged_files_take_little_memory():
    tracemalloc.start()
    try:
        check_any_bytes(30, seed=2, files=5)
        assert tracemalloc.get_traced_memory()[1] < 300e6
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_very_many_bytes():
    assert check_any_bytes(10_000, seed=1) > 1000
