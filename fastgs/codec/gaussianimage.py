"""The codec of GaussianImage (Zhang et al., ECCV 2024, arXiv 2403.08551): a fit, then a quantization-aware fit.

Both fits take equally many steps.


Constants are those of github.com/Xinjie-Q/GaussianImage: gaussianimage_cholesky.py, quantize.py and train_quantize.py.
Positions are 16-bit floating-point numbers (before the tanh), entries of the Cholesky factor are learned scalars of 6
bits, and colours are two indices into codebooks of 8. The authors count the bits of a file without writing one, and do
not entropy-code its positions.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from typing_extensions import override

from fastgs.codec.baseline import Baseline
from fastgs.codec.codebooks import ResidualVectors
from fastgs.codec.quantization_aware import Quantized
from fastgs.codec.quantizers import Half, LearnedScalar, Quantizer
from fastgs.definition import CHANNELS
from fastgs.fitting.covariance import axes
from fastgs.fitting.loss_functions import CLAMPED_MSE
from fastgs.fitting.optimizer import OptimizationConfig
from fastgs.fitting.parametrization import Attributes
from fastgs.methods.gaussianimage import (
    CHOLESKY,
    HALVED_EVERY,
    ITERATIONS,
    RATE,
    Cholesky,
    adan,
    constant,
    count_twice,
    halving,
    square_factor,
    to_canvas,
)

FACTOR_BITS = 6  # bits of an entry of the Cholesky factor
CODEBOOKS, ENTRIES = 2, 8  # for colours


class QuantizedCholesky(Quantized, Cholesky):
    """Positions, Cholesky factors and colours that pass through the quantizers of GaussianImage."""

    LEARNED = ("cholesky.step", "cholesky.offset")

    @staticmethod
    @override
    def make_quantizers() -> dict[str, Quantizer]:
        return {
            "means": Half(2),
            "cholesky": LearnedScalar(FACTOR_BITS, 3),
            "colors": ResidualVectors(CODEBOOKS, ENTRIES, CHANNELS),
        }

    @staticmethod
    @override
    def assemble(variables: Mapping[str, Tensor], canvas: tuple[int, int]) -> Attributes:
        matrices = count_twice(square_factor(variables["cholesky"]))
        return Attributes(to_canvas(variables["means"], canvas), *axes(matrices), variables["colors"])


SCHEME = Baseline(
    "gaussianimage",
    CHOLESKY,
    OptimizationConfig(
        QuantizedCholesky,
        adan,
        constant(RATE, (*QuantizedCholesky.NAMES, *QuantizedCholesky.LEARNED)),
        halving(HALVED_EVERY),
        CLAMPED_MSE,
    ),
    bits=50.5,
    fitting=ITERATIONS,
    tuning=ITERATIONS,
)
