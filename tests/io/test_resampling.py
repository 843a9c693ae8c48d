"""Tests of the camera of zooming: reduction, interpolation, and images that are consistent with a small one."""

import numpy as np
import pytest
import torch
from PIL import Image
from seeds import seeded

from fastgs.io.resampling import FILTERS, interpolate, make_consistent, reduce

RESAMPLING = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "area": Image.Resampling.BOX,
}


def random_images(*shape):
    return torch.rand(shape, generator=seeded())


def pillow(image, height, width, method):
    planes = [np.asarray(Image.fromarray(plane).resize((width, height), method)) for plane in image.numpy()]
    return torch.from_numpy(np.stack(planes))


@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("size", [(16, 30), (16, 1), (1, 20)])
def test_reduction_is_that_of_pillow(filter, size):
    images = random_images(2, 3, 48, 60)
    small = reduce(images, *size, filter)
    for image, reduced in zip(images, small, strict=True):
        assert torch.allclose(reduced, pillow(image, *size, RESAMPLING[filter]), atol=1e-5)
    thin = reduce(images[..., :1], 16, 1, filter)
    assert torch.allclose(thin[0], pillow(images[0, ..., :1], 16, 1, RESAMPLING[filter]), atol=1e-5)


def test_interpolation_is_that_of_pillow():
    image = random_images(3, 17, 23)
    assert torch.equal(interpolate(image, 51, 40), pillow(image, 51, 40, Image.Resampling.BICUBIC))
    assert torch.equal(interpolate(image, 34, 46, "lanczos"), pillow(image, 34, 46, Image.Resampling.LANCZOS))


@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("size", [(24, 20), (31, 27), (13, 40)])
def test_consistent_images_reduce_to_the_small_one(filter, size):
    truth = random_images(1, 3, 48, 40)
    small = reduce(truth, *size, filter)
    guess = torch.full_like(truth, 0.5)
    moved = make_consistent(guess, small, filter)
    before, after = ((reduce(each, *size, filter) - small).square().mean() for each in (guess, moved))
    assert after < 1e-3 * before
    # The truth has that reduction too, and a projection on a plane that it lies in only comes closer to it.
    assert (moved - truth).norm() < (guess - truth).norm()
    # What is consistent stays as it is.
    assert torch.allclose(make_consistent(truth, small, filter), truth, atol=1e-5)


def test_wrong_arguments_are_named():
    images = random_images(1, 3, 8, 8)
    with pytest.raises(ValueError, match=r"^filter: expected one of bicubic, bilinear, area, got 'box'$"):
        reduce(images, 4, 4, "box")
    with pytest.raises(ValueError, match=r"^size: 4 x 9 pixels are more than the 8 x 8 of the image$"):
        reduce(images, 9, 4)
