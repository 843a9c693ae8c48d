"""Encoder of the scheme "fastgs": fit under the normalized rule, search the symbols worth their bits, fill the file."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from fastgs.codec.channels import Channels
from fastgs.codec.frame import Frame, write_frame
from fastgs.codec.layer import encode_layers, most_gaussians
from fastgs.codec.rdo import search
from fastgs.fitting.fit import Callback
from fastgs.fitting.optimizer import LearningRates
from fastgs.fitting.options import FitOptions
from fastgs.gaussians import Gaussians
from fastgs.initializers import DEFAULT, INITIALIZERS
from fastgs.methods import Result
from fastgs.methods.fastgs import make_method

# To fill a file of a given size, quantization steps are made coarser or finer.
COARSEST, FINEST = 2.0, 0.5  # bounds of the factor of all steps
TRIALS = 8  # number of factors that are tried at most
FULL = 0.972  # share of the bytes that is enough
# Bits that a Gaussian costs less where steps are twice as coarse, about; one more for each channel.
BITS_OF_COARSENESS = 2.5

# A long memory of gradients and large steps of colours overshoot: their gain in a fit is lost, and more, in rounding.
LONGEST_MEMORY = 10.0
RATES = {"means": 0.16, "scales": 0.15, "rotations": 0.12, "colors": 0.3}


def fit(
    image: Tensor, num_gaussians: int, alpha: bool, iterations: int, seed: int, callback: Callback | None
) -> Result:
    """Fit an image for a file; the arguments are those of `fastgs.codec.scheme.Scheme.encode`.

    Raises:
        ValueError: A file holds no such number of Gaussians.
    """
    most = most_gaussians(Channels(image.shape[0], alpha))
    if not 1 <= num_gaussians <= most:
        raise ValueError(f"num_gaussians: must be from 1 to {most}, got {num_gaussians}")
    method = make_method(INITIALIZERS[DEFAULT], optimization=_rates(iterations).config())
    return method(image, num_gaussians, FitOptions(iterations), seed=seed, alpha=alpha, callback=callback)


def _rates(iterations: int) -> LearningRates:
    """Return the learning rates for a fit that will be quantized."""
    usual = LearningRates.for_iterations(iterations)
    gradient, square = (each._replace(longest=LONGEST_MEMORY) for each in (usual.gradient_betas, usual.square_betas))
    return replace(usual, gradient_betas=gradient, square_betas=square, **RATES)


def fill(image: Tensor, gaussians: Gaussians, target_bytes: int | None) -> bytes:
    """Write a file of at most `target_bytes` bytes, if that can be done with these Gaussians."""
    coarseness, channels = 1.0, Channels(gaussians.channels, gaussians.alpha)
    best: bytes | None = None
    for _ in range(TRIALS):
        layers = search(image, gaussians, coarseness).layers
        canvas = gaussians.height, gaussians.width
        data = write_frame(Frame("fastgs", *canvas, encode_layers(layers, canvas, channels), channels=channels))
        if target_bytes is None:
            return data
        if best is None or len(best) > target_bytes or len(best) < len(data) <= target_bytes:
            best = data
        if FULL * target_bytes <= len(data) <= target_bytes:
            break
        spare = 8 * (0.5 * (1 + FULL) * target_bytes - len(data)) / max(1, sum(len(layer.symbols) for layer in layers))
        before = coarseness
        coarseness = min(COARSEST, max(FINEST, coarseness * 2 ** (-spare / (BITS_OF_COARSENESS + channels.count))))
        if coarseness == before:
            break
    assert best is not None
    return best
