"""What was measured of codecs: one record for each file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastgs.evaluation.records import target_name

# Fields of a record that differ from run to run; all others repeat exactly on one machine.
MEASURED = ("seconds_encode", "seconds_decode", "workers", "threads")


@dataclass(frozen=True)
class CodecTask:
    """One cell of an evaluation, and what tells its record from all others.

    Attributes:
        codec: a name in `fastgs.evaluation.codecs.registry.CODECS`.
        image: path.
        sha256: of the file, in hexadecimal.
        size: shorter side in pixels, centre crop to a square; None keeps the size of the image.
        bpp_target: bits per pixel that the file may have at most.
        iterations: of each fit; None for as many as the codec finds best, or if it has none.
        seed: of everything random; None if nothing is.
    """

    codec: str
    image: str
    sha256: str
    size: int | None
    bpp_target: float
    iterations: int | None
    seed: int | None

    def __str__(self) -> str:
        return f"{self.curve}, {self.bpp_target:g} bpp"

    @property
    def curve(self) -> str:
        """The codec, and the number of iterations if it was given: what has one curve in figures."""
        if self.iterations is None:
            return self.codec
        return f"{self.codec}, {self.iterations:,} iteration{'' if self.iterations == 1 else 's'}"

    def target_name(self) -> str:
        """Name of the file for the image that is encoded, where pictures are kept."""
        return target_name(self.image, self.sha256, self.size)

    def picture_name(self) -> str:
        """Name of the file for what was decoded."""
        parts = [self.target_name().removesuffix(".png"), self.codec, f"{self.bpp_target:g}bpp"]
        parts += [] if self.iterations is None else [str(self.iterations)]
        parts += [] if self.seed is None else [f"seed{self.seed}"]
        return "-".join(parts) + ".png"


@dataclass(frozen=True)
class CodecRecord(CodecTask):
    """What one file of one image gave.

    Where a codec has no file that is small enough, there are no bytes, nor what follows from them: all that can be None
    is None.

    Attributes:
        height, width: of the image that was encoded, in pixels.
        num_gaussians: that the file holds; None of codecs without Gaussians.
        bytes: size of the file, headers and all.
        bpp: `8 bytes / (height width)`.
        bits_analytic: what the codec's own count says, without a file; None if it has none.
        psnr: dB, as in metrics/, of the decoded image rounded to 8 bits against the one that was encoded, of 8 bits.
        ssim, ms_ssim, lpips: likewise; None where the image is too small, too, or LPIPS has no weights.
        seconds_encode: wall clock of the search for this rate, all fits and files that it took included.
        seconds_decode: wall clock from the bytes to the image, median of a few times after one to warm up.
        workers: processes that measured side by side; with more than one, seconds are no measure of speed.
        threads: that kernels ran on.
        picture: path of the decoded image, if it was kept.
        fastgs: version.
    """

    height: int
    width: int
    num_gaussians: int | None
    bytes: int | None
    bpp: float | None
    bits_analytic: int | None
    psnr: float | None
    ssim: float | None
    ms_ssim: float | None
    lpips: float | None
    seconds_encode: float
    seconds_decode: float | None
    workers: int
    threads: int
    picture: str | None
    fastgs: str

    @property
    def task(self) -> CodecTask:
        """What was asked for."""
        return CodecTask(**{name: getattr(self, name) for name in CodecTask.__dataclass_fields__})

    @property
    def result(self) -> str:
        """In a few words."""
        if self.psnr is None:
            return "not reached"
        return f"{self.psnr:.2f} dB  {self.bpp:.4f} bpp  {self.seconds_encode:.1f} s"

    @property
    def has_picture(self) -> bool:
        """Whether there is a decoded image to be kept."""
        return self.bytes is not None

    def as_json(self) -> dict[str, Any]:
        """The fields, as `record_files` writes them."""
        return dict(vars(self))

    @staticmethod
    def from_json(item: dict[str, Any]) -> dict[str, Any]:
        """The fields from what `as_json` gave."""
        return item
