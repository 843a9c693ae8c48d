"""Files of Gaussians as what is known around each of them, to train the model of their symbols."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastgs.codec.channels import RGB
from fastgs.codec.frame import FormatError, read_frame
from fastgs.codec.layer import decode_layers
from fastgs.codec.learned import begin_layer, summarize
from fastgs.codec.surroundings import Surroundings
from fastgs.codec.surroundings_kernels import COLUMNS, FINE
from fastgs.codec.symbol_model import GROUPS, SymbolModel
from fastgs.codec.symbols import AREA, X, Y, Layer


def describe(layers: Sequence[Layer], canvas: tuple[int, int], model: SymbolModel) -> dict[str, NDArray]:
    around = Surroundings(canvas)
    parts = []
    for layer in layers:
        symbols = layer.symbols.T.astype(np.int64)
        units = layer.steps.columns()[AREA:]
        summaries = summarize(symbols[AREA:], units)
        begin_layer(around, symbols[X], symbols[Y], layer.steps, summaries)
        centers = np.array([each.center for each in summaries]) / 16
        for level in around.levels():
            part = {
                "values": symbols[AREA:, level.index].T * units - centers,
                "units": np.tile(units, (len(level.index), 1)),
                "of_layer": np.tile(around.of_layer, (len(level.index), 1)),
            }
            for name, columns in GROUPS.items():
                part[f"each.{name}"], part[f"common.{name}"] = level.describe(model, shaped=name == "color")
                for column in columns:
                    around.set_values(level.index, column, symbols[AREA + column, level.index])
            part["own"] = level.own()
            parts.append(part)
    return {
        name: np.concatenate([p[name] for p in parts]).astype(np.float32 if name in ("values", "units") else np.int16)
        for name in parts[0]
    }
