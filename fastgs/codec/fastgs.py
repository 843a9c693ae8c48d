"""Codec of this project: fit under the normalized rule, search the symbols worth their bits, code them in layers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from fastgs.codec.channels import Channels
from fastgs.codec.frame import FormatError, Frame, read_frame, write_frame
from fastgs.codec.layer import bit_breakdown, decode_layers, encode_layers, most_gaussians
from fastgs.codec.rdo import search
from fastgs.codec.scheme import Encoded
from fastgs.codec.symbols import dequantize
from fastgs.fitting.fit import Callback
from fastgs.fitting.optimizer import LearningRates
from fastgs.fitting.options import FitOptions
from fastgs.gaussians import Gaussians
from fastgs.initializers import DEFAULT, INITIALIZERS
from fastgs.methods.fastgs import make_method
from fastgs.render import render

# To fill a file of a given size, quantization steps are made coarser or finer.
COARSEST, FINEST = 2.0, 0.5  # bounds of the factor of all steps
TRIALS = 8  # number of factors that are tried at most
FULL = 0.972  # share of the bytes that is enough
# Bits that a Gaussian costs less where steps are twice as coarse, about; one more for each channel.
BITS_OF_COARSENESS = 2.5

# A long memory of gradients and large steps of colours overshoot: their gain in a fit is lost, and more, in rounding.
LONGEST_MEMORY = 10.0
RATES = {"means": 0.16, "scales": 0.15, "rotations": 0.12, "colors": 0.3}

# Holes that a cut file leaves are filled with blurry Gaussians.
FILLERS = 4  # cells that are looked at for each Gaussian that is there
THIN = 0.1  # sum of the weights below which a cell is a hole


@dataclass(frozen=True)
class Fastgs:
    """Scheme of this project, see `fastgs.codec.scheme.Scheme`."""

    name: str = "fastgs"
    bits: float = 36.0
    iterations: int = 1000

    def encode(
        self,
        image: Tensor,
        num_gaussians: int,
        *,
        alpha: bool = False,
        iterations: int | None = None,
        seed: int = 0,
        target_bytes: int | None = None,
        callback: Callback | None = None,
    ) -> Encoded:
        """Fit an image and write it."""
        most = most_gaussians(Channels(image.shape[0], alpha))
        if not 1 <= num_gaussians <= most:
            raise ValueError(f"num_gaussians: must be from 1 to {most}, got {num_gaussians}")
        iterations = self.iterations if iterations is None else iterations
        method = make_method(INITIALIZERS[DEFAULT], optimization=_rates(iterations).config())
        result = method(image, num_gaussians, FitOptions(iterations), seed=seed, alpha=alpha, callback=callback)
        data = _fill(image, result.gaussians, target_bytes)
        return Encoded(data, self.decode(read_frame(data)).to(image.device), result.history)

    def decode(self, frame: Frame) -> Gaussians:
        """Read Gaussians, on the CPU; raise FormatError if a layer is damaged."""
        canvas = frame.height, frame.width
        gaussians = dequantize(decode_layers(frame.layers, canvas, frame.channels), *canvas, frame.channels)
        return gaussians if frame.whole else _fill_holes(gaussians)

    def bit_breakdown(self, frame: Frame) -> dict[str, int]:
        """Return the bits of the file by attribute; raise FormatError if a layer is damaged."""
        canvas = frame.height, frame.width
        bits: dict[str, float] = {}
        for layer in bit_breakdown(frame.layers, canvas, frame.channels):
            for name, value in layer.items():
                bits[name] = bits.get(name, 0) + value
        rounded = {name: round(value) for name, value in bits.items() if name != "header"}
        return {**rounded, "header": 8 * len(write_frame(frame)) - sum(rounded.values())}


def _rates(iterations: int) -> LearningRates:
    """Return the learning rates for a fit that will be quantized."""
    usual = LearningRates.for_iterations(iterations)
    gradient, square = (each._replace(longest=LONGEST_MEMORY) for each in (usual.gradient_betas, usual.square_betas))
    return replace(usual, gradient_betas=gradient, square_betas=square, **RATES)


def _fill(image: Tensor, gaussians: Gaussians, target_bytes: int | None) -> bytes:
    """Write a file of at most `target_bytes` bytes, if that can be done with these Gaussians."""
    coarseness, channels = 1.0, Channels(gaussians.channels, gaussians.alpha)
    best: bytes | None = None
    for _ in range(TRIALS):
        layers = search(image, gaussians, coarseness).layers
        canvas = gaussians.height, gaussians.width
        data = write_frame(Frame(Fastgs.name, *canvas, encode_layers(layers, canvas, channels), channels=channels))
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


def _fill_holes(gaussians: Gaussians) -> Gaussians:
    """Add blurry Gaussians, of the colours around, where the first layers of a file leave the canvas black."""
    if not len(gaussians):
        raise FormatError("is cut before the end of its first layer")
    height, width = gaussians.height, gaussians.width
    cell = math.sqrt(height * width / (FILLERS * len(gaussians)))
    rows, columns = max(1, round(height / cell)), max(1, round(width / cell))
    image = render(gaussians, rows, columns)
    ones = replace(gaussians, colors=torch.ones_like(gaussians.colors), blend="sum")
    holes = render(ones, rows, columns)[0].numpy() < THIN
    if not holes.any() or holes.all():
        return gaussians
    nearest = distance_transform_edt(holes, return_distances=False, return_indices=True)
    row, column = np.nonzero(holes)
    means = torch.from_numpy(np.stack([(column + 0.5) * width / columns, (row + 0.5) * height / rows], 1)).float()
    colors = image[:, nearest[0][holes], nearest[1][holes]].T
    return replace(
        gaussians,
        means=torch.cat([gaussians.means, means]),
        scales=torch.cat([gaussians.scales, torch.full_like(means, 0.7 * cell)]),
        rotations=torch.cat([gaussians.rotations, means.new_zeros(len(means))]),
        colors=torch.cat([gaussians.colors, colors]),
    )


SCHEME = Fastgs()
