"""Layers of a file that was cut: those that are whole, and as much of the next as its first bytes tell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastgs.codec.channels import RGB, Channels
from fastgs.codec.layer import LayerDecoder
from fastgs.codec.symbols import Layer


def decode_cut_layers(
    payloads: Sequence[bytes],
    cut: bytes,
    canvas: tuple[int, int],
    channels: Channels = RGB,
    model: int | None = None,
) -> tuple[list[Layer], NDArray[np.bool_]]:
    """Return the layers of the first payloads, and the Gaussians of the next one that its first bytes tell.

    These have their places. Symbols of their shapes and colours that are not there are as predicted from neighbours.

    Args:
        payloads: Payloads that are whole, the first few of a file.
        cut: First bytes of the payload behind them.
        canvas: Height and width in pixels.
        channels: Channels of the image.
        model: Number of the learned model of symbols; None for models that are fitted to each layer.

    Returns:
        The layers, and a mask of all Gaussians, in their order, whose colours were read, at least the first column.

    Raises:
        FormatError: No encoder writes such bytes.
    """
    decoder = LayerDecoder(canvas, channels, model)
    for data in payloads:
        decoder.read(data)
    has_color = np.ones(sum(len(layer.symbols) for layer in decoder.layers), bool)
    last = decoder.read_prefix(cut)
    if last is None:
        return decoder.layers, has_color
    return [*decoder.layers, last[0]], np.concatenate([has_color, last[1]])
