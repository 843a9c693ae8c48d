"""The rasterizer on a GPU: the kernels of cuda_kernels.py as a differentiable function of float32 tensors."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from fastgs.render import cuda_bin_kernels as bin_kernels
from fastgs.render import cuda_kernels as kernels

WARP = 32  # lanes
MOST_SLICERS = 4096  # programs that work on slices; about as many as fit on a large GPU at a time
BLOCK = 128  # Gaussians or pixels of a program in kernels with one for each lane
TILE = bin_kernels.TILE.value  # side of a tile in pixels
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


class Bins(NamedTuple):
    """Numbers of the Gaussians that touch each tile, in any order. Tiles are ordered by image and row.

    Attributes:
        bins: (M,) int32 numbers of Gaussians.
        entries: (M,) int32 memory, in which the kernels sort them.
        starts: (B tiles + 1,) int32; tile t has the room [starts[t], starts[t + 1]).
        counts: (B tiles,) int32 numbers of Gaussians, in front of that room.
    """

    bins: Tensor
    entries: Tensor
    starts: Tensor
    counts: Tensor


class Slices(NamedTuple):
    """Slices of the boxes of large Gaussians, in any order.

    Attributes:
        items: (M,) int32 Gaussian of each slice.
        bases: (N,) int32 first slice of each large Gaussian.
        partials: (M, SUMS) sums over the pixels of each slice.
        pixels: Number of pixels of a slice.
        limit: Largest number of pixels of a box that is not cut.
    """

    items: Tensor
    bases: Tensor
    partials: Tensor
    pixels: int
    limit: int


def prepare(means: Tensor, scales: Tensor, rotations: Tensor, colors: Tensor) -> Tensor:
    """Return the (N + 1, ROW) rows of cuda_bin_kernels.py for N Gaussians of at most MOST_CHANNELS channels."""
    number, channels = colors.shape
    rows = means.new_empty(number + 1, bin_kernels.ROW.value)
    grid = (triton.cdiv(number + 1, BLOCK),)
    bin_kernels.prepare[grid](means, scales, rotations, colors, rows, number, CHANNELS=channels, BLOCK=BLOCK)
    return rows


def fill(rows: Tensor, layout: Layout, bins: Bins, state: Tensor, slices: Slices | None = None) -> None:
    """Put Gaussians into bins, which must be empty.

    Args:
        rows: (N + 1, ROW) rows.
        layout: Layout of the batch.
        bins: Bins. Where `bins.bins` is empty, Gaussians are only counted.
        state: (STATES,) int32. Its element FULL is set to 1 if a bin or the slices have no room, and the number of
            slices is added to COMING.
        slices: Slices of the large Gaussians, or None if none is cut.
    """
    number = len(rows) - 1
    if not number:
        return
    shape = choose_shape(len(layout.pitches) * layout.height * layout.width / number)
    bin_kernels.fill[(triton.cdiv(number, shape.gaussians),)](
        rows, layout.images, layout.pitches, bins.starts, bins.counts, bins.bins, state,
        *((state, state, 0) if slices is None else (slices.items, slices.bases, len(slices.items))),
        number, layout.height, layout.width, *layout.tiles,
        FILL=len(bins.bins) > 0, SLICE=slices.pixels if slices else 0, LIMIT=slices.limit if slices else 0,
        GAUSSIANS=shape.gaussians, LANES=shape.lanes, num_warps=shape.warps,
    )  # fmt: skip
    if slices is not None and len(bins.bins):
        spread(rows, layout, bins, state, slices)


def spread(rows: Tensor, layout: Layout, bins: Bins, state: Tensor, slices: Slices) -> None:
    """Put large Gaussians into bins.

    Args:
        rows: (N + 1, ROW) rows.
        layout: Layout of the batch.
        bins: Bins, with the other Gaussians.
        state: (STATES,) int32 state, with the number of slices in COMING.
        slices: Slices.
    """
    bin_kernels.spread[(min(MOST_SLICERS, len(slices.items)),)](
        rows, layout.images, layout.pitches, bins.starts, bins.counts, bins.bins, state,
        slices.items, slices.bases, len(slices.items), layout.height, layout.width, *layout.tiles,
        SLICE=slices.pixels, LANES=WARP, num_warps=1,
    )  # fmt: skip


def empty_bins(layout: Layout) -> Bins:
    """Return bins without any room, in which Gaussians are counted."""
    rows, columns = layout.tiles
    tiles = len(layout.pitches) * rows * columns
    device = layout.pitches.device
    starts, counts = (torch.zeros(size, dtype=torch.int32, device=device) for size in (tiles + 1, tiles))
    return Bins(counts[:0], counts[:0], starts, counts)


def find_tiles(rows: Tensor, layout: Layout) -> Bins:
    """Make bins that are exactly as large as needed; this waits for the device, to learn how large that is."""
    state = torch.empty(bin_kernels.STATES.value, dtype=torch.int32, device=rows.device)
    found = empty_bins(layout)
    fill(rows, layout, found, state)
    torch.cumsum(found.counts, 0, dtype=torch.int32, out=found.starts[1:])
    room = int(found.starts[-1])
    if room:
        found = found._replace(bins=found.starts.new_empty(room), entries=found.starts.new_empty(room))
        found.counts.zero_()
        fill(rows, layout, found, state)
    return found


def draw(
    rows: Tensor,
    channels: int,
    bins: Bins,
    layout: Layout,
    normalized: bool,
    images: Tensor,
    sums: Tensor,
    target: Tensor | None = None,
    state: Tensor | None = None,
) -> None:
    """Render a batch, and with a target compute the gradients of half the squared error in its pixels.

    Args:
        rows: (N + 1, ROW) rows.
        channels: Number C of channels, at most MOST_CHANNELS.
        bins: Gaussians of the tiles; with a target, empty afterwards.
        layout: Layout of the batch.
        normalized: Rule: "normalized" if true, else "sum".
        images: (B, C, H, W), written.
        sums: Written: the sums of weights (B, H, W); or, with a target, the gradients (B, C + 1, H, W) that `collect`
            takes.
        target: (B, C, H, W), or None.
        state: (STATES,) int32 state of a descent; needed with a target.
    """
    rows_of_tiles, columns = layout.tiles
    grid = (len(layout.pitches) * rows_of_tiles * columns,)
    kernels.forward[grid](
        rows, *bins, bins.counts if state is None else state, layout.pitches,
        images, sums, images if target is None else target,
        len(rows) - 1, layout.height, layout.width, rows_of_tiles, columns,
        CHANNELS=channels, NORMALIZED=normalized, DESCEND=target is not None, num_warps=1,
    )  # fmt: skip


def sum_slices(rows: Tensor, layout: Layout, gradients: Tensor, slices: Slices, state: Tensor) -> None:
    """Compute the sums over the pixels of the slices of the Gaussians in bins.

    Args:
        rows: (N + 1, ROW) rows.
        layout: Layout of the batch.
        gradients: (B, C + 1, H, W) gradients as of `collect`.
        slices: Slices.
        state: (STATES,) int32 state, with the number of slices in SLICES.
    """
    kernels.sum_slices[(min(MOST_SLICERS, len(slices.items)),)](
        rows, layout.images, layout.pitches, gradients, slices.items, slices.bases, slices.partials, state,
        layout.height, layout.width,
        CHANNELS=gradients.shape[1] - 1, SLICE=slices.pixels, LANES=WARP, num_warps=1,
    )  # fmt: skip


def collect(scales: Tensor, rows: Tensor, layout: Layout, gradients: Tensor, results: tuple[Tensor, ...]) -> None:
    """Collect the gradients of Gaussians from those of the pixels.

    Args:
        scales: (N, 2) scales.
        rows: (N + 1, ROW) rows.
        layout: Layout of the batch.
        gradients: (B, C + 1, H, W) gradients in the sums of weighted colours and in the sum of weights of each pixel, C
            at most MOST_CHANNELS.
        results: Written: gradients of means, scales, rotations and colours.
    """
    number = len(scales)
    if not number:
        return
    shape = choose_shape(len(layout.pitches) * layout.height * layout.width / number)
    kernels.backward[(triton.cdiv(number, shape.gaussians),)](
        scales, rows, layout.images, layout.pitches, gradients, *results, number, layout.height, layout.width,
        CHANNELS=gradients.shape[1] - 1, GAUSSIANS=shape.gaussians, LANES=shape.lanes, num_warps=shape.warps,
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
        rows = prepare(means, scales, rotations, colors)
        batch = len(layout.pitches)
        images = means.new_empty(batch, colors.shape[1], layout.height, layout.width)
        totals = means.new_empty(batch, layout.height, layout.width)
        draw(rows, colors.shape[1], find_tiles(rows, layout), layout, normalized, images, totals)
        ctx.save_for_backward(scales, colors, rows, images, totals)
        ctx.kept = layout, normalized
        return images

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> tuple[Any, ...]:
        scales, colors, rows, images, totals = ctx.saved_tensors
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
        collect(scales, rows, layout, gradients, results)
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
