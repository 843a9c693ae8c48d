"""Layers of symbols for the tests of files."""

from pathlib import Path

import numpy as np

from fastgs.codec.frame import Frame, write_frame
from fastgs.codec.layer import decode_layers, encode_layers
from fastgs.codec.symbols import Layer, Steps

GOLDEN = Path(__file__).parents[1] / "golden"
STEPS = Steps(position=1, area=0.2, shape=0.2, luma=0.035, chroma=0.05)
CANVAS = (60, 90)


def random_layer(count: int, canvas=CANVAS, steps=STEPS, seed=0) -> Layer:
    """Make a layer like that of a photo: attributes that change slowly over the canvas, and noise."""
    rng = np.random.default_rng(seed)
    height, width = canvas
    last = np.floor(np.array([width, height]) * 2.0**steps.position)
    places = rng.random((count, 2))
    slow = np.sin(places @ rng.normal(0, 4, (2, 6))) * [4, 3, 3, 8, 4, 2]
    noise = rng.standard_t(4, (count, 6)) * [4, 3, 3, 5, 2, 1] + [14, 0, 0, 20, 0, 0]
    symbols = np.rint(np.column_stack([places * last, slow + noise])).clip(-40, 60)
    return Layer(symbols.astype(np.int32), steps)


def sample_file(seed=0, count=60) -> bytes:
    """Make a file of three layers."""
    rng = np.random.default_rng(seed)
    layers = [random_layer(int(rng.integers(0, count)), seed=seed + 10 * number) for number in range(3)]
    return write_frame(Frame("fastgs", *CANVAS, encode_layers(layers, CANVAS)))


def assert_same_layers(layers, decoded) -> None:
    """Check that layers hold the same Gaussians, in any order."""
    assert len(layers) == len(decoded)
    for expected, layer in zip(layers, decoded, strict=True):
        assert sorted(expected.symbols.tolist()) == sorted(layer.symbols.tolist()) and expected.steps == layer.steps
        assert layer.symbols.dtype == np.int32


def assert_round_trip(layers, canvas=CANVAS) -> list[bytes]:
    """Check that encoded layers decode to the same Gaussians, and return the payloads."""
    payloads = encode_layers(layers, canvas)
    assert_same_layers(layers, decode_layers(payloads, canvas))
    return payloads
