"""The codec of GaussianImage++ (Li et al., AAAI 2026, arXiv 2512.19108): a short fit, then a long quantized one.

Constants are those of github.com/Sweethyh/GaussianImage_plus: train_quantize.py, models/gaussianimage_covariance.py and
quantize.py. Symbols have 12 bits for a coordinate, 10 for an entry of the covariance and 6 for a colour. All are
learned scalars, except that the code takes variances on a scale of logarithms, with the range that they have; so here.
What is no covariance when rounded is left out, as there.

The one event of the fit adds all Gaussians that are missing, since after it none may come. Their code has the colours
through a sigmoid when it compresses; here they are as they are in the fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from fastgs.codec.baseline import Baseline
from fastgs.codec.quantization_aware import Quantized
from fastgs.codec.quantizers import LearnedScalar, LogarithmicRange, Quantizer
from fastgs.fitting.covariance import axes
from fastgs.fitting.losses import clamped_squared_error
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

WARM_UP = 6_000  # of the 50,000 steps
POSITION_BITS, COVARIANCE_BITS, COLOR_BITS = 12, 10, 6
LEARNING_RATE = 1e-3  # of what quantizers learn
LEAST_VARIANCE = 1e-6  # squared pixels


class Entries(Quantizer):
    """Variances xx and yy on a scale of logarithms, xy on a learned one."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.variances = LogarithmicRange(bits, 2, LEAST_VARIANCE)
        self.mixed = LearnedScalar(bits, 1)
        self.alphabets = (1 << bits,) * 3

    def start(self, values: Tensor) -> None:
        """See `Quantizer`."""
        self.variances.start(values[:, ::2])
        self.mixed.start(values[:, 1:2])

    def forward(self, values: Tensor) -> Tensor:
        """See `Quantizer`."""
        return _woven(self.variances(values[:, ::2]), self.mixed(values[:, 1:2]))

    def symbols(self, values: Tensor) -> Tensor:
        """See `Quantizer`."""
        return _woven(self.variances.symbols(values[:, ::2]), self.mixed.symbols(values[:, 1:2]))

    def dequantize(self, symbols: Tensor) -> Tensor:
        """See `Quantizer`."""
        return _woven(self.variances.dequantize(symbols[:, ::2]), self.mixed.dequantize(symbols[:, 1:2]))

    def to_bytes(self) -> bytes:
        """See `Quantizer`."""
        return self.variances.to_bytes() + self.mixed.to_bytes()

    def load(self, data: bytes) -> None:
        """See `Quantizer`."""
        place = self.variances.parameter_bytes()
        self.variances.load(data[:place])
        self.mixed.load(data[place:])


def _woven(variances: Tensor, mixed: Tensor) -> Tensor:
    """Columns xx, xy, yy."""
    return torch.cat([variances[:, :1], mixed, variances[:, 1:]], dim=1)


class QuantizedCovariance(Quantized, Covariance):
    """See above."""

    LEARNED = tuple(
        f"{name}.{parameter}" for name in ("means", "covariances.mixed", "colors") for parameter in ("step", "offset")
    )

    @staticmethod
    def make_quantizers() -> dict[str, Quantizer]:
        """See `Quantized`."""
        return {
            "means": LearnedScalar(POSITION_BITS, 2),
            "covariances": Entries(COVARIANCE_BITS),
            "colors": LearnedScalar(COLOR_BITS, 3),
        }

    @staticmethod
    def assemble(variables: Mapping[str, Tensor], canvas: tuple[int, int]) -> Attributes:
        """See `Quantized`."""
        return Attributes(variables["means"], *axes(variables["covariances"]), variables["colors"])


@dataclass
class Once(DistortionDriven):
    """All that are missing, at the one event of the fit."""

    events: ClassVar[tuple[float, ...]] = (GROWN_EVERY / WARM_UP,)


def _halved(progress: float, *_: object) -> float:
    """Half the rates every so many of the published steps."""
    return 0.5 ** int(progress * (ITERATIONS - WARM_UP) / HALVED_EVERY)


ADAM = partial(torch.optim.Adam, eps=EPSILON, fused=True)

SCHEME = Baseline(
    "gaussianimage-plus",
    replace(
        METHOD,
        optimization=OptimizationConfig(
            Covariance, ADAM, constant(RATE, Covariance.NAMES), lambda *_: 1.0, clamped_squared_error
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
        _halved,
        clamped_squared_error,
    ),
    bits=66.0,
    fitting=WARM_UP,
    tuning=ITERATIONS - WARM_UP,
)
