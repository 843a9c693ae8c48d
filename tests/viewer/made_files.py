"""Files of every kind, made of random symbols."""

from dataclasses import replace

import numpy as np

from fastgs.codec.channels import Channels
from fastgs.codec.frame import Frame, read_frame, write_frame
from fastgs.codec.layer import decode_layers, encode_layers
from fastgs.codec.symbol_models import LATEST
from fastgs.codec.symbols import Layer, Steps

KINDS = (Channels(3), Channels(1), Channels(2, alpha=True), Channels(4, alpha=True), Channels(5), Channels(2))
LEARNED = len(KINDS)  # kind of the files of RGB that are coded by the learned model
CANVASES = ((60, 90), (1, 1), (1, 65535), (321, 481), (2, 3), (1080, 1920))


def make_steps(channels: Channels, rng: np.random.Generator) -> Steps:
    """Make random units of symbols."""
    area, shape, luma, chroma = (float(each) for each in rng.uniform(0.02, 0.25, 4))
    return Steps(
        *(int(rng.integers(-3, 7)), area, shape, luma),
        chroma if "chroma" in channels.attributes else None,
        0.0625 if channels.alpha else None,
    )


def make_layer(
    channels: Channels, count: int, canvas: tuple[int, int], steps: Steps, mixing: bool, rng: np.random.Generator
) -> Layer:
    """Make a layer whose attributes change slowly over the canvas, with noise; without colour where alpha is 0."""
    last = np.floor(np.array(canvas[::-1]) * 2.0**steps.position)
    places = rng.random((count, 2)) ** rng.choice([1, 2])
    waves = np.sin(places @ rng.normal(0, 4, (2, 3 + channels.count)))
    noise = rng.standard_t(4, (count, 3 + channels.count)) * rng.uniform(0.2, 6, 3 + channels.count)
    columns = waves * rng.uniform(0, 12, 3 + channels.count) + noise * (1 + waves[:, :1])
    columns[:, 0] += 14
    columns = np.rint(columns).clip(-40, 60)
    columns[:, :3] = columns[:, :3].clip([-10, -15, -15], [60, 15, 15])  # scales that files can hold
    if channels.alpha:
        columns[:, 3] = rng.choice([16, 16, 17, 9, 3, 1], count)
        columns[rng.random(count) < rng.choice([0.0, 0.3, 0.9]), 3:] = 0
    matrix = None
    if channels.are_mixed and mixing:
        square = np.random.default_rng(1).normal(size=(channels.count,) * 2)
        matrix = np.rint(127 * np.linalg.qr(square)[0]).astype(np.int8)
    symbols = np.column_stack([np.rint(places * last), columns]).astype(np.int32)
    return Layer(symbols, steps, matrix)


def make_file(seed: int, most: int = 120, kind: int | None = None) -> bytes:
    """Make a file of any kind, by default one that follows from the seed, of 0 to 4 layers."""
    rng = np.random.default_rng(seed)
    if kind is None:
        kind = seed % (len(KINDS) + 1)
    symbols = LATEST if kind == LEARNED else None
    channels = Channels(3) if symbols else KINDS[kind] if seed % 29 else Channels(32)
    canvas = CANVASES[int(rng.integers(len(CANVASES)))] if seed % 3 else CANVASES[0]
    mixing = bool(rng.integers(2))
    steps, layers = make_steps(channels, rng), []
    for _ in range(int(rng.integers(0, 5)) if seed % 7 == 0 else int(rng.integers(1, 4))):
        if rng.random() < 0.3:
            steps = replace(make_steps(channels, rng), position=steps.position)
        layers.append(make_layer(channels, int(rng.integers(0, most)), canvas, steps, mixing, rng))
    payloads = encode_layers(layers, canvas, channels, symbols)
    return write_frame(Frame("fastgs", *canvas, payloads, channels=channels, symbols=symbols))


def to_learned(data: bytes) -> bytes:
    """Return a file of RGB with its symbols coded by the learned model."""
    frame = read_frame(data)
    canvas = frame.height, frame.width
    layers = decode_layers(frame.layers, canvas, model=frame.symbols)
    return write_frame(Frame("fastgs", *canvas, encode_layers(layers, canvas, model=LATEST), symbols=LATEST))
