"""Tests of the feed-forward pipeline."""

from dataclasses import replace

import pytest
import torch
from networks import attribute_network, disturbed, initializer, position_network
from seeds import seeded

from fastgs.gaussians import MIN_SCALE
from fastgs.initializers import curvature
from fastgs.initializers.from_density import gaussians_at
from fastgs.initializers.sampling import sample
from fastgs.models import correct
from fastgs.models.attribute import CORRECTIONS
from fastgs.models.feed_forward import Joined, LearnedInitializer, _errors_and_forces
from fastgs.render import render

pytestmark = pytest.mark.usefixtures("one_thread")

TENSORS = ("means", "scales", "rotations", "colors")


def photo(height=24, width=30, seed=1):
    """Return an image that is noisy in its left half and smooth in its right half."""
    image = torch.rand(3, height, width, generator=seeded(seed))
    image[:, :, width // 2 :] = image.mean((1, 2), keepdim=True)
    return image


def assert_same_gaussians(first, second, **tolerance):
    for name in TENSORS:
        torch.testing.assert_close(getattr(first, name), getattr(second, name), **tolerance)


@pytest.fixture(scope="module")
def learned():
    return initializer()


@pytest.mark.parametrize("size", [(1, 1), (3, 17), (24, 30)])
@pytest.mark.parametrize("count", [0, 1, 37, 1000])
def test_initialize_returns_exactly_k_valid_gaussians(learned, size, count):
    """K may exceed the number of pixels, so that Gaussians share one."""
    gaussians = learned.initialize(photo(*size), count, seeded())  # its constructor validates the tensors
    assert len(gaussians) == count and (gaussians.height, gaussians.width) == size
    assert render(gaussians).isfinite().all() and not gaussians.means.requires_grad


def test_initialize_depends_on_seed(learned):
    first, again, other = (learned.initialize(photo(), 60, seeded(seed)) for seed in (5, 5, 6))
    assert_same_gaussians(first, again, rtol=0, atol=0)
    assert not torch.equal(first.means, other.means)


@pytest.mark.parametrize("attribute", [False, True])
def test_untrained_initializer_equals_curvature_heuristic(attribute):
    untrained = LearnedInitializer(position_network(), attribute_network() if attribute else None)
    gaussians, heuristic = (
        initialize(photo(), 80, seeded()) for initialize in (untrained.initialize, curvature.initialize)
    )
    torch.testing.assert_close(gaussians.means, heuristic.means)
    torch.testing.assert_close(render(gaussians), render(heuristic), rtol=0, atol=1e-5)


def test_without_position_network_density_is_that_of_curvature(learned):
    images, counts = torch.stack([photo(seed=seed) for seed in (1, 2)]), [50, 90]
    part = LearnedInitializer(None, learned.attribute)
    expected = torch.stack([curvature.density(image, count) for image, count in zip(images, counts, strict=True)])
    assert torch.equal(part.densities(images, counts), expected)
    torch.testing.assert_close(part.log_densities(images, counts).exp(), expected)
    placed = LearnedInitializer(None).initialize(images[0], 50, seeded())
    assert_same_gaussians(placed, curvature.initialize(images[0], 50, seeded()))
    assert not torch.equal(part.initialize(images[0], 50, seeded()).colors, placed.colors)


def test_sampling_selects_method(learned):
    images, counts = photo()[None], [300]
    density = learned.densities(images, counts)[0]
    for sampling in ("error_diffusion", "multinomial"):
        part = LearnedInitializer(learned.position, sampling=sampling)
        expected = sample(density, 300, sampling, seeded())
        assert torch.equal(part(images, counts, [seeded()])[0].means, expected)
    with pytest.raises(ValueError, match=r"^sampling: expected one of multinomial, .*, got 'even'$"):
        LearnedInitializer(learned.position, sampling="even")


def test_trained_initializer_differs_from_heuristic(learned):
    """If they were equal, these tests would test nothing."""
    placed = learned.initialize(photo(), 80, seeded())
    assert (render(placed) - render(curvature.initialize(photo(), 80, seeded()))).abs().max() > 1e-2


def test_ragged_batch_equals_single_images(learned):
    images, counts = torch.stack([photo(seed=seed) for seed in (1, 2, 3)]), [5, 90, 900]
    with torch.no_grad():
        together = learned(images, counts, [seeded(seed) for seed in (1, 2, 3)])
        alone = [
            learned(image[None], [count], [seeded(seed)])[0]
            for image, count, seed in zip(images, counts, (1, 2, 3), strict=True)
        ]
    for one, other in zip(together, alone, strict=True):
        # The differences are rounding. The 900 Gaussians crowd 720 pixels, so that many are at the smallest scale,
        # where rounding must not become another force.
        assert len(one) < 900 or (one.scales == MIN_SCALE).sum() > 100
        assert_same_gaussians(one, other, rtol=1e-4, atol=1e-4)


def test_gaussians_in_one_pixel_get_same_colour_correction(learned):
    """They share the answer of the network for their pixel."""
    image, density = photo(), torch.full((24, 30), 1 / 720)
    means = torch.tensor([[4.5, 7.5], [4.2, 7.9], [20.5, 3.5]])
    placed = gaussians_at(means, image, density)
    (corrected,) = learned.correct(image[None], density[None], Joined(placed, [3]))[0].split()
    colors = corrected.colors - placed.colors
    torch.testing.assert_close(colors[0], colors[1])
    assert (colors[0] - colors[2]).abs().max() > 1e-4


def test_each_pass_has_gradients_for_attribute_network_only(learned):
    networks = disturbed(LearnedInitializer(position_network(), attribute_network()))
    images = photo()[None]
    densities = networks.log_densities(images, [50]).exp().detach()
    passes = networks.correct(images, densities, networks.place(images, densities, [50], [seeded()]))
    assert len(passes) == networks.attribute.passes == 2
    for each in passes:
        networks.zero_grad()
        (each.render() - images).square().mean().backward()
        assert all(parameter.grad.any() for parameter in networks.attribute.parameters())
    assert all(parameter.grad is None for parameter in networks.position.parameters())


def test_forces_are_derivatives_of_squared_error():
    """Forces equal central differences, in float64."""
    image = photo(9, 11).double()
    placed = gaussians_at(11 * torch.rand(6, 2, generator=seeded()), image.float(), torch.full((9, 11), 1 / 99))
    placed = placed.to(torch.float64)
    placed = replace(placed, scales=1 + placed.scales)  # away from the smallest scale
    corrections = 0.1 * torch.randn(6, CORRECTIONS, generator=seeded(), dtype=torch.float64)

    def half_error(index, change):
        moved = corrections.clone()
        moved.view(-1)[index] += change
        return 0.5 * (render(correct(placed, moved)) - image).square().sum()

    errors, forces = _errors_and_forces(image[None], placed, corrections, [6])
    torch.testing.assert_close(errors[0], image - render(correct(placed, corrections)))
    step = 1e-5
    slopes = torch.stack([half_error(i, step) - half_error(i, -step) for i in range(corrections.numel())]) / (2 * step)
    areas = 2 * torch.pi * placed.scales.prod(1, keepdim=True)
    torch.testing.assert_close(forces * areas, -slopes.view(6, CORRECTIONS), rtol=1e-5, atol=1e-6)
