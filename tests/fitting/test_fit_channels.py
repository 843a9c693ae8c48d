"""Tests of fits of any number of channels, with and without alpha."""

from dataclasses import replace

import pytest
import torch

from fastgs.fitting.batch import fit_batch
from fastgs.fitting.densification import relocation
from fastgs.fitting.fit import fit
from fastgs.fitting.losses import LOSSES
from fastgs.fitting.options import FitOptions
from fastgs.fitting.removal import removal_errors
from fastgs.initializers import INITIALIZERS
from fastgs.methods import METHODS
from fastgs.render import render


@pytest.fixture(scope="module")
def stack(photo):
    """Return 32 channels: the photo, turned and mirrored, and products of its channels."""
    turned = [photo, photo.flip(1), photo.flip(2), photo.flip(1, 2), 1 - photo, photo.square(), photo.sqrt()]
    channels = torch.cat([*turned, photo * photo.flip(0), photo.roll(5, 2), photo.roll(9, 1), photo.flip(0)])
    return channels[:32].contiguous()


def start(image, count=150):
    return INITIALIZERS["curvature"](image, count, torch.Generator().manual_seed(0))


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 2, 4, 5, 32])
@pytest.mark.parametrize("loss", ["mse", "l1+ssim"])
def test_fit_improves_any_number_of_channels(stack, channels, loss):
    image = stack[:channels]
    initial = start(image)
    result = fit(
        image, initial, FitOptions(60, loss=loss), densification=relocation(initial, torch.Generator().manual_seed(0))
    )
    assert result.gaussians.channels == channels
    assert result.history[-1].psnr > result.history[0].psnr + 1.5


def test_fit_of_equal_channels_gives_equal_channels(photo):
    gray = photo.mean(0, keepdim=True)
    result = fit(gray.expand(4, -1, -1).contiguous(), start(gray.expand(4, -1, -1)), FitOptions(40))
    assert (result.gaussians.colors - result.gaussians.colors[:, :1]).abs().max() < 1e-3


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_take_any_number_of_channels(stack, loss):
    image = stack[:5].clone().requires_grad_()
    LOSSES[loss](image, stack[5:10]).backward()
    assert image.grad.abs().sum() > 0


@pytest.mark.parametrize("channels", [1, 4, 9])
def test_removal_errors_add_up_over_channels(stack, channels):
    """The growth of the squared error is a sum over channels, for any Gaussians and image."""
    gaussians = start(stack[:channels])
    image = render(gaussians)
    whole = removal_errors(gaussians, image)
    parts = [
        removal_errors(replace(gaussians, colors=gaussians.colors[:, [channel]]), image[[channel]])
        for channel in range(channels)
    ]
    torch.testing.assert_close(whole, sum(parts), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "fastgs"])
@pytest.mark.parametrize("channels", [1, 4])
def test_methods_take_any_number_of_channels(stack, name, channels):
    result = METHODS[name](stack[:channels], 60, FitOptions(12), alpha=channels == 4)
    assert (result.gaussians.channels, result.gaussians.alpha) == (channels, channels == 4)
    assert len(result.gaussians) == 60
    assert torch.isfinite(result.image).all()


@pytest.mark.parametrize("channels", [1, 2, 4, 7])
def test_networks_place_gaussians_of_any_number_of_channels(stack, channels):
    result = METHODS["fastgs"](stack[:channels], 60, FitOptions(5))
    assert result.gaussians.channels == channels
    assert result.psnr > result.psnr_init


def test_fit_batch_takes_any_number_of_channels(stack):
    images = [stack[:4], stack[4:8, :30, :40]]
    starts = [start(image) for image in images]
    fitted = fit_batch(images, starts, 20)
    for image, initial, gaussians in zip(images, starts, fitted.gaussians, strict=True):
        alone = fit(image, initial, FitOptions(20)).gaussians
        torch.testing.assert_close(gaussians.colors, alone.colors, rtol=0, atol=2e-2)
