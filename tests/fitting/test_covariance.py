"""Covariances as axes and as conics, and their gradients."""

import pytest
import torch
from method_data import HEIGHT, WIDTH, photo, some_gaussians
from seeds import seeded

from fastgs.fitting import covariance
from fastgs.render import rasterize, reference


@pytest.fixture(scope="module")
def image():
    return photo()


def draw_conics(means, matrices, colors, normalized):
    """Render covariances with the reference backend."""
    y, x = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
    dx, dy = x.reshape(-1, 1) - means[:, 0], y.reshape(-1, 1) - means[:, 1]
    xx, xy, yy = matrices.unbind(1)
    d2 = (yy * dx**2 - 2 * xy * dx * dy + xx * dy**2) / (xx * yy - xy**2)
    fade = (reference.CUTOFF**2 - d2) / (reference.CUTOFF**2 - reference.FADE_START**2)
    weights = torch.exp(-0.5 * d2) * fade.clamp(0, 1)
    image = weights @ colors
    return (image / (weights.sum(1, keepdim=True) + reference.EPSILON) if normalized else image).T


def draw_axes(means, matrices, colors, normalized, backend):
    return rasterize(
        means, *covariance.axes(matrices), colors, counts=[len(means)], pitches=[(1.0, 1.0)], height=HEIGHT,
        width=WIDTH, blend="normalized" if normalized else "sum", backend=backend,
    )[0].flatten(1)  # fmt: skip


def circles_and_others():
    """Return covariances of which the first is a circle, and the others are ever less so."""
    apart = torch.tensor([0, 1e-12, 1e-8, 1e-6, 1e-4, 1e-2, 0.3, 1.0, 2.0, 3.0], dtype=torch.float64)
    scales = torch.stack([2 + 0 * apart, 2 + apart], dim=1)
    return covariance.covariances(scales, torch.linspace(-1.4, 1.5, len(apart), dtype=torch.float64))


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize(
    ("dtype", "backend", "tolerance"), [(torch.float64, "reference", 1e-6), (torch.float32, "cpu", 2e-3)]
)
def test_gradients_through_axes_match_those_of_conics(dtype, backend, tolerance, normalized):
    matrices = circles_and_others()
    given = some_gaussians(len(matrices))
    upstream = torch.randn(3, HEIGHT * WIDTH, generator=seeded(), dtype=torch.float64)
    inputs = [tensor.clone().requires_grad_() for tensor in (given.means, matrices, given.colors)]
    wanted = draw_conics(*inputs, normalized)
    wanted_gradients = torch.autograd.grad((wanted * upstream).sum(), inputs)
    inputs = [tensor.to(dtype).requires_grad_() for tensor in (given.means, matrices, given.colors)]
    drawn = draw_axes(*inputs, normalized, backend)
    torch.testing.assert_close(drawn.double(), wanted, rtol=0, atol=tolerance)
    for ours, theirs in zip(
        torch.autograd.grad((drawn * upstream.to(dtype)).sum(), inputs), wanted_gradients, strict=True
    ):
        for row, wanted_row in zip(ours.double(), theirs, strict=True):
            assert (row - wanted_row).norm() < tolerance * (wanted_row.norm() + theirs.norm() / len(theirs))


def test_gradcheck_of_rendered_covariances():
    given, matrices = some_gaussians(3), circles_and_others()[[0, 6, 9]]
    upstream = torch.randn(3, HEIGHT * WIDTH, generator=seeded(), dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda matrices: (draw_axes(given.means, matrices, given.colors, True, "reference") * upstream).sum(),
        matrices.requires_grad_(),
        atol=1e-4,
    )


def test_axes_of_an_improper_covariance_are_tiny():
    """They are thin, and neither they nor their gradients are NaN."""
    matrices = torch.tensor([[1.0, 2.0, 1.0], [-1.0, 0.0, -2.0], [0.0, 0.0, 0.0], [4.0, 0.0, 0.0]], requires_grad=True)
    scales, rotations = covariance.axes(matrices)
    thin = torch.tensor([[3**0.5, 1e-3], [1e-3, 1e-3], [1e-3, 1e-3], [2, 1e-3]])
    torch.testing.assert_close(scales, thin)
    (scales.sum() + rotations.sum()).backward()
    assert torch.isfinite(matrices.grad).all()


def test_axes_inverts_covariances():
    matrices = circles_and_others()[5:]
    torch.testing.assert_close(covariance.covariances(*covariance.axes(matrices)), matrices)
