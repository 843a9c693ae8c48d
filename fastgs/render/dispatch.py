"""Rendering of Gaussians to images: the public functions, validation, and the choice of a backend.

There are two blending rules, both independent of the order of the Gaussians (reference.py has the equations):

- "normalized": the weighted mean of the colours, as in Image-GS and Fast-2DGS;
- "sum": the weighted sum of the colours, as in GaussianImage.

Either rule blends all Gaussians, or in each pixel only those with the largest weights (top-k), as in Image-GS.

There are three backends that compute the same image: "reference" (plain torch, any dtype and device), "cpu" (numba,
float32) and "cuda" (Triton, float32; all Gaussians only). Tensors on devices without kernels are rendered on the CPU.

An image is a continuous function of the position on the canvas. Rendering at another size samples that function on a
finer or coarser grid. Sampling on a much coarser grid aliases, as with any image; `antialias` averages instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from fastgs.definition import Backend, Blend, check_backend, check_blend
from fastgs.gaussians import Gaussians
from fastgs.render import cpu, reference
from fastgs.render.probe import has_triton, triton_obstacle

_T = TypeVar("_T")


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

    A pixel x has the colour `sum_k w_k(x) c_k` by the rule "sum", and `sum_k w_k(x) c_k / (sum_k w_k(x) + 0.01)` by the
    rule "normalized", where `w_k` is Gaussian k, faded to 0 between 3 and 3.5 standard deviations.

    Args:
        gaussians: K Gaussians, K from 0 up.
        height: Height of the image in pixels; by default that of the canvas. Another size scales the Gaussians.
        width: Width of the image in pixels; by default that of the canvas.
        blend: Rule, "normalized" or "sum"; by default the one that the Gaussians were fitted with.
        backend: "reference", "cpu" or "cuda"; or "auto" for the fastest that keeps the precision of the tensors: "cuda"
            for float32 on a CUDA device if Triton works there, "cpu" for float32 anywhere else, and "reference" for
            other types. Tensors on devices without kernels, such as those of Apple and Intel, are moved to the CPU, and
            the image back.
        antialias: If true and the image is smaller than the canvas, each pixel is the mean over its area instead of the
            value at its centre. This takes about as long as rendering at the size of the canvas.
        top_k: Number of Gaussians, from 1 up, that are blended in each pixel: those of the largest weights there, and
            among equal ones the first. By default all. "cuda" does not support it; "auto" then takes "cpu" for CUDA
            tensors.

    Returns:
        (C, H, W) in the dtype and on the device of the Gaussians, not clamped. It is differentiable in all four
        tensors, once: second derivatives are refused but by "reference". No Gaussians give a black image.

    Raises:
        ValueError: A size or `top_k` is below 1, the rule or the backend is unknown, or the backend does not support
            these tensors.

    Example:
        image = fastgs.render(gaussians)
        twice_as_large = fastgs.render(gaussians, 2 * gaussians.height, 2 * gaussians.width)
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

    Each image is the one that `render` makes of its Gaussians.

    Args:
        gaussians: B sets of Gaussians, at least one, of one dtype, device and number of channels.
        height: Height of every image in pixels; by default that of the canvases, which must then be equal.
        width: Width of every image in pixels; by default that of the canvases, which must then be equal.
        blend: Rule, "normalized" or "sum"; by default the one that the Gaussians were fitted with, which must then be
            equal for all sets.
        backend: "auto", "reference", "cpu" or "cuda".
        antialias: If true, each pixel is the mean over its area where the image is smaller than the largest canvas.
        top_k: Number of Gaussians that are blended in each pixel, from 1 up; by default all.

    Returns:
        (B, C, H, W), not clamped. It is differentiable in all tensors, as by `render`.

    Raises:
        ValueError: The batch is empty or its sets differ in what must be equal; a size or `top_k` is below 1; the rule
            or the backend is unknown; or the backend does not support these tensors.

    Example:
        images = fastgs.render_batch([gaussians, others])  # two canvases of one size
        images = fastgs.render_batch([gaussians, others], height=256, width=256)
    """
    if not gaussians:
        raise ValueError("gaussians: the batch is empty")
    _resolve("dtype", None, [each.means.dtype for each in gaussians])
    _resolve("device", None, [each.means.device for each in gaussians])
    _resolve("channels", None, [each.channels for each in gaussians])
    height = _resolve("height", height, [each.height for each in gaussians])
    width = _resolve("width", width, [each.width for each in gaussians])
    _check_size(height, width)
    # With antialias, each pixel is the mean of rows x columns samples.
    rows, columns = 1, 1
    if antialias:
        rows = max(math.ceil(each.height / height) for each in gaussians)
        columns = max(math.ceil(each.width / width) for each in gaussians)
    images = rasterize(
        *(
            _concatenate([getattr(each, name) for each in gaussians])
            for name in ("means", "scales", "rotations", "colors")
        ),
        counts=[len(each) for each in gaussians],
        pitches=[(each.height / (height * rows), each.width / (width * columns)) for each in gaussians],
        height=height * rows,
        width=width * columns,
        blend=_resolve("blend", blend, [each.blend for each in gaussians]),
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
    """Render a ragged batch from its concatenated tensors, for code that has parameters instead of `Gaussians`.

    The values of the tensors are not checked.

    Args:
        means: (N, 2) centres x, y in pixels of the canvas.
        scales: (N, 2) standard deviations in pixels of the canvas.
        rotations: (N,) angles in radians.
        colors: (N, C) colours.
        counts: B numbers of Gaussians, with the sum N.
        pitches: B pairs of the distance between neighbouring pixels in y and in x, in pixels of the canvas; 1 renders
            at the size of the canvas.
        height: Height of every image in pixels.
        width: Width of every image in pixels.
        blend: Rule, "normalized" or "sum".
        backend: "auto", "reference", "cpu" or "cuda".
        top_k: Number of Gaussians that are blended in each pixel, from 1 up; None for all.

    Returns:
        (B, C, H, W), not clamped; differentiable in the four tensors, as by `render`.

    Raises:
        ValueError: A size or `top_k` is below 1, the rule or the backend is unknown, or the backend does not support
            these tensors.
    """
    _check_size(height, width)
    check_blend(blend)
    chosen = choose(means.device, backend, top_k, means.dtype)
    implementation = _load_backend(chosen)
    if top_k is not None and top_k < max(counts):
        implementation = partial(implementation, top_k=top_k)
    tensors: tuple[Tensor, ...] = (means, scales, rotations, colors)
    if chosen != "reference" and torch.is_grad_enabled() and any(each.requires_grad for each in tensors):
        tensors = _FirstOrder.apply(*tensors)
    if chosen == "cpu":  # wherever they are
        tensors = tuple(each.cpu() for each in tensors)
    images = implementation(*tensors, counts, pitches, height, width, normalized=blend == "normalized")
    return images.to(means.device)


class _FirstOrder(torch.autograd.Function):
    """Identity, whose gradient refuses to be differentiated: kernels compute that of an image outside of autograd.

    Without it, a second derivative would lack the rendering, and nothing would tell.
    """

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(*tensors)
        return tuple(each.view_as(each) for each in tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        # Gradients are on only under `create_graph`.
        return _Refusal.apply(*gradients, *ctx.saved_tensors) if torch.is_grad_enabled() else gradients


class _Refusal(torch.autograd.Function):
    """Identity of the first half of its arguments, whose gradient is an error; they depend on the second half."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(each.view_as(each) for each in tensors[: len(tensors) // 2])

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        raise RuntimeError("render: kernels have first derivatives only; use backend='reference' for second ones")


def _load_backend(backend: Literal["reference", "cpu", "cuda"]) -> Callable[..., Tensor]:
    if backend == "cuda":
        from fastgs.render import cuda  # deferred: Triton may be missing, and is slow to import

        return cuda.rasterize
    return cpu.rasterize if backend == "cpu" else reference.rasterize


def choose(
    device: torch.device, backend: Backend, top_k: int | None = None, dtype: torch.dtype = torch.float32
) -> Literal["reference", "cpu", "cuda"]:
    """Return the backend that renders tensors on a device, and check that it can.

    "auto" gives "cpu" for devices without kernels, too: `rasterize` moves their tensors to the CPU.

    Args:
        device: Device of the tensors.
        backend: "reference", "cpu", "cuda", or "auto" for the fastest that keeps the precision.
        top_k: Number of Gaussians that are blended in each pixel; None for all.
        dtype: Type of the tensors.

    Raises:
        ValueError: The backend is unknown or does not support these tensors or `top_k`, or `top_k` is below 1.
    """
    if top_k is not None and (not isinstance(top_k, int) or top_k < 1):
        raise ValueError(f"top_k: expected an integer of at least 1, or None for all Gaussians, got {top_k!r}")
    check_backend(backend)
    if backend == "reference":
        return backend
    place = device.type
    if backend == "auto":
        if dtype != torch.float32:
            return "reference"
        return "cuda" if place == "cuda" and top_k is None and has_triton() else "cpu"
    if backend == "cuda" and top_k is not None:
        raise ValueError(f"top_k: 'cuda' blends all Gaussians, got {top_k}; use 'auto' or 'reference'")
    if place != backend or dtype != torch.float32:
        raise ValueError(
            f"backend: {backend!r} takes float32 tensors on {'the CPU' if backend == 'cpu' else 'a CUDA device'}, "
            f"got {dtype} on {device}"
        )
    if backend == "cuda" and triton_obstacle() is not None:
        raise ValueError(f"backend: 'cuda' cannot be used ({triton_obstacle()}); use 'auto' or 'reference'")
    return backend


def render_device(device: torch.device, backend: Backend, top_k: int | None = None) -> torch.device:
    """Return where float32 tensors on a device are rendered: there, or on the CPU if there are no kernels for it.

    Whoever renders again and again moves the tensors there once. The arguments and errors are those of `choose`.
    """
    return torch.device("cpu") if choose(device, backend, top_k) == "cpu" else device


def _concatenate(tensors: list[Tensor]) -> Tensor:
    """Concatenate tensors, without a copy of a single one."""
    return torch.cat(tensors) if len(tensors) > 1 else tensors[0]


def _check_size(height: int, width: int) -> None:
    if height < 1 or width < 1:
        raise ValueError(f"height, width: must be at least 1, got {height} x {width}")


def _resolve(name: str, given: _T | None, values: list[_T]) -> _T:
    """Return the given value, or else the one that all sets share."""
    if given is not None:
        return given
    if any(value != values[0] for value in values):
        raise ValueError(f"{name}: the sets differ ({', '.join(sorted({str(value) for value in values}))}); use one")
    return values[0]
