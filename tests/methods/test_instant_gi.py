"""Instant-GI as published."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from method_data import HEIGHT, WIDTH, canvas, gradients_of_mix, photo
from seeds import seeded

from fastgs.methods import instant_gi
from fastgs.render import rasterize


@pytest.fixture(scope="module")
def image():
    return photo()


def test_clamped_scales_are_as_published():
    variables = instant_gi.ClampedScale(canvas(scales=torch.tensor([[2.0, 0.5]]), rotations=torch.zeros(1)))
    variables.attributes().scales.sum().backward()
    torch.testing.assert_close(variables.free["scales"].grad, torch.ones(1, 2))  # not 0 at the bound
    with torch.no_grad():
        variables.free["scales"].copy_(torch.tensor([[3.0, 0.2]]))
    torch.testing.assert_close(variables.attributes().scales, torch.tensor([[3.0, 0.5]]))


def test_mixed_entry_of_conics_counts_twice():
    class Exact(instant_gi.ClampedScale):
        def _drawn(self, matrices):
            return matrices

    _, published = gradients_of_mix(instant_gi.ClampedScale, (0.3, -0.7, 0.4), inverse=True)
    _, twice = gradients_of_mix(Exact, (0.3, -1.4, 0.4), inverse=True)
    assert published.keys() == twice.keys() == {"scales", "rotations"}
    for name, gradient in published.items():
        torch.testing.assert_close(gradient, twice[name])


def test_ellipse_of_a_triangle_is_the_least_squares_conic():
    """The conic of least squares through vertices and midpoints, A x^2 + B x y + C y^2 = 1 around the centroid."""
    for seed in range(5):
        vertices = np.random.default_rng(seed).normal(size=(3, 2))
        vertices -= vertices.mean(0)
        x, y = np.concatenate([vertices, (vertices + np.roll(vertices, 1, axis=0)) / 2]).T
        a, b, c = np.linalg.lstsq(np.stack([x * x, x * y, y * y], axis=1), np.ones(6), rcond=None)[0]
        ellipse = np.linalg.inv([[a, b / 2], [b / 2, c]])
        np.testing.assert_allclose(ellipse, instant_gi.SEMI_AXES * vertices.T @ vertices / 3)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 60, 61, 1000])
def test_triangulate_gives_exact_count_and_covers_the_canvas(count, image):
    triangles = instant_gi.triangulate(instant_gi.gradient.density(image), count, seeded())
    assert triangles.shape == (count, 3, 2)
    covered = instant_gi._double_areas(triangles).sum() / 2
    assert covered <= HEIGHT * WIDTH * (1 + 1e-9)
    if count > 5:  # fewer leave no room for the corners
        assert covered > 0.99 * HEIGHT * WIDTH


def test_triangulate_halves_the_largest_triangles(image, monkeypatch):
    import scipy.spatial

    whole = scipy.spatial.Delaunay
    monkeypatch.setattr(
        scipy.spatial, "Delaunay", lambda points: SimpleNamespace(simplices=whole(points).simplices[:7])
    )
    triangles = instant_gi.triangulate(instant_gi.gradient.density(image), 40, seeded())
    assert len(triangles) == 40
    one = np.array([[[0.0, 0.0], [4.0, 0.0], [0.0, 1.0]]])
    halves = instant_gi._halve(one)
    np.testing.assert_allclose(instant_gi._double_areas(halves), [2, 2])
    assert [2.0, 0.5] in halves.reshape(-1, 2).tolist()  # the middle of the longest side


def test_instant_gi_places_one_gaussian_per_triangle(image):
    initial = instant_gi.initialize(image, 400, seeded())
    assert (initial.scales >= 0.5).all()
    columns, rows = initial.means.long().unbind(1)
    assert torch.equal(initial.colors, image[:, rows, columns].T)
    # Ellipses cover the canvas about once, so that colours add up to the image.
    assert 0.8 < 2 * math.pi * initial.scales.prod(1).sum().item() / (HEIGHT * WIDTH) < 1.6
    error = (rasterized(initial) - image).square().mean()
    assert error < 0.5 * image.var()


def rasterized(gaussians):
    return rasterize(
        gaussians.means, gaussians.scales, gaussians.rotations, gaussians.colors, counts=[len(gaussians)],
        pitches=[(1.0, 1.0)], height=HEIGHT, width=WIDTH, blend=gaussians.blend,
    )[0]  # fmt: skip
