"""Sampling of exactly K positions from a density, and the way back.

Every method takes a density over pixels (any scale), returns exactly K positions, and repeats for the same generator.
K may exceed the number of pixels. Positions come in raster order, so that neighbours in the list are neighbours in the
image, which suits the caches of the processor when they are rendered.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastgs.initializers import sampling_kernels as kernels
from fastgs.runtime import threads

Positions = NDArray[np.float64]

# Standard deviation of the blur that makes a density of positions, in units of the mean spacing sqrt(H W / K). It is
# narrow, since cross-entropy needs no blur: its minimum is the expected density of the points themselves, and a wide
# blur would teach networks flatter densities than that (benchmarks/LOG.md, section "Density").
SIGMA = 0.25

# Rows of an image that error diffusion walks at a time: noise for them stays in the cache.
ROWS = 32

# Parts of the work per thread; several, since threads wake up late.
PARTS = 4


def sample(
    density: Tensor, num_gaussians: int, method: str = "error_diffusion", generator: torch.Generator | None = None
) -> Tensor:
    """Return K positions that follow a density.

    Args:
        density: (H, W) density, finite, not negative and not all zero; its scale does not matter.
        num_gaussians: K, at least 0.
        method: Name in `METHODS`: "multinomial" (independent draws, so that a pixel may be drawn again),
            "without_replacement" (a pixel is drawn again only after all others), or "error_diffusion" (Floyd and
            Steinberg 1976, on rows of alternating direction, so that the spacing follows the density closely).
        generator: Source of everything random, on the CPU; by default torch's global one.

    Returns:
        (K, 2) float32 x, y in pixels, inside the canvas; a pixel's centre lies at half integers.

    Raises:
        ValueError: The density or K is out of range, or the method is unknown.
    """
    return torch.from_numpy(plan(density, num_gaussians, method, generator)())


def sample_each(densities: Tensor, num_gaussians: int, generator: torch.Generator | None = None) -> Tensor:
    """Return K positions for each of B densities, by error diffusion, as `sample` alone would draw them.

    Args:
        densities: (B, H, W) densities, each finite, not negative and not all zero; their scales do not matter.
        num_gaussians: K, at least 0.
        generator: Source of everything random, which each density finds in the same state.

    Returns:
        (B, K, 2) float32 x, y in pixels.

    Raises:
        ValueError: A density or K is out of range.
    """
    masses = _to_masses(densities, num_gaussians)
    return torch.from_numpy(_draw_each(masses, num_gaussians, _draw_seed(generator)))


def plan(
    density: Tensor, num_gaussians: int, method: str = "error_diffusion", generator: torch.Generator | None = None
) -> Callable[[], NDArray[np.float32]]:
    """Check the arguments of `sample`, and return a callable that samples, once, without torch, in any thread."""
    if density.ndim != 2:
        raise ValueError(f"density: expected shape (H, W), got {tuple(density.shape)}")
    if method not in METHODS:
        raise ValueError(f"method: expected one of {', '.join(METHODS)}, got {method!r}")
    mass = _to_masses(density[None], num_gaussians)[0]
    seed = _draw_seed(generator)
    return lambda: _draw(mass, num_gaussians, seed, method)


def _to_masses(densities: Tensor, num_gaussians: int) -> Positions:
    """Check the arguments of `sample`, and return (B, H, W) densities as float64."""
    if not densities.numel():
        raise ValueError(f"density: expected shape (H, W), got {tuple(densities.shape[1:])}")
    if num_gaussians < 0:
        raise ValueError(f"num_gaussians: must be 0 or more, got {num_gaussians}")
    masses: Positions = densities.detach().cpu().double().contiguous().numpy()
    most = masses.max((1, 2))
    if not (masses.min() >= 0 and most.min() > 0 and most.max() < math.inf):  # false for NaN, too
        raise ValueError("density: must be finite, not negative and not all zero")
    return masses


def _draw_seed(generator: torch.Generator | None) -> int:
    return int(torch.randint(2**63 - 1, (), generator=generator))


def _draw(mass: Positions, count: int, seed: int, method: str) -> NDArray[np.float32]:
    """Return (K, 2) positions in raster order."""
    positions = METHODS[method](mass, count, np.random.default_rng(seed))
    order = np.lexsort((positions[:, 0], np.floor(positions[:, 1])))
    return positions[order].astype(np.float32)


def _draw_each(masses: Positions, count: int, seed: int) -> NDArray[np.float32]:
    """Return (B, K, 2) positions by error diffusion of (B, H, W) densities, each as by `_draw`, with one stream."""
    number, height, width = masses.shape
    random = np.random.default_rng(seed)
    noise = random.random((height, width))
    pixels = np.zeros((number, count + height + width + 1), np.int64)
    found = np.empty(number, np.int64)
    kernels.diffuse_each(masses, masses.reshape(number, -1).sum(1), count, noise, pixels, found)
    rest = np.maximum(count - found, 0)
    _draw_few_of_each(masses, rest, random.random(rest.max(initial=0)), pixels, found)
    pixels = np.sort(pixels[:, :count], axis=1)
    positions: NDArray[np.float32] = np.stack([pixels % width, pixels // width], axis=2).astype(
        np.float32
    ) + np.float32(0.5)
    # Those of which some pixels are left out, or drawn twice, go on with the stream in ways of their own.
    for one in np.flatnonzero((found > count) | (pixels[:, 1:] == pixels[:, :-1]).any(1)):
        positions[one] = _draw(masses[one], count, seed, "error_diffusion")
    return positions


def _place_in_pixels(pixels: NDArray[np.int64], width: int, random: np.random.Generator) -> Positions:
    """Return positions for flat pixel indices: the centre of a pixel for its first one, random places in it for others.

    Two Gaussians at one place would get the same gradients and never part.
    """
    pixels = np.sort(pixels)
    corners = np.stack([pixels % width, pixels // width], axis=1).astype(np.float64)
    again = np.zeros(len(pixels), dtype=bool)
    again[1:] = pixels[1:] == pixels[:-1]
    # Not quite to the right edge, so that rounding to float32 cannot leave the pixel.
    inside = np.where(again[:, None], random.random((len(pixels), 2)) * 0.999, 0.5)
    return corners + inside


def _draw_multinomial(mass: Positions, count: int, random: np.random.Generator) -> Positions:
    cumulative = np.cumsum(mass / mass.sum())
    pixels = np.searchsorted(cumulative, random.random(count) * cumulative[-1], side="right")
    return _place_in_pixels(np.minimum(pixels, mass.size - 1), mass.shape[1], random)


def _draw_without_replacement(mass: Positions, count: int, random: np.random.Generator) -> Positions:
    """Draw by exponential races (Efraimidis and Spirakis 2006): the first arrivals are a draw without replacement."""
    candidates = np.flatnonzero(mass)
    rounds, rest = divmod(count, len(candidates))
    arrivals = random.exponential(size=len(candidates)) / (mass.ravel()[candidates] / mass.sum())
    first = candidates[np.argpartition(arrivals, rest)[:rest]] if rest else candidates[:0]
    return _place_in_pixels(np.concatenate([np.repeat(candidates, rounds), first]), mass.shape[1], random)


def _diffuse_errors(mass: Positions, count: int, random: np.random.Generator) -> Positions:
    height, width = mass.shape
    total = mass.sum()
    noise, errors = np.empty((ROWS, width)), np.zeros(width + 2)
    # Rounding errors, at most 0.6 of a position, cancel out but for those that leave at the borders.
    pixels, found = np.empty(count + height + width + 1, np.int64), 0
    for top in range(0, height, ROWS):
        rows = noise[: height - top]
        random.random(out=rows)
        found = kernels.diffuse(mass, total, count, rows, errors, top, pixels, found)
    pixels = pixels[:found]
    # The error that left at the borders is a few positions at most; they are taken out or added at random.
    if found > count:
        pixels = random.choice(pixels, count, replace=False)
    elif found < count:
        pixels = np.concatenate([pixels, _draw_few(mass, count - found, random)])
    return _place_in_pixels(pixels, width, random)


def _draw_few(mass: Positions, count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Draw flat indices of pixels, independently: first their rows, so that only those are summed up by pixel."""
    sums = mass.sum(1)
    ends = np.cumsum(sums)
    points = random.random(count) * ends[-1]
    rows = np.minimum(np.searchsorted(ends, points, side="right"), len(mass) - 1)
    rest = points - (ends[rows] - sums[rows])
    pixels = np.empty(count, np.int64)
    kernels.find(mass, rows, rest, pixels)
    return pixels


def _draw_few_of_each(
    masses: Positions,
    counts: NDArray[np.int64],
    uniform: Positions,
    pixels: NDArray[np.int64],
    found: NDArray[np.int64],
) -> None:
    """Write so many pixels of each density, as by `_draw_few` from uniform numbers, behind those that were found."""
    sums = masses.sum(2)
    ends = np.cumsum(sums, axis=1)
    points = uniform * ends[:, -1:]
    rows = np.minimum((ends[:, None] <= points[..., None]).sum(2), masses.shape[1] - 1)
    rest = points - (np.take_along_axis(ends, rows, 1) - np.take_along_axis(sums, rows, 1))
    for mass, count, row, value, line, start in zip(masses, counts, rows, rest, pixels, found, strict=True):
        if count:
            kernels.find(mass, row[:count], value[:count], line[start : start + count])


METHODS: dict[str, Callable[[Positions, int, np.random.Generator], Positions]] = {
    "multinomial": _draw_multinomial,
    "without_replacement": _draw_without_replacement,
    "error_diffusion": _diffuse_errors,
}


def project(means: Tensor, height: int, width: int, sigma: float = SIGMA) -> Tensor:
    """Return the (H, W) density of positions, which sums to 1: impulses, blurred by a Gaussian.

    Each position adds the same to the sum: the blur is mirrored at the borders, so that nothing leaves the canvas.

    Args:
        means: (K, 2) positions x, y in pixels, K at least 1.
        height: Height of the canvas in pixels.
        width: Width of the canvas in pixels.
        sigma: Standard deviation of the blur, in units of the mean spacing sqrt(H W / K).
    """
    impulses, blurred = np.zeros((height, width), np.float32), np.empty((height, width), np.float32)
    kernels.count(means.detach().cpu().double().numpy(), impulses)
    taps = make_taps(sigma * (height * width / len(means)) ** 0.5)
    threads.run(kernels.blur, (impulses, taps, blurred), threads.parts(height, PARTS * threads.num_threads()))
    density = torch.from_numpy(blurred)
    return density.div_(density.sum()).to(means.device)


def project_at(points: Tensor, means: Tensor, height: int, width: int, sigma: float = SIGMA) -> Tensor:
    """Return (M,) values of the density that `project` returns, in the pixels of (M, 2) points.

    The other arguments are those of `project`; this is faster for few points.
    """
    impulses, values = np.zeros((height, width), np.float32), np.empty(len(points), np.float32)
    kernels.count(means.detach().cpu().double().numpy(), impulses)
    taps = make_taps(sigma * (height * width / len(means)) ** 0.5)
    kernels.blur_at(impulses, taps / len(means), taps, points.detach().cpu().double().numpy(), values)
    return torch.from_numpy(values).to(means.device)


def project_each_at(points: Tensor, means: Tensor, height: int, width: int, sigma: float = SIGMA) -> Tensor:
    """Return (B, M) values of `project_at` for (B, M, 2) points and (B, K, 2) positions, of each image by itself."""
    number, count, _ = means.shape
    values = np.empty((number, points.shape[1]), np.float32)
    taps = make_taps(sigma * (height * width / count) ** 0.5)
    positions = (each.detach().double().contiguous().numpy() for each in (means, points))
    kernels.blur_at_each(*positions, taps / count, taps, np.empty((height, width), np.float32), values)
    return torch.from_numpy(values)


def make_taps(sigma: float) -> Positions:
    """Return the weights of a Gaussian blur, cut at three standard deviations; they sum to 1."""
    radius = int(3 * sigma + 0.5)
    taps = np.exp(-0.5 / sigma**2 * np.arange(-radius, radius + 1) ** 2)
    weights: Positions = taps / taps.sum()
    return weights
