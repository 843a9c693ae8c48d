"""Results that papers report, for comparison with what the methods of this package reach; needs no torch."""

from __future__ import annotations

from typing import NamedTuple


class Published(NamedTuple):
    """PSNR that a paper reports, the mean of the 24 photos of Kodak.

    Attributes:
        num_gaussians: Number of Gaussians, K.
        size: Shorter side in pixels to which the photos were resized before they were cropped to squares around their
            centres; None for whole photos.
        iterations: Number of steps.
        psnr: PSNR in dB.
        source: Paper that reports it.
        ms_ssim: Multi-scale structural similarity; None if the paper does not report it.
        seconds: Wall clock of a fit; None if the paper does not report it. With `is_cut`, what the fit was cut at.
        gpu: Device of those seconds; None if the paper does not name it.
        is_cut: True if the PSNR is that after `seconds`, whatever number of steps they sufficed for.
    """

    num_gaussians: int
    size: int | None
    iterations: int
    psnr: float
    source: str
    ms_ssim: float | None = None
    seconds: float | None = None
    gpu: str | None = None
    is_cut: bool = False

    @property
    def time(self) -> str:
        """Time and device in a few words, a dash for what is not known."""
        if self.seconds is None:
            return "–"
        return f"{'cut at ' if self.is_cut else ''}{self.seconds:g} s, {self.gpu or 'GPU not named'}"


_GAUSSIANIMAGE, _GAUSSIANIMAGE_PLUS, _FAST_2DGS = "arXiv 2403.08551", "arXiv 2512.19108", "arXiv 2512.12774"

# Results by the name of the method in `fastgs.methods.METHODS`; a method from elsewhere adds its own. The images of the
# paper of Image-GS are others: what it reaches on Kodak is reported by that of Fast-2DGS.
PUBLISHED: dict[str, tuple[Published, ...]] = {
    "gaussianimage-cholesky": (
        Published(10_000, None, 50_000, 32.48, _GAUSSIANIMAGE),
        Published(30_000, None, 50_000, 38.57, _GAUSSIANIMAGE),
        Published(70_000, None, 50_000, 44.08, _GAUSSIANIMAGE, ms_ssim=0.9985, seconds=107, gpu="V100"),
    ),
    "gaussianimage-rs": (
        Published(30_000, None, 50_000, 38.83, _GAUSSIANIMAGE),
        Published(50_000, 512, 50_000, 39.62, _FAST_2DGS, seconds=10, is_cut=True),
    ),
    "gaussianimage-plus": (
        Published(5_000, None, 50_000, 31.83, _GAUSSIANIMAGE_PLUS),
        Published(10_000, None, 50_000, 35.41, _GAUSSIANIMAGE_PLUS),
    ),
    "image-gs-gradient": (Published(50_000, 512, 10_000, 36.19, _FAST_2DGS, seconds=10, is_cut=True),),
    "fast-2dgs": (
        Published(10_000, 512, 5_000, 33.79, _FAST_2DGS, ms_ssim=0.9865, seconds=5, is_cut=True),
        Published(50_000, 512, 5_000, 43.13, _FAST_2DGS, seconds=10, is_cut=True),
        Published(100_000, 512, 5_000, 43.01, _FAST_2DGS, ms_ssim=0.9988, seconds=5, is_cut=True),
    ),
}
