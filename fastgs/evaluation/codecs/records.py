"""Records of codecs: one for each file of one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from fastgs.evaluation.records import ImageRecord, ImageTask


@dataclass(frozen=True, kw_only=True)
class CodecTask(ImageTask):
    """File of one image by one codec at one rate.

    Attributes:
        codec: Name of a codec, one of `fastgs.evaluation.codecs.coders.codec_names()`.
        bpp_target: Most bits per pixel that the file may have.
        iterations: Number of iterations of each fit; None for the codec's own choice, or if it fits nothing.
        effort: Effort of the encoder; None for the codec's own choice, or if it has none.
    """

    codec: str
    bpp_target: float
    iterations: int | None
    effort: int | None = None

    def __str__(self) -> str:
        return f"{self.curve}, {self.bpp_target:g} bpp"

    @property
    def curve(self) -> str:
        """Name of the curve in figures: the codec, and the effort and the number of iterations if they were given."""
        parts = [self.codec]
        if self.effort is not None:
            parts.append(f"effort {self.effort}")
        if self.iterations is not None:
            parts.append(f"{self.iterations:,} iteration{'' if self.iterations == 1 else 's'}")
        return ", ".join(parts)

    @override
    def _name_parts(self) -> list[str]:
        iterations = [] if self.iterations is None else [str(self.iterations)]
        effort = [] if self.effort is None else [f"effort{self.effort}"]
        return [self.codec, f"{self.bpp_target:g}bpp", *effort, *iterations]


@dataclass(frozen=True, kw_only=True)
class CodecRecord(CodecTask, ImageRecord):
    """Result of one file of one image.

    If a codec has no file that is small enough, every field that can be None is None, but for the encoder.

    Attributes:
        num_gaussians: Number of Gaussians in the file; None of a codec without Gaussians.
        bytes: Size of the file, headers and all.
        bpp: Bits per pixel of the file, `8 bytes / (height width)`.
        bits_analytic: Size in bits by the codec's own count, without a file; None if it has none.
        encoder: Library, its version, and the settings with which it wrote the file; None where that is not known, as
            in files of earlier versions.
        psnr: PSNR in dB of the decoded image, rounded to 8 bits, against the encoded one, which has 8 bits.
        seconds_encode: Wall-clock seconds of the search for this rate, all fits and files that it took included.
        seconds_decode: Wall-clock seconds from the bytes to the image, median of several runs after one to warm up.
    """

    FIELDS: ClassVar = (
        *("codec", "image", "sha256", "size", "bpp_target", "iterations", "seed", "height", "width", "num_gaussians"),
        *("bytes", "bpp", "bits_analytic", "psnr", "ssim", "ms_ssim", "lpips", "seconds_encode", "seconds_decode"),
        *("workers", "threads", "picture", "fastgs", "encoder", "effort"),
    )
    LATER: ClassVar = ("encoder", "effort")
    MEASURED: ClassVar = ("seconds_encode", "seconds_decode", "workers", "threads")

    num_gaussians: int | None
    bytes: int | None
    bpp: float | None
    bits_analytic: int | None
    encoder: str | None
    seconds_encode: float
    seconds_decode: float | None

    @property
    @override
    def task(self) -> CodecTask:
        return self._project(CodecTask)

    @property
    @override
    def result(self) -> str:
        if self.psnr is None:
            return "not reached"
        return f"{self.psnr:.2f} dB  {self.bpp:.4f} bpp  {self.seconds_encode:.1f} s"
