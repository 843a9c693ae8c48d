"""The codec of GaussianImage++ (Li et al., AAAI 2026, arXiv 2512.19108): a short fit, then a long quantized one.

Constants are those of github.com/Sweethyh/GaussianImage_plus: train_quantize.py, models/gaussianimage_covariance.py and
quantize.py. Symbols have 12 bits for a coordinate, 10 for an entry of the covariance and 6 for a colour. All are
learned scalars, except that variances are quantized on a logarithmic scale over the range that they have, as in the
authors' code. Gaussians whose rounded entries are no covariance are left out, as there.

The one event of the fit adds all Gaussians that are missing, since none may be added after it. The authors' code passes
colours through a sigmoid when it compresses; here they are quantized as the fit has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from fastgs.codec.baseline import Baseline
from fastgs.codec.quantization_aware import Quantized
from fastgs.codec.quantizers import LearnedScalar, LogarithmicRange, Quantizer
from fastgs.definition import CHANNELS
from fastgs.fitting.covariance import axes
from fastgs.fitting.loss_functions import CLAMPED_MSE
from fastgs.fitting.optimizer import OptimizationConfig
from fastgs.fitting.parametrization import Attributes
from fastgs.methods.gaussianimage import ITERATIONS, constant
from fastgs.methods.gaussianimage_plus import (
    EPSILON,
    GROWN_EVERY,
    HALVED_EVERY,
    METHOD,
    RATE,
    Covariance,
    DistortionDriven,
)

WARM_UP = 6_000  # steps of the first fit, of 50,000 for both
POSITION_BITS, COVARIANCE_BITS, COLOR_BITS = 12, 10, 6
LEARNING_RATE = 1e-3  # of the parameters of quantizers
LEAST_VARIANCE = 1e-6  # squared pixels


class Entries(Quantizer):
    """Quantizes entries xx, xy, yy of covariances: the variances on a logarithmic scale, xy on a learned one.

    Args:
        bits: Bits of a symbol.
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.variances = LogarithmicRange(bits, 2, LEAST_VARIANCE)
        self.mixed = LearnedScalar(bits, 1)
        self.alphabets = (1 << bits,) * 3

    @override
    def start(self, values: Tensor) -> None:
        self.variances.start(values[:, ::2])
        self.mixed.start(values[:, 1:2])

    @override
    def forward(self, values: Tensor) -> Tensor:
        return _join_entries(self.variances(values[:, ::2]), self.mixed(values[:, 1:2]))

    @override
    def symbols(self, values: Tensor) -> Tensor:
        return _join_entries(self.variances.symbols(values[:, ::2]), self.mixed.symbols(values[:, 1:2]))

    @override
    def dequantize(self, symbols: Tensor) -> Tensor:
        return _join_entries(self.variances.dequantize(symbols[:, ::2]), self.mixed.dequantize(symbols[:, 1:2]))

    @override
    def to_bytes(self) -> bytes:
        return self.variances.to_bytes() + self.mixed.to_bytes()

    @override
    def load(self, data: bytes) -> None:
        place = self.variances.parameter_bytes()
        self.variances.load(data[:place])
        self.mixed.load(data[place:])


def _join_entries(variances: Tensor, mixed: Tensor) -> Tensor:
    """Return columns xx, xy, yy, given (N, 2) xx, yy and (N, 1) xy."""
    return torch.cat([variances[:, :1], mixed, variances[:, 1:]], dim=1)


class QuantizedCovariance(Quantized, Covariance):
    """Positions, covariances and colours that pass through the quantizers of GaussianImage++."""

    LEARNED = tuple(
        f"{name}.{parameter}" for name in ("means", "covariances.mixed", "colors") for parameter in ("step", "offset")
    )

    @staticmethod
    @override
    def make_quantizers() -> dict[str, Quantizer]:
        return {
            "means": LearnedScalar(POSITION_BITS, 2),
            "covariances": Entries(COVARIANCE_BITS),
            "colors": LearnedScalar(COLOR_BITS, CHANNELS),
        }

    @staticmethod
    @override
    def assemble(variables: Mapping[str, Tensor], canvas: tuple[int, int]) -> Attributes:
        return Attributes(variables["means"], *axes(variables["covariances"]), variables["colors"])


@dataclass
class Once(DistortionDriven):
    """Densification that adds all missing Gaussians at the one event of the fit."""

    events: ClassVar[tuple[float, ...]] = (GROWN_EVERY / WARM_UP,)


def _decay_rate(progress: float, *_: object) -> float:
    """Return the factor of the learning rates, which halve every `HALVED_EVERY` of the published steps."""
    return 0.5 ** int(progress * (ITERATIONS - WARM_UP) / HALVED_EVERY)


ADAM = partial(torch.optim.Adam, eps=EPSILON, fused=True)

SCHEME = Baseline(
    "gaussianimage-plus",
    replace(
        METHOD,
        optimization=OptimizationConfig(
            Covariance, ADAM, constant(RATE, Covariance.NAMES), lambda *_: 1.0, CLAMPED_MSE
        ),
        densification=lambda num_gaussians, _pixels, _steps, generator: Once(num_gaussians, generator),
    ),
    OptimizationConfig(
        QuantizedCovariance,
        ADAM,
        lambda _: {
            **dict.fromkeys(QuantizedCovariance.NAMES, RATE),
            **dict.fromkeys(QuantizedCovariance.LEARNED, LEARNING_RATE),
        },
        _decay_rate,
        CLAMPED_MSE,
    ),
    bits=66.0,
    fitting=WARM_UP,
    tuning=ITERATIONS - WARM_UP,
)
