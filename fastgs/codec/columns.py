"""Columns of symbols as bits, level by level: each symbol is predicted from its neighbours, and the residual coded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastgs.codec.column_model import (
    BY_AREA,
    BY_DENSITY,
    BY_SPREAD,
    Model,
    fit_model,
    read_residuals,
    write_residuals,
)
from fastgs.codec.contexts import Level, classes
from fastgs.codec.entropy import Decoder, Encoder, IntArray


def fit_models(values: IntArray, parts: Sequence[Level], before: Sequence[Model]) -> list[Model]:
    """Return the models with which columns take the fewest bits.

    Args:
        values: (C, N) symbols; the first column is the context `BY_AREA` of the others.
        parts: Levels of the N Gaussians.
        before: Models of the C columns in the layer before.
    """
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


def write_columns(encoder: Encoder, values: IntArray, parts: Sequence[Level], models: Sequence[Model]) -> None:
    """Write (C, N) symbols by the models of their columns."""
    for level in parts:
        means, spread = level.means(values)
        for column, model in enumerate(models):
            predicted = _predict(model, level, means[column])
            of_class = _classify(model, level, spread[column], values)
            write_residuals(encoder, values[column, level.index] - predicted, of_class, model)


def read_columns(
    decoder: Decoder, count: int, parts: Sequence[Level], models: Sequence[Model]
) -> tuple[IntArray, list[float]]:
    """Read the columns that `write_columns` wrote.

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
            predicted = _predict(model, level, means[column])
            of_class = _classify(model, level, spread[column], values)
            values[column, level.index] = predicted + read_residuals(decoder, len(predicted), of_class, model)
            bits[column] += decoder.bits - begin
    return values, bits


def _predict(model: Model, level: Level, means: IntArray) -> IntArray:
    """Return the predicted symbols of a level, (n,)."""
    return model.predict(means) if len(level.weights) else np.full(len(means), model.center)


def _classify(model: Model, level: Level, spread: IntArray, values: IntArray) -> NDArray[np.int8] | None:
    """Return the (n,) classes of the contexts of a level; None if the model or the level has no context."""
    if not model.gain or not len(level.weights):
        return None
    if model.context == BY_AREA:
        return classes(values[0, level.index])
    return classes(spread if model.context == BY_SPREAD else level.density)
