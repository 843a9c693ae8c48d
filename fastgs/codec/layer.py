"""Layers of Gaussians as bytes. FORMAT.md has the bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from fastgs.codec import hilbert as curve
from fastgs.codec.column import (
    BY_AREA,
    BY_DENSITY,
    BY_SPREAD,
    Model,
    fit_model,
    read_model,
    read_residuals,
    write_model,
    write_residuals,
)
from fastgs.codec.contexts import Level, classes, levels, weighted
from fastgs.codec.entropy import Decoder, Encoder, IntArray, half_octaves, least_of
from fastgs.codec.frame import FormatError
from fastgs.codec.symbols import AREA, COLUMNS, Layer, Steps

MAX_GAUSSIANS = 1 << 22
MAX_SYMBOL = (1 << 14) - 1
MIN_SCALE, MAX_SCALE = 0.01, 1_000_000.0  # pixels
MAX_COLOR = 5_000.0
_LOG_SCALES = (-9.210340, 27.631022)  # twice the logarithm of the least and the largest scale
_MOST_PER_BYTE = 16  # Gaussians; so that no small file makes much work

# What models are written as differences to in the first layer: of the gaps, then of the columns behind x and y.
_FIRST = (
    Model(18, 4, 9, 3, 10, BY_SPREAD, 0),
    Model(18, 14, 16, 2, 10, BY_DENSITY, 0),
    Model(0, 8, 15, 2, 10, BY_SPREAD, 0),
    Model(0, 8, 15, 2, 10, BY_SPREAD, 0),
    Model(22, 2, 22, 2, 13, BY_SPREAD, 0),
    Model(0, 8, 11, 1, 10, BY_SPREAD, 1),
    Model(0, 8, 8, 0, 10, BY_SPREAD, 1),
)
_LEDGER = ("positions", "area", "shape", "shape", "luma", "chroma", "chroma")


def encode_layers(layers: Sequence[Layer], canvas: tuple[int, int]) -> list[bytes]:
    """One payload each.

    Args:
        layers: the most important first. Their Gaussians come back in another order, that of a curve over the canvas.
        canvas: height, width in pixels.

    Raises:
        ValueError: a symbol is out of range, or what it stands for is.
    """
    payloads: list[bytes] = []
    models: Sequence[Model] = _FIRST
    for number, layer in enumerate(layers):
        data, models = _encode(layer, canvas, layers[:number], models)
        payloads.append(data)
    return payloads


def decode_layers(payloads: Sequence[bytes], canvas: tuple[int, int]) -> list[Layer]:
    """What `encode_layers` wrote; also the first few of its payloads.

    Raises:
        FormatError: no encoder writes such bytes.
    """
    return [layer for layer, _ in _decode_all(payloads, canvas, counts=False)]


def bit_breakdown(payloads: Sequence[bytes], canvas: tuple[int, int]) -> list[dict[str, float]]:
    """Bits of each payload: "header", "positions", "area", "shape", "luma" and "chroma"; the sum is its size.

    Raises:
        FormatError: no encoder writes such bytes.
    """
    return [bits for _, bits in _decode_all(payloads, canvas, counts=True)]


def encode_layer(layer: Layer, canvas: tuple[int, int]) -> bytes:
    """The payload of a single layer; see `encode_layers`."""
    return encode_layers([layer], canvas)[0]


def decode_layer(data: bytes, canvas: tuple[int, int]) -> Layer:
    """What `encode_layer` wrote; see `decode_layers`."""
    return decode_layers([data], canvas)[0]


def _encode(
    layer: Layer, canvas: tuple[int, int], before: Sequence[Layer], models_before: Sequence[Model]
) -> tuple[bytes, Sequence[Model]]:
    symbols, along = _sorted(layer, canvas)
    magnitudes, rest, lengths = half_octaves(np.diff(along, prepend=0))
    gaps, values = magnitudes[None], np.ascontiguousarray(symbols[AREA:])
    parts = levels(len(along))
    near = weighted(parts, symbols[0], symbols[1], layer.steps.position)
    models = _fit(gaps, parts, models_before[:1]) + _fit(values, near, models_before[1:])
    encoder = Encoder()
    _write_header(encoder, layer, before)
    for model, model_before in zip(models, models_before, strict=True):
        write_model(encoder, model, model_before)
    _write_columns(encoder, gaps, parts, models[:1])
    for length in np.unique(lengths):
        encoder.raw(rest[lengths == length], int(length))
    _write_columns(encoder, values, near, models[1:])
    data = encoder.finish()
    return data + bytes(max(0, -(-len(along) // _MOST_PER_BYTE) - len(data))), models


def _decode_all(
    payloads: Sequence[bytes], canvas: tuple[int, int], counts: bool
) -> Iterator[tuple[Layer, dict[str, float]]]:
    """Layers, and what they cost if that is to be counted."""
    layers: list[Layer] = []
    models: Sequence[Model] = _FIRST
    for data in payloads:
        bits = dict.fromkeys(["header", *_LEDGER], 0.0)
        layer, models = _decode(Decoder(data, counts), len(data), canvas, layers, models, bits)
        bits["header"] = 8 * len(data) - sum(bits.values())
        layers.append(layer)
        yield layer, bits


def _decode(
    decoder: Decoder,
    size: int,
    canvas: tuple[int, int],
    before: Sequence[Layer],
    models_before: Sequence[Model],
    bits: dict[str, float],
) -> tuple[Layer, Sequence[Model]]:
    count, steps = _read_header(decoder, before)
    if count > min(MAX_GAUSSIANS, _MOST_PER_BYTE * size):
        raise FormatError(f"is damaged ({count} Gaussians in {size} bytes)")
    models = [read_model(decoder, model) for model in models_before]
    parts, begin = levels(count), decoder.bits
    magnitudes = _read_columns(decoder, count, parts, models[:1], {})[0]
    x, y = _read_positions(decoder, magnitudes, canvas, steps)
    bits["positions"] = decoder.bits - begin
    values = _read_columns(decoder, count, weighted(parts, x, y, steps.position), models[1:], bits)
    if np.abs(values).max(initial=0) > MAX_SYMBOL:
        raise FormatError("is damaged (a symbol is out of range)")
    layer = Layer(np.column_stack([x, y, *values]).astype(np.int32), steps)
    problem = _problem(layer)
    if problem:
        raise FormatError(f"is damaged ({problem})")
    return layer, models


def _fit(values: IntArray, parts: Sequence[Level], before: Sequence[Model]) -> list[Model]:
    """The cheapest models for (C, N) symbols."""
    means, known = np.zeros_like(values), np.zeros(values.shape[1], bool)
    contexts = np.ones((3, *values.shape), np.int8)
    for level in parts[1:]:
        known[level.index] = True
        means[:, level.index], spread = level.means(values)
        contexts[BY_SPREAD][:, level.index] = classes(spread)
        contexts[BY_DENSITY][:, level.index] = classes(level.density)
        contexts[BY_AREA][:, level.index] = classes(values[0, level.index])
    models = []
    for column, model in enumerate(before):
        choice = {kind: contexts[kind, column] for kind in range(3) if column or kind != BY_AREA}
        models.append(fit_model(values[column], means[column], known, choice, model))
    return models


def _write_columns(encoder: Encoder, values: IntArray, parts: Sequence[Level], models: Sequence[Model]) -> None:
    for level in parts:
        means, spread = level.means(values)
        for column, model in enumerate(models):
            guess = _guess(model, level, means[column])
            of_class = _class(model, level, spread[column], values)
            write_residuals(encoder, values[column, level.index] - guess, of_class, model)


def _read_columns(
    decoder: Decoder, count: int, parts: Sequence[Level], models: Sequence[Model], bits: dict[str, float]
) -> IntArray:
    """(C, N) symbols; adds to bits what columns cost, where it has their names."""
    values = np.zeros((len(models), count), np.int64)
    for level in parts:
        means, spread = level.means(values)
        for column, (model, name) in enumerate(zip(models, _LEDGER[1:], strict=False)):
            begin = decoder.bits
            guess = _guess(model, level, means[column])
            of_class = _class(model, level, spread[column], values)
            values[column, level.index] = guess + read_residuals(decoder, len(guess), of_class, model)
            if name in bits:
                bits[name] += decoder.bits - begin
    return values


def _guess(model: Model, level: Level, means: IntArray) -> IntArray:
    return model.predict(means) if len(level.weights) else np.full(len(means), model.center)


def _class(model: Model, level: Level, spread: IntArray, values: IntArray) -> NDArray[np.int8] | None:
    if not model.gain or not len(level.weights):
        return None
    if model.context == BY_AREA:
        return classes(values[0, level.index])
    return classes(spread if model.context == BY_SPREAD else level.density)


def _read_positions(
    decoder: Decoder, magnitudes: IntArray, canvas: tuple[int, int], steps: Steps
) -> tuple[IntArray, IntArray]:
    columns, rows = _grid(canvas, steps)
    order = curve.order_for(columns, rows)
    if magnitudes.min(initial=0) < 0 or magnitudes.max(initial=0) > 4 * order + 1:
        raise FormatError("is damaged (a gap is out of range)")
    gaps, lengths = least_of(magnitudes)
    for length in np.unique(lengths):
        chosen = np.flatnonzero(lengths == length)
        gaps[chosen] += decoder.raw(len(chosen), int(length))
    if gaps.astype(np.float64).sum() >= 4.0**order:
        raise FormatError("is damaged (a position is off the canvas)")
    x, y = curve.position(np.cumsum(gaps), order)
    if x.max(initial=0) >= columns or y.max(initial=0) >= rows:
        raise FormatError("is damaged (a position is off the canvas)")
    return x, y


def _grid(canvas: tuple[int, int], steps: Steps) -> tuple[int, int]:
    """Columns and rows of positions; both edges of the canvas have some."""
    height, width = canvas
    pixel = 2.0**steps.position
    return int(width * pixel) + 1, int(height * pixel) + 1


def _sorted(layer: Layer, canvas: tuple[int, int]) -> tuple[IntArray, IntArray]:
    """Columns of a layer, (8, N), in the order of the curve, and how far along it they are, (N,)."""
    symbols = np.ascontiguousarray(layer.symbols.T.astype(np.int64))
    columns, rows = _grid(canvas, layer.steps)
    if symbols.shape[1] > MAX_GAUSSIANS:
        raise ValueError(f"symbols: at most {MAX_GAUSSIANS} Gaussians, got {symbols.shape[1]}")
    bounds = [(0, columns - 1), (0, rows - 1)] + [(-MAX_SYMBOL, MAX_SYMBOL)] * 6
    for name, (low, high), values in zip(COLUMNS, bounds, symbols, strict=True):
        if values.min(initial=low) < low or values.max(initial=high) > high:
            raise ValueError(f"{name}: symbols must be from {low} to {high}, got {values.min()} to {values.max()}")
    problem = _problem(layer)
    if problem:
        raise ValueError(f"symbols: {problem}")
    along = curve.index(symbols[0], symbols[1], curve.order_for(columns, rows))
    order = np.lexsort([*symbols[:1:-1], along])
    return symbols[:, order], along[order]


def _problem(layer: Layer) -> str:
    """What is wrong with the Gaussians that symbols stand for, if anything."""
    area, u, v, *color = (layer.symbols * layer.steps.columns()).T[AREA:]
    # Twice the logarithms of the scales are area +- ratio.
    room = np.minimum(_LOG_SCALES[1] - area, area - _LOG_SCALES[0])
    if room.min(initial=0) < 0 or (u * u + v * v > room * room).any():
        return f"a Gaussian has a scale that is not from {MIN_SCALE:g} to {MAX_SCALE:g} pixels"
    if max(np.abs(each).max(initial=0) for each in color) > MAX_COLOR:
        return f"a colour is beyond {MAX_COLOR:g}"
    return ""


def _write_header(encoder: Encoder, layer: Layer, before: Sequence[Layer]) -> None:
    encoder.number(len(layer.symbols))
    same = bool(before) and before[-1].steps == layer.steps
    if before:
        encoder.raw(np.array([same]), 1)
    if not same:
        steps = layer.steps
        encoder.raw(np.array([steps.position + 3]), 4)
        units = np.array([steps.area, steps.shape, steps.luma, steps.chroma], np.float16)
        encoder.raw(units.view(np.uint16).astype(np.int64), 16)


def _read_header(decoder: Decoder, before: Sequence[Layer]) -> tuple[int, Steps]:
    count = decoder.number()
    if before and decoder.raw(1, 1)[0]:
        return count, before[-1].steps
    position = int(decoder.raw(1, 4)[0]) - 3
    units = decoder.raw(4, 16).astype(np.uint16).view(np.float16).astype(np.float64)
    try:
        return count, Steps(position, *units.tolist())
    except ValueError as error:
        raise FormatError(f"is damaged ({error})") from error
