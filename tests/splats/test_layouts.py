"""Channels of Gaussians: both parametrizations, symmetries and normalization."""

import math

import pytest
import torch

from fastgs.data.symmetry import turn_image
from fastgs.fitting.parametrization import Attributes
from fastgs.gaussians import Gaussians
from fastgs.initializers import INITIALIZERS
from fastgs.render import render
from fastgs.splats.channels import CHANNELS, Normalization, from_channels, grid_shape, to_channels, turn_gaussians

HEIGHT, WIDTH, COUNT = 12, 16, 48


def make_attributes(generator, count=COUNT, height=HEIGHT, width=WIDTH, images=2):
    """Return random Gaussians near their cells."""
    image = torch.rand(3, height, width, generator=generator)
    means = INITIALIZERS["grid"](image, count).means
    return Attributes(
        means + torch.randn(images, count, 2, generator=generator),
        torch.rand(images, count, 2, generator=generator) * 3 + 0.4,
        torch.rand(images, count, generator=generator) * 7 - 3.5,
        torch.rand(images, count, 3, generator=generator),
    )


def render_image(attributes, number, height=HEIGHT, width=WIDTH):
    return render(Gaussians(*(each[number] for each in attributes), height, width))


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(3)


@pytest.mark.parametrize("parameters", CHANNELS)
def test_channels_keep_the_rendered_image(parameters, generator):
    gaussians = make_attributes(generator)
    channels = to_channels(gaussians, parameters, HEIGHT, WIDTH)
    assert channels.shape == (2, COUNT, len(CHANNELS[parameters]))
    back = from_channels(channels, parameters, HEIGHT, WIDTH)
    for number in range(2):
        torch.testing.assert_close(render_image(back, number), render_image(gaussians, number), atol=1e-4, rtol=0)


def test_anchored_channels_of_equal_ellipses_are_equal(generator):
    """Swapped axes with a quarter turn are the same ellipse, though "plain" channels differ."""
    gaussians = make_attributes(generator)
    swapped = gaussians._replace(scales=gaussians.scales.flip(-1), rotations=gaussians.rotations + math.pi / 2)
    anchored, plain = (
        [to_channels(each, name, HEIGHT, WIDTH) for each in (gaussians, swapped)] for name in ("anchored", "plain")
    )
    torch.testing.assert_close(*anchored, atol=1e-5, rtol=0)
    assert (plain[0] - plain[1]).abs().max() > 0.5


def test_anchored_channels_of_centred_circles_are_zero():
    image = torch.rand(3, HEIGHT, WIDTH)
    start = INITIALIZERS["grid"](image, COUNT)
    circles = Attributes(start.means[None], torch.full((1, COUNT, 2), 0.5), torch.rand(1, COUNT), start.colors[None])
    channels = to_channels(circles, "anchored", HEIGHT, WIDTH)
    expected = torch.tensor([0, 0, math.log(0.5), 0, 0]).expand(1, COUNT, 5)
    torch.testing.assert_close(channels[..., :5], expected, atol=1e-6, rtol=0)
    # Gradients are finite even for circles.
    channels.requires_grad_()
    sum(each.sum() for each in from_channels(channels, "anchored", HEIGHT, WIDTH)).backward()
    assert channels.grad.isfinite().all()


@pytest.mark.parametrize("symmetry", range(8))
def test_turned_gaussians_render_as_the_turn_image(symmetry, generator):
    side, count = 16, 64
    gaussians = make_attributes(generator, count, side, side)
    other = turn_gaussians(gaussians, symmetry, side, side)
    for number in range(2):
        expected = turn_image(render_image(gaussians, number, side, side), symmetry)
        torch.testing.assert_close(render_image(other, number, side, side), expected, atol=1e-4, rtol=0)
    # Each Gaussian stays in its cell: the lengths of the offsets are as before.
    before, after = (to_channels(each, "anchored", side, side)[..., :2] for each in (gaussians, other))
    torch.testing.assert_close(after.norm(dim=-1).sort(1).values, before.norm(dim=-1).sort(1).values)


def test_normalization_maps_values_to_their_range_and_back(generator):
    channels = to_channels(make_attributes(generator, images=30), "anchored", HEIGHT, WIDTH)
    normalization = Normalization.from_values(channels, "anchored")
    normalized = normalization.normalized(channels)
    assert normalized.min() == -1 and normalized.max() == 1
    inside = (normalized.abs() < 1).all(dim=-1)
    assert 0.97 < inside.float().mean() < 1  # TAIL of each channel lies beyond, on either side
    torch.testing.assert_close(normalization.channels(normalized)[inside], channels[inside], atol=1e-4, rtol=0)
    again = Normalization.from_json("anchored", normalization.as_json())
    assert again.as_json() == normalization.as_json()


def test_constant_channel_has_a_range():
    channels = torch.zeros(4, 5, 8)
    normalized = Normalization.from_values(channels, "plain").normalized(channels)
    assert normalized.abs().max() == 0


def test_improper_normalization_is_refused():
    proper = Normalization.from_values(torch.rand(4, 5, 8), "plain").as_json()
    improper = [
        {name: proper[name] for name in ("low", "high", "mean")},
        {**proper, "low": proper["low"][:3]},
        {**proper, "low": proper["high"], "high": proper["low"]},
        {**proper, "mean": ["a"] * 8},
        {**proper, "std": [math.nan] * 8},
    ]
    for item in improper:
        with pytest.raises(ValueError, match=r"^plain: "):
            Normalization.from_json("plain", item)
    with pytest.raises(ValueError, match=r"^parameters: expected one of plain, anchored"):
        Normalization.from_json("other", proper)


def test_grid_shape_follows_the_canvas():
    assert grid_shape(1024, 32, 32) == (32, 32)
    assert grid_shape(COUNT, HEIGHT, WIDTH) == (6, 8)
    with pytest.raises(ValueError, match=r"^num_gaussians: 1023 cells make no grid"):
        grid_shape(1023, 32, 32)
    with pytest.raises(ValueError, match=r"cannot be swapped"):
        turn_gaussians(make_attributes(torch.Generator().manual_seed(0)), 4, HEIGHT, WIDTH)
