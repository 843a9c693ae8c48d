"""Predictor: an image in, Gaussians and their reconstruction out. The one call that most users need."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from fastgs.fitting.fit import Callback
from fastgs.fitting.losses import Loss
from fastgs.fitting.options import FitOptions
from fastgs.gaussians import Blend, Gaussians
from fastgs.initializers import INITIALIZERS
from fastgs.io.picture import Picture, PictureSource, read_picture
from fastgs.io.pixels import Background
from fastgs.io.stack import read_stack
from fastgs.io.weights import format_of
from fastgs.methods import LEARNED, WEIGHTS
from fastgs.methods.arguments import AUTO, Auto, check_arguments, check_init, check_wish
from fastgs.methods.fastgs import make_method
from fastgs.methods.method import Method
from fastgs.methods.result import Result
from fastgs.methods.wish import fit_to_psnr
from fastgs.methods.zoom import ZOOM, ZOOM_FORMAT, fit_enlarged
from fastgs.render import Backend, has_triton, render_device

if TYPE_CHECKING:
    from fastgs.models.feed_forward import LearnedInitializer
    from fastgs.models.zoom import ZoomNetwork

__all__ = ["Predictor", "Result", "work_device"]


# Pixels of a batch, at most: memory of some hundred bytes for each.
BATCH_PIXELS = 2**21


class Predictor:
    """Fits Gaussians to images, starting from one kind of initialization.

    Args:
        init: Name in `fastgs.initializers.INITIALIZERS`; by default the best heuristic, or "learned" if weights are
            given.
        weights: Trained networks of "learned": a name in checkpoints/ or a path; by default "base".
        zoom_weights: Trained network that estimates what enlarged images show: a name in checkpoints/ or a path; by
            default, they are interpolated.

    Attributes:
        init: Name of the initializer.
        weights: Name or path of the weights; None unless `init` is "learned".
        zoom_weights: Name or path of the weights of zooming; None if images are interpolated.

    Raises:
        ValueError: The name is unknown, weights are given for another `init` than "learned", or the weights cannot be
            read.
        FileNotFoundError: There are no such weights.

    Example:
        result = fastgs.Predictor.from_pretrained("base")("photo.png", num_gaussians=10_000, iterations=200)
        result.gaussians.save("photo.safetensors")
    """

    def __init__(
        self,
        init: str | None = None,
        weights: str | Path | None = None,
        zoom_weights: str | Path | None = None,
    ) -> None:
        self.init = check_init(init, weights)
        self.weights = (WEIGHTS if weights is None else str(weights)) if self.init == LEARNED else None
        self._networks: LearnedInitializer | None = None
        if self.weights is not None:
            from fastgs.models.pretrained import load_weights  # deferred: importing the networks takes seconds

            self._networks = load_weights(self.weights)
        self.zoom_weights = None if zoom_weights is None else str(zoom_weights)
        self._zoom_network: ZoomNetwork | None = None
        if self.zoom_weights is not None:
            from fastgs.models.zoom import load_zoom

            self._zoom_network = load_zoom(self.zoom_weights)

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path) -> Predictor:
        """Return a predictor that starts from trained networks, or one that enlarges by a trained network.

        Args:
            name_or_path: Name in checkpoints/, or the path of what train.py wrote.

        Raises:
            FileNotFoundError: There are no such weights.
            ValueError: The weights cannot be read.
        """
        if format_of(name_or_path) == ZOOM_FORMAT:
            return cls(zoom_weights=name_or_path)
        return cls(LEARNED, name_or_path)

    def __call__(
        self,
        image: PictureSource | list[PictureSource] | tuple[PictureSource, ...],
        num_gaussians: int | Auto,
        iterations: int | None = None,
        *,
        seconds: float | None = None,
        target_psnr: float | None = None,
        seed: int = 0,
        size: int | None = None,
        zoom: float | None = None,
        blend: Blend = "normalized",
        loss: str | Loss = "mse",
        background: Background | None = None,
        keep_profile: bool = False,
        callback: Callback | None = None,
        backend: Backend = "auto",
    ) -> Result:
        """Fit Gaussians to an image; the fit ends at the first limit that is reached.

        Args:
            image: Path, PIL image, (H, W, C) integer array or (C, H, W) float tensor, see
                `fastgs.io.picture.read_picture`. Gray is fitted as one channel, transparency as premultiplied colours
                and alpha. A sequence of images of one size, or of a single array of bands, is fitted as the channels
                of one set of Gaussians, see `fastgs.io.stack.read_stack`.
            num_gaussians: K, at least 1; the result has exactly as many. With "auto", as many as `target_psnr` takes,
                at most one for two pixels: K follows the PSNR during the fit, and short rounds behind it correct the
                rest (`fastgs.methods.wish`); `result.trials` lists them.
            iterations: Number of steps, from 0 up; by default 200, or no limit if `seconds` is given.
            seconds: Wall-clock budget of the steps.
            target_psnr: PSNR in dB at which to stop; with "auto", PSNR that K is chosen for.
            seed: Random seed; the same seed gives the same result unless `seconds` is given.
            size: Shorter side in pixels, with a centre crop to a square; by default the image keeps its size.
            zoom: Factor, at least 1, by which the canvas is larger than the image: Gaussians are fitted to what the
                image would show with more pixels, see `fastgs.methods.zoom`. By default 2 if there are weights of
                zooming, else the canvas is that of the image.
            blend: "normalized" or "sum", see `fastgs.render`.
            loss: Name in `fastgs.fitting.losses.LOSSES`, or a callable (image, target) -> scalar.
            background: R, G, B in [0, 255] that transparent pixels are composited on; by default transparency is kept.
            keep_profile: If true, the numbers of the file and its ICC profile are kept instead of converting to sRGB.
            callback: Callable that gets (iteration, seconds, psnr) every few steps.
            backend: Renderer, see `fastgs.render`. "cuda", and "auto" where there is a GPU that kernels run on, do the
                work there; the result is on the CPU.

        Raises:
            ValueError: An argument or the image is not usable; one line that begins with its name.
        """
        check_arguments(
            num_gaussians=num_gaussians, seed=seed, size=size, zoom=zoom, blend=blend, background=background
        )
        options = FitOptions(iterations, seconds, target_psnr, loss, backend)
        if num_gaussians == AUTO:
            check_wish(options)
        if isinstance(image, list | tuple):
            if background is not None:
                raise ValueError("background: is for single images; a stack keeps transparency as a channel")
            picture, _ = read_stack(image, size, keep_profile)
        else:
            picture = _read(image, size, background, keep_profile)
        method = self._method(blend)
        run: Callable[..., Result] = (
            partial(fit_to_psnr, method) if num_gaussians == AUTO else partial(method, num_gaussians=int(num_gaussians))
        )
        if zoom is None and self._zoom_network is not None:
            zoom = ZOOM
        if zoom is not None:
            run = partial(fit_enlarged, run, zoom=zoom, network=self._zoom_network)
        result = run(
            image=picture.values,
            options=options,
            seed=seed,
            alpha=picture.alpha,
            device=work_device(picture.values.device, backend),
            callback=callback,
        )
        return replace(result, picture=picture.with_values(result.target))

    def batch(
        self,
        images: Sequence[PictureSource],
        num_gaussians: int,
        iterations: int | None = None,
        *,
        seed: int = 0,
        size: int | None = None,
        blend: Blend = "normalized",
        background: Background | None = None,
        keep_profile: bool = False,
        backend: Backend = "auto",
    ) -> list[Result]:
        """Fit Gaussians to several images at once, which for small ones is faster than one after the other.

        On a CPU each thread has images for itself; small ones of one size take their steps together, since most of the
        time of a single one goes by between its steps. The results are those of single calls, and their seconds are
        shares of those of all. On a GPU a step takes as long for one image of 64 x 64 pixels as for many: those of one
        size and kind take their steps together. There each result is that of the image alone but for rounding: PSNRs
        differ by a hundredth of a dB in fits of up to 60 steps; in longer ones, where Gaussians are relocated, by a few
        tenths either way. The history has its two ends, and its seconds are shares of those of the batch.

        Args:
            images: Images of any sizes, as for a call.
            num_gaussians: K of each image, at least 1.
            iterations: Number of steps, from 0 up; by default 200.
            seed: Random seed of each image.
            size: Shorter side in pixels, with a centre crop to a square; by default images keep their sizes.
            blend: "normalized" or "sum", see `fastgs.render`.
            background: R, G, B in [0, 255] that transparent pixels are composited on; by default transparency is kept.
            keep_profile: If true, the numbers of the files and their ICC profiles are kept.
            backend: Renderer, as for a call.

        Returns:
            The results in the order of the images.

        Raises:
            ValueError: An argument or an image is not usable; one line that begins with its name.

        Example:
            results = fastgs.Predictor().batch(["a.png", "b.png"], num_gaussians=128, iterations=50)
        """
        check_arguments(num_gaussians=num_gaussians, seed=seed, size=size, blend=blend, background=background)
        FitOptions(iterations, backend=backend)
        pictures = [_read(each, size, background, keep_profile) for each in images]
        groups: dict[object, list[int]] = defaultdict(list)
        for number, picture in enumerate(pictures):
            groups[picture.values.shape, picture.alpha, picture.values.device].append(number)
        results: dict[int, Result] = {}
        method = self._method(blend)
        for members in groups.values():
            most = max(1, BATCH_PIXELS // pictures[members[0]].values[0].numel())
            for part in (members[first : first + most] for first in range(0, len(members), most)):
                home = pictures[part[0]].values.device
                fitted = method.batch(
                    [pictures[number].values for number in part],
                    num_gaussians,
                    iterations,
                    seed=seed,
                    alpha=pictures[part[0]].alpha,
                    device=work_device(home, backend),
                    backend=backend,
                )
                for number, result in zip(part, fitted, strict=True):
                    results[number] = replace(result, picture=pictures[number].with_values(result.target))
        return [results[number] for number in range(len(pictures))]

    def _method(self, blend: Blend) -> Method:
        networks = self._networks
        if networks is None:
            return make_method(INITIALIZERS[self.init], blend)

        def initialize(image: torch.Tensor, num_gaussians: int, generator: torch.Generator | None = None) -> Gaussians:
            return networks.to(image.device).initialize(image, num_gaussians, generator)

        return make_method(initialize, blend, networks=lambda: (networks,))


def _read(image: PictureSource, size: int | None, background: Background | None, keep_profile: bool) -> Picture:
    """Read an image, unless that was done before and nothing is to be changed."""
    if isinstance(image, Picture) and size is None and background is None:
        return image
    return read_picture(image, size, background, keep_profile)


def work_device(home: torch.device, backend: Backend) -> torch.device:
    """Return the device to work on for an image that is on another one, its home."""
    if home.type == "cpu" and (backend == "cuda" or (backend == "auto" and torch.cuda.is_available() and has_triton())):
        return torch.device("cuda", torch.cuda.current_device())
    return render_device(home, backend)
