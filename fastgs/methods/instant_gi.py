"""Instant-GI (Zeng et al., ICCV 2025, arXiv 2506.23479) without its network: dither, triangulate, and fit.

Its network predicts a density, which Floyd-Steinberg dithering turns into points and Delaunay triangulation into
triangles; each triangle gets an ellipse, which the network turns into a Gaussian. Here the density is that of the
image's gradient, and the network's answers are those of an untrained one, which leave the ellipses as they are; colours
are the image's, as in the quadtree start of the same code. K is asked for, where theirs follows from the density, and
places may lie in any pixel, where theirs take one of 3 x 3 at most. Constants are those of github.com/whoiszzj/
Instant-GI: generalizable_model/ (init_net.py, ellipse_process.py, utils.py), gaussianimage_rs.py, datasets/kodak.yaml.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from fastgs.fitting.covariance import axes
from fastgs.fitting.loss_functions import CLAMPED_MSE
from fastgs.fitting.optimizer import OptimizationConfig
from fastgs.gaussians import Gaussians
from fastgs.initializers import gradient
from fastgs.initializers.sampling import sample
from fastgs.methods.gaussianimage import ITERATIONS, RATE, RotationScale, adan, constant, count_twice, halving
from fastgs.methods.method import Method

HALVED_EVERY = 10_000  # steps after which the rates are halved; gaussianimage_rs.py, where GaussianImage has 20,000
SMALLEST_SCALE = 0.5  # pixels; gaussianimage_rs.py
BORDER_INTERVAL = 3.0  # distance of points on the border, in spacings of the others; add_boundary_points
# Standard deviation in units of the ellipse's semi-axis: `scaling_activation` of an untrained network.
SCALE = 0.5
# The ellipse goes, in the sense of least squares, through the vertices and the midpoints of the sides. That does not
# depend on the triangle, up to affine maps; for an equilateral one with vertices at distance R it is a circle of
# squared radius sum r^4 / sum r^2 = (1 + 1/16) / (1 + 1/4) R^2 = 0.85 R^2, and the variance of the vertices is R^2 / 2.
SEMI_AXES = 1.7

Triangles = NDArray[np.float64]  # (T, 3, 2)


class ClampedScale(RotationScale):
    """Variables of `RotationScale`, but for scales `max(v, SMALLEST_SCALE)`.

    The kernel (submodules/gsplat) is that of GaussianImage, but with twice the gradient of the mixed entry of conics,
    which are the inverse covariances, where that has twice the gradient of the mixed entry of covariances.
    """

    @override
    def _variables_of(self, scales: Tensor) -> Tensor:
        return scales.detach().clone()

    @override
    def _scales_of(self, variables: Tensor) -> Tensor:
        # Not `clamp`, whose gradient at the bound, where many start, depends on the version of PyTorch.
        return torch.where(variables < SMALLEST_SCALE, SMALLEST_SCALE, variables)

    @override
    def _drawn(self, matrices: Tensor) -> Tensor:
        return _invert(count_twice(_invert(matrices)))


def _invert(matrices: Tensor) -> Tensor:
    """Return the inverse symmetric matrices, (K, 3), entries xx, xy, yy."""
    xx, xy, yy = matrices.unbind(1)
    return torch.stack([yy, -xy, xx], dim=1) / (xx * yy - xy * xy)[:, None]


def _place_on_border(height: int, width: int, spacing: float) -> Triangles:
    """Return (h, 2) points: the corners, and points on the sides at about the given distance, in pixels."""
    x = np.linspace(0, width, max(1, round(width / spacing)) + 1)
    y = np.linspace(0, height, max(1, round(height / spacing)) + 1)[1:-1]
    sides = [(x, np.zeros_like(x)), (x, np.full_like(x, height)), (np.zeros_like(y), y), (np.full_like(y, width), y)]
    return np.concatenate([np.stack(side, axis=1) for side in sides])


def triangulate(density: Tensor, count: int, generator: torch.Generator | None) -> Triangles:
    """Return (count, 3, 2) Delaunay triangles of the canvas, x, y in pixels: as many per area as the density says.

    N points, of which h on the border, have 2 N - 2 - h triangles. A surplus is dropped, the smallest first; if some
    are missing, the largest are halved.
    """
    from scipy.spatial import Delaunay  # deferred: slow to import

    height, width = density.shape
    # Two triangles for each point.
    border = _place_on_border(height, width, BORDER_INTERVAL * math.sqrt(2 * height * width / max(count, 1)))
    points = sample(density, max(0, math.ceil((count + 2 - len(border)) / 2)), generator=generator).double().numpy()
    points = np.concatenate([border, points])
    triangles: Triangles = points[Delaunay(points).simplices]
    while len(triangles) < count:
        order = np.argsort(_double_areas(triangles))
        largest = min(count - len(triangles), len(triangles))
        triangles = np.concatenate([triangles[order[:-largest]], _halve(triangles[order[-largest:]])])
    return triangles[np.argsort(_double_areas(triangles))[len(triangles) - count :]]


def _double_areas(triangles: Triangles) -> NDArray[np.float64]:
    """Return (T,), twice the areas."""
    (ax, ay), (bx, by) = (triangles[:, 1] - triangles[:, 0]).T, (triangles[:, 2] - triangles[:, 0]).T
    areas: NDArray[np.float64] = np.abs(ax * by - ay * bx)
    return areas


def _halve(triangles: Triangles) -> Triangles:
    """Return (2 T, 3, 2) triangles: each cut from the middle of its longest side to the vertex across."""
    lengths = np.linalg.norm(triangles - np.roll(triangles, -1, axis=1), axis=2)  # of the side that begins at a vertex
    turned = np.stack([np.roll(each, -begin, axis=0) for each, begin in zip(triangles, lengths.argmax(1), strict=True)])
    first, second, across = turned.transpose(1, 0, 2)
    middle = (first + second) / 2
    return np.concatenate([np.stack([first, middle, across], 1), np.stack([middle, second, across], 1)])


def initialize(image: Tensor, num_gaussians: int, generator: torch.Generator | None = None) -> Gaussians:
    """Place one Gaussian for each triangle."""
    triangles = triangulate(gradient.density(image), num_gaussians, generator)
    means = triangles.mean(1)
    # Neighbours in the list are neighbours in the image.
    order = np.lexsort((means[:, 0], np.floor(means[:, 1])))
    centered = torch.from_numpy(triangles[order] - means[order, None]).to(image)
    x, y = centered.unbind(2)
    vertices = torch.stack([(x * x).mean(1), (x * y).mean(1), (y * y).mean(1)], dim=1)
    scales, rotations = axes(SCALE**2 * SEMI_AXES * vertices)
    places = torch.from_numpy(means[order]).to(image)
    _, height, width = image.shape
    columns, rows = places[:, 0].long().clamp(max=width - 1), places[:, 1].long().clamp(max=height - 1)
    colors = image[:, rows, columns].T.contiguous()
    return Gaussians(places, scales.clamp(min=SMALLEST_SCALE), rotations, colors, height, width, "sum")


METHOD = Method(
    source="arXiv 2506.23479, github.com/whoiszzj/Instant-GI",
    iterations=ITERATIONS,
    initialize=initialize,
    blend="sum",
    optimization=OptimizationConfig(
        ClampedScale, adan, constant(RATE, ClampedScale.NAMES), halving(HALVED_EVERY), CLAMPED_MSE
    ),
)
