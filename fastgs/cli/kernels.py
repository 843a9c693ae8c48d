"""Kernels that commands need, for `fastgs.runtime.compiler_process`, which compiles them beside the first process.

They are in the order in which the second process compiles them, while the first one goes through them as it needs them:
so the long ones that are needed late begin the list, and what the first steps do without ends it.
"""

from __future__ import annotations

import warnings
from contextlib import suppress
from pathlib import Path

from PIL import Image

from fastgs.cli.workers import has_driver
from fastgs.definition import CHANNELS
from fastgs.runtime import compiler_process

# Types of arguments: rows of Gaussians and their spans; fields of Gaussians and what is derived from them.
_ROWS = "float32[::1], int32[:,::1], int32[:,::1], float32[:,::1], UniTuple(float32, {channels}), int64[::1], int64"
_FIELDS = "float32[:,::1], float32[:,::1], float32[::1], int64[::1], float32[:,::1], int64, int64"

_PREPARE = ("fastgs.render.cpu_geometry_kernels:prepare",
            f"({_FIELDS}, float32[::1], int32[:,::1], int32[:,::1], int64, int64)")  # fmt: skip
_BANDS = ("fastgs.render.cpu_geometry_kernels:bands", "(float32[::1], int32[:,::1], int64, float64[::1], int64[::1])")
_FORWARD = ("fastgs.render.cpu_kernels:forward",
            f"({_ROWS}, float32[::1], float32[:,:,:,::1], boolean, int64, int64)")  # fmt: skip

_FIT = (
    ("fastgs.fitting.optimizer_cpu_kernels:descend",
     "(float32[::1], int32[:,::1], int32[:,::1], float32[:,::1], UniTuple(float32, {channels}), "
     "int64, int64, int64, int64, " + 8 * "float32[::1], " + "int64, int64)"),
    ("fastgs.render.cpu_kernels:descend_pixels",
     f"({_ROWS}, float32[::1], float32[:,:,::1], float32[:,:,::1], float64[::1], boolean, boolean, boolean, "
     "int64, int64)"),
    ("fastgs.initializers.sampling_kernels:diffuse",
     "(float64[:,::1], float64, int64, float64[:,::1], float64[::1], int64, int64[::1], int64)"),
    ("fastgs.initializers.sampling_kernels:find", "(float64[:,::1], int64[::1], float64[::1], int64[::1])"),
    _BANDS,
    _PREPARE,
    ("fastgs.fitting.removal_kernels:appraise",
     f"({_ROWS}, float32[::1], float32[:,:,::1], float32[:,::1], float32[::1], int64, int64, int64)"),
    ("fastgs.fitting.removal_kernels:gather",
     "(float32[::1], int32[:,::1], float32[:,::1], UniTuple(float32, {factors}), int64, int64, int64, float32[::1], "
     "float32[::1], int64, int64)"),
    ("fastgs.initializers.filter_kernels:smooth", "(float32[:,:,::1], float32[::1], float32[:,:,::1], int64, int64)"),
    ("fastgs.initializers.filter_kernels:curvature", "(float32[:,:,:,::1], float32[:,:,::1], int64, int64)"),
    ("fastgs.initializers.filter_kernels:structure",
     "(float32[:,:,:,::1], float32[:,:,::1], float32[:,:,::1], float32[:,:,::1], int64, int64)"),
    ("fastgs.initializers.sampling_kernels:count", "(float64[:,::1], float32[:,::1])"),
    ("fastgs.initializers.sampling_kernels:blur_at",
     "(float32[:,::1], float64[::1], float64[::1], float64[:,::1], float32[::1])"),
    ("fastgs.fitting.optimizer_cpu_kernels:move",
     "(float32[:,::1], float32[:,::1], int32[::1], int64[::1], float32[:,::1], int64, int64)"),
    ("fastgs.fitting.optimizer_cpu_kernels:take_steps",  # of small images
     "(float32[:,::1], int32[:,:,::1], int32[:,:,::1], float32[:,:,::1], UniTuple(float32, {channels}), int64[::1], "
     "int64, int64, int64, int64, float32[::1], float32[:,:,:,::1], float32[:,:,:,::1], float64[:,::1], boolean, "
     "boolean, boolean, boolean, int64, float32[:,:,::1], float32[:,:,::1], float32[:,::1])"),
)  # fmt: skip

_CONVOLVE = ("fastgs.codec.restoration_kernels:convolve",
             "(float32[::1], float32[:,::1], float32[:,::1], UniTuple(float32, 6), int64, int64, int64, int64, "
             "float32[::1], boolean, boolean, float32, float32[::1], int64, int64)")  # fmt: skip

# Channels that are drawn for the network of restoration: RGB, and the two planes that it sees besides.
_RESTORED = CHANNELS + 2
_FORWARD_OF_RESTORED = (_FORWARD[0], _FORWARD[1].replace("{channels}", str(_RESTORED)))

# Those of the learned model of symbols, which decoders need before they draw.
_SYMBOLS = (
    ("fastgs.codec.symbol_model_kernels:tabulate",
     "(int64[:,::1], float64[:,::1], int64[:,::1], int64[::1], int64, float64[:,::1])"),
    ("fastgs.codec.symbol_model_kernels:mix",
     "(float64[:,::1], float64, float64, float64, float64[::1], int64[:,::1], float64[:,::1], int64[:,::1])"),
    ("fastgs.codec.surroundings_kernels:describe",
     "(int64[:,::1], int64[:,::1], int64[:,::1], int64[::1], boolean, float64[::1], float64, int64, float64[::1], "
     "float64[:,:,::1], float64[:,::1])"),
    ("fastgs.codec.surroundings_kernels:find_neighbours",
     "(int64[:,::1], int64[::1], int64[::1], int64[:,::1], int64[::1], int64[:,::1])"),
)  # fmt: skip

_DRAW = (_FORWARD, _PREPARE, _BANDS)
_RESTORE = (_FORWARD_OF_RESTORED, _CONVOLVE, _PREPARE, _BANDS)
KERNELS = {
    "fit": _FIT,
    "encode": (*_FIT, _FORWARD_OF_RESTORED, _CONVOLVE, *_SYMBOLS),
    "draw": _DRAW,
    "restore": _RESTORE,
    "draw learned": (*_DRAW, *_SYMBOLS),
    "restore learned": (*_RESTORE, *_SYMBOLS),
}


def list_kernels(work: str, channels: str) -> list[tuple[str, str]]:
    """Return the places of the kernels of some work, and the types of their arguments."""
    count = int(channels)
    return [(place, types.format(channels=count, factors=count + 2)) for place, types in KERNELS[work]]


def compile_fit(path: Path, backend: str = "auto", loss: str = "mse", work: str = "fit") -> None:
    """Start the second process, where it helps, for a fit to an image on the CPU, or the encoding of an image."""
    if not compiler_process.is_wanted():
        return  # without a look at the image, which of many small ones takes a part of the time
    if loss == "mse" and backend in ("auto", "cpu") and not (backend == "auto" and has_driver()):
        channels = _count_channels(path)
        compiler_process.start(__name__, (work if channels == CHANNELS else "fit", channels))


def compile_drawing(channels: int, restores: bool = False, learned: bool = False) -> None:
    """Start the second process, where it helps, for the rendering of Gaussians.

    Args:
        channels: Number of channels.
        restores: True if their image is restored.
        learned: True if a learned model of symbols decodes them.
    """
    work = "restore" if restores else "draw"
    compiler_process.start(__name__, (f"{work} learned" if learned else work, channels))


def _count_channels(path: Path) -> int:
    """Return the number of channels of an image by its header, about: a wrong one costs time only."""
    with suppress(Exception), warnings.catch_warnings():  # errors are reported when the image is read
        warnings.simplefilter("ignore")
        with Image.open(path) as image:
            bands = image.getbands()
            is_gray = bands[0] in ("1", "L", "I", "F")
            return (1 if is_gray else CHANNELS) + ("A" in bands or "transparency" in image.info)
    return CHANNELS
