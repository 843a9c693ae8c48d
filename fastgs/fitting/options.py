"""Options of a fit: when it ends, what it minimizes, and what renders."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, fields, replace
from typing import Any

from fastgs.definition import Backend, check_backend
from fastgs.fitting.losses import LOSSES, Loss

DEFAULT_ITERATIONS = 200

# Of Adam. The mean over pixels makes gradients small: the usual 1e-8 would swallow them.
ADAM_EPSILON = 1e-15


@dataclass(frozen=True)
class FitOptions:
    """Options of a fit, checked when they are made.

    The fit ends at the first limit that is reached.

    Attributes:
        iterations: Number of steps, from 0 up; None for no limit if `seconds` is given, else for the default of
            whatever runs the fit (`DEFAULT_ITERATIONS`, or the published number of a method).
        seconds: Wall-clock budget of the steps, more than 0; None for no limit.
        target_psnr: PSNR in dB at which to stop, looked at every `fastgs.fitting.fit.HISTORY_INTERVAL` steps, and near
            it more often; None for no limit.
        loss: Name in `LOSSES`, or a callable (image, target) -> scalar on (C, H, W) tensors.
        backend: Renderer, see `fastgs.render`.

    Raises:
        ValueError: A value has the wrong type or range; the message is one line that begins with its name.
    """

    iterations: int | None = None
    seconds: float | None = None
    target_psnr: float | None = None
    loss: str | Loss = "mse"
    backend: Backend = "auto"

    def __post_init__(self) -> None:
        if self.iterations is not None:
            check_integer("iterations", self.iterations, least=0)
        if self.seconds is not None and not 0 < self.seconds < math.inf:
            raise ValueError(f"seconds: must be more than 0 and finite, got {self.seconds}")
        if self.target_psnr is not None and not math.isfinite(self.target_psnr):
            raise ValueError(f"target_psnr: must be finite, got {self.target_psnr}")
        if isinstance(self.loss, str):
            LOSSES.check("loss", self.loss)
        check_backend(self.backend)
        if self.backend == "cuda":
            _check_cuda()

    def or_iterations(self, iterations: int) -> FitOptions:
        """Return options that end after so many steps, unless these have a number of steps or seconds."""
        if self.iterations is None and self.seconds is None:
            return replace(self, iterations=iterations)
        return self

    def loss_function(self) -> Loss:
        """Return the loss as a callable."""
        return LOSSES[self.loss] if isinstance(self.loss, str) else self.loss

    def progress(self, iteration: int, elapsed: float) -> float:
        """Return the share of the run that is done, in [0, 1]: 1 when either limit is reached.

        Args:
            iteration: Number of steps so far.
            elapsed: Seconds so far.
        """
        by_count = 0.0
        if self.iterations is not None:
            by_count = iteration / self.iterations if self.iterations else 1.0
        by_time = 0.0 if self.seconds is None else elapsed / self.seconds
        return min(1.0, max(by_count, by_time))


# Names of the options, which commands and `Predictor.__call__` take under the same ones.
FIT_OPTIONS = tuple(each.name for each in fields(FitOptions))


def check_integer(name: str, value: Any, least: int) -> None:
    """Check that a value is an integer (NumPy's count, bool does not) and large enough.

    Raises:
        ValueError: It is not; one line that begins with `name`.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise ValueError(f"{name}: expected an integer, got {value!r}")
    if number < least:
        raise ValueError(f"{name}: must be at least {least}, got {number}")


def _check_cuda() -> None:
    """Check that the renderer on GPUs can be used.

    Raises:
        ValueError: It cannot.
    """
    import torch  # deferred: other options are checked without it

    from fastgs.render import choose

    if not torch.cuda.is_available():
        raise ValueError("backend: 'cuda' needs a CUDA device, and PyTorch finds none; use 'auto'")
    choose(torch.device("cuda"), "cuda")
