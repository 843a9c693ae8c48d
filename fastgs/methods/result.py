"""Result of a method on one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from fastgs.fitting.fit import HistoryEntry
from fastgs.gaussians import Gaussians
from fastgs.io.picture import Picture
from fastgs.io.resampling import Filter, reduce
from fastgs.metrics.quality import psnr


class Trial(NamedTuple):
    """One fit on the way to a wished PSNR.

    Attributes:
        num_gaussians: K at its end.
        psnr: PSNR in dB at its end.
        iterations: Number of its steps.
        work: Sum of the numbers of Gaussians of all its steps.
    """

    num_gaussians: int
    psnr: float
    iterations: int
    work: float


@dataclass(frozen=True, eq=False)
class Result:
    """One fitted image.

    Attributes:
        gaussians: K Gaussians on the canvas of the target.
        image: (C, H, W) their rendering, clamped to [0, 1].
        target: (C, H, W) in [0, 1], the image that they were fitted to: the input after composition, resizing and
            cropping.
        initial: Gaussians that the fit began with.
        history: Entries (iteration, seconds, psnr) along the fit, both ends included.
        seconds_init: Wall clock of the initializer. Reading the image and making ready (imports, the trial steps of a
            time budget) count neither here nor in `seconds_fit`.
        seconds_network: Wall clock of the forward pass of the networks, a part of `seconds_init`; with those of this
            project, of all that is between them, too.
        picture: Input with what is needed to write the reconstruction back: alpha, depth, profile, dynamic range; None
            if the input was a plain tensor.
        small: (C, h, w) photo that the target is an enlargement of; None if the target is the photo.
        filter: Filter by which the photo came from an image as large as the target, see
            `fastgs.io.resampling.reduce`.
        trials: The fit, and the rounds behind it, if the PSNR was given instead of K; else none.
    """

    gaussians: Gaussians
    image: Tensor
    target: Tensor
    initial: Gaussians
    history: list[HistoryEntry]
    seconds_init: float
    seconds_network: float = 0.0
    picture: Picture | None = None
    small: Tensor | None = None
    filter: Filter = "bicubic"
    trials: tuple[Trial, ...] = ()

    @property
    def reconstruction(self) -> Picture:
        """Return the rendering as a picture of the same kind as the input; `write_picture` writes it."""
        picture = self.picture or Picture(self.target, self.gaussians.alpha)
        return picture.with_values(self.image)

    @property
    def psnr(self) -> float:
        """Return the PSNR in dB after the fit, see `fastgs.metrics.quality.psnr`.

        It is that of the values that were fitted: with alpha, of premultiplied colours and alpha.
        """
        return self.history[-1].psnr

    @property
    def psnr_small(self) -> float | None:
        """Return the PSNR in dB of the rendering, reduced to the size of the photo; None if it has that size."""
        if self.small is None:
            return None
        _, height, width = self.small.shape
        return psnr(reduce(self.image[None], height, width, self.filter)[0], self.small)

    @property
    def psnr_linear(self) -> float | None:
        """Return the PSNR in dB in linear light, relative to the brightest light of the input; None without HDR."""
        if self.picture is None or not self.picture.is_hdr:
            return None
        light = self.picture.to_linear()
        peak = light.max().clamp(min=1e-6)
        return psnr(self.reconstruction.to_linear() / peak, light / peak)

    @property
    def psnr_init(self) -> float:
        """Return the PSNR in dB before the fit."""
        return self.history[0].psnr

    def _repr_html_(self) -> str:
        """Return the page of the result, small, as notebooks show it."""
        from fastgs.methods.page import show_in_notebook  # deferred: only notebooks need pages

        return show_in_notebook(self)

    @property
    def iterations(self) -> int:
        """Return the number of steps that were taken."""
        return self.history[-1].iteration

    @property
    def seconds_fit(self) -> float:
        """Return the wall clock of the steps."""
        return self.history[-1].seconds
