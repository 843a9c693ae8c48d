"""Tests of the targets of Stage I: projection, removal errors, relocation, and the store."""

from dataclasses import replace

import pytest
import torch
from seeds import seeded
from skimage import data

from fastgs.fitting.fit import fit
from fastgs.fitting.options import FitOptions
from fastgs.fitting.removal import removal_errors
from fastgs.gaussians import Gaussians
from fastgs.initializers import curvature, grid
from fastgs.initializers.sampling import SIGMA, project
from fastgs.metrics.quality import psnr
from fastgs.render import reference, render
from fastgs.training.targets import TargetStore, optimize

TENSORS = ("means", "scales", "rotations", "colors")


def positions(count, height, width):
    return torch.rand(count, 2, generator=seeded()) * torch.tensor([width, height])


@pytest.fixture(scope="module")
def photo():
    return torch.from_numpy(data.coffee()[150:190, 250:290].copy()).permute(2, 0, 1).float() / 255


@pytest.fixture(scope="module")
def fitted(photo):
    return fit(photo, curvature.initialize(photo, 80, seeded()), FitOptions(150)).gaussians


# Projection


@pytest.mark.parametrize(("count", "height", "width"), [(1, 1, 1), (1, 9, 30), (50, 24, 31), (5000, 16, 16)])
def test_projection_is_a_density(count, height, width):
    density = project(positions(count, height, width), height, width)
    assert density.shape == (height, width) and (density >= 0).all()
    assert density.sum().item() == pytest.approx(1, abs=1e-5)


def test_projection_spreads_positions_by_their_spacing():
    """16 positions at one place of 40 x 40 pixels have a spacing of 10 pixels."""
    density = project(torch.tensor([[12.5, 25.5]]).expand(16, -1), 40, 40)
    y, x = torch.meshgrid(torch.arange(40) + 0.5, torch.arange(40) + 0.5, indexing="ij")
    assert ((density * x).sum().item(), (density * y).sum().item()) == pytest.approx((12.5, 25.5), abs=0.3)
    for axis, centre in ((x, 12.5), (y, 25.5)):
        # The width is a little less than 10 SIGMA, as tails are cut at three standard deviations.
        assert (density * (axis - centre) ** 2).sum().sqrt().item() == pytest.approx(10 * SIGMA, rel=0.05)


def test_projection_weighs_all_positions_equally():
    """This holds on the border and beyond, where excess mass would attract more Gaussians in the next round."""
    inside, border = torch.tensor([[20.5, 32.5]]), torch.tensor([[61.0, -3.0]])
    density = project(torch.cat([inside.expand(50, -1), border.expand(50, -1)]), 64, 64)
    assert density[:, :40].sum().item() == pytest.approx(0.5, abs=1e-4)
    everywhere = torch.cartesian_prod(torch.arange(12) + 0.5, torch.arange(9) + 0.5)
    torch.testing.assert_close(project(everywhere, 9, 12), torch.full((9, 12), 1 / 108))


def test_projection_follows_symmetries_and_ignores_order():
    means = positions(60, 20, 30).floor() + 0.5
    density = project(means, 20, 30)
    torch.testing.assert_close(
        project(torch.tensor([30.0, 0]) + means * torch.tensor([-1, 1]), 20, 30), density.flip(1)
    )
    torch.testing.assert_close(project(means.flip(1), 30, 20), density.T)
    torch.testing.assert_close(project(means.flip(0), 20, 30), density)
    torch.testing.assert_close(project(means.repeat(4, 1), 20, 30, 2 * SIGMA), density)  # half the spacing


# Removal


def keep(gaussians, indices):
    return replace(gaussians, **{name: getattr(gaussians, name)[indices] for name in TENSORS})


def test_removal_errors_are_second_order_of_squared_error():
    """They are half the second derivative in the weight of each Gaussian of its own rendering; in float64."""
    count = 15
    generator = seeded(3)
    gaussians = Gaussians(
        means=16 * torch.rand(count, 2, generator=generator),
        scales=3 + 2 * torch.rand(count, 2, generator=generator),
        rotations=3 * torch.rand(count, generator=generator),
        colors=torch.rand(count, 3, generator=generator),
        height=16,
        width=16,
    ).to(torch.float64)
    pixels = torch.cartesian_prod(*[torch.arange(16, dtype=torch.float64) + 0.5] * 2)
    weights = reference.weights(gaussians.means, gaussians.scales, gaussians.rotations, pixels)  # (pixels, K)

    def image(amounts):
        amounts = weights * amounts
        return (amounts @ gaussians.colors) / (amounts.sum(1, keepdim=True) + reference.EPSILON)

    ones = torch.ones(count, dtype=torch.float64)
    target = image(ones)
    hessian = torch.autograd.functional.hessian(lambda amounts: (image(amounts) - target).square().sum(), ones)
    expected = hessian.diagonal() / 2
    # The square of a weight is rendered as a Gaussian of its own, whose support ends a little earlier.
    torch.testing.assert_close(
        removal_errors(gaussians, render(gaussians), backend="reference"), expected, rtol=0.02, atol=1e-3
    )


def test_removal_errors_find_idle_gaussians(photo, fitted):
    before = (render(fitted) - photo).square().sum()
    everyone = torch.arange(len(fitted))
    growth = torch.stack([
        (render(keep(fitted, everyone != index)) - photo).square().sum() - before for index in everyone
    ])  # fmt: skip
    ranks = torch.stack(
        [each.argsort().argsort().double() for each in (growth, removal_errors(fitted, render(fitted)))]
    )
    assert torch.corrcoef(ranks)[0, 1] > 0.7
    idlest = removal_errors(fitted, render(fitted)).argsort()[:8]
    assert growth[idlest].mean() < 0.3 * growth.mean()


# Relocation


def patch(height=48, width=48):
    """Return a flat image with a quarter full of detail, and a function that counts the Gaussians in that quarter."""
    image = torch.full((3, height, width), 0.5)
    y, x = torch.meshgrid(torch.arange(height / 2), torch.arange(width / 2), indexing="ij")
    image[0, : height // 2, : width // 2] += 0.4 * torch.sin(1.5 * x) * torch.cos(1.2 * y)
    return image, lambda gaussians: (gaussians.means < torch.tensor([width / 2, height / 2])).all(1).sum().item()


def test_optimize_moves_gaussians_to_detail():
    """Plain gradient descent leaves Gaussians about where they are."""
    image, inside = patch()
    start = grid.initialize(image, 100)
    plain = fit(image, start, FitOptions(200)).gaussians
    optimized, again = (optimize(image, start, 200, seeded(1)) for _ in range(2))
    assert len(optimized) == 100 and torch.equal(optimized.means, again.means)
    assert inside(optimized) > 1.2 * inside(plain)
    assert psnr(render(optimized), image) > psnr(render(plain), image) + 1


# The store


def test_store_keeps_last_two_visits(tmp_path, fitted):
    store = TargetStore(tmp_path / "made")
    assert store.load(3, 0, -1) is None
    for visit in range(3):
        store.save(3, 0, visit, replace(fitted, colors=fitted.colors + visit))
    store.save(3, 1, 0, fitted)
    assert store.load(3, 0, 0) is None and store.load(4, 0, 1) is None
    for visit in (1, 2):
        assert torch.equal(store.load(3, 0, visit).colors, fitted.colors + visit)
    assert torch.equal(store.load(3, 1, 0).colors, fitted.colors)
    next(iter((tmp_path / "made").glob("*-0-2.*"))).unlink()
    assert torch.equal(store.load(3, 0, 2).colors, fitted.colors + 1)  # an epoch left the image out
    store.save(3, 0, 5, fitted)
    assert len(list((tmp_path / "made").iterdir())) == 3
    assert torch.equal(store.load(3, 0, 4).colors, fitted.colors + 1)  # as a run reads it that is resumed before that
    assert torch.equal(store.load(3, 0, 6).colors, fitted.colors) and store.load(3, 0, 0) is None


class Ranks:
    """Strategy of a process among others, some of which see another folder."""

    def __init__(self, is_seen_by_all):
        self.is_seen_by_all, self.is_global_zero = is_seen_by_all, True

    def broadcast(self, value):
        return value

    def barrier(self):
        pass

    def reduce_boolean_decision(self, decision, all):
        return decision and self.is_seen_by_all


def test_all_processes_must_see_one_folder(tmp_path):
    store = TargetStore(tmp_path / "targets")
    store.check_shared(Ranks(True))
    with pytest.raises(ValueError, match=r"^model\.targets: .* is not one folder for all processes"):
        store.check_shared(Ranks(False))
    assert list((tmp_path / "targets").iterdir()) == []
