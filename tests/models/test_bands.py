"""Tests of convolutions whose rows threads share."""

import pytest
import torch
from seeds import seeded
from torch import nn

from fastgs.models import bands
from fastgs.runtime import threads


@pytest.fixture(autouse=True)
def two_threads(monkeypatch):
    """Share every convolution, however small."""
    monkeypatch.setattr(bands, "SMALLEST_PART", 1)
    with threads.reserved(2):
        yield


def features(channels=4, height=13, width=9, batch=2):
    values = torch.rand(batch, channels, height, width, generator=seeded(0))
    return values.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("height", [1, 2, 3, 13])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 3, "padding": 1, "stride": 2},
        {"kernel_size": 7, "padding": 3, "stride": 2},
        {"kernel_size": 3, "padding": 2, "dilation": 2, "groups": 2},
        {"kernel_size": 1, "stride": 2, "bias": False},
    ],
)
def test_shared_convolution_is_that_of_the_whole(options, height):
    layer = nn.Conv2d(4, 6, **options).requires_grad_(False)
    image = features(height=height)
    torch.testing.assert_close(bands.SharedConvolution(layer)(image), layer(image), rtol=1e-5, atol=1e-6)


def test_only_convolutions_that_can_be_divided_are_replaced():
    module = nn.Sequential(
        nn.Conv2d(4, 4, 3, padding=1), nn.Sequential(nn.Conv2d(4, 4, 3, padding="same")), nn.BatchNorm2d(4)
    )
    bands.SharedConvolution.replace_all(module)
    assert isinstance(module[0], bands.SharedConvolution)
    assert type(module[1][0]) is nn.Conv2d


def test_slab_is_zero_beyond_the_image():
    image = features()
    slab = bands.slab(image, 1, -2, 15)
    assert torch.equal(slab[0, :, 2:-2], image[1])
    assert not slab[:, :, :2].any()
    assert not slab[:, :, -2:].any()


def test_bands_cover_each_image_once():
    for images, rows in ((1, 256), (3, 70), (5, 8)):
        found = [row for start, stop in bands.bands(images, rows) for row in range(start, stop)]
        assert found == list(range(images * rows))
        assert all(start // rows == (stop - 1) // rows for start, stop in bands.bands(images, rows))
