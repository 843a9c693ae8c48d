"""Gaussians to pixels: validation, and the choice of a backend.

Two rules, both independent of the order of the Gaussians (reference.py has the equations):

- "normalized": the weighted mean of the colours, as in Image-GS and Fast-2DGS;
- "sum": the weighted sum, as in GaussianImage.

Either takes all Gaussians, or in each pixel the few of largest weight there, as Image-GS does.

Three backends with one meaning: "reference" (plain torch, any dtype and device), "cpu" (numba, float32) and "cuda"
(Triton, float32; all Gaussians only).
An image is a continuous function of the position on the canvas; rendering at another size samples the same function
on a finer or coarser grid. Sampling on a much coarser one aliases, as with any image; `antialias` averages instead.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Literal, TypeVar, get_args

import torch
from torch import Tensor
from torch.nn import functional

from fastgs.gaussians import Blend, Gaussians
from fastgs.render import cpu, reference

_logger = logging.getLogger(__name__)

_T = TypeVar("_T")

Backend = Literal["auto", "reference", "cpu", "cuda"]


def render(
    gaussians: Gaussians,
    height: int | None = None,
    width: int | None = None,
    blend: Blend | None = None,
    backend: Backend = "auto",
    antialias: bool = False,
    top_k: int | None = None,
) -> Tensor:
    """Render Gaussians to an image.

    Args:
        gaussians: K Gaussians, K from 0 up.
        height, width: size of the image in pixels; by default that of the canvas. Another size scales the Gaussians.
        blend: "normalized" or "sum"; by default the rule the Gaussians were fitted with.
        backend: "auto" takes the fastest that keeps the precision of the tensors: "cpu" for float32 on the CPU,
            "cuda" for float32 on a CUDA device (if Triton is installed), else "reference".
        antialias: make each pixel the mean over its area where the image is smaller than the canvas, not the value at
            its centre; takes as long as rendering at about the size of the canvas.
        top_k: blend each pixel of so many Gaussians, those of largest weight there (among equal ones the first), from 1
            up; by default of all. Not in "cuda"; "auto" takes "reference" for CUDA tensors then.

    Returns:
        (3, H, W), not clamped; differentiable in all four tensors. No Gaussians give a black image.

    Raises:
        ValueError: a size or `top_k` below 1, an unknown rule or backend, or a backend that cannot serve these tensors.
    """
    return render_batch([gaussians], height, width, blend, backend, antialias, top_k).squeeze(0)


def render_batch(
    gaussians: Sequence[Gaussians],
    height: int | None = None,
    width: int | None = None,
    blend: Blend | None = None,
    backend: Backend = "auto",
    antialias: bool = False,
    top_k: int | None = None,
) -> Tensor:
    """Render a ragged batch, with a different K for each image, in one call.

    Args:
        gaussians: B sets of Gaussians, at least one, of one dtype and device.
        height, width: size of every image; by default that of the canvases, which must then agree.
        blend: by default the rule the Gaussians were fitted with, which must then agree.
        backend, antialias, top_k: as for `render`.

    Returns:
        (B, 3, H, W), not clamped; differentiable in all tensors.

    Raises:
        ValueError: as for `render`; or an empty batch, or sets that do not agree.
    """
    if not gaussians:
        raise ValueError("gaussians: the batch is empty")
    _agreed("dtype", None, [each.means.dtype for each in gaussians])
    _agreed("device", None, [each.means.device for each in gaussians])
    height = _agreed("height", height, [each.height for each in gaussians])
    width = _agreed("width", width, [each.width for each in gaussians])
    _check_size(height, width)
    # Each pixel is the mean of rows x columns samples.
    rows, columns = 1, 1
    if antialias:
        rows = max(math.ceil(each.height / height) for each in gaussians)
        columns = max(math.ceil(each.width / width) for each in gaussians)
    images = rasterize(
        *(_joined([getattr(each, name) for each in gaussians]) for name in ("means", "scales", "rotations", "colors")),
        counts=[len(each) for each in gaussians],
        pitches=[(each.height / (height * rows), each.width / (width * columns)) for each in gaussians],
        height=height * rows,
        width=width * columns,
        blend=_agreed("blend", blend, [each.blend for each in gaussians]),
        backend=backend,
        top_k=top_k,
    )
    return functional.avg_pool2d(images, (rows, columns)) if rows * columns > 1 else images


def rasterize(
    means: Tensor,
    scales: Tensor,
    rotations: Tensor,
    colors: Tensor,
    *,
    counts: list[int],
    pitches: list[tuple[float, float]],
    height: int,
    width: int,
    blend: Blend = "normalized",
    backend: Backend = "auto",
    top_k: int | None = None,
) -> Tensor:
    """Render a ragged batch from its concatenated tensors; the entry for code that holds parameters, not `Gaussians`.

    Args:
        means, scales, rotations, colors: (N, 2), (N, 2), (N,), (N, 3), units as in `Gaussians`; values are trusted.
        counts: B numbers of Gaussians, summing to N.
        pitches: B pairs: the distance of neighbouring pixels in y and x, in canvas pixels (1 for the fitted size).
        height, width: size of every image.
        blend, backend, top_k: as for `render`.

    Returns:
        (B, 3, H, W).
    """
    _check_size(height, width)
    if blend not in get_args(Blend):
        raise ValueError(f"blend: expected one of {', '.join(get_args(Blend))}, got {blend!r}")
    implementation = _implementation(choose(means, backend, top_k))
    if top_k is not None and top_k < max(counts):
        implementation = partial(implementation, top_k=top_k)
    return implementation(
        means, scales, rotations, colors, counts, pitches, height, width, normalized=blend == "normalized"
    )


def _implementation(backend: Literal["reference", "cpu", "cuda"]) -> Callable[..., Tensor]:
    if backend == "cuda":
        from fastgs.render import cuda  # deferred: Triton is not everywhere, and slow to import

        return cuda.rasterize
    return cpu.rasterize if backend == "cpu" else reference.rasterize


@lru_cache(maxsize=1)
def has_triton() -> bool:
    """Tell whether Triton can be imported: torch brings it along on Linux. Asked only where there is a CUDA device."""
    if importlib.util.find_spec("triton") is None:
        return False
    try:
        importlib.import_module("triton")
    except Exception as error:  # an installation that broke may raise anything
        _logger.warning("Triton cannot be imported (%r); its kernels are not used", error)
        return False
    return True


def choose(means: Tensor, backend: Backend, top_k: int | None = None) -> Literal["reference", "cpu", "cuda"]:
    """The backend that "auto" is for these tensors and this `top_k`, or the one asked for.

    Raises:
        ValueError: the name is unknown, or it cannot serve them; or `top_k` is below 1.
    """
    if top_k is not None and (not isinstance(top_k, int) or top_k < 1):
        raise ValueError(f"top_k: expected an integer of at least 1, or None for all Gaussians, got {top_k!r}")
    if backend not in get_args(Backend):
        raise ValueError(f"backend: expected one of {', '.join(get_args(Backend))}, got {backend!r}")
    if backend == "reference":
        return backend
    place = means.device.type
    if backend == "auto":
        cuda = place == "cuda" and has_triton() and top_k is None
        native = means.dtype == torch.float32 and (place == "cpu" or cuda)
        return place if native else "reference"  # type: ignore[return-value]
    if backend == "cuda" and top_k is not None:
        raise ValueError(f"top_k: 'cuda' blends all Gaussians, got {top_k}; use 'auto' or 'reference'")
    if place != backend or means.dtype != torch.float32:
        raise ValueError(
            f"backend: {backend!r} takes float32 tensors on {'the CPU' if backend == 'cpu' else 'a CUDA device'}, "
            f"got {means.dtype} on {means.device}"
        )
    if backend == "cuda" and not has_triton():
        raise ValueError("backend: 'cuda' needs Triton, which is not installed or broken; use 'auto' or 'reference'")
    return backend


def _joined(tensors: list[Tensor]) -> Tensor:
    """As `torch.cat`, which would copy a single one."""
    return torch.cat(tensors) if len(tensors) > 1 else tensors[0]


def _check_size(height: int, width: int) -> None:
    if height < 1 or width < 1:
        raise ValueError(f"height, width: must be at least 1, got {height} x {width}")


def _agreed(name: str, given: _T | None, values: list[_T]) -> _T:
    """The given value, or the one that all sets share."""
    if given is not None:
        return given
    if any(value != values[0] for value in values):
        raise ValueError(f"{name}: the sets differ ({', '.join(sorted({str(value) for value in values}))}); use one")
    return values[0]
