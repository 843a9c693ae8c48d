"""Interface of a codec: an image into bytes and back, in one of several ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypedDict, runtime_checkable

from fastgs.codec.frame import Frame
from fastgs.codec.restoration_entry import Restoration
from fastgs.definition import GaussianArrays

if TYPE_CHECKING:
    from torch import Tensor

    from fastgs.fitting.fit import Callback, HistoryEntry
    from fastgs.gaussians import Gaussians


@dataclass(frozen=True)
class Encoded:
    """Result of an encoder.

    Attributes:
        data: Bytes of the file.
        gaussians: Gaussians exactly as a decoder reads them from the file.
        history: Entries along the fits that led to it, one after the other.
        bits_analytic: Number of bits as papers count them, with every symbol at its full width; None where widths are
            not fixed.
        restoration: Entry of what is added to the image, if the file has one.
    """

    data: bytes
    gaussians: Gaussians
    history: list[HistoryEntry]
    bits_analytic: int | None = None
    restoration: Restoration | None = None

    def draw(self) -> Tensor:
        """Return the (C, H, W) image of the file at the size of its canvas, restored if it says so; not clamped."""
        from fastgs.render import render  # deferred: decoders do without torch

        if self.restoration is None:
            return render(self.gaussians)
        import torch

        from fastgs.codec.restoration import draw

        return torch.from_numpy(draw(self.gaussians.arrays(), self.restoration)).to(self.gaussians.means.device)


class EncodeOptions(TypedDict, total=False):
    """Arguments of `Scheme.encode` that a search for a size or a quality passes on as they are."""

    alpha: bool
    iterations: int | None
    seed: int
    callback: Callback | None


class Scheme(Protocol):
    """A way to write Gaussians as a file.

    Attributes:
        name: Name in `fastgs.codec.SCHEMES`.
        bits: Number of bits of a Gaussian, about, with everything included.
        iterations: Number of steps of all fits together, by default.
    """

    @property
    def name(self) -> str:
        """Return the name of the scheme."""

    @property
    def bits(self) -> float:
        """Return the number of bits of a Gaussian, about."""

    @property
    def iterations(self) -> int:
        """Return the default number of steps of all fits together."""

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
        """Fit an image and write it.

        Args:
            image: (C, H, W) in [0, 1].
            num_gaussians: K, at least 1; the file has no more.
            alpha: True if the last channel is opacity and the other ones are multiplied by it (C = 2 or 4). It is only
                given where it is true.
            iterations: Number of steps of all fits together; by default that of the scheme.
            seed: Random seed.
            target_bytes: Size that the file should fill, for schemes that can; it may still be larger, or smaller.
            callback: Callable that gets every new entry of the history.

        Raises:
            ValueError: An argument is out of range, the scheme has no files of such channels, or a fit cannot be made,
                see `fastgs.fitting.fit.fit`.
        """

    def decode(self, frame: Frame) -> Gaussians:
        """Read Gaussians, on the CPU.

        Raises:
            FormatError: The layers hold anything but what `encode` writes.
        """

    def bit_breakdown(self, frame: Frame) -> dict[str, int]:
        """Return the bits of the file by attribute; their sum is the size of the file.

        Raises:
            FormatError: The layers hold anything but what `encode` writes.
        """


@runtime_checkable
class ArrayScheme(Protocol):
    """Scheme that reads files without torch, besides what `Scheme` asks for."""

    def decode_arrays(self, frame: Frame) -> GaussianArrays:
        """Read the Gaussians that `Scheme.decode` reads.

        Raises:
            FormatError: The layers hold anything but what `encode` writes.
        """


@runtime_checkable
class GradedScheme(Protocol):
    """Scheme that takes more time for a better image if asked to, besides what `Scheme` asks for."""

    def with_effort(self, effort: int) -> Scheme:
        """Return the same scheme with an encoder of another effort.

        Args:
            effort: Number from 1, the fastest, to 9, the best image at the same size.

        Raises:
            ValueError: There is no such effort; one line that begins with "effort: ".
        """


@runtime_checkable
class TunedScheme(Protocol):
    """Scheme whose files can be made for another measure than PSNR, besides what `Scheme` asks for."""

    def with_tune(self, tune: str) -> Scheme:
        """Return the same scheme with an encoder that makes files for a measure.

        Args:
            tune: Name in `fastgs.codec.tuning.TUNES`.

        Raises:
            ValueError: There is no such measure; one line that begins with "tune: ".
        """
