"""Initializers: exactly K valid Gaussians for any image, the same for a seed, where the density wants them."""

import math

import pytest
import torch
from pretended import pretended_device, waits
from seeds import seeded

from fastgs.initializers import DEFAULT, INITIALIZERS, BatchInitializer, curvature, gradient, saliency
from fastgs.initializers.filters import first_derivatives, second_derivatives, smooth
from fastgs.initializers.from_density import gaussians_at, gaussians_in_batch

HEURISTICS = [name for name in INITIALIZERS if name != "learned"]  # networks may leave the canvas
EVERY_INITIALIZER = pytest.mark.parametrize("name", HEURISTICS)
DENSITIES = pytest.mark.parametrize(
    "density",
    [lambda image: curvature.density(image, 50), gradient.density, saliency.density],
    ids=["curvature", "gradient", "saliency"],
)


def make_noise(height, width):
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(1))


def make_edge(height=64, width=64, angle=0.0, slope=1.5):
    """Make a smooth step through the middle whose gradient points along `angle`."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    across = (x - width / 2) * math.cos(angle) + (y - height / 2) * math.sin(angle)
    return torch.sigmoid(across / slope).expand(3, -1, -1).contiguous()


IMAGES = {
    "noise": make_noise(24, 31),
    "1x1": make_noise(1, 1),
    "1x7": make_noise(1, 7),
    "3x2": make_noise(3, 2),
    "black": torch.zeros(3, 16, 16),
    "gray": torch.full((3, 16, 20), 0.3),
    "white": torch.ones(3, 5, 40),
}


@EVERY_INITIALIZER
@pytest.mark.parametrize("image", IMAGES.values(), ids=list(IMAGES))
def test_exactly_k_valid_gaussians(name, image, seeded):
    _, height, width = image.shape
    for count in (0, 1, 10, 1000):
        gaussians = INITIALIZERS[name](image, count, seeded())  # `Gaussians` validates itself
        assert len(gaussians) == count
        assert (gaussians.height, gaussians.width, gaussians.blend) == (height, width, "normalized")
        assert (gaussians.means >= 0).all()
        assert (gaussians.means <= torch.tensor([width, height])).all()
        assert (gaussians.colors >= 0).all()
        assert (gaussians.colors <= 1).all()
        assert gaussians.means.dtype == torch.float32
        assert len(torch.unique(gaussians.means, dim=0)) == count
        if count == 1000:
            assert gaussians.scales.max() < max(height, width)


@EVERY_INITIALIZER
def test_positions_repeat_for_a_seed(name, seeded):
    def means(seed):
        return INITIALIZERS[name](make_noise(24, 31), 60, seeded(seed)).means

    assert torch.equal(means(5), means(5))
    assert torch.equal(means(5), means(6)) == (name == "grid")


def test_default_is_registered():
    assert DEFAULT in INITIALIZERS


@DENSITIES
@pytest.mark.parametrize("image", IMAGES.values(), ids=list(IMAGES))
def test_densities_are_positive_and_sum_to_one(density, image):
    result = density(image)
    assert result.shape == image.shape[1:]
    assert (result > 0).all()
    assert result.double().sum().item() == pytest.approx(1, abs=1e-5)


# Not that of saliency: the spectrum of a flat image consists of rounding errors.
@pytest.mark.parametrize("density", [lambda image: curvature.density(image, 50), gradient.density])
def test_density_of_a_flat_image_is_uniform(density):
    torch.testing.assert_close(density(torch.full((3, 8, 10), 0.3)), torch.full((8, 10), 1 / 80))


@pytest.mark.parametrize("count", [20, 200, 2000, 20_000])
def test_curvature_density_is_valid_for_every_k(count):
    result = curvature.density(make_noise(24, 31), count)
    assert (result > 0).all()
    assert result.sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", ["curvature", "gradient"])
def test_centres_are_dense_and_small_at_an_edge(name, seeded):
    gaussians = INITIALIZERS[name](make_edge(), 300, seeded())
    near = (gaussians.means[:, 0] - 32).abs() < 8  # a quarter of the image
    assert near.sum() > 2 * (~near).sum()
    assert gaussians.scales[near].mean() < gaussians.scales[~near].mean()


def test_saliency_peaks_at_what_stands_out():
    image = 0.4 + 0.02 * make_noise(96, 96)
    image[:, 60:68, 20:28] = 0.9
    peak = int(saliency.density(image).argmax())
    assert 56 <= peak // 96 < 72
    assert 16 <= peak % 96 < 32


def test_grid_is_regular():
    gaussians = INITIALIZERS["grid"](make_noise(30, 40), 12)
    columns, rows = gaussians.means.T
    assert torch.allclose(rows.view(3, 4), torch.tensor([5.0, 15, 25])[:, None].expand(3, 4))
    assert torch.allclose(columns.view(3, 4), torch.tensor([5.0, 15, 25, 35]).expand(3, 4))


def test_nearest_scales_follow_the_gaps(seeded):
    image = make_noise(24, 31)
    gaussians = INITIALIZERS["nearest"](image, 200, seeded())
    means = gaussians.means.double()
    gaps = torch.cdist(means, means).fill_diagonal_(math.inf).amin(1).float()
    torch.testing.assert_close(gaussians.scales, (0.84 * gaps).clamp(min=0.3)[:, None].repeat(1, 2))
    columns, rows = gaussians.means.long().T
    assert torch.equal(gaussians.colors, image[:, rows, columns].T)


@pytest.mark.parametrize("angle", [0.0, 0.5, math.pi / 3, math.pi / 2, 2.5])
def test_ellipses_lie_along_an_edge(angle):
    """The first axis lies across the edge and is the short one."""
    image = make_edge(angle=angle)
    means = torch.tensor([[32.0, 32.0]]) + torch.linspace(-15, 15, 9)[:, None] * torch.tensor(
        [-math.sin(angle), math.cos(angle)]
    )
    gaussians = gaussians_at(means, image, torch.full((64, 64), 1 / 64**2))
    # Equal modulo pi, within about a degree.
    assert torch.sin(gaussians.rotations - angle).abs().max() < 0.02
    assert (gaussians.scales[:, 1] > 1.2 * gaussians.scales[:, 0]).all()


def test_flat_regions_have_round_gaussians_of_local_colour_and_spacing():
    image = torch.full((3, 32, 32), 0.25)
    image[0] = 0.75
    density = torch.ones(32, 32)
    density[:, 16:] = 4  # half the spacing on the right
    means = torch.tensor([[4.0, 16.0], [28.0, 16.0]])
    gaussians = gaussians_at(means.repeat(20, 1), image, density / density.sum())
    torch.testing.assert_close(gaussians.scales[:, 0], gaussians.scales[:, 1])
    torch.testing.assert_close(gaussians.scales[0], 2 * gaussians.scales[1])
    assert torch.equal(gaussians.colors[0], torch.tensor([0.75, 0.25, 0.25]))


def test_filters_are_exact_on_polynomials():
    """Derivatives are exact on 3 + 2x - y + x^2 + 3xy - 2y^2 inside the border; smoothing keeps a ramp and the sum."""
    y, x = torch.meshgrid(torch.arange(12.0), torch.arange(15.0), indexing="ij")
    plane = 3 + 2 * x - y + x * x + 3 * x * y - 2 * y * y
    dx, dy = first_derivatives(plane)
    torch.testing.assert_close(dx[1:-1, 1:-1], (2 + 2 * x + 3 * y)[1:-1, 1:-1])
    torch.testing.assert_close(dy[1:-1, 1:-1], (-1 + 3 * x - 4 * y)[1:-1, 1:-1])
    for derivative, value in zip(second_derivatives(plane), (2.0, 3.0, -4.0), strict=True):
        torch.testing.assert_close(derivative[1:-1, 1:-1], torch.full((10, 13), value))
    ramp = 2 * x - y
    torch.testing.assert_close(smooth(ramp, 1.0)[3:-3, 3:-3], ramp[3:-3, 3:-3])
    spike = torch.zeros(15, 15)
    spike[7, 7] = 1
    blurred = smooth(spike, 1.0)
    assert blurred.sum().item() == pytest.approx(1)
    assert (blurred[7, 9] / blurred[7, 7]).item() == pytest.approx(math.exp(-2), rel=1e-5)
    torch.testing.assert_close(smooth(torch.full((1, 3), 0.5), 2.5), torch.full((1, 3), 0.5))


@pytest.mark.parametrize("count", [1, 40, 700])
def test_images_at_once_get_what_single_ones_do(count):
    """To the bit, also where pixels are drawn twice, and where more are found than were asked for."""
    initialize = INITIALIZERS[DEFAULT]
    assert isinstance(initialize, BatchInitializer)
    images = torch.stack([make_noise(24, 31) ** power for power in range(1, 6)] + [torch.zeros(3, 24, 31)])
    for image, found in zip(images, initialize.batch(images, count, seeded()), strict=True):
        wanted = initialize(image, count, seeded())
        for name in ("means", "scales", "rotations", "colors"):
            assert torch.equal(getattr(found, name), getattr(wanted, name))


def test_batch_is_treated_like_its_images():
    """Densities and attributes of a batch, which do not wait for a GPU, are those of one image after the other."""
    images, counts = torch.stack([make_noise(24, 31), make_noise(24, 31).flip(1), torch.zeros(3, 24, 31)]), [20, 0, 700]
    densities = curvature.densities(images, counts)
    alone = [curvature.density(image, count) for image, count in zip(images, counts, strict=True)]
    torch.testing.assert_close(densities, torch.stack(alone))
    torch.testing.assert_close(densities[2], torch.full((24, 31), 1 / (24 * 31)))
    means = [32 * torch.rand(count, 2, generator=seeded(count)) for count in counts]  # some are off the canvas
    with pretended_device() as device:
        moved = images.to(device)
        placed = torch.cat(means).to(device)
        waits.clear()
        joined = gaussians_in_batch(placed, moved, curvature.densities(moved, counts), counts)
        assert not waits
        joined = joined.to("cpu")
    wanted = [gaussians_at(*each) for each in zip(means, images, alone, strict=True)]
    for name in ("means", "scales", "rotations", "colors"):
        torch.testing.assert_close(getattr(joined, name), torch.cat([getattr(each, name) for each in wanted]))
