"""Images in strips and windows: the pixels of the whole image."""

import numpy as np
import pytest

from fastgs.render import strips
from fastgs.render.cpu_arrays import Region, render, render_window
from fastgs.render.strips import render_strips


@pytest.mark.parametrize(("height", "width", "antialias"), [(40, 50, False), (97, 131, True), (17, 13, True)])
@pytest.mark.parametrize("blend", ["normalized", "sum"])
def test_strips_and_windows_are_those_of_the_whole(random_gaussians, monkeypatch, height, width, antialias, blend):
    arrays = random_gaussians(300, 40, 50, blend=blend).arrays()
    whole = render(arrays, height, width, antialias)
    for samples in (2**22, 100, 1):
        monkeypatch.setattr(strips, "MOST_SAMPLES", samples)
        found = [*render_strips(arrays, height, width, 16, antialias)]
        assert {len(strip[0]) for strip in found[:-1]} == {16} if len(found) > 1 else {height}
        np.testing.assert_allclose(np.concatenate(found, axis=1), whole, atol=3e-5)
    part = render_window(arrays, height, width, Region(3, 5, 7, 9), antialias)
    np.testing.assert_allclose(part, whole[:, 5:14, 3:10], atol=3e-5)


def test_far_windows_of_a_giant_canvas_are_exact(random_gaussians):
    """Positions of 60,000 pixels have steps of 1/256 pixel; what is drawn there is as at the corner."""
    near = random_gaussians(200, 40, 50).arrays()
    means = np.round(near.means * 64) / 64  # numbers that do not change where they are moved to
    near = type(near)(means.astype(np.float32), near.scales, near.rotations, near.colors, 40, 50)
    far = type(near)(near.means + np.float32(60_000), near.scales, near.rotations, near.colors, 65_535, 65_535)
    part = render_window(far, 65_535, 65_535, Region(60_000, 60_000, 50, 40))
    assert np.array_equal(part, render_window(near, 40, 50, Region(0, 0, 50, 40)))


def test_no_gaussians_are_black(random_gaussians):
    arrays = random_gaussians(0, 40, 50).arrays()
    assert not np.concatenate([*render_strips(arrays, 40, 50, 16)], axis=1).any()
