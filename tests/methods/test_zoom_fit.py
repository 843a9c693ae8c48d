"""Tests of fits at a zoom: floors of quality, all kinds of images, and wrong arguments."""

import pytest
import torch
from networks import disturbed
from skimage import data

import fastgs
from fastgs.io.images import load_image
from fastgs.io.resampling import interpolate, reduce
from fastgs.io.weights import CHECKPOINTS
from fastgs.metrics.quality import psnr
from fastgs.models import ZoomNetwork
from fastgs.models.zoom import save_zoom


@pytest.fixture(scope="module")
def pair():
    """Return a photo of 256 x 256 and its reduction by two, rounded to 8 bits."""
    target = load_image(data.coffee(), 256)
    return target, reduce(target[None], 128, 128)[0].clamp(0, 1).mul(255).round().div(255)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Save a small network, as if trained, and return its path."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("zoom") / "small"
    save_zoom(path, disturbed(ZoomNetwork(width=6, blocks=1), size=0.02), {})
    return path


def test_fit_without_network_is_better_than_lanczos(pair):
    target, small = pair
    result = fastgs.Predictor()(small, 8192, 200, zoom=2)
    enlarged = fastgs.render(result.gaussians)
    assert psnr(enlarged, target) > psnr(interpolate(small, 256, 256, "lanczos"), target) + 0.4
    assert result.psnr_small > 45 and result.small is not None
    assert len(result.gaussians) == 8192 and (result.gaussians.height, result.gaussians.width) == (256, 256)
    # A fit to the small image knows nothing between its pixels.
    plain = fastgs.Predictor()(small, 8192, 200)
    assert plain.small is None and plain.psnr_small is None
    assert psnr(fastgs.render(plain.gaussians, 256, 256), target) < psnr(enlarged, target) - 0.5


@pytest.mark.slow
@pytest.mark.skipif(not (CHECKPOINTS / "zoom.safetensors").exists(), reason="needs the shipped weights")
def test_shipped_network_adds_detail(pair):
    target, small = pair
    result = fastgs.Predictor.from_pretrained("zoom")(small, 8192, 100)
    assert psnr(result.image, target) > psnr(interpolate(small, 256, 256), target) + 4.5
    assert result.psnr_small > 50


def test_pretrained_network_is_used(pair, weights):
    _, small = pair
    predictor = fastgs.Predictor.from_pretrained(weights)
    assert predictor.zoom_weights == str(weights) and predictor.weights is None
    results = [predictor(small, 500, 10, zoom=factor) for factor in (None, 2, 3)]
    assert torch.equal(results[0].image, results[1].image)  # 2 is the default
    assert results[2].image.shape == (3, 384, 384)
    others = fastgs.Predictor()(small, 500, 10, zoom=2)
    assert not torch.allclose(results[0].target, others.target, atol=0.01)
    assert results[0].seconds_network > 0 and others.seconds_network == 0


@pytest.mark.parametrize("channels", [1, 2, 4, 6])
def test_other_channels_than_rgb_are_enlarged(weights, channels):
    image = torch.rand(channels, 20, 30, generator=torch.Generator().manual_seed(0)) * 0.2 + 0.4
    for predictor in (fastgs.Predictor(), fastgs.Predictor(zoom_weights=weights)):
        result = predictor(image, 100, 5, zoom=1.5)
        assert result.image.shape == result.target.shape == (channels, 30, 45)
        assert psnr(reduce(result.target[None], 20, 30)[0], image) > 40
        assert result.reconstruction.channels == channels


def test_wrong_arguments_are_named(pair, weights):
    _, small = pair
    for zoom in (0.5, 17, float("nan")):
        with pytest.raises(ValueError, match=r"^zoom: must be from 1 to 16, got"):
            fastgs.Predictor()(small, 10, 1, zoom=zoom)
    with pytest.raises(FileNotFoundError, match=r"^nothing: no such weights"):
        fastgs.Predictor(zoom_weights="nothing")
    with pytest.raises(ValueError, match=r"small.json: describes no weights \(is of the format 'fastgs.zoom'\)"):
        fastgs.Predictor(weights=weights)
