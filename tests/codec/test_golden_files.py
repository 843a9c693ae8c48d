"""Files in tests/golden decode to what they hold on every machine, and in every later version."""

import json

import numpy as np
import pytest
from layer_data import CANVAS, GOLDEN, KINDS, STEPS, assert_same_layers, dequantize

from fastgs.codec.entropy import encode_histogram
from fastgs.codec.frame import read_frame
from fastgs.codec.layer import decode_layers, encode_layers
from fastgs.codec.symbols import Layer, Steps


def compute_rgba(symbols, steps, _mixing):
    alpha, luma, chroma1, chroma2 = symbols
    luma, chroma1, chroma2 = (
        luma * steps.luma / 3**0.5,
        chroma1 * steps.chroma / 2**0.5,
        chroma2 * steps.chroma / 6**0.5,
    )
    red, green, blue = luma + chroma1 + chroma2, luma - 2 * chroma2, luma - chroma1 + chroma2
    return np.stack([red, green, blue, alpha * steps.alpha], axis=1)


# Colours by the equations of FORMAT.md.
COLORS = {
    "gray": lambda symbols, steps, _: symbols.T * steps.luma,
    "gray-alpha": lambda symbols, steps, _: np.stack([symbols[1] * steps.luma, symbols[0] * steps.alpha], axis=1),
    "rgba": compute_rgba,
    "channels": lambda symbols, steps, mixing: symbols.T * steps.luma @ mixing / 127,
}


@pytest.mark.parametrize(("name", "model"), [("vector", None), ("learned", 1)])
def test_golden_photo_decodes_to_its_symbols(name, model):
    """The second file has the symbols of the first one, coded by the learned model."""
    frame = read_frame((GOLDEN / f"{name}.fgs").read_bytes())
    expected = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    assert frame.symbols == model
    assert (frame.scheme, frame.height, frame.width) == ("fastgs", expected["height"], expected["width"])
    canvas = frame.height, frame.width
    layers = decode_layers(frame.layers, canvas, model=model)
    assert [layer.symbols.tolist() for layer in layers] == [layer["symbols"] for layer in expected["layers"]]
    assert [layer.steps for layer in layers] == [Steps(**layer["steps"]) for layer in expected["layers"]]
    assert encode_layers(layers, canvas, model=model) == frame.layers


@pytest.mark.parametrize("name", KINDS)
def test_golden_file_of_version_2_decodes_to_its_symbols(name):
    """The file was made by `write_frame` of `encode_layers` of `random_layer_of(KINDS[name], 14, 3)` and `24, 4`."""
    frame = read_frame((GOLDEN / f"{name}.fgs").read_bytes())
    expected = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    canvas, channels = (expected["height"], expected["width"]), frame.channels
    assert ("fastgs", *canvas, expected["channels"], expected["alpha"]) == (
        *(frame.scheme, frame.height, frame.width),
        *(channels.count, channels.alpha),
    )
    layers = decode_layers(frame.layers, canvas, channels)
    assert [layer.symbols.tolist() for layer in layers] == [layer["symbols"] for layer in expected["layers"]]
    assert [layer.steps for layer in layers] == [Steps(**layer["steps"]) for layer in expected["layers"]]
    assert all(np.array_equal(layer.mixing, expected["mixing"]) for layer in layers)
    assert encode_layers(layers, canvas, channels) == frame.layers
    gaussians = dequantize(layers, *canvas, channels)
    assert gaussians.alpha == channels.alpha
    colors = np.concatenate([COLORS[name](layer.symbols[:, 5:].T, layer.steps, layer.mixing) for layer in layers])
    np.testing.assert_allclose(gaussians.colors.numpy(), colors, rtol=0, atol=1e-5)


def make_waves(count: int, number: int) -> Layer:
    """Make attributes in waves over the canvas, with noise by the area; in integers, so that they are exact."""
    index = np.arange(1, count + 1) + 1000 * number
    noise = [index * prime % 10_007 % 11 - 5 for prime in (3_571, 5_003, 7_919, 2_221, 6_101, 9_001)]
    x, y = index * index * 4_013 % 10_007 % 181, index * 6_547 % 10_007 % 121
    wave, slope = abs((2 * x + 3 * y) % 160 - 80), abs((x - 2 * y) % 200 - 100)
    area = 8 + wave // 10 + noise[0] // 2
    shape, colors = (wave // 16 - 2 + noise[1] // 2, noise[2]), (slope // 8 - 6 + noise[4] // 3, noise[5] // 4)
    columns = x, y, area, *shape, 20 + slope // 4 + noise[3] * area // 8, *colors
    return Layer(np.stack(columns, axis=1).astype(np.int32), STEPS)


WAVES = [make_waves(100, 0), make_waves(200, 1)]


def test_golden_waves_decode_to_the_values_of_the_format():
    """The file was made by `write_frame(Frame("fastgs", *CANVAS, encode_layers(WAVES, CANVAS)))`.

    Its models have all kinds of contexts, and shares of the neighbours above 0. Encoder and decoder could agree on
    another format than FORMAT.md, so its values of symbols are computed back from the Gaussians.
    """
    frame = read_frame((GOLDEN / "waves.fgs").read_bytes())
    layers = decode_layers(frame.layers, CANVAS)
    assert_same_layers(WAVES, layers)
    gaussians = dequantize(layers, *CANVAS)
    (s1, s2), (red, green, blue) = gaussians.scales.double().numpy().T, gaussians.colors.double().numpy().T
    ratio, angle = np.log(s1 / s2), 2 * gaussians.rotations.double().numpy()
    colors = (red + green + blue) / 3**0.5, (red - blue) / 2**0.5, (red - 2 * green + blue) / 6**0.5
    columns = (*gaussians.means.numpy().T, np.log(s1 * s2), ratio * np.cos(angle), ratio * np.sin(angle), *colors)
    symbols = np.stack(columns, axis=1) / [0.5, 0.5, *np.float16([0.2, 0.2, 0.2, 0.035, 0.05, 0.05]).astype(float)]
    np.testing.assert_allclose(symbols, np.concatenate([layer.symbols for layer in layers]), rtol=0, atol=1e-4)


def test_payloads_are_no_larger_than_they_were():
    """Bytes follow from symbols in integers, except for the choice of models, which has half a percent of room."""
    assert sum(map(len, encode_layers(WAVES, CANVAS))) <= 1158  # 1153 measured
    columns = np.concatenate([layer.symbols for layer in WAVES])[:, 2:].T
    assert sum(len(encode_histogram(column - column.min(), 256)) for column in columns) <= 895
