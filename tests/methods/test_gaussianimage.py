"""GaussianImage and GaussianImage++ as published."""

import math

import pytest
import torch
from method_data import HEIGHT, WIDTH, Still, canvas, counts_over_a_run, gradients_of_mix, photo, some_gaussians
from seeds import seeded
from torch.nn import functional

from fastgs.fitting import covariance
from fastgs.fitting.loss_functions import CLAMPED_MSE
from fastgs.fitting.options import FitOptions
from fastgs.methods import METHODS, gaussianimage, gaussianimage_plus


@pytest.fixture(scope="module")
def image():
    return photo()


def test_cholesky_is_as_published():
    variables = gaussianimage.Cholesky(some_gaussians(1))
    with torch.no_grad():
        variables.free["means"].copy_(torch.tensor([[0.3, -0.7]]))
        variables.free["cholesky"].copy_(torch.tensor([[0.7, -0.4, 0.2]]))
    means, scales, rotations, _ = variables.attributes()
    factor = torch.tensor([[1.2, 0.0], [-0.4, 0.7]], dtype=torch.float64)  # the variables plus 0.5, 0, 0.5
    (xx, xy), (_, yy) = factor @ factor.T
    torch.testing.assert_close(covariance.covariances(scales, rotations)[0], torch.stack([xx, xy, yy]))
    expected = torch.tensor([[0.5 * WIDTH * (math.tanh(0.3) + 1), 0.5 * HEIGHT * (math.tanh(-0.7) + 1)]])
    torch.testing.assert_close(means, expected.double())


def test_rotation_and_scale_are_as_published():
    variables = gaussianimage.RotationScale(some_gaussians(1))
    with torch.no_grad():
        variables.free["scales"].copy_(torch.tensor([[0.7, -1.5]]))
        variables.free["rotations"].fill_(0.4)
    _, scales, rotations, _ = variables.attributes()
    torch.testing.assert_close(scales, torch.tensor([[1.2, 1.0]]).double())
    # An ellipse is the same after half a turn.
    expected = torch.tensor([2 * math.pi / (1 + math.exp(-0.4))]).double()
    torch.testing.assert_close(rotations.remainder(math.pi), expected.remainder(math.pi))


def test_gradient_of_the_cholesky_factor_is_that_of_the_public_kernel():
    variables, gradients = gradients_of_mix(gaussianimage.Cholesky, (0.3, -0.7, 0.4))
    first, mixed, second = (variables.free["cholesky"].detach() + torch.tensor([0.5, 0.0, 0.5])).unbind(1)
    # As in project_gaussians_2d_backward_kernel, where the derivative in xy is that in both entries of the matrix.
    expected = [
        2 * first * 0.3 + 2 * -0.7 * mixed,
        2 * first * -0.7 + 2 * mixed * 0.4,
        2 * second * 0.4,
    ]
    torch.testing.assert_close(gradients["cholesky"], torch.stack(expected, dim=1))


@pytest.mark.parametrize(
    ("published", "exact"),
    [
        (gaussianimage.Cholesky, gaussianimage.ExactCholesky),
        (gaussianimage.RotationScale, gaussianimage.ExactRotationScale),
    ],
)
def test_presets_count_the_mixed_entry_twice(published, exact):
    _, gradients = gradients_of_mix(published, (0.3, -0.7, 0.4))
    variables, twice = gradients_of_mix(exact, (0.3, -1.4, 0.4))
    assert gradients.keys() == twice.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, twice[name])

    # And nothing but that: the gradient of the exact variables is that of what is drawn.
    def drawn(*values):
        for name, value in zip(variables.NAMES, values, strict=True):
            variables.free[name] = value
        _, scales, rotations, _ = variables.attributes()
        return covariance.covariances(scales, rotations)

    assert torch.autograd.gradcheck(drawn, [each.detach().requires_grad_() for each in variables.free.values()])


@pytest.mark.parametrize("name", ["gaussianimage-cholesky", "gaussianimage-rs"])
def test_random_starts_are_uniform_in_the_variables(name, image):
    method = METHODS[name]
    initial = method.initialize(image, 4000, seeded())
    variables = method.optimization.parametrization(initial).free
    positions = initial.means / torch.tensor([WIDTH, HEIGHT])
    for uniform in (
        positions,
        initial.colors,
        variables.get("cholesky"),
        variables.get("scales"),
        variables.get("rotations"),
    ):
        if uniform is not None:
            assert -1e-3 < uniform.min() < 0.01
            assert 0.99 < uniform.max() < 1.001
            assert (uniform.mean(0) - 0.5).abs().max() < 0.03


def test_clamped_squared_error_matches_published_gradients():
    target = torch.tensor([0.5, 0.5, 0.0, 1.0, 0.5])
    rendered = torch.tensor([-0.5, 1.5, -3.0, 0.6, 0.0], requires_grad=True)
    loss = CLAMPED_MSE(rendered, target)
    assert loss.item() == pytest.approx(functional.mse_loss(rendered.detach().clamp(0, 1), target).item())
    loss.backward()
    # None beyond what can be shown, but from black, where GaussianImage++ begins.
    torch.testing.assert_close(rendered.grad, torch.tensor([0, 0, 0, 2 * -0.4 / 5, 2 * -0.5 / 5]))
    # And the same bits without autograd, also at the ends.
    image = torch.cat([rendered.detach(), torch.tensor([1.0, 1.0000001, -0.0, -1e-30, 0.3])])
    target = torch.cat([target, torch.tensor([0.2, 0.2, 0.7, 0.7, 0.3])])
    leaf = image.clone().requires_grad_()
    CLAMPED_MSE(leaf, target).backward()
    assert (leaf.grad != 0).tolist() == [False, False, False, True, True, True, False, True, False, False]
    assert torch.equal(CLAMPED_MSE.gradient(image, image - target), leaf.grad)


# GaussianImage++


@pytest.mark.parametrize(
    ("wanted", "there", "event", "halves", "added"),
    [
        (10_000, 5_000, 0, False, 1_000),
        (10_000, 9_500, 3, False, 500),
        (10_000, 6_000, 8, False, 4_000),
        (27_000, 13_500, 0, False, 1_500),  # so that the last event has no more to add than the others
        (60, 30, 0, False, 30),
        (10_000, 5_000, 0, True, 2_500),
        (60, 45, 1, True, 8),
        (60, 45, 8, True, 15),
    ],
)
def test_gaussianimage_plus_adds_a_thousand_or_half_of_the_missing(image, wanted, there, event, halves, added):
    before = gaussianimage_plus.initialize(image, there, seeded())
    strategy = gaussianimage_plus.DistortionDriven(wanted, seeded(), halves)
    assert len(strategy.edit(event, image, Still(before, torch.zeros_like(image))).added) == added


def test_gaussianimage_plus_adds_every_tenth(image):
    counts = counts_over_a_run("gaussianimage-plus", image, 60, 20)
    assert counts == [(tenth / 10, 60) for tenth in range(1, 10)]


def test_filter_variance_has_its_closed_form():
    assert gaussianimage_plus.filter_variance(512, 768, 2500) == pytest.approx(512 * 768 / (9 * math.pi * 2500))
    assert gaussianimage_plus.filter_variance(512, 768, 20) == 300


def test_gaussianimage_plus_starts_with_filtered_variances(image):
    filtered = gaussianimage_plus.filter_variance(HEIGHT, WIDTH, 30)
    initial = gaussianimage_plus.initialize(image, 30, seeded())
    variances = covariance.covariances(initial.scales, initial.rotations)[:, ::2]
    assert ((variances > filtered - 1e-3) & (variances < filtered + 1 + 1e-3)).all()
    assert not initial.colors.any()


def test_gaussianimage_plus_adds_black_gaussians_at_largest_errors(image):
    rendered = image.clone()
    worst = [(3, 5), (40, 60), (20, 30)]  # rows and columns
    for place, (row, column) in enumerate(worst):
        rendered[:, row, column] = (image[:, row, column] + 0.5 - 0.05 * place).where(image[:, row, column] < 0.5, 0.0)
    before = gaussianimage_plus.initialize(image, 3, seeded())
    strategy = gaussianimage_plus.DistortionDriven(9, seeded(), halves=True)
    keep, added = strategy.edit(0, image, Still(before, rendered))
    assert keep.all() and len(added) == 3
    assert {(row + 0.5, column + 0.5) for row, column in worst} == {(y, x) for x, y in added.means.tolist()}
    assert not added.colors.any()
    variances = covariance.covariances(added.scales, added.rotations)[:, ::2]
    least = 0.5 + gaussianimage_plus.filter_variance(HEIGHT, WIDTH, 6)
    assert ((variances > least - 1e-2) & (variances < least + 1 + 1e-2)).all()
    assert len(strategy.edit(8, image, Still(before, rendered)).added) == 6


def test_gaussianimage_plus_replaces_improper_covariances(image):
    before = canvas(scales=torch.tensor([[2.0, 1.0], [2.0, covariance.SMALLEST], [0.5, 0.4]]))
    keep, added = gaussianimage_plus.DistortionDriven(3, seeded()).edit(
        8, image, Still(before, torch.zeros_like(image))
    )
    assert keep.tolist() == [True, False, True]
    assert len(added) == 1


def test_gaussianimage_plus_adds_more_gaussians_than_pixels():
    tiny = torch.rand(3, 2, 3, generator=seeded())
    assert len(METHODS["gaussianimage-plus"](tiny, 40, FitOptions(12)).gaussians) == 40
