"""Layers of symbols for the tests of files."""

from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np

from fastgs.codec.channels import RGB, Channels
from fastgs.codec.frame import Frame, write_frame
from fastgs.codec.layer import decode_layers, encode_layers
from fastgs.codec.symbols import Layer, Steps
from fastgs.codec.symbols import dequantize as dequantize_arrays
from fastgs.gaussians import Gaussians

GOLDEN = Path(__file__).parents[1] / "golden"
STEPS = Steps(position=1, area=0.2, shape=0.2, luma=0.035, chroma=0.05)
CANVAS = (60, 90)
# Kinds of files of version 2 by the names of their golden files.
KINDS = {
    "gray": Channels(1),
    "gray-alpha": Channels(2, alpha=True),
    "rgba": Channels(4, alpha=True),
    "channels": Channels(5),
}


def steps_of(channels: Channels, steps=STEPS) -> Steps:
    """Return steps of the attributes that there are."""
    chroma = steps.chroma if "chroma" in channels.attributes else None
    return replace(steps, chroma=chroma, alpha=0.0625 if channels.alpha else None)


def random_layer_of(channels: Channels, count: int, seed=0) -> Layer:
    """Make a layer of any kind: a third of the Gaussians with alpha have no colour, and channels are mixed."""
    shapes = random_layer(count, seed=seed).symbols[:, :5]
    rng = np.random.default_rng(seed + 1000)
    place = shapes[:, :1] / 180 + shapes[:, 1:2] / 120
    slow = 12 + 8 * np.sin(3 * place + rng.normal(0, 2, channels.count)) * rng.uniform(-1, 1, channels.count)
    colors = np.rint(slow + rng.standard_t(4, (count, channels.count)))
    if channels.alpha:
        colors[:, 0] = rng.choice([16, 16, 17, 9], count)
        colors[rng.random(count) < 1 / 3] = 0
    mixing = None
    if channels.are_mixed:
        mixing = np.rint(127 * np.linalg.qr(np.random.default_rng(0).normal(size=(channels.count,) * 2))[0])
        mixing = mixing.astype(np.int8)
    return Layer(np.column_stack([shapes, colors]).astype(np.int32), steps_of(channels), mixing)


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


@cache
def sample_file(seed=0, count=60, channels=RGB, model=None) -> bytes:
    """Make a file of three layers, coded by a learned model if its number is given."""
    rng = np.random.default_rng(seed)
    make = random_layer if channels.are_rgb else partial(random_layer_of, channels)
    layers = [make(int(rng.integers(0, count)), seed=seed + 10 * number) for number in range(3)]
    payloads = encode_layers(layers, CANVAS, channels, model)
    return write_frame(Frame("fastgs", *CANVAS, payloads, channels=channels, symbols=model))


def dequantize(layers, height, width, channels=RGB) -> Gaussians:
    """Return the Gaussians of layers as tensors, whose values are checked."""
    return Gaussians.from_arrays(dequantize_arrays(layers, height, width, channels))


def assert_same_layers(layers, decoded) -> None:
    """Check that layers hold the same Gaussians, in any order."""
    assert len(layers) == len(decoded)
    for expected, layer in zip(layers, decoded, strict=True):
        assert sorted(expected.symbols.tolist()) == sorted(layer.symbols.tolist()) and expected.steps == layer.steps
        assert layer.symbols.dtype == np.int32 and np.array_equal(expected.mixing, layer.mixing)


def assert_round_trip(layers, canvas=CANVAS, channels=RGB, model=None) -> list[bytes]:
    """Check that encoded layers decode to the same Gaussians, and return the payloads."""
    payloads = encode_layers(layers, canvas, channels, model)
    assert_same_layers(layers, decode_layers(payloads, canvas, channels, model))
    return payloads
