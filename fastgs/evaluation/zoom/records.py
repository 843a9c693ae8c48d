"""Records of enlarging: one for each image, way and factor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from fastgs.evaluation.records import ImageRecord, ImageTask


@dataclass(frozen=True, kw_only=True)
class ZoomTask(ImageTask):
    """Enlargement of one image, which is reduced first.

    Attributes:
        enlarger: "bicubic", "lanczos", "fit" (to the small image), "fit-zoom" (to a consistent interpolation), or the
            name or path of the weights of a network.
        weights: SHA-256 of these weights, in hexadecimal; None without a network.
        zoom: Factor.
        num_gaussians: K; None if nothing is fitted.
        iterations: Number of steps of the fit; None if nothing is fitted.
    """

    enlarger: str
    weights: str | None
    zoom: float
    num_gaussians: int | None
    iterations: int | None

    def __str__(self) -> str:
        fitted = "" if self.num_gaussians is None else f", K = {self.num_gaussians:,}, {self.iterations:,} iterations"
        return f"{self.enlarger}, x{self.zoom:g}{fitted}"

    @override
    def _name_parts(self) -> list[str]:
        name = self.enlarger.replace("/", "_")
        return [name, f"x{self.zoom:g}", *([] if self.num_gaussians is None else [str(self.num_gaussians)])]


@dataclass(frozen=True, kw_only=True)
class ZoomRecord(ZoomTask, ImageRecord):
    """Result of one enlargement.

    Attributes:
        psnr: PSNR in dB of the enlarged image.
        psnr_small: PSNR in dB of the enlarged image, reduced again, against the reduced one.
        seconds: Wall-clock seconds, the fit included.
    """

    FIELDS: ClassVar = (
        *("enlarger", "weights", "image", "sha256", "size", "zoom", "num_gaussians", "iterations", "seed"),
        *("height", "width", "psnr", "psnr_small", "ssim", "ms_ssim", "lpips", "seconds"),
        *("workers", "threads", "picture", "fastgs"),
    )
    MEASURED: ClassVar = ("seconds", "workers", "threads")

    psnr: float
    psnr_small: float
    seconds: float

    @property
    @override
    def task(self) -> ZoomTask:
        return self._project(ZoomTask)

    @property
    @override
    def result(self) -> str:
        return f"{self.psnr:.2f} dB  {self.psnr_small:.2f} dB when reduced  {self.seconds:.1f} s"
