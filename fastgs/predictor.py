"""An image in, Gaussians and their reconstruction out: the one call that most users need."""

from __future__ import annotations

import math
import operator
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import torch
from torch import Tensor

from fastgs.fitting.densification import relocation
from fastgs.fitting.fit import LOSSES, HistoryEntry, fit
from fastgs.gaussians import Blend, Gaussians
from fastgs.initializers import DEFAULT, INITIALIZERS
from fastgs.io.images import ImageSource, load_image
from fastgs.render import Backend, choose, has_triton

if TYPE_CHECKING:
    from fastgs.models.feed_forward import LearnedInitializer

LEARNED = "learned"
INITS = (*INITIALIZERS, LEARNED)
WEIGHTS = "base"  # those of `LEARNED` unless others are named
WHITE = (255.0, 255.0, 255.0)


@dataclass(frozen=True, eq=False)
class Result:
    """One fitted image.

    Attributes:
        gaussians: K Gaussians on the canvas of the target.
        image: (3, H, W) their rendering, clamped to [0, 1].
        target: (3, H, W) in [0, 1], what they were fitted to: the input after composition, resizing and cropping.
        initial: the Gaussians that the fit began with.
        psnr, psnr_init: dB, after and before the fit, as in metrics/quality.py.
        history: (iteration, seconds, psnr) along the fit, both ends included.
        seconds_init, seconds_fit: wall clock of the initializer, and of the steps; reading the image and making ready
            (imports, the trial steps of a time budget) count in neither.
    """

    gaussians: Gaussians
    image: Tensor
    target: Tensor
    initial: Gaussians
    psnr: float
    psnr_init: float
    history: list[HistoryEntry]
    seconds_init: float
    seconds_fit: float


class Predictor:
    """Fits Gaussians to images, from one kind of initialization.

    Args:
        init: "learned" or a name in `fastgs.initializers.INITIALIZERS`; by default the best of the latter, or "learned"
            if weights are given.
        weights: of "learned": a name in checkpoints/ or a path; by default "base".

    Attributes:
        init: as above.
        weights: as given or by default; None unless `init` is "learned".

    Raises:
        ValueError: the name is unknown, or weights are given for another `init` than "learned"; or the weights cannot
            be read, see `fastgs.models.pretrained.load_weights`.
        FileNotFoundError: there are no such weights.
    """

    def __init__(self, init: str | None = None, weights: str | Path | None = None) -> None:
        self.init = check_init(init, weights)
        self.weights = (WEIGHTS if weights is None else str(weights)) if self.init == LEARNED else None
        self._networks: LearnedInitializer | None = None
        if self.weights is not None:
            from fastgs.models.pretrained import load_weights  # deferred: importing the networks takes seconds

            self._networks = load_weights(self.weights)

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path) -> Predictor:
        """A predictor that starts from trained networks: a name in checkpoints/, or the path of what train.py wrote.

        Raises:
            FileNotFoundError, ValueError: see `fastgs.models.pretrained.load_weights`.
        """
        return cls(LEARNED, name_or_path)

    def __call__(
        self,
        image: ImageSource,
        num_gaussians: int,
        iterations: int | None = None,
        *,
        seconds: float | None = None,
        target_psnr: float | None = None,
        seed: int = 0,
        size: int | None = None,
        blend: Blend = "normalized",
        loss: str = "mse",
        background: tuple[float, float, float] = WHITE,
        callback: Callable[[HistoryEntry], None] | None = None,
        backend: Backend = "auto",
    ) -> Result:
        """Fit Gaussians to an image; the fit ends at the first limit that is reached.

        Args:
            image: path, PIL image, (H, W, C) integer array or (3, H, W) float tensor; see `load_image`.
            num_gaussians: K, at least 1; the result has exactly as many.
            iterations: number of steps, from 0 up; by default 200, or no limit if `seconds` is given.
            seconds: wall-clock budget of the steps.
            target_psnr: stop at this PSNR in dB.
            seed: of everything random; the same seed gives the same result unless `seconds` is given.
            size: shorter side in pixels, centre crop to a square; by default the image keeps its size.
            blend: "normalized" or "sum"; see `fastgs.render`.
            loss: a name in `fastgs.fitting.fit.LOSSES`.
            background: R, G, B in [0, 255] that transparent pixels are composited on.
            callback: called with (iteration, seconds, psnr) every few steps.
            backend: see `fastgs.render`. "cuda", and "auto" where there is a GPU, do the work there; the result is
                where the image is.

        Raises:
            ValueError: an argument or the image is not usable; one line that begins with its name.
        """
        check_arguments(
            num_gaussians=num_gaussians,
            iterations=iterations,
            seconds=seconds,
            target_psnr=target_psnr,
            seed=seed,
            size=size,
            blend=blend,
            loss=loss,
            background=background,
            backend=backend,
        )
        target = load_image(image, size, background)
        device = work_device(target.device, backend)

        start = time.perf_counter()
        generator = torch.Generator().manual_seed(int(seed))
        initial = replace(self._initialize(target, device, int(num_gaussians), generator), blend=blend)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds_init = time.perf_counter() - start

        fitted = fit(
            target.to(device),
            initial,
            iterations=iterations,
            seconds=seconds,
            target_psnr=target_psnr,
            loss=loss,
            densification=relocation(initial, generator),
            callback=callback,
            backend=backend,
        )
        return Result(
            gaussians=fitted.gaussians.to(target.device),
            image=fitted.image.clamp(0, 1).to(target.device),
            target=target,
            initial=initial.to(target.device),
            psnr=fitted.history[-1].psnr,
            psnr_init=fitted.history[0].psnr,
            history=fitted.history,
            seconds_init=seconds_init,
            seconds_fit=fitted.history[-1].seconds,
        )

    def _initialize(
        self, target: Tensor, device: torch.device, num_gaussians: int, generator: torch.Generator
    ) -> Gaussians:
        if self._networks is None:
            return INITIALIZERS[self.init](target, num_gaussians, generator).to(device)
        return self._networks.to(device).initialize(target.to(device), num_gaussians, generator)


def work_device(home: torch.device, backend: Backend) -> torch.device:
    """Where the work is done on an image whose home is a device."""
    if home.type == "cpu" and (backend == "cuda" or (backend == "auto" and torch.cuda.is_available() and has_triton())):
        return torch.device("cuda", torch.cuda.current_device())
    return home


def check_init(init: str | None = None, weights: str | Path | None = None) -> str:
    """What `init` and `weights` of `Predictor` come to; they are not loaded.

    Raises:
        ValueError: as of `Predictor`; the message begins with the name of the argument.
    """
    if init is None:
        return DEFAULT if weights is None else LEARNED
    if init not in INITS:
        raise ValueError(f"init: expected one of {', '.join(INITS)}, got {init!r}")
    if weights is not None and init != LEARNED:
        raise ValueError(f"weights: are for init {LEARNED!r}, not {init!r}; leave one of the two out")
    return init


def check_arguments(
    *,
    num_gaussians: int,
    iterations: int | None = None,
    seconds: float | None = None,
    target_psnr: float | None = None,
    seed: int = 0,
    size: int | None = None,
    blend: str = "normalized",
    loss: str = "mse",
    background: tuple[float, float, float] = WHITE,
    backend: Backend = "auto",
) -> None:
    """Check what does not depend on the image, so that a mistake shows before any work is done.

    Raises:
        ValueError: an argument of `Predictor.__call__` has the wrong type or range; the message begins with its name.
    """
    _check_integer("num_gaussians", num_gaussians, least=1)
    _check_integer("seed", seed, least=0)
    if seed >= 2**64:
        raise ValueError(f"seed: must be below 2^64, got {seed}")
    if iterations is not None:
        _check_integer("iterations", iterations, least=0)
    if size is not None:
        _check_integer("size", size, least=1)
    if seconds is not None and not 0 < seconds < math.inf:
        raise ValueError(f"seconds: must be more than 0 and finite, got {seconds}")
    if target_psnr is not None and not math.isfinite(target_psnr):
        raise ValueError(f"target_psnr: must be finite, got {target_psnr}")
    if blend not in get_args(Blend):
        raise ValueError(f"blend: expected one of {', '.join(get_args(Blend))}, got {blend!r}")
    if loss not in LOSSES:
        raise ValueError(f"loss: expected one of {', '.join(LOSSES)}, got {loss!r}")
    # These two know best themselves what they take.
    load_image(torch.zeros(3, 1, 1), background=background)
    if backend == "cuda" and not torch.cuda.is_available():
        raise ValueError("backend: 'cuda' needs a CUDA device, and PyTorch finds none; use 'auto'")
    choose(torch.zeros(0, device="cuda" if backend == "cuda" else "cpu"), backend)


def _check_integer(name: str, value: object, least: int) -> None:
    """Refuse what is no integer (a NumPy integer is one, a bool is not) or too small."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # the TypeError is the check
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise ValueError(f"{name}: expected an integer, got {value!r}")
    if number < least:
        raise ValueError(f"{name}: must be at least {least}, got {number}")
