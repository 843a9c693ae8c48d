"""Values of a picture as an array, and what they mean: what files are written from, without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fastgs.io.pixels import Floats


class Kind(Protocol):
    """Knowledge of what the values of a picture mean; `fastgs.io.picture.Picture` describes the fields."""

    @property
    def alpha(self) -> bool:
        """Return whether the last channel is opacity."""

    @property
    def profile(self) -> bytes | None:
        """Return the ICC profile of the numbers."""

    @property
    def transfer(self) -> str:
        """Return "srgb" or the encoding of high dynamic range."""

    @property
    def range(self) -> tuple[float, float]:
        """Return the lowest and highest number of the source."""

    @property
    def channels(self) -> int:
        """Return C, the number of channels, alpha included."""

    @property
    def is_hdr(self) -> bool:
        """Return whether the values encode high dynamic range."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Values of a picture as an array.

    Attributes:
        values: (C, H, W) float32; with alpha, the colours are multiplied by it.
        alpha: True if the last channel is opacity.
        profile: ICC profile of the numbers; None for sRGB, or for what `transfer` says.
        transfer: "srgb", or the encoding of high dynamic range.
        range: Lowest and highest number of the source, which 0 and 1 stand for.
    """

    values: Floats
    alpha: bool = False
    profile: bytes | None = None
    transfer: str = "srgb"
    range: tuple[float, float] = (0.0, 1.0)

    @property
    def channels(self) -> int:
        """Return C, the number of channels, alpha included."""
        return len(self.values)

    @property
    def is_hdr(self) -> bool:
        """Return whether the values encode high dynamic range."""
        return self.transfer != "srgb"

    def straight(self) -> Floats:
        """Return the values in [0, 1], with colours that are not multiplied by alpha; black where alpha is 0."""
        values = self.values.clip(0, 1)
        if not self.alpha:
            return values
        opacity = values[-1:]
        colors = values[:-1] / np.maximum(opacity, np.float32(1e-6))
        return np.concatenate([np.where(opacity > 0, colors, np.float32(0)).clip(0, 1), opacity])
