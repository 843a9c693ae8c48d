"""Triton kernel of placement_cuda.py: error diffusion in all rows at a time."""

from __future__ import annotations

import triton
import triton.language as tl

from fastgs.initializers.sampling_kernels import NOISE

THRESHOLD_NOISE = tl.constexpr(2 * NOISE)
THRESHOLD = tl.constexpr(0.5 - NOISE)


@triton.jit(do_not_specialize=["height", "width"])
def diffuse(expected, noise, errors, counts, height, width, LANES: tl.constexpr):
    """Round the numbers of positions that pixels expect to integers, by error diffusion (Floyd and Steinberg 1976).

    Each lane walks a row, two pixels behind the lane of the row above: the three pixels above it are done then. One
    program does all rows, LANES at a time.

    expected (H, W), noise (H, W) uniform in [0, 1)
    -> counts (H, W) int32; errors (H + 1, W + 2), 0 before: those of row i in row i + 1, from column 1 on
    """
    lane = tl.arange(0, LANES)
    for top in range(0, height, LANES):
        row = top + lane
        above = errors + row * (width + 2)
        own = above + (width + 2) + 1
        error = tl.zeros([LANES], tl.float32)
        for step in range(0, width + 2 * LANES):
            column = step - 2 * lane
            inside = (row < height) & (column >= 0) & (column < width)
            place = row * width + column
            before = tl.load(above + column, inside, 0.0)
            over = tl.load(above + column + 1, inside, 0.0)
            after = tl.load(above + column + 2, inside, 0.0)
            wanted = tl.load(expected + place, inside, 0.0) + error * (7 / 16)
            wanted += before * (1 / 16) + over * (5 / 16) + after * (3 / 16)
            threshold = tl.load(noise + place, inside, 0.0) * THRESHOLD_NOISE + THRESHOLD
            given = tl.maximum(tl.floor(wanted + threshold), 0.0)
            error = tl.where(inside, wanted - given, 0.0)
            tl.store(counts + place, given.to(tl.int32), inside)
            tl.store(own + column, error, inside)
            tl.debug_barrier()
