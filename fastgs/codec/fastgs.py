"""Codec of this project: layers of symbols, the most important first; fastgs_encoder.py makes them from an image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fastgs.codec.coarse import complete
from fastgs.codec.cut_layer import decode_cut_layers
from fastgs.codec.effort import DEFAULT_EFFORT, EFFORTS, check_effort
from fastgs.codec.frame import Frame, write_frame
from fastgs.codec.layer import bit_breakdown, decode_layers
from fastgs.codec.scheme import Encoded
from fastgs.codec.symbols import dequantize
from fastgs.codec.tuning import DEFAULT_TUNE, WeightedSquaredError, check_tune, find_importance
from fastgs.definition import GaussianArrays

if TYPE_CHECKING:
    from torch import Tensor

    from fastgs.fitting.fit import Callback
    from fastgs.gaussians import Gaussians


@dataclass(frozen=True)
class Fastgs:
    """Scheme of this project, see `fastgs.codec.scheme.Scheme` and `GradedScheme`.

    Attributes:
        name: Name of the scheme.
        bits: Number of bits of a Gaussian, about.
        effort: Time that the encoder takes for a better image, from 1 to 9.
        tune: Measure that files are made for, "psnr" or "ssim".
        restores: True if files of RGB ask for restoration where it helps, see `fastgs.codec.restoration`.
    """

    name: str = "fastgs"
    bits: float = 36.0
    effort: int = DEFAULT_EFFORT
    tune: str = DEFAULT_TUNE
    restores: bool = True

    @property
    def iterations(self) -> int:
        """Return the number of steps of a fit."""
        return EFFORTS[self.effort].iterations

    def with_effort(self, effort: int) -> Fastgs:
        """Return this scheme at another effort; raise ValueError if there is none such."""
        check_effort(effort)
        return replace(self, effort=effort)

    def with_tune(self, tune: str) -> Fastgs:
        """Return this scheme for another measure; raise ValueError if there is none such."""
        check_tune(tune)
        return replace(self, tune=tune)

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
        from fastgs.fitting.loss_functions import MSE
        from fastgs.gaussians import Gaussians

        importance = find_importance(image) if self.tune == "ssim" else None
        effort = EFFORTS[self.effort] if iterations is None else replace(EFFORTS[self.effort], iterations=iterations)
        files, history = fastgs_encoder.encode(
            image, num_gaussians, alpha, effort, seed, target_bytes, callback, self.restores, importance
        )
        fitting = [each for each in files if target_bytes is None or len(each.data) <= target_bytes] or files[:1]
        candidates = [
            Encoded(
                each.data, Gaussians.from_arrays(each.gaussians).to(image.device), history, None, each.frame.restoration
            )
            for each in fitting
        ]
        if len(candidates) == 1:
            return candidates[0]
        loss = MSE if importance is None else WeightedSquaredError(importance)
        return min(candidates, key=lambda each: float(loss(each.draw().clamp(0, 1), image)))

    def decode(self, frame: Frame) -> Gaussians:
        """Read Gaussians, on the CPU; raise FormatError if a layer is damaged."""
        from fastgs.gaussians import Gaussians

        return Gaussians.from_arrays(self.decode_arrays(frame))

    def decode_arrays(self, frame: Frame) -> GaussianArrays:
        """Read Gaussians without torch; raise FormatError if a layer is damaged.

        Of a file that was cut, they are those that are there, and what stands for the others, see `complete`.
        """
        canvas = frame.height, frame.width
        if frame.whole:
            layers = decode_layers(frame.layers, canvas, frame.channels, frame.symbols)
            return dequantize(layers, *canvas, frame.channels)
        layers, has_color = decode_cut_layers(frame.layers, frame.cut, canvas, frame.channels, frame.symbols)
        return complete(dequantize(layers, *canvas, frame.channels), has_color)

    def bit_breakdown(self, frame: Frame) -> dict[str, int]:
        """Return the bits of the file by attribute; raise FormatError if a layer is damaged."""
        canvas = frame.height, frame.width
        bits: dict[str, float] = {}
        for layer in bit_breakdown(frame.layers, canvas, frame.channels, frame.symbols):
            for name, value in layer.items():
                bits[name] = bits.get(name, 0) + value
        rounded = {name: round(value) for name, value in bits.items() if name != "header"}
        return {**rounded, "header": 8 * len(write_frame(frame)) - sum(rounded.values())}


SCHEME = Fastgs()
