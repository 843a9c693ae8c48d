"""Columns of symbols as bits, level by level: each symbol is predicted from its neighbours, and the residual coded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastgs.codec.column_model import (
    BY_DENSITY,
    BY_FIRST,
    BY_SPREAD,
    Model,
    fit_model,
    read_residuals,
    write_residuals,
)
from fastgs.codec.contexts import FRACTION, Level, classes
from fastgs.codec.entropy import Decoder, Encoder, IntArray
from fastgs.codec.prefix import UNREAD

# Mean of the neighbours' alpha in symbols from which their colours are scaled to that of a Gaussian.
_MIN_ALPHA = 3
_MAX_SCALED = 1 << 18  # largest scaled mean by magnitude, in units of 1 / `FRACTION`


def fit_models(
    values: IntArray, parts: Sequence[Level], before: Sequence[Model], by_alpha: bool = False
) -> list[Model]:
    """Return the models with which columns take the fewest bits.

    Args:
        values: (C, N) symbols; the first column is the context `BY_FIRST` of the others.
        parts: Levels of the N Gaussians.
        before: Models of the C columns in the layer before.
        by_alpha: True if the first column is alpha, and the others are colours that are multiplied by it.
    """
    means, known = np.zeros_like(values), np.zeros(values.shape[1], bool)
    contexts = np.ones((3, *values.shape), np.int8)
    for level in parts[1:]:
        known[level.index] = True
        near, spread = level.means(values)
        for column in range(len(values)):
            means[column, level.index] = _scale_mean(near, column, level, values) if by_alpha else near[column]
        contexts[BY_SPREAD][:, level.index] = classes(spread)
        contexts[BY_DENSITY][:, level.index] = classes(level.density)
        contexts[BY_FIRST][:, level.index] = classes(values[0, level.index])
    models = []
    for column, model in enumerate(before):
        choice = {kind: contexts[kind, column] for kind in range(3) if column or kind != BY_FIRST}
        models.append(fit_model(values[column], means[column], known, choice, model))
    return models


def write_columns(
    encoder: Encoder, values: IntArray, parts: Sequence[Level], models: Sequence[Model], by_alpha: bool = False
) -> None:
    """Write (C, N) symbols by the models of their columns; `by_alpha` as for `fit_models`."""
    for level in parts:
        means, spread = level.means(values)
        for column, model in enumerate(models):
            mean = _scale_mean(means, column, level, values) if by_alpha else means[column]
            predicted = _predict(model, level, mean)
            of_class = _classify(model, level, spread[column], values)
            write_residuals(encoder, values[column, level.index] - predicted, of_class, model)


def read_columns(
    decoder: Decoder,
    count: int,
    parts: Sequence[Level],
    models: Sequence[Model],
    by_alpha: bool = False,
    known: NDArray[np.bool_] | None = None,
) -> tuple[IntArray, list[float]]:
    """Read the columns that `write_columns` wrote.

    Args:
        decoder: Decoder to read from.
        count: Number of Gaussians, N.
        parts: Levels of the N Gaussians.
        models: Models of the C columns.
        by_alpha: True if the first column is alpha, as for `fit_models`.
        known: (C, N) mask that is filled in with the symbols that were read, for a `PrefixDecoder`. The others are as
            predicted, as if their residuals were 0.

    Returns:
        (C, N) symbols, and the bits of each column, which are 0 where the decoder does not count them.

    Raises:
        FormatError: No encoder writes such bytes.
    """
    values, bits = np.zeros((len(models), count), np.int64), [0.0] * len(models)
    for level in parts:
        means, spread = level.means(values)
        for column, model in enumerate(models):
            begin = decoder.bits
            mean = _scale_mean(means, column, level, values) if by_alpha else means[column]
            predicted = _predict(model, level, mean)
            of_class = _classify(model, level, spread[column], values)
            residuals = read_residuals(decoder, len(predicted), of_class, model)
            if known is not None:
                known[column, level.index] = residuals != UNREAD
                residuals[residuals == UNREAD] = 0
            values[column, level.index] = predicted + residuals
            bits[column] += decoder.bits - begin
    return values, bits


def _scale_mean(means: IntArray, column: int, level: Level, values: IntArray) -> IntArray:
    """Return the (n,) means of the neighbours' symbols in a column, scaled from their alpha to that of each Gaussian.

    Args:
        means: (C, n) means; the first is that of alpha.
        column: Index of the column; that of alpha itself, 0, is not scaled.
        level: Level of the n Gaussians.
        values: (C, N) symbols, of which those of alpha are known.
    """
    alpha = means[0]
    unscaled: IntArray = means[column]
    if not column or not len(level.weights):
        return unscaled
    known = alpha >= _MIN_ALPHA * FRACTION
    scaled = unscaled * values[0, level.index] * FRACTION // np.where(known, alpha, 1)
    return np.where(known, scaled.clip(-_MAX_SCALED, _MAX_SCALED), unscaled)


def _predict(model: Model, level: Level, means: IntArray) -> IntArray:
    """Return the predicted symbols of a level, (n,)."""
    return model.predict(means) if len(level.weights) else np.full(len(means), model.center)


def _classify(model: Model, level: Level, spread: IntArray, values: IntArray) -> NDArray[np.int8] | None:
    """Return the (n,) classes of the contexts of a level; None if the model or the level has no context."""
    if not model.gain or not len(level.weights):
        return None
    if model.context == BY_FIRST:
        return classes(values[0, level.index])
    return classes(spread if model.context == BY_SPREAD else level.density)
