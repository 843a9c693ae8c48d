"""Gaussians that come, go and move while a fit runs."""

from dataclasses import replace

import pytest
import skimage.data
import torch
from optional import skip_without_kernels
from torch.nn import functional

from fastgs.adam import Memory
from fastgs.densification import Edit, Relocation, place
from fastgs.descent import AutogradDescent, Rates
from fastgs.fitting import fit
from fastgs.gaussians import Gaussians
from fastgs.initializers import curvature
from fastgs.parametrization import Relative
from fastgs.render import render

NAMES = ("means", "scales", "rotations", "colors")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def image():
    pixels = skimage.data.chelsea()[100:148, 150:214]
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255


def joined(first, second):
    return replace(first, **{name: torch.cat([getattr(first, name), getattr(second, name)]) for name in NAMES})


class Still:
    """A descent that stands still."""

    def __init__(self, gaussians):
        self.gaussians = lambda: gaussians
        self.image = lambda: render(gaussians)


@pytest.mark.parametrize("blend", ["normalized", "sum"])
def test_idle_gaussians_move_to_the_error(image, blend):
    """Ten hide among others, a black hole is torn into the image: they are the ones that go there."""
    fitted = fit(image, replace(curvature.initialize(image, 150, seeded()), blend=blend), iterations=60).gaussians
    hole = image.clone()
    hole[:, 20:30, 40:50] = 1 - hole[:, 20:30, 40:50]
    tiny = torch.full((10, 2), 0.02)  # between the pixels' centres
    idle = Gaussians(
        torch.arange(10.0)[:, None] * 4 + torch.tensor([3.0, 5.0]), tiny, torch.zeros(10), torch.ones(10, 3), 48, 64
    )
    keep, added = Relocation([0.5], [10 / 160], seeded()).edit(0, hole, Still(joined(fitted, idle)))
    assert keep.tolist() == [True] * 150 + [False] * 10
    assert len(added) == 10
    assert added.blend == blend
    inside = ((added.means >= torch.tensor([36.0, 16.0])) & (added.means <= torch.tensor([54.0, 34.0]))).all(1)
    assert inside.sum() >= 9
    assert (added.scales >= 0.3).all()


def test_relocation_leaves_the_number_as_it_is(image):
    initial = curvature.initialize(image, 60, seeded())
    result = fit(image, initial, iterations=30, densification=lambda _: Relocation([0.2, 0.4], [0.2, 0.1], seeded()))
    again = fit(image, initial, iterations=30, densification=lambda _: Relocation([0.2, 0.4], [0.2, 0.1], seeded()))
    without = fit(image, initial, iterations=30)
    assert len(result.gaussians) == 60
    assert torch.equal(result.image, again.image)
    assert not torch.equal(result.image, without.image)


def test_schedule_of_relocations():
    """More of them, and of more Gaussians, in longer fits of fewer; less and less towards the end."""
    for steps in (0, 1, 40, 200, 3000):
        for per_pixel in (0.0, 0.01, 0.3):
            strategy = Relocation.for_steps(steps, per_pixel)
            assert len(strategy.events) == len(strategy.shares)
            assert list(strategy.events) == sorted(strategy.events)
            assert list(strategy.shares) == sorted(strategy.shares, reverse=True)
            assert all(0 < event < 1 for event in strategy.events)
            assert all(0 <= share < 0.5 for share in strategy.shares)
            assert not strategy.grows
    assert len(Relocation.for_steps(3000, 0.01).events) > len(Relocation.for_steps(200, 0.01).events) > 0
    assert Relocation.for_steps(200, 0.01).shares[0] > Relocation.for_steps(200, 0.3).shares[0]


def test_placed_gaussians_are_as_wide_as_there_is_room(image):
    gaussians = curvature.initialize(image, 100, seeded())
    keep = torch.ones(100, dtype=torch.bool)
    keep[:50] = False
    black = torch.zeros_like(image)
    added = place(image, black, gaussians, keep, seeded())
    assert len(added) == 50
    # 100 Gaussians on 48 x 64 pixels are 5.5 pixels apart; 0.42 of that is their size.
    assert 1.2 < added.scales.median() < 4
    assert len(place(image, black, gaussians, torch.ones(100, dtype=torch.bool), seeded())) == 0


class Growing:
    """Half at the start, the rest at given shares of the run."""

    grows = True

    def __init__(self, events, gaussians):
        self.events, self.seen, self._gaussians = events, [], gaussians

    def edit(self, event, target, descent):
        self.seen.append((event, len(descent.gaussians())))
        return Edit(torch.ones(len(descent.gaussians()), dtype=torch.bool), self._gaussians)


@pytest.mark.parametrize("budget", [{"iterations": 0}, {"iterations": 1}, {"iterations": 25}, {"seconds": 0.0}])
def test_all_events_take_place(image, budget):
    strategy = Growing([0.0, 0.1, 0.5, 1.0], curvature.initialize(image, 5, seeded(1)))
    result = fit(image, curvature.initialize(image, 20, seeded()), densification=lambda _: strategy, **budget)
    assert strategy.seen == [(0, 20), (1, 25), (2, 30), (3, 35)]
    assert len(result.gaussians) == 40


def test_a_fit_does_not_end_before_all_are_there(image):
    strategy = Growing([0.5], curvature.initialize(image, 5, seeded(1)))
    initial = curvature.initialize(image, 20, seeded())
    result = fit(image, initial, iterations=40, target_psnr=1.0, densification=lambda _: strategy)
    assert len(result.gaussians) == 25
    assert result.history[-1].iteration == 20


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the interpreter computes with NumPy
def test_cuda_descent_edits_as_autograd_does():
    """On a CPU in Triton's interpreter, several times and in any order with steps."""
    skip_without_kernels()
    from test_cuda import gaussians_and_target

    from fastgs.descent_cuda import CudaDescent

    gaussians, target = gaussians_and_target(8, 9, 18)
    rates = Rates(gradient_memory=Memory(2.5, 0, 2.5), square_memory=Memory(5, 0, 5))
    ours = CudaDescent(Relative(gaussians), target, rates)
    theirs = AutogradDescent(Relative(gaussians), target, rates.recipe(functional.mse_loss), "auto")
    generator = seeded()
    for turn, (steps, added) in enumerate([(0, 2), (2, 4), (1, 0)]):
        for _ in range(steps):
            ours.step(0.7)
            theirs.step(0.7)
        keep = torch.rand(len(theirs.gaussians()), generator=generator).to(target.device) < 0.8
        fresh = gaussians_and_target(added, 9, 18, seed=turn + 1)[0]
        before = theirs.gaussians()
        for descent in (ours, theirs):
            descent.edit(keep, fresh)
        assert len(ours.gaussians()) == int(keep.sum()) + added
        torch.testing.assert_close(ours.gaussians().means[: int(keep.sum())], before.means[keep], rtol=0, atol=1e-3)
        torch.testing.assert_close(ours.image(), theirs.image().detach(), rtol=0, atol=2e-4)
    ours.step(1.0)
    theirs.step(1.0)
    assert ours.finite()
    for name in NAMES:
        torch.testing.assert_close(
            getattr(ours.gaussians(), name), getattr(theirs.gaussians(), name), rtol=0, atol=1e-3
        )
