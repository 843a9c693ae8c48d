"""Tests of the position network, the attribute network, FiLM and corrections."""

import math
from dataclasses import replace

import pytest
import torch
from networks import SMALL, attribute_network, disturbed, position_network
from seeds import seeded

from fastgs.gaussians import Gaussians
from fastgs.models import AttributeNetwork, FiLM, PositionNetwork, correct, density_condition
from fastgs.models.attribute import CORRECTIONS, MAX_CHANGE, STATE_CHANNELS, AttributeInputs
from fastgs.models.unet import UNet

pytestmark = pytest.mark.usefixtures("one_thread")

# Names of the corrections, in their order.
NAMES = ["x", "y", "size", "x_elongation", "diagonal_elongation", "red", "green", "blue"]

SIZES = [(1, 1), (7, 33), (31, 37), (64, 64)]


def position_inputs(batch, height, width):
    images = torch.rand(batch, 3, height, width, generator=seeded(1))
    prior = torch.rand(batch, height, width, generator=seeded(2)) + 0.1
    counts = torch.tensor([10 * (index + 1) for index in range(batch)])
    return images, prior / prior.sum((1, 2), keepdim=True), counts


def attribute_inputs(batch, height, width):
    images, densities, counts = position_inputs(batch, height, width)
    errors = 0.1 * torch.randn(batch, 3, height, width, generator=seeded(3))
    state = torch.randn(batch, STATE_CHANNELS, height, width, generator=seeded(4))
    return images, densities, errors, torch.full((batch,), 0.1), state, counts


def apply(network, inputs):
    """Run either network on its inputs."""
    return network(AttributeInputs(*inputs)) if isinstance(network, AttributeNetwork) else network(*inputs)


NETWORKS = pytest.mark.parametrize(
    ("make", "inputs"),
    [(position_network, position_inputs), (attribute_network, attribute_inputs)],
    ids=["position", "attribute"],
)


@pytest.mark.parametrize("size", SIZES)
def test_untrained_density_is_prior(size):
    images, prior, counts = position_inputs(2, *size)
    densities = position_network()(images, prior, counts).exp()
    torch.testing.assert_close(densities, prior, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_trained_density_differs_from_prior_and_sums_to_one(size):
    images, prior, counts = position_inputs(2, *size)
    densities = disturbed(position_network())(images, prior, counts).exp()
    torch.testing.assert_close(densities.sum((1, 2)), torch.ones(2))
    assert size == (1, 1) or (densities / prior - 1).abs().max() > 1e-3


@pytest.mark.parametrize("size", SIZES)
def test_attribute_network_takes_any_size(size):
    inputs = attribute_inputs(2, *size)
    untrained, trained = (apply(each, inputs) for each in (attribute_network(), disturbed(attribute_network())))
    assert untrained.shape == trained.shape == (2, CORRECTIONS, *size)
    assert not untrained.any() and trained.isfinite().all() and trained.abs().max() > 1e-4


@NETWORKS
def test_samples_of_batch_are_independent(make, inputs):
    network, batch = disturbed(make()), inputs(3, 20, 26)
    together = apply(network, batch)
    for index in range(3):
        alone = apply(network, [each[index : index + 1] for each in batch])
        torch.testing.assert_close(together[index : index + 1], alone, rtol=1e-4, atol=1e-5)


@NETWORKS
def test_training_mode_changes_neither_output_nor_state(make, inputs):
    network, batch = disturbed(make()), inputs(2, 20, 26)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert torch.equal(apply(network.train(), batch), apply(network.eval(), batch))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


@NETWORKS
def test_every_parameter_gets_gradient(make, inputs):
    """Distributed training waits for the gradients of all parameters."""
    network, batch = disturbed(make()), inputs(2, 32, 32)
    output = apply(network, batch)
    (output * torch.randn(output.shape, generator=seeded(5))).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


@NETWORKS
def test_output_depends_on_number_of_gaussians(make, inputs):
    *planes, counts = inputs(1, 20, 26)
    network = disturbed(make(), size=0.3)
    few, many = (apply(network, [*planes, counts * factor]) for factor in (1, 30))
    assert (few - many).abs().max() > 1e-3


@NETWORKS
def test_unconditioned_network_sees_constant_condition(make, inputs):
    *planes, counts = inputs(1, 32, 64)
    network = disturbed(make(), size=0.3)
    network.conditioned = False
    conditions = []
    network.unet.film.register_forward_pre_hook(lambda module, given: conditions.append(given[1]))
    for factor in (1, 30):
        apply(network, [*planes, counts * factor])
    expected = density_condition(torch.tensor([10_000]), 512, 512)
    assert all(torch.equal(condition, expected) for condition in conditions)


def test_condition_depends_on_density_only():
    same = [density_condition(torch.tensor([count]), height, width) for count, height, width in
            [(5_000, 512, 256), (40_000, 1024, 1024), (10_000, 512, 512)]]  # fmt: skip
    torch.testing.assert_close(same[0], same[2])
    torch.testing.assert_close(same[1], same[2])
    assert density_condition(torch.tensor([0, 100_000]), 512, 512).tolist() == pytest.approx([0, 1])


def test_film_is_identity_until_trained():
    film, features = FiLM(6), torch.randn(2, 6, 3, 4, generator=seeded())
    condition = torch.tensor([0.3, 0.9])
    assert torch.equal(film(features, condition), features)
    film(features, condition).square().sum().backward()
    assert film.gamma.weight.grad.any() and film.beta.bias.grad.any()
    trained = disturbed(film, size=0.3)(features, condition) - features
    assert not torch.allclose(trained[0] / features[0], trained[1] / features[1], atol=1e-3)


def test_condition_acts_on_its_own_sample():
    network = disturbed(UNet(3, 1, **SMALL), size=0.3)
    images = torch.rand(1, 3, 16, 16, generator=seeded()).expand(2, -1, -1, -1)
    first, second = network(images, torch.tensor([0.2, 0.8]))
    assert (first - second).abs().max() > 1e-4


def test_default_networks_are_as_small_as_published():
    """The limit is the published size, 29 MB."""
    tensors = [
        tensor for network in (PositionNetwork(), AttributeNetwork()) for tensor in network.state_dict().values()
    ]
    assert sum(tensor.numel() * tensor.element_size() for tensor in tensors) <= 29e6


def make_gaussians(count=12, dtype=torch.float64):
    """Return Gaussians of various shapes; the first three are circles."""
    generator = seeded(7)
    scales = 0.5 + 4 * torch.rand(count, 2, generator=generator, dtype=dtype)
    scales[:3, 1] = scales[:3, 0]
    return Gaussians(
        means=20 * torch.rand(count, 2, generator=generator, dtype=dtype),
        scales=scales,
        rotations=7 * torch.rand(count, generator=generator, dtype=dtype) - 3,
        colors=torch.rand(count, 3, generator=generator, dtype=dtype),
        height=20,
        width=20,
    )


def covariances(gaussians):
    cosine, sine = gaussians.rotations.cos(), gaussians.rotations.sin()
    rotation = torch.stack([cosine, -sine, sine, cosine], dim=1).view(-1, 2, 2)
    return rotation @ torch.diag_embed(gaussians.scales.square()) @ rotation.mT


def test_zero_correction_keeps_gaussians():
    gaussians = make_gaussians()
    same = correct(gaussians, torch.zeros(len(gaussians), CORRECTIONS, dtype=torch.float64))
    torch.testing.assert_close(covariances(same), covariances(gaussians), rtol=1e-5, atol=1e-5)
    assert torch.equal(same.means, gaussians.means) and torch.equal(same.colors, gaussians.colors)


def make_corrections(**values):
    """Return (12, 8) corrections that are zero except for the named ones."""
    corrections = torch.zeros(12, CORRECTIONS, dtype=torch.float64)
    for name, value in values.items():
        corrections[:, NAMES.index(name)] = value
    return corrections


def test_correction_of_size_scales_ellipse():
    gaussians = make_gaussians()
    larger = correct(gaussians, make_corrections(size=0.01))
    torch.testing.assert_close(covariances(larger), covariances(gaussians) * math.exp(0.02), rtol=1e-5, atol=1e-5)


def test_correction_of_elongation_keeps_area():
    circles = replace(make_gaussians(), scales=torch.full((12, 2), 2.0, dtype=torch.float64))
    along_x = correct(circles, make_corrections(x_elongation=0.5))
    assert (covariances(along_x)[:, 0, 0] > 1.5 * covariances(along_x)[:, 1, 1]).all()
    diagonal = correct(circles, make_corrections(diagonal_elongation=0.5))
    torch.testing.assert_close(covariances(diagonal)[:, 0, 0], covariances(diagonal)[:, 1, 1])
    assert (covariances(diagonal)[:, 0, 1] > 1).all()
    for stretched in (along_x, diagonal):
        torch.testing.assert_close(stretched.scales.prod(1), circles.scales.prod(1), rtol=1e-5, atol=1e-5)


def test_correction_of_colour_is_added():
    gaussians = make_gaussians()
    corrected = correct(gaussians, make_corrections(red=0.1, blue=-0.2))
    expected = gaussians.colors + torch.tensor([0.1, 0, -0.2], dtype=torch.float64)
    torch.testing.assert_close(corrected.colors, expected)


def test_corrections_are_bounded():
    gaussians = make_gaussians()
    reach = gaussians.scales.prod(1, keepdim=True).sqrt()
    wild = correct(gaussians, make_corrections(x=50, y=-50, size=1e4, x_elongation=-1e4, diagonal_elongation=1e4))
    assert ((wild.means - gaussians.means).abs() <= reach * (1 + 1e-9)).all()
    assert (wild.scales <= gaussians.scales.max() * math.exp(3 * MAX_CHANGE)).all()


def test_gradient_of_corrections_is_right_for_circles_too():
    gaussians = make_gaussians()

    def shape(corrections):
        """Return what a rendering depends on; the angle of a circle has no meaning."""
        corrected = correct(gaussians, corrections)
        return corrected.means, covariances(corrected), corrected.colors

    corrections = 0.2 * torch.randn(len(gaussians), CORRECTIONS, generator=seeded(8), dtype=torch.float64)
    assert torch.autograd.gradcheck(shape, corrections.requires_grad_())
    zero = torch.zeros_like(corrections, requires_grad=True)
    sum(
        (each * torch.randn(each.shape, generator=seeded(9), dtype=each.dtype)).sum() for each in shape(zero)
    ).backward()
    assert zero.grad.isfinite().all()
    assert zero.grad.abs().max() < 1e3
