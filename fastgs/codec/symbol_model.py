"""Learned model of symbols: a small network in integers, which tells the distribution of each from what is around it.

Weights are whole numbers, and so is what they are multiplied with, in 64-bit floating point: sums are exact in any
order, so every machine gets the same.

A Gaussian's neighbours are those of the layers before and of its own layer that are decoded already, the nearest ones
along a curve. Each gives features; one layer of weights turns them into activations, which are averaged over the
neighbours. A head for each column of symbols takes these, the features that all neighbours give together, what the
header tells of the layer, and those columns of the Gaussian that are known; its answer is a mixture of three logistic
distributions. Weights are trained by `fastgs.training.SymbolStage`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgs.codec.surroundings_kernels import COLUMNS, COMMON, FEATURES, SHAPED
from fastgs.codec.symbol_model_kernels import ACTIVE, COMPONENTS, LOGISTIC_BITS, MEANS, OUTPUTS, PART, WEIGHT, mix
from fastgs.codec.symbol_models import LATEST, MODELS_OF_SYMBOLS
from fastgs.io.checkpoints import CHECKPOINTS, read_arrays

FORMAT, VERSION = "fastgs.symbols", "1"
GROUPS = {"shape": range(3), "color": range(3, COLUMNS)}  # columns that share the activations of neighbours
LAYER = 2 * COLUMNS + 1  # features of a layer

# Reach of the tables of the two functions: the exponential function at multiples of 1 / 64, the logistic one likewise.
_EXPONENT, _LOGIT = 12, 16

# Multiplications of a product that OpenBLAS, in the wheels of NumPy, gives to one thread; it divides larger ones.
_OF_ONE_THREAD = 1 << 18

Longs = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Mixture:
    """Distributions of n symbols.

    Attributes:
        places: (n, 3) places of the components in units of 1 / 64 symbols.
        inverses: (n, 3) inverse scales, per symbol.
        shares: (n, 3) shares, whose sum is 256.
    """

    places: Longs
    inverses: Floats
    shares: Longs

    def take(self, part: slice) -> Mixture:
        """Return the distributions of some of the symbols."""
        return Mixture(self.places[part], self.inverses[part], self.shares[part])


@dataclass(frozen=True)
class _Head:
    weight: Floats  # (inputs, H)
    of_layer: Floats  # (LAYER, H)
    bias: Floats
    last: Floats  # (H + MEANS, OUTPUTS)
    last_bias: Floats


@dataclass(frozen=True)
class _Group:
    weight: Floats  # (FEATURES + SHAPED, E)
    bias: Floats
    heads: list[_Head]


class SymbolModel:
    """Model of the columns of Gaussians of RGB.

    Args:
        arrays: Weights by name, as `fastgs.codec.symbol_network.SymbolNetwork` exports them.

    Raises:
        ValueError: Weights are missing or have the wrong shapes.
    """

    def __init__(self, arrays: dict[str, NDArray[Any]]) -> None:
        self.exponential = arrays["exponential"].astype(np.float64)
        self.logistic = arrays["logistic"].astype(np.int64)
        self._groups = {name: _read_group(arrays, name, columns) for name, columns in GROUPS.items()}
        if len(self.exponential) != 2 * 64 * _EXPONENT + 1 or len(self.logistic) != 2 * PART * _LOGIT + 1:
            raise ValueError("the tables of functions have the wrong sizes")

    def pool(self, group: str, each: Floats) -> Floats:
        """Return the (n, 2 E) activations of the (n, 8, F) features of neighbours, averaged over two and over all."""
        layer = self._groups[group]
        count, size, features = each.shape
        active = _activate(_multiply(each.reshape(count * size, features), layer.weight) + layer.bias).reshape(
            count, size, -1
        )
        nearest = active[:, 0] + active[:, 1]
        pooled: Floats = np.floor(np.concatenate([nearest / 2, active.sum(1) / size], axis=1))
        return pooled

    def predict(
        self, column: int, inputs: Floats, means: Floats, of_layer: Floats, unit: float, center: float
    ) -> Mixture:
        """Return the distributions of the symbols of n Gaussians in a column.

        Args:
            column: Index of the column, 0 for area.
            inputs: (n, I) activations of `pool`, features of all neighbours together, and values of the columns before.
            means: (n, `MEANS`) means of the neighbours, of these features.
            of_layer: (`LAYER`,) features of the layer.
            unit: Value of a symbol.
            center: Middle value of the layer.
        """
        group, place = ("shape", column) if column < 3 else ("color", column - 3)
        head = self._groups[group].heads[place]
        active = _activate(_multiply(inputs, head.weight) + (of_layer @ head.of_layer + head.bias))
        outputs = _multiply(np.concatenate([active, means], axis=1), head.last) + head.last_bias
        shape = (len(inputs), COMPONENTS)
        mixture = Mixture(np.empty(shape, np.int64), np.empty(shape), np.empty(shape, np.int64))
        scale = SCALES[column]
        mix(outputs, unit, scale, center, self.exponential, mixture.places, mixture.inverses, mixture.shares)
        return mixture


SCALES = (1.0, 1.0, 1.0, 1.0, 3.0, 3.0)  # factors of values in features: chroma varies less than luma


def make_tables() -> dict[str, NDArray[Any]]:
    """Return the tables of functions that weights are stored with, so that every machine has the same."""
    x = np.arange(-64 * _EXPONENT, 64 * _EXPONENT + 1) / 64
    z = np.arange(-PART * _LOGIT, PART * _LOGIT + 1) / PART
    logistic = np.rint(2.0**LOGISTIC_BITS / (1 + np.exp(-z))).astype(np.int32)
    return {"exponential": np.exp(x).astype(np.float32), "logistic": logistic}


@lru_cache(maxsize=4)
def load_model(number: int = LATEST) -> SymbolModel:
    """Return a model by its number in files.

    Raises:
        FileNotFoundError: A file of the model is missing.
        ValueError: A file is not readable, or is no such model.
    """
    path = Path(CHECKPOINTS) / f"{MODELS_OF_SYMBOLS[number]}.safetensors"
    arrays: dict[str, NDArray[Any]] = read_arrays(path, FORMAT, VERSION, "model of symbols")
    try:
        return SymbolModel(arrays)
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path}: is no model of symbols ({error})") from error


def _multiply(rows: Floats, weight: Floats) -> Floats:
    """Return the product of (n, a) and (a, b) numbers, by this thread alone.

    Threads that wait for each other after each of many small products take as long as the machine lets the last of them
    wait: a file took 15 times as long to decode while another process kept one of two cores busy.
    """
    size = max(1, _OF_ONE_THREAD // weight.size)
    whole = len(rows) // size * size
    result: Floats = np.empty((len(rows), weight.shape[1]))
    np.matmul(
        rows[:whole].reshape(-1, size, rows.shape[1]), weight, out=result[:whole].reshape(-1, size, weight.shape[1])
    )
    np.matmul(rows[whole:], weight, out=result[whole:])
    return result


def _activate(sums: Floats) -> Floats:
    """Return activations in units of 1 / `UNIT`."""
    active: Floats = np.floor(sums / WEIGHT).clip(0, ACTIVE)
    return active


def _read_group(arrays: dict[str, NDArray[Any]], name: str, columns: range) -> _Group:
    """Return the weights of a group of columns."""

    def read(key: str, *shape: int | None) -> Floats:
        array = arrays[f"{name}.{key}"]
        if array.ndim != len(shape) or any(size not in (None, of) for size, of in zip(shape, array.shape, strict=True)):
            raise ValueError(f"{name}.{key} has the wrong shape")
        return np.ascontiguousarray(array.T.astype(np.float64))

    weight = read("neighbours.weight", None, FEATURES + SHAPED)
    size = weight.shape[1]
    heads = []
    for place, column in enumerate(columns):
        inputs = 2 * size + COMMON + column
        first = read(f"heads.{place}.first.weight", None, inputs + LAYER)
        hidden = first.shape[1]
        heads.append(
            _Head(
                np.ascontiguousarray(first[:inputs]),
                first[inputs:],
                read(f"heads.{place}.first.bias", hidden),
                read(f"heads.{place}.last.weight", OUTPUTS, hidden + MEANS),
                read(f"heads.{place}.last.bias", OUTPUTS),
            )
        )
    return _Group(weight, read("neighbours.bias", size), heads)
