"""Layers of Gaussians as bytes, which FORMAT.md describes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastgs.codec import hilbert
from fastgs.codec.attributes import Attributes, FittedAttributes
from fastgs.codec.channels import RGB, Channels
from fastgs.codec.column_model import BY_DENSITY, BY_SPREAD, Model, read_model, write_model
from fastgs.codec.columns import fit_models, read_columns, write_columns
from fastgs.codec.contexts import levels
from fastgs.codec.entropy import Decoder, Encoder, IntArray, half_octaves, least_of
from fastgs.codec.frame import FormatError
from fastgs.codec.prefix import EndOfPrefixError, PrefixDecoder
from fastgs.codec.symbols import AREA, COLOR, GEOMETRY, Layer, Steps
from fastgs.definition import CHANNELS

# Limits of the format, which a reader enforces.
MAX_GAUSSIANS = 1 << 22  # in a layer of an image of up to three channels, and fewer the more channels there are
MAX_SYMBOL = (1 << 14) - 1  # by magnitude, except for positions
MAX_COLOR = 5_000.0  # by magnitude, of any column of colours
_SCALES = (0.01, 1_000_000.0)  # pixels
# Twice the logarithms of these; literals, so that every machine has the same.
_LOG_SCALES = (-9.210340, 27.631022)
# Gaussians of up to three channels per byte of a payload, so that no small file causes much work.
_MAX_PER_BYTE = 16

# Models that those of the first layer are written as differences to: of gaps and shapes, of the columns of colours by
# their attribute, and of the columns of colours with alpha.
GAPS = Model(18, 4, 9, 3, 10, BY_SPREAD, 0)
_SHAPES = (
    Model(18, 14, 16, 2, 10, BY_DENSITY, 0),
    Model(0, 8, 15, 2, 10, BY_SPREAD, 0),
    Model(0, 8, 15, 2, 10, BY_SPREAD, 0),
)
_LUMA = Model(22, 2, 22, 2, 13, BY_SPREAD, 0)
_CHROMA = (Model(0, 8, 11, 1, 10, BY_SPREAD, 1), Model(0, 8, 8, 0, 10, BY_SPREAD, 1))
_CHANNEL = Model(0, 6, 14, 1, 9, BY_SPREAD, 1)
_WITH_ALPHA = (
    Model(60, 2, 12, 0, 12, BY_SPREAD, 4),
    Model(60, 16, 20, 0, 13, BY_SPREAD, 2),
    Model(0, 16, 17, 0, 11, BY_SPREAD, 2),
    Model(0, 16, 13, 0, 9, BY_SPREAD, 2),
)


def encode_layers(
    layers: Sequence[Layer], canvas: tuple[int, int], channels: Channels = RGB, model: int | None = None
) -> list[bytes]:
    """Return the payload of each layer.

    Args:
        layers: Layers, the most important first. Their Gaussians come back in another order, that of a curve over the
            canvas.
        canvas: Height and width in pixels.
        channels: Channels of the image.
        model: Number of the learned model of symbols, for RGB only; None for models that are fitted to each layer.

    Raises:
        ValueError: A symbol is out of range, or the value that it stands for is; or layers differ in their mixing.
        UnlikelyError: The learned model has no place for a symbol.
    """
    if any(not np.array_equal(layer.mixing, layers[0].mixing) for layer in layers):  # type: ignore[arg-type]
        raise ValueError("mixing: must be the same for all layers")
    attributes = make_attributes(canvas, channels, model)
    payloads: list[bytes] = []
    gaps = GAPS
    for number, layer in enumerate(layers):
        data, gaps = _encode_layer(layer, canvas, channels, layers[:number], gaps, attributes)
        payloads.append(data)
    return payloads


def decode_layers(
    payloads: Sequence[bytes], canvas: tuple[int, int], channels: Channels = RGB, model: int | None = None
) -> list[Layer]:
    """Return the layers that `encode_layers` wrote, given all of its payloads or the first few.

    Raises:
        FormatError: No encoder writes such bytes.
    """
    decoder = LayerDecoder(canvas, channels, model)
    for data in payloads:
        decoder.read(data)
    return decoder.layers


def bit_breakdown(
    payloads: Sequence[bytes], canvas: tuple[int, int], channels: Channels = RGB, model: int | None = None
) -> list[dict[str, float]]:
    """Return the bits of each payload by attribute; their sum is the size of the payload.

    The attributes are "header", "positions", "area", "shape", and those of `Channels.attributes`.

    Raises:
        FormatError: No encoder writes such bytes.
    """
    decoder = LayerDecoder(canvas, channels, model)
    return [decoder.read(data, counts=True) for data in payloads]


def make_attributes(canvas: tuple[int, int], channels: Channels, model: int | None) -> Attributes:
    """Return the coder of the columns behind x and y of all layers of a file."""
    if model is None:
        return FittedAttributes(channels, _make_initial_models(channels))
    from fastgs.codec.learned import LearnedAttributes  # deferred: brings in numba, which other files do without

    return LearnedAttributes(canvas, model)


def _make_initial_models(channels: Channels) -> list[Model]:
    """Return the models before the first layer, of the columns behind x and y."""
    if channels.alpha:
        colors = _WITH_ALPHA[: channels.count]
    elif channels.are_mixed:
        colors = (_CHANNEL,) * channels.count
    else:
        colors = (_LUMA, *_CHROMA)[: channels.count]
    return [*_SHAPES, *colors]


def most_gaussians(channels: Channels, size: int = MAX_GAUSSIANS) -> int:
    """Return the largest number of Gaussians in a layer, or in a payload of `size` bytes."""
    return min(MAX_GAUSSIANS, _MAX_PER_BYTE * size) * CHANNELS // max(channels.count, CHANNELS)


def _least_size(count: int, channels: Channels) -> int:
    """Return the least number of bytes of a payload with so many Gaussians."""
    return -(-count * max(channels.count, CHANNELS) // (_MAX_PER_BYTE * CHANNELS))


def _encode_layer(
    layer: Layer,
    canvas: tuple[int, int],
    channels: Channels,
    before: Sequence[Layer],
    gaps_before: Model,
    attributes: Attributes,
) -> tuple[bytes, Model]:
    """Return the payload of a layer and the model of its gaps."""
    symbols, along = _sort_along_curve(layer, canvas, channels)
    magnitudes, rest, lengths = half_octaves(np.diff(along, prepend=0))
    gaps, parts = magnitudes[None], levels(len(along))
    models = fit_models(gaps, parts, [gaps_before])
    attributes.fit(symbols, layer.steps)
    encoder = Encoder()
    _write_header(encoder, layer, channels, before)
    write_model(encoder, models[0], gaps_before)
    attributes.write_parameters(encoder)
    write_columns(encoder, gaps, parts, models)
    for length in np.unique(lengths):
        encoder.raw(rest[lengths == length], int(length))
    attributes.write(encoder)
    return encoder.finish().ljust(_least_size(len(along), channels), b"\0"), models[0]


class LayerDecoder:
    """Decoder of the payloads of a file, one after the other.

    Args:
        canvas: Height and width in pixels.
        channels: Channels of the image.
        model: Number of the learned model of symbols; None for models that are fitted to each layer.

    Attributes:
        layers: Layers that were read.
    """

    def __init__(self, canvas: tuple[int, int], channels: Channels = RGB, model: int | None = None) -> None:
        self.layers: list[Layer] = []
        self._canvas, self._channels = canvas, channels
        self._attributes = make_attributes(canvas, channels, model)
        self._gaps = GAPS

    def read(self, data: bytes, counts: bool = False) -> dict[str, float]:
        """Read a payload, and return its bits by attribute, which mean something only if they are counted.

        Raises:
            FormatError: No encoder writes such bytes.
        """
        decoder, size, channels = Decoder(data, counts), len(data), self._channels
        count = decoder.number()
        if count > most_gaussians(channels, size):
            raise FormatError(f"is damaged ({count} Gaussians in {size} bytes)")
        steps, mixing = read_header(decoder, channels, self.layers)
        gaps = read_model(decoder, self._gaps)
        self._attributes.read_parameters(decoder)
        begin = decoder.bits
        (magnitudes,), _ = read_columns(decoder, count, levels(count), [gaps])
        x, y = read_positions(decoder, magnitudes, self._canvas, steps)
        names = ("area", "shape", "shape", *channels.attributes)
        bits = dict.fromkeys(("header", "positions", *names), 0.0)
        bits["positions"] = decoder.bits - begin
        values, of_columns = self._attributes.read(decoder, x, y, steps)
        for name, of_column in zip(names, of_columns, strict=True):
            bits[name] += of_column
        bits["header"] = 8 * size - sum(bits.values())
        if np.abs(values).max(initial=0) > MAX_SYMBOL:
            raise FormatError("is damaged (a symbol is out of range)")
        layer = Layer(np.column_stack([x, y, *values]).astype(np.int32), steps, mixing)
        problem = find_problem(layer, channels)
        if problem:
            raise FormatError(f"is damaged ({problem})")
        self._gaps = gaps
        self.layers.append(layer)
        return bits

    def read_prefix(self, data: bytes) -> tuple[Layer, NDArray[np.bool_]] | None:
        """Return the Gaussians that the first bytes of a payload tell and a mask of those whose colours were read.

        Without their places, which come first, there are none: None. Nothing can be read behind them.
        """
        decoder, channels = PrefixDecoder(data), self._channels
        try:
            count = decoder.number()
            # Positions alone take more bytes. So few bytes cause little work here, too.
            if count > most_gaussians(channels, len(data)):
                return None
            steps, mixing = read_header(decoder, channels, self.layers)
            gaps = read_model(decoder, self._gaps)
            self._attributes.read_parameters(decoder)
            known = np.zeros((1, count), bool)
            (magnitudes,), _ = read_columns(decoder, count, levels(count), [gaps], known=known)
            if not known.all():
                return None
            x, y = read_positions(decoder, magnitudes, self._canvas, steps)
            known = np.zeros((COLOR - AREA + channels.count, count), bool)
            values, _ = self._attributes.read(decoder, x, y, steps, known)
        except EndOfPrefixError:
            return None
        if np.abs(values).max(initial=0) > MAX_SYMBOL:
            return None
        layer = Layer(np.column_stack([x, y, *values]).astype(np.int32), steps, mixing)
        # What is predicted can be out of range where what is read is at the limit.
        return None if find_problem(layer, channels) else (layer, known[COLOR - AREA])


def read_positions(
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


def _sort_along_curve(layer: Layer, canvas: tuple[int, int], channels: Channels) -> tuple[IntArray, IntArray]:
    """Return the columns of a layer, (5 + C, N), in the order of the curve, and the distances along it, (N,).

    Raises:
        ValueError: A symbol is out of range, or the value that it stands for is.
    """
    symbols = np.ascontiguousarray(layer.symbols.T.astype(np.int64))
    columns, rows = _size_grid(canvas, layer.steps)
    most = most_gaussians(channels)
    if symbols.shape[1] > most:
        raise ValueError(f"symbols: at most {most} Gaussians of {channels}, got {symbols.shape[1]}")
    names = (*GEOMETRY, *channels.attributes)
    bounds = [(0, columns - 1), (0, rows - 1)] + [(-MAX_SYMBOL, MAX_SYMBOL)] * (len(names) - AREA)
    for name, (low, high), values in zip(names, bounds, symbols, strict=True):
        if values.min(initial=low) < low or values.max(initial=high) > high:
            raise ValueError(f"{name}: symbols must be from {low} to {high}, got {values.min()} to {values.max()}")
    problem = find_problem(layer, channels)
    if problem:
        raise ValueError(f"symbols: {problem}")
    along = hilbert.index(symbols[0], symbols[1], hilbert.order_for(columns, rows))
    order = np.lexsort([*symbols[:1:-1], along])
    return symbols[:, order], along[order]


def find_problem(layer: Layer, channels: Channels) -> str:
    """Return what is wrong with the Gaussians that the symbols of a layer stand for; empty if nothing is."""
    area, u, v, *color = (layer.symbols * layer.steps.columns(channels)).T[AREA:]
    # Twice the logarithms of the scales are area +- ratio.
    room = np.minimum(_LOG_SCALES[1] - area, area - _LOG_SCALES[0])
    if room.min(initial=0) < 0 or (u * u + v * v > room * room).any():
        return f"a Gaussian has a scale that is not from {_SCALES[0]:g} to {_SCALES[1]:g} pixels"
    if max(np.abs(each).max(initial=0) for each in color) > MAX_COLOR:
        return f"a colour is beyond {MAX_COLOR:g}"
    return ""


def _list_units(channels: Channels) -> list[str]:
    """Return the names of the steps that a header has as floating-point numbers, in their order."""
    return ["area", "shape", "luma", *(name for name in ("chroma", "alpha") if name in channels.attributes)]


def _write_header(encoder: Encoder, layer: Layer, channels: Channels, before: Sequence[Layer]) -> None:
    """Write the number of Gaussians, the steps unless they are those of the layer before, and the first mixing."""
    encoder.number(len(layer.symbols))
    same = bool(before) and before[-1].steps == layer.steps
    if before:
        encoder.raw(np.array([same]), 1)
    if not same:
        encoder.raw(np.array([layer.steps.position + 3]), 4)
        units = np.array([getattr(layer.steps, name) for name in _list_units(channels)], np.float16)
        encoder.raw(units.view(np.uint16).astype(np.int64), 16)
    if channels.are_mixed and not before:
        encoder.raw(np.array([layer.mixing is not None]), 1)
        if layer.mixing is not None:
            encoder.raw(layer.mixing.view(np.uint8).astype(np.int64).ravel(), 8)


def read_header(decoder: Decoder, channels: Channels, before: Sequence[Layer]) -> tuple[Steps, NDArray[np.int8] | None]:
    """Return the steps and the mixing, behind the number of Gaussians."""
    if before and decoder.raw(1, 1)[0]:
        return before[-1].steps, before[-1].mixing
    position, names = int(decoder.raw(1, 4)[0]) - 3, _list_units(channels)
    units = decoder.raw(len(names), 16).astype(np.uint16).view(np.float16).astype(np.float64)
    try:
        steps = Steps(position, **dict(zip(names, units.tolist(), strict=True)))
    except ValueError as error:
        raise FormatError(f"is damaged ({error})") from error
    if before or not channels.are_mixed or not decoder.raw(1, 1)[0]:
        return steps, before[-1].mixing if before else None
    side = channels.count
    return steps, decoder.raw(side * side, 8).astype(np.uint8).view(np.int8).reshape(side, side)
