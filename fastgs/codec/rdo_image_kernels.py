"""Numba kernels that take one Gaussian out of the image, try another one in its place, and put one back.

Images are kept as sums of the normalized rule in the basis of colours: W, the sum of the weights plus EPSILON, and for
each channel R = T W - N, where N is the weighted sum of the colours and T the target. The error is R / W. With a
Gaussian taken out, which leaves W and R, and put back elsewhere with weights w and colour c, it is

    T - (N + w c) / (W + w) = (R + w T) / (W + w) - k c,    k = w / (W + w)

so that the squared error is a parabola in c: one pass over the pixels that it covers gives the best colour, and the
error of every other one.

Sixteen pixels of a row are taken at once, and all that is known of them lies together, as vectors: what `PIXELS` names,
and then T and R of each of P channels. Pixels behind the end of a row have so large a W that they count nothing.

Channels are taken in groups, each in a pass of its own over the pixels. A kernel is compiled for each size of a group,
which is the length of the tuple of zeros that it gets, so the sums of a group are in registers. For groups of one size
there are P planes for C channels, the last ones of which may be 0.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba.cpython.unsafe.tuple import tuple_setitem
from numpy.typing import NDArray

from fastgs.codec.symbols import AREA, COLOR, U, V, X, Y
from fastgs.definition import CUTOFF
from fastgs.render.cpu_geometry_kernels import HALF, ONE, SLACK, TWO, WIDE, ZERO
from fastgs.render.cpu_kernels import EPS, weigh
from fastgs.runtime.jit import inlined, jit
from fastgs.runtime.simd import LANES, fma, horizontal_sum, join, lane_index, load_wide, splat, splat_like, store
from fastgs.runtime.simd_math import maximum
from fastgs.runtime.simd_tuples import dot, fma_each, horizontal_sum_each, load_each, splat_each_like, store_each

# Most channels in a group: numba unrolls no loops over ten and more, which then take ten times as long.
MOST_CHANNELS = 8

# Vectors of sixteen pixels: W; the squared error, times the importance; and the importance, a factor of squared errors.
PIXELS = WEIGHT, ERROR, IMPORTANCE = range(3)
GOALS = len(PIXELS)  # vectors before those of T

BEYOND = np.float32(1e15)  # W of pixels behind the end of a row

# Places of the sums over pixels of a trial: of k^2; of the difference of the squared error without the colour from that
# without the Gaussian; and, from the last place on, of k times the error without the colour, for each channel.
SQUARE, REST, PULL = 0, 1, 2


def split_channels(channels: int) -> tuple[int, tuple[np.float32, ...]]:
    """Return the number of planes P for C channels, and the tuple of zeros that tells kernels the size of a group."""
    groups = -(-channels // MOST_CHANNELS)
    size = -(-channels // groups)
    return groups * size, (ZERO,) * size


class Scene(NamedTuple):
    """Sums of an image, and the memory to change them.

    Attributes:
        pixels: Sixteen pixels after the other, flat (H, ceil(W / 16), GOALS + 2 P, 16).
        size: Height, width and P.
        zeros: Zeros, one for each channel of a group.
        vectors: For each vector of pixels that a Gaussian covers, its place in `pixels`, u and v of its first pixel.
    """

    pixels: NDArray[np.float32]
    size: tuple[int, int, int]
    zeros: tuple[np.float32, ...]
    vectors: tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]

    @classmethod
    def make(cls, target: NDArray[np.float64], importance: NDArray[np.float32] | None = None) -> Scene:
        """Return a scene without Gaussians.

        Args:
            target: (C, H, W) target in the basis of colours.
            importance: (H, W) factors of the squared errors of pixels; None for 1.
        """
        count, height, width = target.shape
        channels, zeros = split_channels(count)
        across = -(-width // WIDE)
        shape = height, across, GOALS + 2 * channels, WIDE
        pixels = _allocate(math.prod(shape))
        vectors_of_rows = pixels.reshape(shape)
        factors = np.ones((1, height, width), np.float32) if importance is None else importance[None]
        for first, planes in ((IMPORTANCE, factors), (GOALS, target)):
            for number, plane in enumerate(planes, first):
                padded = np.pad(plane, [(0, 0), (0, across * WIDE - width)])
                vectors_of_rows[:, :, number] = padded.reshape(height, across, WIDE)
        room = height * across + across + LANES  # rows are listed as if they were as long as the longest one
        vectors = np.empty(room, np.int64), np.empty(room, np.float32), np.empty(room, np.float32)
        scene = cls(pixels, (height, width, channels), zeros, vectors)
        clear(scene)
        return scene

    def copy(self) -> Scene:
        """Return a scene of the same sums, which shares the memory of `vectors`."""
        pixels = _allocate(len(self.pixels))
        pixels[:] = self.pixels
        return self._replace(pixels=pixels)


def _allocate(count: int) -> NDArray[np.float32]:
    """Return zeros whose vectors each lie in one line of the cache."""
    memory = np.zeros(count + WIDE, np.float32)
    first = -memory.ctypes.data // memory.itemsize % WIDE
    return memory[first : first + count]


@jit
def _make_frame(area, u, v):
    """Return the rows of the whitening matrix, and slope, half chord at the centre and half height of the ellipse."""
    ratio = math.sqrt(u * u + v * v)
    # Of half the angle of (u, v), whose cosine is not negative, the larger one of cosine and sine cancels nothing.
    larger = math.sqrt(0.5 + 0.5 * abs(u) / ratio) if ratio > 0 else 1.0
    smaller = 0.5 * abs(v) / (ratio * larger) if ratio > 0 else 0.0
    cosine, sine = (larger, smaller) if u >= 0 else (smaller, larger)
    sine = math.copysign(sine, v)
    s1, s2 = math.exp(0.5 * (area + ratio)), math.exp(0.5 * (area - ratio))
    ux, uy, vx, vy = cosine / s1, sine / s1, -sine / s2, cosine / s2
    xx = ux * ux + vx * vx
    down1, down2 = s1 * sine, s2 * cosine
    reach = CUTOFF * math.sqrt(down1 * down1 + down2 * down2)
    values = (ux, uy, vx, vy, -(ux * uy + vx * vy) / xx, CUTOFF / math.sqrt(xx), reach)
    return (
        np.float32(values[0]),
        np.float32(values[1]),
        np.float32(values[2]),
        np.float32(values[3]),
        np.float32(values[4]),
        np.float32(values[5]),
        np.float32(values[6]),
    )


@inlined
def _list_vectors(scene, values):
    """List the vectors of pixels that a Gaussian covers; return their number, and how u and v grow from lane to lane.

    With one list of all rows, the loops over pixels have no branch at the end of each, which no processor foresees.

    Args:
        scene: Scene, whose `vectors` are filled.
        values: (5 + P,) values of the Gaussian.
    """
    places, us, vs = scene.vectors
    height, width, channels = scene.size
    across, per_vector = (width + WIDE - 1) // WIDE, (GOALS + 2 * channels) * WIDE
    x, y = np.float32(values[X]) - HALF, np.float32(values[Y]) - HALF
    ux, uy, vx, vy, slope, half, reach = _make_frame(values[AREA], values[U], values[V])
    top, bottom = int(max(y - reach + ONE, ZERO)), int(max(min(y + reach + ONE, np.float32(height)), ZERO))
    longest = min(int(min(TWO * (half + SLACK), np.float32(width))) // WIDE + 2, across)
    count, per_reach = 0, ONE / reach
    u_steps, v_steps = splat(np.float32(WIDE) * ux) * lane_index(), splat(np.float32(WIDE) * vx) * lane_index()
    for row in range(top, bottom):
        dy = np.float32(row) - y
        share = dy * per_reach
        chord, center = half * math.sqrt(max(ONE - share * share, ZERO)) + SLACK, x + slope * dy
        first = int(min(max(center - chord + ONE, ZERO), np.float32(width))) // WIDE
        end = (int(min(max(center + chord + ONE, ZERO), np.float32(width))) + WIDE - 1) // WIDE
        dx = np.float32(first * WIDE) - x
        place, u, v = (row * across + first) * per_vector, ux * dx + uy * dy, vx * dx + vy * dy
        for begin in range(0, longest, LANES):  # those that are too many are overwritten
            store(us, count + begin, splat(u + np.float32(begin * WIDE) * ux) + u_steps)
            store(vs, count + begin, splat(v + np.float32(begin * WIDE) * vx) + v_steps)
        for each in range(longest):
            places[count + each] = place + each * per_vector
        count += max(end - first, 0)
    return count, ux, vx


@inlined
def _ramp():
    """Return the numbers of sixteen lanes."""
    return join(lane_index(), lane_index() + splat(np.float32(LANES)))


@inlined
def _fill(value):
    return splat_like(_ramp(), value)


@inlined
def _store(pixels, place, vector):
    store_each(pixels, place, WIDE, (vector,))


@inlined
def _weigh(u, v, u_steps, v_steps):
    """Return the weights of sixteen pixels from u and v of the first one."""
    u, v = _fill(u) + u_steps, _fill(v) + v_steps
    return weigh(fma(u, u, v * v))


@jit
def add(scene, values, sign):
    """Add a Gaussian of values (5 + P,) to the sums, or take it out with sign -1."""
    pixels, (_, _, channels), zeros, (places, us, vs) = scene
    count, ux, vx = _list_vectors(scene, values)
    u_steps, v_steps, none = _fill(ux) * _ramp(), _fill(vx) * _ramp(), splat_each_like(_ramp(), zeros)
    for start in range(0, channels, len(zeros)):
        goals, rests = (GOALS + start) * WIDE, (GOALS + channels + start) * WIDE
        color = zeros
        for each in range(len(zeros)):
            color = tuple_setitem(color, each, np.float32(-values[COLOR + start + each]))
        less_color = splat_each_like(_ramp(), color)
        for i in range(count):
            place = places[i]
            weight = _fill(np.float32(sign)) * _weigh(us[i], vs[i], u_steps, v_steps)
            total, error = load_wide(pixels, place + WEIGHT * WIDE), _fill(ZERO)
            if start == 0:
                total = maximum(total + weight, _fill(EPS))
                _store(pixels, place + WEIGHT * WIDE, total)
            else:
                error = load_wide(pixels, place + ERROR * WIDE)
            goal, rest = load_each(pixels, place + goals, WIDE, none), load_each(pixels, place + rests, WIDE, none)
            rest = fma_each(weight, goal, fma_each(weight, less_color, rest))
            store_each(pixels, place + rests, WIDE, rest)
            factor = load_wide(pixels, place + IMPORTANCE * WIDE) / (total * total)
            _store(pixels, place + ERROR * WIDE, fma(factor, dot(rest, rest, _fill(ZERO)), error))


@jit
def clear(scene):
    """Take all Gaussians out."""
    pixels, (height, width, channels), _, _ = scene
    across, per_vector = (width + WIDE - 1) // WIDE, (GOALS + 2 * channels) * WIDE
    for number in range(height * across):
        place = number * per_vector
        for lane in range(WIDE):
            pixels[place + WEIGHT * WIDE + lane] = EPS if number % across * WIDE + lane < width else BEYOND
            error = ZERO
            for channel in range(channels):
                goal = pixels[place + (GOALS + channel) * WIDE + lane]
                pixels[place + (GOALS + channels + channel) * WIDE + lane] = EPS * goal
                error += goal * goal
            pixels[place + ERROR * WIDE + lane] = error * pixels[place + IMPORTANCE * WIDE + lane]


@jit
def add_all(scene, rows):
    """Add Gaussians of values (N, 5 + P) to the sums, and return the squared error, each pixel times its importance."""
    pixels, (height, width, channels), _, _ = scene
    for row in rows:
        add(scene, row, ONE)
    total = 0.0
    for number in range(height * ((width + WIDE - 1) // WIDE)):
        place = number * (GOALS + 2 * channels) * WIDE
        total += horizontal_sum(load_wide(pixels, place + ERROR * WIDE))
    return total


@jit
def sum_trial(scene, values, sums):
    """Fill `sums` (2 + P,) for a Gaussian of values (5 + P,) that is not in the image, whatever its colour."""
    pixels, (_, _, channels), zeros, (places, us, vs) = scene
    count, ux, vx = _list_vectors(scene, values)
    u_steps, v_steps, none = _fill(ux) * _ramp(), _fill(vx) * _ramp(), splat_each_like(_ramp(), zeros)
    sums[SQUARE], sums[REST] = 0.0, 0.0
    for start in range(0, channels, len(zeros)):
        goals, rests = (GOALS + start) * WIDE, (GOALS + channels + start) * WIDE
        square, rest, pull = _fill(ZERO), _fill(ZERO), none
        for i in range(count):
            place = places[i]
            weight = _weigh(us[i], vs[i], u_steps, v_steps)
            inverse = _fill(ONE) / (load_wide(pixels, place + WEIGHT * WIDE) + weight)
            factor = load_wide(pixels, place + IMPORTANCE * WIDE) * (inverse * inverse)
            of_weight = factor * weight
            if start == 0:
                square = fma(of_weight, weight, square)
                rest = rest - load_wide(pixels, place + ERROR * WIDE)
            goal = load_each(pixels, place + goals, WIDE, none)
            error = fma_each(weight, goal, load_each(pixels, place + rests, WIDE, none))
            pull = fma_each(of_weight, error, pull)
            rest = fma(factor, dot(error, error, _fill(ZERO)), rest)
        sums[SQUARE] += horizontal_sum(square)
        sums[REST] += horizontal_sum(rest)
        for each, total in enumerate(horizontal_sum_each(pull)):
            sums[PULL + start + each] = total
