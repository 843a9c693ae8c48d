"""The codec of GaussianImage (Zhang et al., ECCV 2024, arXiv 2403.08551): a fit, then as long a quantization-aware fit.

Constants are those of github.com/Xinjie-Q/GaussianImage: gaussianimage_cholesky.py, quantize.py and train_quantize.py.
Positions are 16-bit floating-point numbers (before the tanh), entries of the Cholesky factor learned scalars of 6 bits,
colours two indices into codebooks of 8. Their file is counted, not written; its positions are not entropy-coded.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fastgs.codec.baseline import Baseline
from fastgs.codec.codebooks import ResidualVectors
from fastgs.codec.quantization_aware import Quantized
from fastgs.codec.quantizers import Half, LearnedScalar, Quantizer
from fastgs.fitting.covariance import axes
from fastgs.fitting.losses import clamped_squared_error
from fastgs.fitting.optimizer import OptimizationConfig
from fastgs.fitting.parametrization import Attributes
from fastgs.methods.gaussianimage import (
    BOUND,
    CHOLESKY,
    HALVED_EVERY,
    ITERATIONS,
    RATE,
    Cholesky,
    adan,
    constant,
    halving,
    to_canvas,
)

FACTOR_BITS = 6
CODEBOOKS, ENTRIES = 2, 8


class QuantizedCholesky(Quantized, Cholesky):
    """See above."""

    LEARNED = ("cholesky.step", "cholesky.offset")

    @staticmethod
    def make_quantizers() -> dict[str, Quantizer]:
        """See `Quantized`."""
        return {
            "means": Half(2),
            "cholesky": LearnedScalar(FACTOR_BITS, 3),
            "colors": ResidualVectors(CODEBOOKS, ENTRIES, 3),
        }

    @staticmethod
    def assemble(variables: Mapping[str, Tensor], canvas: tuple[int, int]) -> Attributes:
        """See `Quantized`."""
        first, mixed, second = (variables["cholesky"] + variables["cholesky"].new_tensor(BOUND)).unbind(1)
        matrices = torch.stack([first * first, first * mixed, mixed * mixed + second * second], dim=1)
        return Attributes(to_canvas(variables["means"], canvas), *axes(matrices), variables["colors"])


SCHEME = Baseline(
    "gaussianimage",
    CHOLESKY,
    OptimizationConfig(
        QuantizedCholesky,
        adan,
        constant(RATE, (*QuantizedCholesky.NAMES, *QuantizedCholesky.LEARNED)),
        halving(HALVED_EVERY),
        clamped_squared_error,
    ),
    bits=50.5,
    fitting=ITERATIONS,
    tuning=ITERATIONS,
)
