"""What a codec is: an image into bytes and back, in one of several ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from fastgs.codec.frame import Frame
from fastgs.fitting.fit import HistoryEntry
from fastgs.gaussians import Gaussians


@dataclass(frozen=True)
class Encoded:
    """What an encoder returns.

    Attributes:
        data: the file.
        gaussians: exactly what a decoder makes of it.
        history: along the fits that led to it, one after the other.
        bits_analytic: as papers count them: every symbol at its full width; None where widths are not fixed.
    """

    data: bytes
    gaussians: Gaussians
    history: list[HistoryEntry]
    bits_analytic: int | None = None


class Scheme(Protocol):
    """A way to write Gaussians.

    Attributes:
        name: as the frame has it.
        bits: of a Gaussian, about, all included.
        iterations: number of steps of all fits together, unless told otherwise.
    """

    @property
    def name(self) -> str:
        """See above."""

    @property
    def bits(self) -> float:
        """See above."""

    @property
    def iterations(self) -> int:
        """See above."""

    def encode(
        self,
        image: Tensor,
        num_gaussians: int,
        *,
        iterations: int | None = None,
        seed: int = 0,
        target_bytes: int | None = None,
        callback: Callable[[HistoryEntry], None] | None = None,
    ) -> Encoded:
        """Fit an image and write it.

        Args:
            image: (3, H, W) in [0, 1].
            num_gaussians: K, at least 1; the file has no more.
            iterations: number of steps of all fits together; those of the scheme if not given.
            seed: of everything random.
            target_bytes: bytes that the file should fill, for schemes that can; it may still be larger, or smaller.
            callback: called with every new entry of the history.

        Raises:
            ValueError: see `fastgs.fitting.fit.fit`.
        """

    def decode(self, frame: Frame) -> Gaussians:
        """Read Gaussians, on the CPU.

        Raises:
            FormatError: the layers hold anything but what `encode` writes.
        """

    def bit_breakdown(self, frame: Frame) -> dict[str, int]:
        """Bits of the file by attribute, their sum that of the file.

        Raises:
            FormatError: see `decode`.
        """
