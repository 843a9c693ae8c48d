"""Layers of Gaussians as bytes, which FORMAT.md describes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from fastgs.codec import hilbert
from fastgs.codec.column_model import BY_DENSITY, BY_SPREAD, Model, read_model, write_model
from fastgs.codec.columns import fit_models, read_columns, write_columns
from fastgs.codec.contexts import levels, weighted
from fastgs.codec.entropy import Decoder, Encoder, IntArray, half_octaves, least_of
from fastgs.codec.frame import FormatError
from fastgs.codec.symbols import AREA, COLUMNS, Layer, Steps

# Limits of the format, which a reader enforces.
MAX_GAUSSIANS = 1 << 22  # in a layer
MAX_SYMBOL = (1 << 14) - 1  # by magnitude, except for positions
MAX_COLOR = 5_000.0  # by magnitude, of luma and chroma
_SCALES = (0.01, 1_000_000.0)  # pixels
# Twice the logarithms of these; literals, so that every machine has the same.
_LOG_SCALES = (-9.210340, 27.631022)
_MAX_PER_BYTE = 16  # Gaussians per byte of a payload, so that no small file causes much work

# Models that those of the first layer are written as differences to: of the gaps, then of the columns behind x and y.
_INITIAL_MODELS = (
    Model(18, 4, 9, 3, 10, BY_SPREAD, 0),
    Model(18, 14, 16, 2, 10, BY_DENSITY, 0),
    Model(0, 8, 15, 2, 10, BY_SPREAD, 0),
    Model(0, 8, 15, 2, 10, BY_SPREAD, 0),
    Model(22, 2, 22, 2, 13, BY_SPREAD, 0),
    Model(0, 8, 11, 1, 10, BY_SPREAD, 1),
    Model(0, 8, 8, 0, 10, BY_SPREAD, 1),
)
# Entries of the bit breakdown for the columns behind x and y.
_ATTRIBUTES = ("area", "shape", "shape", "luma", "chroma", "chroma")


def encode_layers(layers: Sequence[Layer], canvas: tuple[int, int]) -> list[bytes]:
    """Return the payload of each layer.

    Args:
        layers: Layers, the most important first. Their Gaussians come back in another order, that of a curve over the
            canvas.
        canvas: Height and width in pixels.

    Raises:
        ValueError: A symbol is out of range, or the value that it stands for is.
    """
    payloads: list[bytes] = []
    models: Sequence[Model] = _INITIAL_MODELS
    for number, layer in enumerate(layers):
        data, models = _encode_layer(layer, canvas, layers[:number], models)
        payloads.append(data)
    return payloads


def decode_layers(payloads: Sequence[bytes], canvas: tuple[int, int]) -> list[Layer]:
    """Return the layers that `encode_layers` wrote, given all of its payloads or the first few.

    Raises:
        FormatError: No encoder writes such bytes.
    """
    return [layer for layer, _ in _decode_each(payloads, canvas, counts=False)]


def bit_breakdown(payloads: Sequence[bytes], canvas: tuple[int, int]) -> list[dict[str, float]]:
    """Return the bits of each payload by attribute; their sum is the size of the payload.

    The attributes are "header", "positions", "area", "shape", "luma" and "chroma".

    Raises:
        FormatError: No encoder writes such bytes.
    """
    return [bits for _, bits in _decode_each(payloads, canvas, counts=True)]


def _encode_layer(
    layer: Layer, canvas: tuple[int, int], before: Sequence[Layer], models_before: Sequence[Model]
) -> tuple[bytes, Sequence[Model]]:
    """Return the payload of a layer and its models."""
    symbols, along = _sort_along_curve(layer, canvas)
    magnitudes, rest, lengths = half_octaves(np.diff(along, prepend=0))
    gaps, values = magnitudes[None], np.ascontiguousarray(symbols[AREA:])
    parts = levels(len(along))
    near = weighted(parts, symbols[0], symbols[1], layer.steps.position)
    models = fit_models(gaps, parts, models_before[:1]) + fit_models(values, near, models_before[1:])
    encoder = Encoder()
    _write_header(encoder, layer, before)
    for model, model_before in zip(models, models_before, strict=True):
        write_model(encoder, model, model_before)
    write_columns(encoder, gaps, parts, models[:1])
    for length in np.unique(lengths):
        encoder.raw(rest[lengths == length], int(length))
    write_columns(encoder, values, near, models[1:])
    data = encoder.finish()
    return data + bytes(max(0, -(-len(along) // _MAX_PER_BYTE) - len(data))), models


def _decode_each(
    payloads: Sequence[bytes], canvas: tuple[int, int], counts: bool
) -> Iterator[tuple[Layer, dict[str, float]]]:
    """Yield each layer and its bits by attribute, which mean something only if they are counted."""
    layers: list[Layer] = []
    models: Sequence[Model] = _INITIAL_MODELS
    for data in payloads:
        layer, models, bits = _decode_layer(Decoder(data, counts), len(data), canvas, layers, models)
        layers.append(layer)
        yield layer, bits


def _decode_layer(
    decoder: Decoder, size: int, canvas: tuple[int, int], before: Sequence[Layer], models_before: Sequence[Model]
) -> tuple[Layer, Sequence[Model], dict[str, float]]:
    """Return a layer, its models and its bits by attribute, from a payload of `size` bytes."""
    count, steps = _read_header(decoder, before)
    if count > min(MAX_GAUSSIANS, _MAX_PER_BYTE * size):
        raise FormatError(f"is damaged ({count} Gaussians in {size} bytes)")
    models = [read_model(decoder, model) for model in models_before]
    parts, begin = levels(count), decoder.bits
    (magnitudes,), _ = read_columns(decoder, count, parts, models[:1])
    x, y = _read_positions(decoder, magnitudes, canvas, steps)
    bits = dict.fromkeys(("header", "positions", *_ATTRIBUTES), 0.0)
    bits["positions"] = decoder.bits - begin
    values, of_columns = read_columns(decoder, count, weighted(parts, x, y, steps.position), models[1:])
    for name, of_column in zip(_ATTRIBUTES, of_columns, strict=True):
        bits[name] += of_column
    bits["header"] = 8 * size - sum(bits.values())
    if np.abs(values).max(initial=0) > MAX_SYMBOL:
        raise FormatError("is damaged (a symbol is out of range)")
    layer = Layer(np.column_stack([x, y, *values]).astype(np.int32), steps)
    problem = _find_problem(layer)
    if problem:
        raise FormatError(f"is damaged ({problem})")
    return layer, models, bits


def _read_positions(
    decoder: Decoder, magnitudes: IntArray, canvas: tuple[int, int], steps: Steps
) -> tuple[IntArray, IntArray]:
    """Return columns and rows, (N,) each, from the half octaves of the gaps along the curve."""
    columns, rows = _size_grid(canvas, steps)
    order = hilbert.order_for(columns, rows)
    if magnitudes.min(initial=0) < 0 or magnitudes.max(initial=0) > 4 * order + 1:
        raise FormatError("is damaged (a gap is out of range)")
    gaps, lengths = least_of(magnitudes)
    for length in np.unique(lengths):
        chosen = np.flatnonzero(lengths == length)
        gaps[chosen] += decoder.raw(len(chosen), int(length))
    if gaps.astype(np.float64).sum() >= 4.0**order:
        raise FormatError("is damaged (a position is off the canvas)")
    x, y = hilbert.position(np.cumsum(gaps), order)
    if x.max(initial=0) >= columns or y.max(initial=0) >= rows:
        raise FormatError("is damaged (a position is off the canvas)")
    return x, y


def _size_grid(canvas: tuple[int, int], steps: Steps) -> tuple[int, int]:
    """Return how many columns and rows the grid of positions has, which reaches from edge to edge of the canvas."""
    height, width = canvas
    pixel = 2.0**steps.position
    return int(width * pixel) + 1, int(height * pixel) + 1


def _sort_along_curve(layer: Layer, canvas: tuple[int, int]) -> tuple[IntArray, IntArray]:
    """Return the columns of a layer, (8, N), in the order of the curve, and the distances along it, (N,).

    Raises:
        ValueError: A symbol is out of range, or the value that it stands for is.
    """
    symbols = np.ascontiguousarray(layer.symbols.T.astype(np.int64))
    columns, rows = _size_grid(canvas, layer.steps)
    if symbols.shape[1] > MAX_GAUSSIANS:
        raise ValueError(f"symbols: at most {MAX_GAUSSIANS} Gaussians, got {symbols.shape[1]}")
    bounds = [(0, columns - 1), (0, rows - 1)] + [(-MAX_SYMBOL, MAX_SYMBOL)] * 6
    for name, (low, high), values in zip(COLUMNS, bounds, symbols, strict=True):
        if values.min(initial=low) < low or values.max(initial=high) > high:
            raise ValueError(f"{name}: symbols must be from {low} to {high}, got {values.min()} to {values.max()}")
    problem = _find_problem(layer)
    if problem:
        raise ValueError(f"symbols: {problem}")
    along = hilbert.index(symbols[0], symbols[1], hilbert.order_for(columns, rows))
    order = np.lexsort([*symbols[:1:-1], along])
    return symbols[:, order], along[order]


def _find_problem(layer: Layer) -> str:
    """Return what is wrong with the Gaussians that the symbols of a layer stand for; empty if nothing is."""
    area, u, v, *color = (layer.symbols * layer.steps.columns()).T[AREA:]
    # Twice the logarithms of the scales are area +- ratio.
    room = np.minimum(_LOG_SCALES[1] - area, area - _LOG_SCALES[0])
    if room.min(initial=0) < 0 or (u * u + v * v > room * room).any():
        return f"a Gaussian has a scale that is not from {_SCALES[0]:g} to {_SCALES[1]:g} pixels"
    if max(np.abs(each).max(initial=0) for each in color) > MAX_COLOR:
        return f"a colour is beyond {MAX_COLOR:g}"
    return ""


def _write_header(encoder: Encoder, layer: Layer, before: Sequence[Layer]) -> None:
    """Write the number of Gaussians, and the steps unless they are those of the layer before."""
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
    """Return the number of Gaussians and the steps."""
    count = decoder.number()
    if before and decoder.raw(1, 1)[0]:
        return count, before[-1].steps
    position = int(decoder.raw(1, 4)[0]) - 3
    units = decoder.raw(4, 16).astype(np.uint16).view(np.float16).astype(np.float64)
    try:
        return count, Steps(position, *units.tolist())
    except ValueError as error:
        raise FormatError(f"is damaged ({error})") from error
