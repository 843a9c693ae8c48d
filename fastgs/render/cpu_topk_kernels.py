"""numba kernels of the CPU rasterizer with top-k blending; cpu_kernels.py has the design that they share.

Forward, every pixel keeps a sorted list of its largest weights so far and of the Gaussians that they belong to; its
colour is blended from the list. Only the last entry of the list is kept for the backward pass, where a Gaussian takes
part in a pixel if it comes no later than that entry. Both passes must therefore compute the same weight to the bit: so
they use `strict_fma` instead of `fma`, which the compiler may or may not fuse, and count columns from the edge of the
image instead of from the start of a chord.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from fastgs.render import cpu_geometry_kernels as geometry
from fastgs.render import cpu_kernels as kernels
from fastgs.render.cpu_geometry_kernels import ONE, ZERO
from fastgs.render.cpu_kernels import _count_planes
from fastgs.runtime.jit import jit
from fastgs.runtime.simd import (
    LANES,
    float32x8,
    fma,
    horizontal_sum,
    lane_index,
    load,
    minimum,
    select_below,
    splat,
    store,
    where_below,
)
from fastgs.runtime.simd_tuples import dot, fma_each, horizontal_sum_each, load_each, read_row, splat_each, write_row

# Planes of a row after the forward pass; plane 0 is that of cpu_kernels.py. They have the last entry of the list: its
# weight, and the number of its Gaussian within the image as a float32, which is exact up to 2^24. Where the list is not
# full, these are 0 and -1.
LEAST, LAST = 1, 2
NOBODY = np.float32(-1)

# Number of entries of the lists in memory at a time, which sets the number of rows: 1 MB, which stays in the cache.
ENTRIES = 1 << 17


@intrinsic
def strict_fma(_typing: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a * b + c, never fused."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        a_value, b_value, c_value = arguments
        return builder.fadd(builder.fmul(a_value, b_value), c_value)

    return float32x8(a, b, c), generate


@intrinsic
def any_below(_typing: Any, value: Any, limit: Any) -> Any:
    """Tell whether value < limit in any lane."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        lanes = builder.bitcast(builder.fcmp_ordered("<", arguments[0], arguments[1]), ir.IntType(LANES))
        return builder.icmp_unsigned("!=", lanes, ir.Constant(lanes.type, 0))

    return types.boolean(value, limit), generate


@jit
def _evaluate(column, mean_x, ux, vx, u_row, v_row):
    """Return u, v, exp(-d2 / 2) and the fade at eight columns; the weight is the product of the last two."""
    dx = column - mean_x
    u, v = strict_fma(dx, ux, u_row), strict_fma(dx, vx, v_row)
    d2 = minimum(strict_fma(u, u, v * v), splat(kernels.CUTOFF2))
    power = strict_fma(d2, splat(kernels.E5), splat(kernels.E4))
    power = strict_fma(power, d2, splat(kernels.E3))
    power = strict_fma(power, d2, splat(kernels.E2))
    power = strict_fma(power, d2, splat(kernels.E1))
    power = strict_fma(power, d2, splat(ONE))
    power = power * power
    power = power * power
    return u, v, power * power, minimum((splat(kernels.CUTOFF2) - d2) * splat(kernels.FADE_SLOPE), splat(ONE))


@jit
def _enter_row(frame, reach, y, width):
    """Return first and last column of the chord in row y, its first eight columns, and the shares of y in u and v."""
    distance = np.float32(y) - frame[geometry.Y]
    first, last = geometry.find_chord(frame, reach, distance, width)
    dy, column = splat(distance), splat(np.float32(first)) + lane_index()
    return first, last, column, splat(frame[geometry.UY]) * dy, splat(frame[geometry.VY]) * dy


@jit
def _insert(weights, owners, at, last, stride, weight, owner):
    """Insert weights into the lists of eight pixels, from `at` to `last`; among equal weights older ones come first."""
    current = load(weights, last)
    if not any_below(current, weight):
        return
    current_owner = load(owners, last)
    for entry in range(last, at, -stride):
        before, before_owner = load(weights, entry - stride), load(owners, entry - stride)
        # Smaller entries move down by one, and the new entry takes the gap.
        new = select_below(current, weight, weight, current)
        new_owner = select_below(current, weight, owner, current_owner)
        store(weights, entry, select_below(before, weight, before, new))
        store(owners, entry, select_below(before, weight, before_owner, new_owner))
        current, current_owner = before, before_owner
    store(weights, at, select_below(current, weight, weight, current))
    store(owners, at, select_below(current, weight, owner, current_owner))


@jit
def _fill_lists(frames, bounds, offsets, image, height, width, stride, top_k, weights, owners, start, stop):
    """Fill the lists of rows [start, stop) of one image, flat (rows, top_k, stride)."""
    weights[:] = ZERO
    owners[:] = NOBODY
    for k in range(offsets[image], offsets[image + 1]):
        frame = frames[geometry.FRAME * k : geometry.FRAME * (k + 1)]
        reach, mean_x = geometry.find_reach(frame), splat(frame[geometry.X])
        ux, vx, owner = splat(frame[geometry.UX]), splat(frame[geometry.VX]), splat(np.float32(k - offsets[image]))
        for row in range(max(bounds[geometry.FIRST, k], start), min(bounds[geometry.END, k], stop)):
            first, last, column, u_row, v_row = _enter_row(frame, reach, row - image * height, width)
            base = (row - start) * top_k * stride
            for x in range(base + first, base + last + 1, LANES):
                _, _, gaussian, fade = _evaluate(column, mean_x, ux, vx, u_row, v_row)
                _insert(weights, owners, x, x + (top_k - 1) * stride, stride, gaussian * fade, owner)
                column = column + splat(np.float32(LANES))


@jit
def forward(frames, bounds, colors, zeros, offsets, stride, planes, images, normalized, top_k, start, stop):
    """Render rows [start, stop) of images (B, C, H, W), each pixel from its `top_k` largest weights.

    Afterwards plane 0 has 1 / (sum of weights + EPSILON) or 1, and planes LEAST and LAST the last entry of the list.
    """
    height, width = images.shape[2], images.shape[3]
    per_row = _count_planes(len(zeros)) * stride
    strip = min(max(1, ENTRIES // (top_k * stride)), stop - start)
    weights, owners = np.empty(strip * top_k * stride, np.float32), np.empty(strip * top_k * stride, np.float32)
    above = start
    while above < stop:
        image = above // height
        below = min(above + strip, stop, (image + 1) * height)
        _fill_lists(frames, bounds, offsets, image, height, width, stride, top_k, weights, owners, above, below)
        for row in range(above, below):
            base, lists, y = row * per_row, (row - above) * top_k * stride, row % height
            for x in range(width):
                total, color = ZERO, zeros
                for entry in range(lists + x, lists + top_k * stride, stride):
                    weight = weights[entry]
                    if weight == ZERO:
                        break
                    k = offsets[image] + int(owners[entry])
                    total += weight
                    color = fma_each(weight, read_row(colors, k, zeros), color)
                inverse = ONE / (total + kernels.EPS) if normalized else ONE
                for channel in range(len(zeros)):
                    images[image, channel, y, x] = color[channel] * inverse
                last = lists + (top_k - 1) * stride + x
                planes[base + x] = inverse
                planes[base + LEAST * stride + x] = weights[last]
                planes[base + LAST * stride + x] = owners[last]
        above = below


@jit
def backward(
    scales, frames, bounds, colors, zeros, offsets, pitches, height, width, stride, gradients, planes,
    d_means, d_scales, d_rotations, d_colors, start, stop,
):  # fmt: skip
    """Compute the gradients of blocks [start, stop) as in cpu_kernels.py, over the pixels they take part in."""
    start, stop = start * geometry.BLOCK, stop * geometry.BLOCK
    zero, no_color = splat(ZERO), splat_each(zeros)
    per_row = _count_planes(len(zeros)) * stride
    for image in range(len(pitches)):
        rows, columns = ONE / pitches[image, 0], ONE / pitches[image, 1]
        for k in range(max(start, offsets[image]), min(stop, offsets[image + 1])):
            frame = frames[geometry.FRAME * k : geometry.FRAME * (k + 1)]
            reach, mean_x = geometry.find_reach(frame), splat(frame[geometry.X])
            ux, vx, owner = splat(frame[geometry.UX]), splat(frame[geometry.VX]), splat(np.float32(k - offsets[image]))
            color = splat_each(read_row(colors, k, zeros))
            tu, tv, tuu, tuv, tvv = zero, zero, zero, zero, zero
            d_color = no_color
            for row in range(bounds[geometry.FIRST, k], bounds[geometry.END, k]):
                first, last, column, u_row, v_row = _enter_row(frame, reach, row - image * height, width)
                base = row * per_row
                for x in range(base + first, base + last + 1, LANES):
                    u, v, gaussian, fade = _evaluate(column, mean_x, ux, vx, u_row, v_row)
                    weight, least = gaussian * fade, load(planes, x + LEAST * stride)
                    after, tied = where_below(least, weight, gaussian), select_below(weight, least, zero, gaussian)
                    gaussian = select_below(load(planes, x + LAST * stride), owner, after, tied)
                    weight = gaussian * fade
                    slope = fma(where_below(fade, splat(ONE), gaussian), splat(kernels.TWO_FADE_SLOPE), weight)
                    above = load_each(gradients, x + stride, stride, zeros)
                    d_color = fma_each(weight, above, d_color)
                    d_weight = dot(color, above, load(gradients, x))
                    t = slope * d_weight
                    t_u, t_v = t * u, t * v
                    tu, tv = tu + t_u, tv + t_v
                    tuu, tuv, tvv = fma(t_u, u, tuu), fma(t_u, v, tuv), fma(t_v, v, tvv)
                    column = column + splat(np.float32(LANES))
            along, across = horizontal_sum(tu), horizontal_sum(tv)
            s1, s2 = scales[k, 0], scales[k, 1]
            d_means[k, 0] = (frame[geometry.UX] * along + frame[geometry.VX] * across) * columns
            d_means[k, 1] = (frame[geometry.UY] * along + frame[geometry.VY] * across) * rows
            d_scales[k, 0], d_scales[k, 1] = horizontal_sum(tuu) / s1, horizontal_sum(tvv) / s2
            d_rotations[k] = horizontal_sum(tuv) * (s1 / s2 - s2 / s1)
            write_row(d_colors, k, horizontal_sum_each(d_color))
