"""Codec of this project: layers of symbols, the most important first; fastgs_encoder.py makes them from an image."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fastgs.codec.effort import DEFAULT_EFFORT, EFFORTS, check_effort
from fastgs.codec.frame import FormatError, Frame, read_frame, write_frame
from fastgs.codec.layer import bit_breakdown, decode_layers
from fastgs.codec.scheme import Encoded
from fastgs.codec.symbols import dequantize
from fastgs.definition import GaussianArrays

if TYPE_CHECKING:
    from torch import Tensor

    from fastgs.fitting.fit import Callback
    from fastgs.gaussians import Gaussians

# Holes that a cut file leaves are filled with blurry Gaussians.
FILLERS = 4  # cells that are looked at for each Gaussian that is there
THIN = 0.1  # sum of the weights below which a cell is a hole


@dataclass(frozen=True)
class Fastgs:
    """Scheme of this project, see `fastgs.codec.scheme.Scheme` and `GradedScheme`.

    Attributes:
        name: Name of the scheme.
        bits: Number of bits of a Gaussian, about.
        effort: Time that the encoder takes for a better image, from 1 to 9.
    """

    name: str = "fastgs"
    bits: float = 36.0
    effort: int = DEFAULT_EFFORT

    @property
    def iterations(self) -> int:
        """Return the number of steps of a fit."""
        return EFFORTS[self.effort].iterations

    def with_effort(self, effort: int) -> Fastgs:
        """Return this scheme at another effort; raise ValueError if there is none such."""
        check_effort(effort)
        return replace(self, effort=effort)

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
        from fastgs.codec import fastgs_encoder  # deferred: brings in torch, which decoders do without
        from fastgs.metrics.quality import psnr
        from fastgs.render import render

        effort = EFFORTS[self.effort] if iterations is None else replace(EFFORTS[self.effort], iterations=iterations)
        files, history = fastgs_encoder.encode(image, num_gaussians, alpha, effort, seed, target_bytes, callback)
        fitting = [data for data in files if target_bytes is None or len(data) <= target_bytes] or files[:1]
        candidates = [(data, self.decode(read_frame(data)).to(image.device)) for data in fitting]
        if len(candidates) > 1:
            candidates.sort(key=lambda candidate: psnr(render(candidate[1]), image))
        return Encoded(*candidates[-1], history)

    def decode(self, frame: Frame) -> Gaussians:
        """Read Gaussians, on the CPU; raise FormatError if a layer is damaged."""
        from fastgs.gaussians import Gaussians

        return Gaussians.from_arrays(self.decode_arrays(frame))

    def decode_arrays(self, frame: Frame) -> GaussianArrays:
        """Read Gaussians without torch; raise FormatError if a layer is damaged."""
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


def _fill_holes(gaussians: GaussianArrays) -> GaussianArrays:
    """Add blurry Gaussians, of the colours around, where the first layers of a file leave the canvas black."""
    from scipy.ndimage import distance_transform_edt  # deferred like the renderer: whole files need neither

    from fastgs.render.cpu_arrays import render

    if not len(gaussians):
        raise FormatError("is cut before the end of its first layer")
    height, width = gaussians.height, gaussians.width
    cell = math.sqrt(height * width / (FILLERS * len(gaussians)))
    rows, columns = max(1, round(height / cell)), max(1, round(width / cell))
    image = render(gaussians, rows, columns)
    ones = replace(gaussians, colors=np.ones_like(gaussians.colors), blend="sum")
    holes = render(ones, rows, columns)[0] < THIN
    if not holes.any() or holes.all():
        return gaussians
    nearest = distance_transform_edt(holes, return_distances=False, return_indices=True)
    row, column = np.nonzero(holes)
    means = np.stack([(column + 0.5) * width / columns, (row + 0.5) * height / rows], 1).astype(np.float32)
    colors = image[:, nearest[0][holes], nearest[1][holes]].T
    return replace(
        gaussians,
        means=np.concatenate([gaussians.means, means]),
        scales=np.concatenate([gaussians.scales, np.full_like(means, 0.7 * cell)]),
        rotations=np.concatenate([gaussians.rotations, np.zeros(len(means), np.float32)]),
        colors=np.concatenate([gaussians.colors, colors]),
    )


SCHEME = Fastgs()
