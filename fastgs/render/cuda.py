"""The rasterizer on a GPU: the kernels of cuda_kernels.py as a differentiable function of float32 tensors.

Which Gaussians touch which tile is found by gsplat's CUDA code where that is built, else by the kernels and a sort of
torch's; both give the same lists.
"""

from __future__ import annotations

import importlib.util
import logging
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from fastgs.render import cuda_kernels as kernels

_logger = logging.getLogger(__name__)

BLOCK = 128  # Gaussians or pixels of a program where each lane has its own
TILE = kernels.TILE.value


class Layout(NamedTuple):
    """What a batch looks like, apart from its Gaussians."""

    images: Tensor  # (N,) int32: which image each Gaussian belongs to
    pitches: Tensor  # (B, 2): distance of neighbouring pixels in y and x, in pixels of the canvas
    height: int
    width: int

    @property
    def tiles(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        return triton.cdiv(self.height, TILE), triton.cdiv(self.width, TILE)


@lru_cache(maxsize=16)
def lay_out(
    counts: tuple[int, ...], pitches: tuple[tuple[float, float], ...], height: int, width: int, device: torch.device
) -> Layout:
    """A layout; kept, since to make one waits for the device."""
    images = torch.arange(len(counts), dtype=torch.int32).repeat_interleave(torch.tensor(counts))
    return Layout(images.to(device), torch.tensor(pitches, dtype=torch.float32, device=device), height, width)


class Tiles(NamedTuple):
    """The Gaussians that touch each tile, image by image and row by row, each list in their order."""

    entries: Tensor  # (M,) int32 numbers of Gaussians
    starts: Tensor  # (B tiles + 1,) int32: tile t has the entries [starts[t], starts[t + 1])


def prepare(means: Tensor, scales: Tensor, rotations: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """(N, FRAME) frames, see cuda_kernels.py, and (N,) int32 numbers of tiles that the Gaussians touch."""
    number = len(means)
    frames = means.new_empty(number, kernels.FRAME.value)
    counts = torch.empty_like(layout.images)
    if number:
        grid = (triton.cdiv(number, BLOCK),)
        kernels.prepare[grid](
            means, scales, rotations, layout.images, layout.pitches, frames, counts, number, *layout.tiles, BLOCK=BLOCK
        )
    return frames, counts


def list_tiles(frames: Tensor, ends: Tensor, layout: Layout, capacity: int) -> Tiles:
    """Sort the Gaussians into tiles.

    Nothing waits for the device, and every shape follows from the arguments: this can be part of a CUDA graph.

    Args:
        frames: (N, FRAME).
        ends: (N,) int64, the running sum of the numbers of tiles.
        layout: of the batch.
        capacity: number of entries that there is room for; any beyond it are lost, any spare ones are in no tile.
    """
    rows, columns = layout.tiles
    total = len(layout.pitches) * rows * columns
    # A radix sort takes time by the width of its keys.
    dtype = torch.int16 if total < torch.iinfo(torch.int16).max else torch.int32
    tiles = torch.full((capacity,), total, dtype=dtype, device=frames.device)
    owners = torch.empty(capacity, dtype=torch.int32, device=frames.device)
    if len(frames):
        grid = (triton.cdiv(len(frames), BLOCK),)
        kernels.list_entries[grid](
            frames, layout.images, layout.pitches, ends, tiles, owners, len(frames), capacity, rows, columns,
            BLOCK=BLOCK,
        )  # fmt: skip
    tiles, order = tiles.sort(stable=True)
    starts = torch.searchsorted(tiles, torch.arange(total + 1, dtype=dtype, device=tiles.device), out_int32=True)
    return Tiles(owners[order], starts)


def list_tiles_gsplat(frames: Tensor, layout: Layout, wrapper: Any) -> Tiles:
    """The same lists from gsplat.

    Args:
        frames: (N, FRAME).
        layout: of the batch.
        wrapper: the module `gsplat.cuda._wrapper`, or one with its twins in torch.
    """
    rows, columns = layout.tiles
    pitches = layout.pitches[layout.images.long()].flip(1)
    # A sort by depth, which flat Gaussians lack, is not stable: by their numbers, then.
    order = torch.arange(len(frames), dtype=torch.float32, device=frames.device)
    _, keys, entries = wrapper.isect_tiles(
        (frames[:, :2] / pitches).contiguous(),
        (frames[:, 6:8] / pitches).clamp(max=kernels.FARTHEST.value).ceil().int(),
        order,
        TILE,
        columns,
        rows,
        packed=True,
        n_images=len(layout.pitches),
        image_ids=layout.images.long(),
        gaussian_ids=torch.arange(len(frames), device=frames.device),
    )
    starts = wrapper.isect_offset_encode(keys, len(layout.pitches), columns, rows).flatten().int()
    return Tiles(entries, torch.cat([starts, starts.new_full((1,), len(entries))]))


@lru_cache(maxsize=1)
def gsplat_wrapper() -> Any | None:
    """gsplat's module of CUDA functions where its extension is built; to import that otherwise would build it."""
    if importlib.util.find_spec("gsplat") is None:
        return None
    from torch.utils.cpp_extension import _get_build_directory  # deferred: looks for compilers

    try:
        built = Path(_get_build_directory("gsplat_cuda", verbose=False), "gsplat_cuda.so").is_file()
        if not built and importlib.util.find_spec("gsplat.csrc") is None:
            return None
        from gsplat.cuda import _backend, _wrapper
    except Exception as error:  # an installation that broke may raise anything; the kernels do without it
        _logger.warning("gsplat cannot be imported (%r); tiles are listed without it", error)
        return None
    return None if _backend._C is None else _wrapper


def find_tiles(frames: Tensor, counts: Tensor, layout: Layout) -> Tiles:
    """The lists by whichever is at hand; waits for the device, to know how long they are."""
    wrapper = gsplat_wrapper() if frames.is_cuda else None
    if wrapper is not None and len(frames):
        return list_tiles_gsplat(frames, layout, wrapper)
    ends = counts.cumsum(0)
    return list_tiles(frames, ends, layout, int(ends[-1]) if len(ends) else 0)


def draw(
    frames: Tensor,
    colors: Tensor,
    tiles: Tiles,
    layout: Layout,
    normalized: bool,
    images: Tensor,
    sums: Tensor,
    target: Tensor | None = None,
) -> None:
    """Render.

    Args:
        frames, colors, tiles, layout: of the batch.
        normalized: the rule.
        images: (B, 3, H, W), written.
        sums: written: (B, H, W) sums of weights; or, with a target, (B, 4, H, W) gradients of half the squared error,
            as `collect` takes them.
        target: (B, 3, H, W).
    """
    rows, columns = layout.tiles
    grid = (len(layout.pitches) * rows * columns,)
    kernels.forward[grid](
        frames, colors, *tiles, layout.pitches, images, sums, images if target is None else target,
        layout.height, layout.width, rows, columns, NORMALIZED=normalized, DESCEND=target is not None, num_warps=1,
    )  # fmt: skip


def collect(
    scales: Tensor, colors: Tensor, frames: Tensor, layout: Layout, gradients: Tensor, results: tuple[Tensor, ...]
) -> None:
    """From gradients (B, 4, H, W) of the pixels to those of means, scales, rotations and colours."""
    number = len(scales)
    if not number:
        return
    lanes = _lanes(len(layout.pitches) * layout.height * layout.width / number)
    gaussians = max(1, BLOCK // lanes)
    kernels.backward[(triton.cdiv(number, gaussians),)](
        scales, colors, frames, layout.images, layout.pitches, gradients, *results, number, layout.height, layout.width,
        GAUSSIANS=gaussians, LANES=lanes, num_warps=4,
    )  # fmt: skip


def _lanes(pixels: float) -> int:
    """How many lanes a Gaussian gets, for the number of pixels that there are for each.

    A bounding box has some 16 times as many (standard deviations are about 0.6 of the spacing), so that its lanes
    take 8 to 32 steps.
    """
    return min(512, max(8, int(triton.next_power_of_2(round(pixels)))))


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, means: Tensor, scales: Tensor, rotations: Tensor, colors: Tensor, layout: Layout, normalized: bool
    ) -> Tensor:
        means, scales, rotations, colors = (each.contiguous() for each in (means, scales, rotations, colors))
        frames, counts = prepare(means, scales, rotations, layout)
        batch = len(layout.pitches)
        images = means.new_empty(batch, 3, layout.height, layout.width)
        totals = means.new_empty(batch, layout.height, layout.width)
        draw(frames, colors, find_tiles(frames, counts, layout), layout, normalized, images, totals)
        ctx.save_for_backward(scales, colors, frames, images, totals)
        ctx.kept = layout, normalized
        return images

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> tuple[Any, ...]:
        scales, colors, frames, images, totals = ctx.saved_tensors
        layout, normalized = ctx.kept
        gradients = images.new_empty(len(images), 4, layout.height, layout.width)
        area = layout.height * layout.width
        kernels.pixel_gradients[(triton.cdiv(area, 4 * BLOCK), len(images))](
            upstream[0].contiguous(), images, totals, gradients, area, NORMALIZED=normalized, BLOCK=4 * BLOCK
        )
        results = (
            torch.empty_like(scales),
            torch.empty_like(scales),
            torch.empty_like(scales[:, 0]),
            torch.empty_like(colors),
        )
        collect(scales, colors, frames, layout, gradients, results)
        return *results, None, None


def rasterize(
    means: Tensor,
    scales: Tensor,
    rotations: Tensor,
    colors: Tensor,
    counts: list[int],
    pitches: list[tuple[float, float]],
    height: int,
    width: int,
    normalized: bool,
) -> Tensor:
    """Render a ragged batch of float32 tensors on a GPU; see `fastgs.render.rasterize` for the arguments."""
    layout = lay_out(tuple(counts), tuple(pitches), height, width, means.device)
    # Kernels are launched on the current device; autograd sees to that backward.
    with torch.cuda.device_of(means):  # type: ignore[no-untyped-call]
        result: Tensor = _Rasterize.apply(means, scales, rotations, colors, layout, normalized)
    return result
