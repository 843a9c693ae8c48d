"""Tests of rendering and sampling for any number of channels."""

from dataclasses import replace

import pytest
import torch
from against_reference import DEVICE, assert_equal_to_reference, random_tensors

import fastgs
from fastgs.render import has_triton, rasterize

HEIGHT, WIDTH, COUNT = 30, 41, 60
BLENDS = pytest.mark.parametrize("blend", ["normalized", "sum"])


def tensors(channels, count=COUNT):
    means, scales, rotations, _ = random_tensors(
        count, HEIGHT, WIDTH, scales=lambda uniform: 0.5 + 4 * uniform(count, 2)
    )
    colors = torch.rand(count, channels, generator=torch.Generator().manual_seed(channels))
    return means, scales, rotations, colors


@BLENDS
@pytest.mark.parametrize("channels", [1, 2, 4, 5, 9, 32])
def test_cpu_matches_the_reference_for_any_number_of_channels(channels, blend):
    assert_equal_to_reference(tensors(channels), HEIGHT, WIDTH, blend)


@pytest.mark.slow
@pytest.mark.skipif(not has_triton(), reason="needs Triton")
@BLENDS
@pytest.mark.parametrize("channels", [1, 2, 4, 7])
def test_cuda_matches_the_reference_for_any_number_of_channels(channels, blend):
    from fastgs.render import cuda  # interpreted where there is no GPU

    assert_equal_to_reference([each.to(DEVICE) for each in tensors(channels, 20)], HEIGHT, WIDTH, blend, cuda)


@pytest.mark.parametrize("channels", [1, 2, 4, 9])
def test_top_k_matches_the_reference_for_any_number_of_channels(channels):
    batch = {"counts": [COUNT], "pitches": [(1.0, 1.0)], "height": HEIGHT, "width": WIDTH, "top_k": 3}
    image = rasterize(*tensors(channels), **batch, backend="cpu")
    wanted = rasterize(*(each.double() for each in tensors(channels)), **batch, backend="reference")
    assert (image - wanted).abs().max() < 1e-5


@BLENDS
def test_channels_do_not_depend_on_each_other(blend):
    means, scales, rotations, colors = tensors(7)
    whole = fastgs.render(fastgs.Gaussians(means, scales, rotations, colors, HEIGHT, WIDTH, blend))
    for channel in range(7):
        part = fastgs.Gaussians(means, scales, rotations, colors[:, channel : channel + 1], HEIGHT, WIDTH, blend)
        torch.testing.assert_close(fastgs.render(part)[0], whole[channel], rtol=0, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 4, 6])
def test_no_gaussians_give_black_images(channels):
    empty = fastgs.Gaussians(*(each[:0] for each in tensors(channels)), HEIGHT, WIDTH)
    assert torch.equal(fastgs.render(empty), torch.zeros(channels, HEIGHT, WIDTH))


def test_render_batch_refuses_different_numbers_of_channels():
    one, four = (fastgs.Gaussians(*tensors(channels), HEIGHT, WIDTH) for channels in (1, 4))
    with pytest.raises(ValueError, match=r"^channels: the sets differ \(1, 4\)"):
        fastgs.render_batch([one, four])


@BLENDS
@pytest.mark.parametrize("channels", [1, 3, 6])
def test_sample_at_pixel_centres_is_the_image(channels, blend):
    gaussians = fastgs.Gaussians(*(each.double() for each in tensors(channels)), HEIGHT, WIDTH, blend)
    y, x = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
    points = torch.stack([x.flatten(), y.flatten()], dim=1).double()
    shuffled = torch.randperm(len(points), generator=torch.Generator().manual_seed(0))
    colors = gaussians.sample(points[shuffled])
    image = fastgs.render(gaussians, backend="reference")
    torch.testing.assert_close(colors, image.flatten(1).T[shuffled], rtol=0, atol=1e-12)


def test_sample_between_pixels_is_a_larger_image():
    gaussians = fastgs.Gaussians(*(each.double() for each in tensors(3)), HEIGHT, WIDTH)
    large = fastgs.render(gaussians, 3 * HEIGHT, 3 * WIDTH)
    point = torch.tensor([[(40 + 0.5) / 3, (50 + 0.5) / 3]]).double()
    torch.testing.assert_close(gaussians.sample(point)[0], large[:, 50, 40])


def test_sample_is_differentiable_in_tensors_and_points():
    leaves = [each[:4].double().requires_grad_() for each in tensors(2)]
    points = torch.tensor([[3.0, 8.0], [20.0, 9.5]], dtype=torch.float64, requires_grad=True)

    def sample(points, *leaves):
        return fastgs.Gaussians(*leaves, HEIGHT, WIDTH).sample(points)

    assert torch.autograd.gradcheck(sample, (points, *leaves))


def test_sample_of_no_points_and_of_points_off_the_canvas():
    gaussians = fastgs.Gaussians(*tensors(3), HEIGHT, WIDTH)
    assert gaussians.sample(torch.empty(0, 2)).shape == (0, 3)
    assert torch.equal(gaussians.sample(torch.tensor([[-500.0, 9000.0]])), torch.zeros(1, 3))


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (torch.rand(3), "points: expected shape"),
        (torch.rand(3, 2).double(), "points: expected shape .* of torch.float32"),
    ],
)
def test_sample_refuses_wrong_points(points, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        fastgs.Gaussians(*tensors(3), HEIGHT, WIDTH).sample(points)


def test_antialiased_half_size_is_a_mip_level():
    """The mean of every 2 x 2 pixels of the large image, for every channel."""
    gaussians = fastgs.Gaussians(*tensors(5), HEIGHT, 40)
    mip = fastgs.render(gaussians, HEIGHT // 2, 20, antialias=True)
    wanted = torch.nn.functional.avg_pool2d(fastgs.render(gaussians), 2)
    torch.testing.assert_close(mip, wanted, rtol=0, atol=1e-5)


def test_alpha_is_kept_by_every_change(tmp_path):
    gaussians = fastgs.Gaussians(*tensors(4), HEIGHT, WIDTH, alpha=True)
    gaussians.save(tmp_path / "alpha.safetensors")
    assert fastgs.Gaussians.load(tmp_path / "alpha.safetensors").alpha
    assert gaussians.to(torch.float64).alpha
    assert not replace(gaussians, alpha=False).alpha
