"""Channels of an image, and the columns of symbols that stand for their colours."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fastgs.definition import CHANNELS
from fastgs.io.pixels import ALPHA_CHANNELS, MAX_CHANNELS

# The rows are the basis of RGB colours: luma and two components of chroma.
BASIS = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])

# Bits of a Gaussian without its colour, and of one channel of its colour, about: 36 or 37 for RGB.
_BITS, _BITS_OF_CHANNEL = 25.0, 4.0


@dataclass(frozen=True)
class Channels:
    """Channels of an image.

    Attributes:
        count: Number of channels, alpha included, from 1 to 32.
        alpha: True if the last channel is opacity and the other ones are multiplied by it; there are 2 or 4 then.

    Raises:
        ValueError: A file cannot hold so many channels, or not with alpha.
    """

    count: int = CHANNELS
    alpha: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MAX_CHANNELS:
            raise ValueError(f"channels: must be from 1 to {MAX_CHANNELS}, got {self.count}")
        if self.alpha and self.count not in ALPHA_CHANNELS:
            raise ValueError(f"alpha: is the last of 2 or 4 channels, got {self.count}")

    def __str__(self) -> str:
        return f"{self.count} channel{'s' * (self.count > 1)}{' with alpha' * self.alpha}"

    @property
    def are_rgb(self) -> bool:
        """True for plain opaque RGB."""
        return self.count == CHANNELS and not self.alpha

    @property
    def are_mixed(self) -> bool:
        """True for channels of no known meaning, whose columns may be mixtures of them that each file chooses."""
        return self.attributes[-1] == "channels"

    @property
    def relative_bits(self) -> float:
        """Bits of a Gaussian in units of those of an RGB one, about; exactly 1 for three channels."""
        return (_BITS + _BITS_OF_CHANNEL * self.count) / (_BITS + _BITS_OF_CHANNEL * CHANNELS)

    @cached_property
    def attributes(self) -> tuple[str, ...]:
        """Attribute of each of the C columns: "alpha", "luma", "chroma" or "channels"."""
        opaque = self.count - self.alpha
        colors = {1: ("luma",), CHANNELS: ("luma", "chroma", "chroma")}.get(opaque, ("channels",) * opaque)
        return ("alpha",) * self.alpha + colors

    @cached_property
    def basis(self) -> NDArray[np.float64]:
        """(C, C) orthonormal matrix; its rows turn a colour into its columns."""
        if self.are_rgb:
            return BASIS
        opaque = self.count - self.alpha
        matrix = np.zeros((self.count, self.count))
        matrix[self.alpha :, :opaque] = BASIS if opaque == CHANNELS else np.eye(opaque)
        if self.alpha:
            matrix[0, -1] = 1
        return matrix


RGB = Channels()
