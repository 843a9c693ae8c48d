"""Layers of a file that was cut: those that are whole, and as much of the next as its first bytes tell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastgs.codec.attributes import read_attributes
from fastgs.codec.channels import RGB, Channels
from fastgs.codec.column_model import Model, read_model
from fastgs.codec.columns import read_columns
from fastgs.codec.contexts import levels
from fastgs.codec.layer import (
    decode_each,
    find_problem,
    make_initial_models,
    most_gaussians,
    read_header,
    read_positions,
)
from fastgs.codec.prefix import EndOfPrefixError, PrefixDecoder
from fastgs.codec.symbols import AREA, COLOR, Layer


def decode_cut_layers(
    payloads: Sequence[bytes], cut: bytes, canvas: tuple[int, int], channels: Channels = RGB
) -> tuple[list[Layer], NDArray[np.bool_]]:
    """Return the layers of the first payloads, and the Gaussians of the next one that its first bytes tell.

    These have their places. Symbols of their shapes and colours that are not there are as predicted from neighbours.

    Args:
        payloads: Payloads that are whole, the first few of a file.
        cut: First bytes of the payload behind them.
        canvas: Height and width in pixels.
        channels: Channels of the image.

    Returns:
        The layers, and a mask of all Gaussians, in their order, whose colours were read, at least the first column.

    Raises:
        FormatError: No encoder writes such bytes.
    """
    layers: list[Layer] = []
    models: Sequence[Model] = make_initial_models(channels)
    for layer, models, _ in decode_each(payloads, canvas, channels, counts=False):  # noqa: B007
        layers.append(layer)
    has_color = np.ones(sum(len(layer.symbols) for layer in layers), bool)
    last = _decode_prefix(cut, canvas, channels, layers, models)
    if last is None:
        return layers, has_color
    return [*layers, last[0]], np.concatenate([has_color, last[1]])


def _decode_prefix(
    data: bytes,
    canvas: tuple[int, int],
    channels: Channels,
    before: Sequence[Layer],
    models_before: Sequence[Model],
) -> tuple[Layer, NDArray[np.bool_]] | None:
    """Return the Gaussians that the first bytes of a payload tell and a mask of those whose colours were read.

    Without their places, which come first, there are none: None.
    """
    decoder = PrefixDecoder(data)
    try:
        count = decoder.number()
        # Positions alone take more bytes. So few bytes cause little work here, too.
        if count > most_gaussians(channels, len(data)):
            return None
        steps, mixing = read_header(decoder, channels, before)
        models = [read_model(decoder, model) for model in models_before]
        known = np.zeros((1, count), bool)
        (magnitudes,), _ = read_columns(decoder, count, levels(count), models[:1], known=known)
        if not known.all():
            return None
        x, y = read_positions(decoder, magnitudes, canvas, steps)
        known = np.zeros((len(models) - 1, count), bool)
        values, _ = read_attributes(decoder, x, y, steps.position, channels, models[1:], known)
    except EndOfPrefixError:
        return None
    has_color = known[COLOR - AREA]
    layer = Layer(np.column_stack([x, y, *values]).astype(np.int32), steps, mixing)
    # What is predicted can be out of range where what is read is at the limit.
    return None if find_problem(layer, channels) else (layer, has_color)
