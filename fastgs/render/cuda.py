"""The rasterizer on a GPU: the kernels of cuda_kernels.py as a differentiable function of float32 tensors.

The lists of the Gaussians that touch each tile are made by the CUDA code of gsplat where that is built, else by the
kernels and a sort of torch; both make the same lists.
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

WARP = 32  # lanes
BLOCK = 128  # Gaussians or pixels of a program in kernels with one for each lane
TILE = kernels.TILE.value  # side of a tile in pixels
MOST_CHANNELS = kernels.MOST_CHANNELS.value  # of one launch


class Layout(NamedTuple):
    """Geometry of a batch, apart from its Gaussians.

    Attributes:
        images: (N,) int32 number of the image that each Gaussian belongs to.
        pitches: (B, 2) distances of neighbouring pixels in y and x, in pixels of the canvas.
        height: Height of every image in pixels.
        width: Width of every image in pixels.
    """

    images: Tensor
    pitches: Tensor
    height: int
    width: int

    @property
    def tiles(self) -> tuple[int, int]:
        """Numbers of rows and columns of tiles."""
        return triton.cdiv(self.height, TILE), triton.cdiv(self.width, TILE)


@lru_cache(maxsize=16)
def lay_out(
    counts: tuple[int, ...], pitches: tuple[tuple[float, float], ...], height: int, width: int, device: torch.device
) -> Layout:
    """Make the layout of a batch.

    Layouts are cached, since making one waits for the device.

    Args:
        counts: B numbers of Gaussians.
        pitches: B pairs of the distance between neighbouring pixels in y and in x, in pixels of the canvas.
        height: Height of every image in pixels.
        width: Width of every image in pixels.
        device: Device of the Gaussians.
    """
    images = torch.arange(len(counts), dtype=torch.int32).repeat_interleave(torch.tensor(counts))
    return Layout(images.to(device), torch.tensor(pitches, dtype=torch.float32, device=device), height, width)


class Tiles(NamedTuple):
    """Lists of the Gaussians that touch each tile. Tiles are ordered by image and row, Gaussians by number.

    Attributes:
        entries: (M,) int32 numbers of Gaussians.
        starts: (B tiles + 1,) int32; tile t has the entries [starts[t], starts[t + 1]).
    """

    entries: Tensor
    starts: Tensor


def prepare(means: Tensor, scales: Tensor, rotations: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """Return the frames (N, FRAME) of cuda_kernels.py, and the int32 numbers (N,) of tiles that Gaussians touch."""
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
    """Make the lists of Gaussians in tiles.

    This can be part of a CUDA graph: it does not wait for the device, and all shapes follow from the arguments.

    Args:
        frames: (N, FRAME) frames.
        ends: (N,) int64 cumulative sums of the numbers of tiles.
        layout: Layout of the batch.
        capacity: Number of entries that there is room for. Entries beyond it are lost; spare ones are in no tile.
    """
    rows, columns = layout.tiles
    total = len(layout.pitches) * rows * columns
    # The time of a radix sort grows with the width of its keys.
    dtype = torch.int16 if total < torch.iinfo(torch.int16).max else torch.int32
    tiles = torch.full((capacity,), total, dtype=dtype, device=frames.device)
    owners = torch.empty(capacity, dtype=torch.int32, device=frames.device)
    if len(frames):
        shape = choose_shape(total * TILE**2 / len(frames))
        kernels.list_entries[(triton.cdiv(len(frames), shape.gaussians),)](
            frames, layout.images, layout.pitches, ends, tiles, owners, len(frames), capacity, rows, columns,
            GAUSSIANS=shape.gaussians, LANES=shape.lanes, num_warps=shape.warps,
        )  # fmt: skip
    tiles, order = tiles.sort(stable=True)
    starts = torch.searchsorted(tiles, torch.arange(total + 1, dtype=dtype, device=tiles.device), out_int32=True)
    return Tiles(owners[order], starts)


def list_tiles_gsplat(frames: Tensor, layout: Layout, wrapper: Any) -> Tiles:
    """Make the lists of `list_tiles` with gsplat.

    Args:
        frames: (N, FRAME) frames.
        layout: Layout of the batch.
        wrapper: Module `gsplat.cuda._wrapper`, or an object with the same functions in plain torch.
    """
    rows, columns = layout.tiles
    pitches = layout.pitches[layout.images.long()].flip(1)
    # gsplat sorts by depth, and not stably. 2D Gaussians have no depth, so their numbers take its place.
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
    """Return gsplat's module of CUDA functions, or None if its extension is not built: an import would build it."""
    if importlib.util.find_spec("gsplat") is None:
        return None
    from torch.utils.cpp_extension import _get_build_directory  # deferred: looks for compilers

    try:
        built = Path(_get_build_directory("gsplat_cuda", verbose=False), "gsplat_cuda.so").is_file()
        if not built and importlib.util.find_spec("gsplat.csrc") is None:
            return None
        from gsplat.cuda import _backend, _wrapper
    except Exception as error:  # a broken installation may raise anything; the kernels work without gsplat
        _logger.warning("gsplat cannot be imported (%r); tiles are listed without it", error)
        return None
    return None if _backend._C is None else _wrapper


def find_tiles(frames: Tensor, counts: Tensor, layout: Layout) -> Tiles:
    """Make the lists of tiles, with gsplat if it is built; this waits for the device, to learn their length."""
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
    """Render a batch, and with a target compute the gradients of half the squared error in its pixels.

    Args:
        frames: (N, FRAME) frames.
        colors: (N, C) colours, C at most MOST_CHANNELS.
        tiles: Lists of the tiles.
        layout: Layout of the batch.
        normalized: Rule: "normalized" if true, else "sum".
        images: (B, C, H, W), written.
        sums: Written: the sums of weights (B, H, W); or, with a target, the gradients (B, C + 1, H, W) that `collect`
            takes.
        target: (B, C, H, W), or None.
    """
    rows, columns = layout.tiles
    grid = (len(layout.pitches) * rows * columns,)
    kernels.forward[grid](
        frames, colors, *tiles, layout.pitches, images, sums, images if target is None else target,
        layout.height, layout.width, rows, columns,
        CHANNELS=colors.shape[1], NORMALIZED=normalized, DESCEND=target is not None, num_warps=1,
    )  # fmt: skip


def collect(
    scales: Tensor, colors: Tensor, frames: Tensor, layout: Layout, gradients: Tensor, results: tuple[Tensor, ...]
) -> None:
    """Collect the gradients of Gaussians from those of the pixels.

    Args:
        scales: (N, 2) scales.
        colors: (N, C) colours, C at most MOST_CHANNELS.
        frames: (N, FRAME) frames.
        layout: Layout of the batch.
        gradients: (B, C + 1, H, W) gradients in the sums of weighted colours and in the sum of weights of each pixel.
        results: Written: gradients of means, scales, rotations and colours.
    """
    number = len(scales)
    if not number:
        return
    shape = choose_shape(len(layout.pitches) * layout.height * layout.width / number)
    kernels.backward[(triton.cdiv(number, shape.gaussians),)](
        scales, colors, frames, layout.images, layout.pitches, gradients, *results, number, layout.height, layout.width,
        CHANNELS=colors.shape[1], GAUSSIANS=shape.gaussians, LANES=shape.lanes, num_warps=shape.warps,
    )  # fmt: skip


class Shape(NamedTuple):
    """Shape of a program of kernels by Gaussian.

    Attributes:
        gaussians: Number of Gaussians.
        lanes: Number of lanes of each.
        warps: Number of warps.
    """

    gaussians: int
    lanes: int
    warps: int


def choose_shape(pixels: float) -> Shape:
    """Return the shape of programs by Gaussian, given the number of pixels per Gaussian.

    A bounding box has about 16 times as many pixels (standard deviations are about 0.6 of the spacing), so that its
    lanes take 8 to 32 steps. The Gaussians of a program wait for the largest of them, so it has one warp, or a single
    Gaussian (benchmarks/LOG.md, "CUDA").
    """
    lanes = min(512, max(8, int(triton.next_power_of_2(round(pixels)))))
    return Shape(max(1, WARP // lanes), lanes, max(1, lanes // WARP))


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, means: Tensor, scales: Tensor, rotations: Tensor, colors: Tensor, layout: Layout, normalized: bool
    ) -> Tensor:
        means, scales, rotations, colors = (each.contiguous() for each in (means, scales, rotations, colors))
        frames, counts = prepare(means, scales, rotations, layout)
        batch = len(layout.pitches)
        images = means.new_empty(batch, colors.shape[1], layout.height, layout.width)
        totals = means.new_empty(batch, layout.height, layout.width)
        draw(frames, colors, find_tiles(frames, counts, layout), layout, normalized, images, totals)
        ctx.save_for_backward(scales, colors, frames, images, totals)
        ctx.kept = layout, normalized
        return images

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> tuple[Any, ...]:
        scales, colors, frames, images, totals = ctx.saved_tensors
        layout, normalized = ctx.kept
        gradients = images.new_empty(len(images), colors.shape[1] + 1, layout.height, layout.width)
        area = layout.height * layout.width
        kernels.pixel_gradients[(triton.cdiv(area, 4 * BLOCK), len(images))](
            upstream[0].contiguous(), images, totals, gradients, area,
            CHANNELS=colors.shape[1], NORMALIZED=normalized, BLOCK=4 * BLOCK,
        )  # fmt: skip
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
    """Render a ragged batch of float32 tensors on a GPU.

    The arguments are those of `fastgs.render.rasterize`.

    More channels than MOST_CHANNELS are rendered in groups.

    Returns:
        (B, C, H, W).
    """
    layout = lay_out(tuple(counts), tuple(pitches), height, width, means.device)
    groups = torch.tensor_split(colors, -(-colors.shape[1] // MOST_CHANNELS), dim=1)
    # Kernels are launched on the current device; autograd sets it for the backward pass.
    with torch.cuda.device_of(means):  # type: ignore[no-untyped-call]
        images: list[Tensor] = [
            _Rasterize.apply(means, scales, rotations, group, layout, normalized) for group in groups
        ]
    return images[0] if len(images) == 1 else torch.cat(images, dim=1)
