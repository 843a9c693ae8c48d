"""Payloads of layers: all symbols in range come back, in few bytes."""

import numpy as np
import pytest
from layer_data import (
    CANVAS,
    KINDS,
    STEPS,
    assert_round_trip,
    assert_same_layers,
    random_layer,
    random_layer_of,
    steps_of,
)

from fastgs.codec.channels import Channels
from fastgs.codec.entropy import Encoder
from fastgs.codec.frame import FormatError
from fastgs.codec.layer import MAX_GAUSSIANS, MAX_SYMBOL, bit_breakdown, decode_layers, encode_layers
from fastgs.codec.symbols import Layer, Steps

OTHER_STEPS = Steps(position=-3, area=0.001, shape=0.5, luma=0.1, chroma=0.3)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 31, 32, 33, 65, 700])
@pytest.mark.parametrize("canvas", [(1, 1), (1, 65535), (321, 481), (512, 768)])
def test_layer_round_trip(count, canvas):
    payloads = assert_round_trip([random_layer(count, canvas)], canvas)
    assert encode_layers(decode_layers(payloads, canvas), canvas) == payloads


@pytest.mark.parametrize("position", range(-3, 7))
def test_round_trip_of_all_units_of_positions(position):
    canvas = (65535, 65535)
    layer = random_layer(50, canvas, Steps(position, 0.2, 0.2, 0.1, 0.1))
    layer.symbols[0, :2] = int(65535 * 2.0**position)  # the last corner of the canvas
    assert_round_trip([layer], canvas)


def test_round_trip_of_layers_with_equal_and_other_steps():
    first, empty, equal = random_layer(100), random_layer(0, seed=1), random_layer(300, seed=2)
    assert_round_trip([first, empty, equal, random_layer(9, steps=OTHER_STEPS, seed=3)])


def test_first_layers_decode_without_the_others():
    layers = [random_layer(50, seed=seed) for seed in range(3)]
    payloads = encode_layers(layers, CANVAS)
    for count in range(4):
        assert_same_layers(layers[:count], decode_layers(payloads[:count], CANVAS))


def test_payload_has_a_byte_for_16_gaussians():
    """Equal Gaussians would take fewer; so no small file causes much work, though bytes that are missing read as 0."""
    same = Layer(np.repeat(random_layer(1).symbols, 5000, axis=0), STEPS)
    (data,) = assert_round_trip([same])
    assert len(data) == -(-5000 // 16)
    with pytest.raises(FormatError, match=r"^is damaged \(5000 Gaussians in 312 bytes\)$"):
        decode_layers([data[:-1]], CANVAS)


def test_decoder_refuses_more_gaussians_than_any_layer_has():
    encoder = Encoder()
    encoder.number(MAX_GAUSSIANS + 1)
    encoder.raw(np.array([4]), 4)
    encoder.raw(np.ones(4, np.float16).view(np.uint16).astype(np.int64), 16)
    with pytest.raises(FormatError, match=r"^is damaged \(4194305 Gaussians in 300000 bytes\)$"):
        decode_layers([encoder.finish().ljust(300_000, b"\0")], CANVAS)


OTHER_KINDS = [*KINDS.values(), Channels(2), Channels(4), Channels(32)]


@pytest.mark.slow
@pytest.mark.parametrize("count", [0, 1, 2, 33, 400])
@pytest.mark.parametrize("channels", OTHER_KINDS, ids=str)
def test_round_trip_of_other_channels(channels, count):
    layers = [random_layer_of(channels, each, seed=each) for each in (count, count // 2, 3)]
    assert_round_trip(layers, channels=channels)
    for layer in layers:
        layer.symbols[:, 5:] = 0  # no Gaussian has a colour
    assert_round_trip(layers, channels=channels)


@pytest.mark.parametrize("channels", OTHER_KINDS, ids=str)
def test_bit_breakdown_of_other_channels_adds_up(channels):
    layers = [random_layer_of(channels, count, seed=count) for count in (0, 10, 400)]
    payloads = encode_layers(layers, CANVAS, channels)
    for bits, data in zip(bit_breakdown(payloads, CANVAS, channels), payloads, strict=True):
        assert set(bits) == {"header", "positions", "area", "shape", *channels.attributes}
        assert sum(bits.values()) == pytest.approx(8 * len(data))
        assert min(bits.values()) >= 0


def test_layers_of_one_image_share_their_mixing():
    channels = KINDS["channels"]
    first, other = (random_layer_of(channels, 9, seed=seed) for seed in range(2))
    other.mixing[0, 0] += 1
    with pytest.raises(ValueError, match=r"^mixing: must be the same"):
        encode_layers([first, other], CANVAS, channels)
    plain = [Layer(layer.symbols, layer.steps) for layer in (first, other)]
    assert_round_trip(plain, channels=channels)


@pytest.mark.parametrize(("count", "least"), [(1, 313), (3, 313), (6, 625), (32, 3334)])
def test_payload_grows_with_channels(count, least):
    """The work of a reader is bounded by the bytes of a file, whatever the number of channels."""
    channels = Channels(count)
    symbols = np.repeat(random_layer_of(channels, 1).symbols, 5000, axis=0)
    (data,) = encode_layers([Layer(symbols, steps_of(channels))], CANVAS, channels)
    assert len(data) >= least
    with pytest.raises(FormatError, match=r"^is damaged \(5000 Gaussians in \d+ bytes\)$"):
        decode_layers([data[: least - 1]], CANVAS, channels)


def test_gaussians_without_colour_take_about_a_bit_for_it():
    channels = KINDS["rgba"]
    layer = random_layer_of(channels, 2000)
    layer.symbols[:1000, 5:] = 0
    bits = bit_breakdown(encode_layers([layer], CANVAS, channels), CANVAS, channels)[0]
    colored = Layer(layer.symbols[layer.symbols[:, 5:].any(1)], layer.steps)
    alone = bit_breakdown(encode_layers([colored], CANVAS, channels), CANVAS, channels)[0]
    more = sum(bits[name] - alone[name] for name in ("alpha", "luma", "chroma"))
    assert 0 < more < 1.02 * 2000 + 50


def test_colours_are_predicted_from_neighbours_of_other_alpha():
    """A surface of one colour, fading in and out, takes hardly any bits for its luma."""
    channels = KINDS["gray-alpha"]
    layer = random_layer_of(channels, 1500)
    alpha = np.random.default_rng(0).integers(10, 40, 1500)
    layer.symbols[:, 5], layer.symbols[:, 6] = alpha, 2 * alpha
    faded = bit_breakdown(encode_layers([layer], CANVAS, channels), CANVAS, channels)[0]["luma"]
    layer.symbols[:, 6] = np.random.default_rng(1).permutation(2 * alpha)
    assert faded < 0.5 * bit_breakdown(encode_layers([layer], CANVAS, channels), CANVAS, channels)[0]["luma"]


def test_round_trip_of_extreme_symbols():
    symbols = np.random.default_rng(0).choice([-MAX_SYMBOL, MAX_SYMBOL], (100, 8))
    symbols[:, :2] = 0
    assert_round_trip([Layer(symbols.astype(np.int32), Steps(0, 2**-20, 2**-20, 2**-20, 2**-20))])
    symbols = np.column_stack([symbols, symbols[:, 7]]).astype(np.int32)
    assert_round_trip([Layer(symbols, Steps(0, *[2**-20] * 5))], channels=KINDS["rgba"])


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
def test_encoder_refuses_symbols_out_of_range(column, value, words):
    layer = random_layer(5)
    layer.symbols[2, column] = value
    with pytest.raises(ValueError, match=words):
        encode_layers([layer], CANVAS)


def test_similar_neighbours_save_bytes():
    smooth = random_layer(2000)
    shuffled = Layer(smooth.symbols.copy(), STEPS)
    shuffled.symbols[:, 2:] = np.random.default_rng(0).permutation(shuffled.symbols[:, 2:])
    few, many = (len(*encode_layers([layer], CANVAS)) for layer in (smooth, shuffled))
    assert few < 0.97 * many


def test_positions_take_the_bits_of_a_set():
    layer = random_layer(3000, (512, 768))
    layer.symbols[:, :2] = np.random.default_rng(0).integers(0, [1536, 1024], (3000, 2))
    (bits,) = bit_breakdown(encode_layers([layer], (512, 768)), (512, 768))
    assert bits["positions"] / 3000 < np.log2(1536 * 1024 / 3000) + 1 / np.log(2) + 0.15


def test_bit_breakdown_adds_up():
    payloads = encode_layers([random_layer(count, seed=count) for count in (0, 10, 400)], CANVAS)
    for bits, data in zip(bit_breakdown(payloads, CANVAS), payloads, strict=True):
        assert list(bits) == ["header", "positions", "area", "shape", "luma", "chroma"]
        assert sum(bits.values()) == pytest.approx(8 * len(data))
        assert min(bits.values()) >= 0
