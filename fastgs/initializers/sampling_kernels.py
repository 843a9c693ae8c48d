"""numba kernels of sampling: error diffusion row by row, and the mirrored blur of a density.

They keep a row or two at a time, so they touch no memory of the size of the image but their input and output.
"""

from __future__ import annotations

import numpy as np

from fastgs.runtime.jit import jit

NOISE = 0.1  # largest noise of the threshold of error diffusion, in positions


@jit
def diffuse(mass, total, count, noise, errors, top, pixels, found):
    """Choose pixels in the next rows of an image by error diffusion; return how many were chosen so far.

    A pixel expects `mass / total * count` positions, plus its share of the rounding errors of its neighbours. Rounding
    is the only step that depends on the pixel before, so it is a loop of its own. Where a pixel gets nothing, which
    branch prediction learns, its error is just what it expected: one multiplication and addition for each pixel.

    Args:
        mass: (H, W) float64 density.
        total: Sum of the density.
        count: Number of positions that all pixels expect.
        noise: (B, W) float64 numbers, uniform in [0, 1), of rows [top, top + B).
        errors: (W + 2,) float64 rounding errors of the row above, with a zero at either end; zeros at first. They are
            overwritten with those of the last row.
        top: First row.
        pixels: Flat indices of chosen pixels in raster order, each as often as it is chosen; [found:] is written to.
        found: Number of entries of `pixels` so far.
    """
    width = mass.shape[1]
    expected = np.empty(width)
    for y in range(top, top + len(noise)):
        row, uniform = mass[y], noise[y - top]
        for x in range(width):
            expected[x] = row[x] / total * count
        # The row above was walked in the other direction: of its three errors, the one that came first adds first.
        left, middle, right = errors[:width], errors[1 : width + 1], errors[2 : width + 2]
        first, last = (right, left) if y % 2 == 0 else (left, right)
        for x in range(width):
            expected[x] = expected[x] + first[x] * (1 / 16) + middle[x] * (5 / 16) + last[x] * (3 / 16)
        begin, error = found, 0.0
        for i in range(width):
            x = i if y % 2 == 0 else width - 1 - i
            wanted = expected[x] + error * (7 / 16)
            error = wanted
            # A little noise on the threshold breaks up the regular patterns that error diffusion has in flat regions.
            rounded = wanted + 0.5 + (uniform[x] * (2 * NOISE) - NOISE)
            if rounded >= 1.0:
                given = int(np.floor(rounded))
                error = wanted - given
                for _ in range(given):
                    pixels[found] = y * width + x
                    found += 1
            middle[x] = error
        if y % 2:
            # An assignment of slices would take a second to compile.
            for step in range((found - begin) // 2):
                early, late = begin + step, found - 1 - step
                pixels[early], pixels[late] = pixels[late], pixels[early]
    return found


@jit
def diffuse_each(masses, totals, count, noise, pixels, found):
    """Choose pixels in many images, see `diffuse`.

    Args:
        masses: (B, H, W) float64 densities.
        totals: (B,) sums of the densities.
        count: Number of positions in each image.
        noise: (H, W) float64 numbers, uniform in [0, 1), for each image the same.
        pixels: (B, P) room for the flat indices of chosen pixels.
        found: (B,) result: the numbers of chosen pixels.
    """
    errors = np.empty(masses.shape[2] + 2)
    for image in range(len(masses)):
        errors[:] = 0.0
        found[image] = diffuse(masses[image], totals[image], count, noise, errors, 0, pixels[image], 0)


@jit
def find(mass, rows, rest, pixels):
    """Find the pixels in which the cumulative sums of their rows exceed some values.

    Args:
        mass: (H, W) float64 density.
        rows: (N,) rows.
        rest: (N,) values.
        pixels: (N,) flat indices of the pixels; the last of a row if nothing exceeds the value.
    """
    width = mass.shape[1]
    for i in range(len(rows)):
        row, cumulative, x = mass[rows[i]], 0.0, 0
        while x < width - 1:
            cumulative += row[x]
            if cumulative > rest[i]:
                break
            x += 1
        pixels[i] = rows[i] * width + x


@jit
def count(means, counts):
    """Add 1 to the pixels of positions, (N, 2) float64 x and y, in `counts`, (H, W) float32."""
    height, width = counts.shape
    for i in range(len(means)):
        counts[min(max(int(means[i, 1]), 0), height - 1), min(max(int(means[i, 0]), 0), width - 1)] += 1


@jit
def mirror(index, length):
    """Return the index inside [0, length) that an index outside stands for: ... 1 0 | 0 1 2 | 2 1 ..."""
    index %= 2 * length
    return index if index < length else 2 * length - 1 - index


def _blur(plane, taps, blurred, start, stop):
    """Blur rows [start, stop) of a plane along both axes; beyond the borders it is mirrored.

    Args:
        plane: (H, W) float32 plane.
        taps: (2 R + 1,) float64 symmetric weights.
        blurred: (H, W) float32 result.
        start: First row.
        stop: End of the rows.
    """
    height, width = plane.shape
    radius = len(taps) // 2
    padded, sums = np.empty(width + 2 * radius), np.empty(width)
    inside = padded[radius : radius + width]
    for y in range(start, stop):
        middle = plane[y]
        for x in range(width):
            sums[x] = middle[x] * taps[radius]
        # From the outside inwards, small weights first.
        for offset in range(radius, 0, -1):
            above, below, tap = (
                plane[mirror(y - offset, height)],
                plane[mirror(y + offset, height)],
                taps[radius - offset],
            )
            for x in range(width):
                sums[x] += (np.float64(above[x]) + np.float64(below[x])) * tap
        for x in range(width):
            inside[x] = np.float32(sums[x])
        for x in range(radius):
            padded[x] = inside[mirror(x - radius, width)]
            padded[radius + width + x] = inside[mirror(width + x, width)]
        for x in range(width):
            sums[x] = inside[x] * taps[radius]
        for offset in range(radius, 0, -1):
            before, after, tap = padded[radius - offset :], padded[radius + offset :], taps[radius - offset]
            for x in range(width):
                sums[x] += (before[x] + after[x]) * tap
        result = blurred[y]
        for x in range(width):
            result[x] = sums[x]


# Without contraction, so that the result is that of `scipy.ndimage.gaussian_filter` on any processor.
blur = jit(_blur, frozenset())


@jit
def blur_at(plane, down, across, points, values):
    """Compute the values that `blur` has in the pixels of some points.

    Args:
        plane: (H, W) float32 plane.
        down: (2 R + 1,) float64 weights along y.
        across: (2 R + 1,) float64 weights along x.
        points: (M, 2) float64 x and y.
        values: (M,) float32 result.
    """
    height, width = plane.shape
    radius = len(down) // 2
    for i in range(len(points)):
        x, y = min(max(int(points[i, 0]), 0), width - 1), min(max(int(points[i, 1]), 0), height - 1)
        total, inside = 0.0, radius <= x < width - radius
        for offset in range(-radius, radius + 1):
            row, part = plane[mirror(y + offset, height)], 0.0
            if inside:
                for tap in range(len(across)):
                    part += row[x - radius + tap] * across[tap]
            else:
                for tap in range(len(across)):
                    part += row[mirror(x - radius + tap, width)] * across[tap]
            total += part * down[radius + offset]
        values[i] = total


@jit
def blur_at_each(means, points, down, across, counts, values):
    """Count the positions of each image, (B, K, 2) float64, and find (B, M) values as `blur_at` does, for its points.

    The counts, (H, W) float32, are overwritten; the other arguments are those of `blur_at`.
    """
    for image in range(len(means)):
        counts[:] = 0
        count(means[image], counts)
        blur_at(counts, down, across, points[image], values[image])
