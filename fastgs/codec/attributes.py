"""Columns of symbols behind x and y, in the order in which they are coded: shapes and colours, and what alpha changes.

Where there is alpha, many Gaussians have no colour: all symbols of it are 0. Shapes of all Gaussians come first, then a
flag for each that tells whether it has a colour, and then the colours of those that have one, as if there were no other
Gaussians.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fastgs.codec.channels import Channels
from fastgs.codec.column_model import Model, read_model, write_model
from fastgs.codec.columns import fit_models, read_columns, write_columns
from fastgs.codec.contexts import Level, levels, weighted
from fastgs.codec.entropy import Decoder, Encoder, IntArray
from fastgs.codec.flags import find_colored, read_flags, write_flags
from fastgs.codec.symbols import AREA, COLOR, Steps, X, Y

_SHAPES = COLOR - AREA  # number of columns of shapes


class Attributes(Protocol):
    """Coder of the columns behind x and y, of one layer after the other.

    Attributes:
        PER_BYTE: Largest number of Gaussians of up to three channels per byte of a payload, so that no small file
            causes much work.
    """

    PER_BYTE: int

    def fit(self, symbols: IntArray, steps: Steps) -> None:
        """Take the (5 + C, N) symbols of a layer to write, in the order of the curve, and fit parameters to them."""

    def write_parameters(self, encoder: Encoder) -> None:
        """Write the parameters of the layer, before the positions."""

    def write(self, encoder: Encoder) -> None:
        """Write the columns of the layer."""

    def read_parameters(self, decoder: Decoder) -> None:
        """Read the parameters of the next layer; raise FormatError if no encoder writes such bytes."""

    def read(
        self, decoder: Decoder, x: IntArray, y: IntArray, steps: Steps, known: NDArray[np.bool_] | None = None
    ) -> tuple[IntArray, list[float]]:
        """Read the columns of a layer.

        Args:
            decoder: Decoder to read from.
            x: (N,) first coordinates, in the order of the curve, in units of `2 ** -position` pixels.
            y: (N,) second coordinates.
            steps: Units of the symbols.
            known: (3 + C, N) mask that is filled in with the symbols that were read, for a `PrefixDecoder`. The others
                are as predicted.

        Returns:
            (3 + C, N) symbols, and the bits of each column, which are 0 where the decoder does not count them.

        Raises:
            FormatError: No encoder writes such bytes.
        """


class FittedAttributes:
    """Coder by models that are fitted to each column of each layer.

    Args:
        channels: Channels of the image.
        models: Models of the 3 + C columns before the first layer.
    """

    PER_BYTE = 16

    def __init__(self, channels: Channels, models: Sequence[Model]) -> None:
        self._channels = channels
        self._models = self._before = models

    def fit(self, symbols: IntArray, steps: Steps) -> None:
        """Fit models, see `Attributes`."""
        self._symbols, self._position = symbols, steps.position
        self._before = self._models
        self._models = fit_attributes(symbols, steps.position, self._channels, self._before)

    def write_parameters(self, encoder: Encoder) -> None:
        """Write the models, see `Attributes`."""
        for model, before in zip(self._models, self._before, strict=True):
            write_model(encoder, model, before)

    def write(self, encoder: Encoder) -> None:
        """Write the columns, see `Attributes`."""
        write_attributes(encoder, self._symbols, self._position, self._channels, self._models)

    def read_parameters(self, decoder: Decoder) -> None:
        """Read the models, see `Attributes`."""
        self._models = [read_model(decoder, model) for model in self._models]

    def read(
        self, decoder: Decoder, x: IntArray, y: IntArray, steps: Steps, known: NDArray[np.bool_] | None = None
    ) -> tuple[IntArray, list[float]]:
        """Read the columns, see `Attributes`; bits of the flags count for alpha."""
        return read_attributes(decoder, x, y, steps.position, self._channels, self._models, known)


def relate(x: IntArray, y: IntArray, position: int) -> list[Level]:
    """Return the levels of Gaussians, with neighbours that are weighted by how near they are.

    Args:
        x: (N,) first coordinates, in the order of the curve, in units of `2 ** -position` pixels.
        y: (N,) second coordinates.
        position: Exponent of the unit of positions, as in `Steps`.
    """
    return weighted(levels(len(x)), x, y, position)


def fit_attributes(symbols: IntArray, position: int, channels: Channels, before: Sequence[Model]) -> list[Model]:
    """Return the models with which the columns behind x and y take the fewest bits.

    Args:
        symbols: (5 + C, N) symbols of all columns, in the order of the curve.
        position: Exponent of the unit of positions, as in `Steps`.
        channels: Channels of the image.
        before: Models of the 3 + C columns in the layer before.
    """
    near = relate(symbols[X], symbols[Y], position)
    if not channels.alpha:
        return fit_models(symbols[AREA:], near, before)
    colors, parts = _select_colored(symbols, position)
    shapes = fit_models(symbols[AREA:COLOR], near, before[:_SHAPES])
    return shapes + fit_models(colors, parts, before[_SHAPES:], by_alpha=True)


def write_attributes(
    encoder: Encoder, symbols: IntArray, position: int, channels: Channels, models: Sequence[Model]
) -> None:
    """Write the columns behind x and y.

    Args:
        encoder: Encoder to write to.
        symbols: (5 + C, N) symbols of all columns, in the order of the curve.
        position: Exponent of the unit of positions, as in `Steps`.
        channels: Channels of the image.
        models: Models of the 3 + C columns.
    """
    near = relate(symbols[X], symbols[Y], position)
    if not channels.alpha:
        write_columns(encoder, symbols[AREA:], near, models)
        return
    write_columns(encoder, symbols[AREA:COLOR], near, models[:_SHAPES])
    write_flags(encoder, find_colored(symbols[COLOR:]), near)
    colors, parts = _select_colored(symbols, position)
    write_columns(encoder, colors, parts, models[_SHAPES:], by_alpha=True)


def read_attributes(
    decoder: Decoder,
    x: IntArray,
    y: IntArray,
    position: int,
    channels: Channels,
    models: Sequence[Model],
    known: NDArray[np.bool_] | None = None,
) -> tuple[IntArray, list[float]]:
    """Read what `write_attributes` wrote, given the (N,) positions.

    Args:
        decoder: Decoder to read from.
        x: (N,) first coordinates, in the order of the curve.
        y: (N,) second coordinates.
        position: Exponent of the unit of positions, as in `Steps`.
        channels: Channels of the image.
        models: Models of the 3 + C columns.
        known: (3 + C, N) mask for a `PrefixDecoder`, as for `fastgs.codec.columns.read_columns`.

    Returns:
        (3 + C, N) symbols, and the bits of each column, which are 0 where the decoder does not count them; those of
        the flags count for alpha.

    Raises:
        FormatError: No encoder writes such bytes.
    """
    near = relate(x, y, position)
    if not channels.alpha:
        return read_columns(decoder, len(x), near, models, known=known)
    # A view, so that it fills in the mask.
    shapes, bits = read_columns(
        decoder, len(x), near, models[:_SHAPES], known=None if known is None else known[:_SHAPES]
    )
    begin = decoder.bits
    colored = read_flags(decoder, len(x), near)
    of_flags = decoder.bits - begin
    parts = relate(x[colored], y[colored], position)
    some_known = None if known is None else np.zeros((channels.count, int(colored.sum())), bool)
    some, (of_alpha, *of_others) = read_columns(
        decoder, int(colored.sum()), parts, models[_SHAPES:], by_alpha=True, known=some_known
    )
    colors = np.zeros((channels.count, len(x)), np.int64)
    colors[:, colored] = some
    if known is not None:
        known[_SHAPES:] = True
        known[_SHAPES:, colored] = some_known
    return np.concatenate([shapes, colors]), [*bits, of_flags + of_alpha, *of_others]


def _select_colored(symbols: IntArray, position: int) -> tuple[IntArray, list[Level]]:
    """Return the colours, (C, n), of the n Gaussians that have one, and the levels of these."""
    colored = symbols[:, find_colored(symbols[COLOR:])]
    return np.ascontiguousarray(colored[COLOR:]), relate(colored[X], colored[Y], position)
