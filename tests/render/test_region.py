"""Parts of images: exactly the pixels of the whole image."""

import numpy as np
import pytest

from fastgs.render.cpu_arrays import Region, render

SIZES = [(40, 50, False), (97, 131, True), (17, 13, True), (300, 41, False)]


@pytest.fixture(scope="module")
def arrays(random_gaussians):
    return random_gaussians(300, 40, 50).arrays()


@pytest.mark.parametrize(("height", "width", "antialias"), SIZES)
def test_part_equals_the_whole_bit_by_bit(arrays, height, width, antialias):
    whole = render(arrays, height, width, antialias)
    rng = np.random.default_rng(0)
    regions = [Region(0, 0, width, height), Region(width - 1, height - 1, 1, 1), Region(0, 3, width, 1)]
    for _ in range(12):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        regions.append(Region(x, y, int(rng.integers(1, width - x + 1)), int(rng.integers(1, height - y + 1))))
    for region in regions:
        part = render(arrays, height, width, antialias, region)
        expected = whole[:, region.y : region.y + region.height, region.x : region.x + region.width]
        assert np.array_equal(part, expected), region


@pytest.mark.parametrize(
    ("region", "message"),
    [
        (Region(0, 0, 0, 5), "region: must have at least one pixel, got 0 x 5"),
        (Region(-1, 0, 5, 5), "region: 5 x 5 pixels at -1, 0 are not within the image of 50 x 40 pixels"),
        (Region(40, 0, 11, 5), "region: 11 x 5 pixels at 40, 0 are not within the image of 50 x 40 pixels"),
        (Region(0, 39, 5, 2), "region: 5 x 2 pixels at 0, 39 are not within the image of 50 x 40 pixels"),
    ],
)
def test_region_outside_is_refused(arrays, region, message):
    with pytest.raises(ValueError, match=message):
        render(arrays, 40, 50, region=region)
