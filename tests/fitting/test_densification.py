"""Gaussians that come, go and move while a fit runs."""

import math
from dataclasses import replace
from itertools import islice

import pytest
import skimage.data
import torch
from against_reference import gaussians_and_target
from optional import skip_without_kernels
from scipy.stats import spearmanr
from seeds import seeded

from fastgs.fitting import removal
from fastgs.fitting.adam import BetaSchedule, weights
from fastgs.fitting.densification import (
    DENSITY,
    LAST,
    SHARE,
    Edit,
    Relocation,
    error_density,
    select_useful,
    settle,
)
from fastgs.fitting.fit import fit
from fastgs.fitting.losses import LOSSES
from fastgs.fitting.optimizer import AutogradDescent, Descent, LearningRates
from fastgs.fitting.optimizer_cpu import CpuDescent
from fastgs.fitting.options import FitOptions
from fastgs.fitting.parametrization import Relative
from fastgs.fitting.removal import removal_errors
from fastgs.gaussians import Gaussians
from fastgs.initializers import curvature
from fastgs.initializers.from_density import gaussians_at
from fastgs.initializers.sampling import sample
from fastgs.render import render

NAMES = ("means", "scales", "rotations", "colors")


@pytest.fixture(scope="module")
def image():
    pixels = skimage.data.chelsea()[100:148, 150:214]
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255


def joined(first, second):
    return replace(first, **{name: torch.cat([getattr(first, name), getattr(second, name)]) for name in NAMES})


class Still(Descent):
    """A descent that stands still."""

    def __init__(self, gaussians):
        self.gaussians = lambda: gaussians
        self.image = lambda: render(gaussians)


@pytest.mark.parametrize("blend", ["normalized", "sum"])
def test_relocation_moves_idle_gaussians_to_the_error(image, blend):
    """Ten hide among others, a black hole is torn into the image: they are the ones that go there."""
    fitted = fit(image, replace(curvature.initialize(image, 150, seeded()), blend=blend), FitOptions(60)).gaussians
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


def chosen(gaussians, rows):
    return replace(gaussians, **{name: getattr(gaussians, name)[rows] for name in NAMES})


def test_removal_errors_match_their_definition(image):
    """The image is exact: each Gaussian is drawn alone, and each is really removed.

    The squared weights end where theirs are still 0.05: that may take a few percent away, and adds nothing. Weights
    are less without the Gaussian that goes: the true error is a little larger, and largest for the same ones.
    """
    gaussians = curvature.initialize(image, 40, seeded())
    gaussians = replace(gaussians, scales=2 * gaussians.scales, colors=gaussians.colors - 0.3)
    drawn = render(gaussians)
    white = replace(gaussians, colors=torch.ones(40, 3), blend="sum")
    shares = torch.stack([render(chosen(white, [k]))[0] for k in range(40)]) / render(white)[0]
    changes = shares[:, None] * (gaussians.colors[:, :, None, None] - drawn)
    wanted = changes.square().sum((1, 2, 3))
    removed = torch.stack([render(chosen(gaussians, torch.arange(40) != k)) for k in range(40)])
    grown = (removed - drawn).square().sum((1, 2, 3))
    errors = removal_errors(gaussians, drawn)
    assert (0.8 * wanted < errors).all() and (errors < 1.001 * wanted).all() and (errors < grown).all()
    assert (errors / wanted).median() > 0.95
    assert spearmanr(errors, grown).statistic > 0.97


def test_relocation_keeps_k(image):
    initial = curvature.initialize(image, 60, seeded())
    result = fit(image, initial, FitOptions(30), densification=lambda _: Relocation([0.2, 0.4], [0.2, 0.1], seeded()))
    again = fit(image, initial, FitOptions(30), densification=lambda _: Relocation([0.2, 0.4], [0.2, 0.1], seeded()))
    without = fit(image, initial, FitOptions(30))
    assert len(result.gaussians) == 60
    assert torch.equal(result.image, again.image)
    assert not torch.equal(result.image, without.image)


def test_relocation_schedule_has_its_closed_form():
    """Longer fits of fewer Gaussians have more relocations, of a larger share; it falls towards the end."""
    for steps in (0, 1, 40, 200, 3000):
        for per_pixel in (0.0, 0.01, 0.3):
            strategy = Relocation.for_steps(steps, per_pixel)
            assert len(strategy.events) == len(strategy.shares)
            assert list(strategy.events) == sorted(strategy.events)
            assert list(strategy.shares) == sorted(strategy.shares, reverse=True)
            assert all(0 < event < 1 for event in strategy.events)
            assert all(0 <= share < 0.5 for share in strategy.shares)
            assert not strategy.grows
    # Equal steps down to none behind the last event, which is after 0.7 of the run.
    strategy = Relocation.for_steps(200, 0.01)
    count = len(strategy.events)
    assert strategy.shares == pytest.approx([SHARE * left / count for left in range(count, 0, -1)])
    assert strategy.events == pytest.approx([LAST * done / count for done in range(1, count + 1)])
    # A quarter of the density, twice the share; none beyond.
    first = [Relocation.for_steps(200, factor * DENSITY).shares[0] for factor in (0.5, 1.0, 4.0, 16.0)]
    assert first == pytest.approx([SHARE, SHARE, SHARE / 2, SHARE / 4])
    # The square root of the steps, but no two events within 20 steps, and at least three of them.
    numbers = [len(Relocation.for_steps(steps, 0.01).events) for steps in (59, 60, 200, 400, 3000)]
    assert numbers == [0, 3, 10, 20, 55]


def test_settled_gaussians_are_sized_by_the_space_around():
    """The error is the same everywhere, but 80 Gaussians stay in the left half: 20 among them are smaller."""
    gray, same = torch.full((3, 48, 64), 0.5), torch.full((48, 64), 0.75)
    columns, rows = torch.meshgrid(torch.arange(8) * 4 + 2.0, torch.arange(10) * 4.8 + 2.4, indexing="ij")
    left = torch.stack([columns.ravel(), rows.ravel()], dim=1)
    gaussians = gaussians_at(torch.cat([left, torch.zeros(20, 2)]), gray, torch.full((48, 64), 1 / 48 / 64))
    means = sample(error_density(same, 100), 20, generator=seeded())
    added = settle(means, gray, gaussians, torch.arange(100) < 80)
    assert torch.equal(added.means, means)
    inside = added.means[:, 0] < 30
    assert 7 <= inside.sum() <= 13
    narrow, wide = added.scales[inside].median(), added.scales[added.means[:, 0] > 36].median()
    assert narrow < 0.9 * wide
    # One for itself has a blot of 0.25 of the mean spacing around it, and 0.42 of what room that gives.
    assert wide == pytest.approx(0.42 * (2 * math.pi) ** 0.5 * 0.25 * (48 * 64 / 100) ** 0.5, rel=0.1)
    assert len(settle(means[:0], gray, gaussians, torch.ones(100, dtype=torch.bool))) == 0


def test_error_density_is_uniform_where_errors_say_nothing():
    for value in (0.0, math.inf, math.nan):
        density = error_density(torch.full((5, 9), value), 10)
        assert density.unique().numel() == 1
        assert density[0, 0] > 0
    assert error_density(torch.rand(20, 30, generator=seeded()), 10).sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("count", [0, 1, 7, 8, 12, 40])
def test_those_that_go_are_the_first_of_a_stable_sort(count):
    """Equal ones are no exception: every number comes eight times."""
    errors = torch.randperm(40, generator=seeded()).div(8, rounding_mode="floor").float()
    keep = select_useful(errors, count)
    assert (~keep).nonzero()[:, 0].tolist() == sorted(errors.argsort(stable=True)[:count].tolist())


def test_relocation_without_kernels_is_the_same(image, monkeypatch):
    """On other devices the descent renders, and torch sums up."""
    gaussians = fit(image, curvature.initialize(image, 150, seeded()), FitOptions(30)).gaussians
    keep, added = Relocation([0.5], [0.1], seeded()).edit(0, image, Still(gaussians))
    strategy = Relocation([0.5], [0.1], seeded())
    monkeypatch.setattr(removal, "choose", lambda *_: "reference")
    monkeypatch.setattr(removal.kernels, "appraise", None)
    other_keep, other_added = strategy.edit(0, image, Still(gaussians))
    assert torch.equal(keep, other_keep)
    for name in NAMES:
        torch.testing.assert_close(getattr(added, name), getattr(other_added, name), rtol=1e-5, atol=1e-5)


class Growing:
    """Half at the start, the rest at given shares of the run."""

    grows = True

    def __init__(self, events, gaussians):
        self.events, self.seen, self._gaussians = events, [], gaussians

    def edit(self, event, target, descent):
        self.seen.append((event, len(descent.gaussians())))
        return Edit(torch.ones(len(descent.gaussians()), dtype=torch.bool), self._gaussians)


@pytest.mark.parametrize("budget", [{"iterations": 0}, {"iterations": 1}, {"iterations": 25}, {"seconds": 1e-9}])
def test_fit_runs_every_densification_event(image, budget):
    strategy = Growing([0.0, 0.1, 0.5, 1.0], curvature.initialize(image, 5, seeded(1)))
    result = fit(
        image, curvature.initialize(image, 20, seeded()), FitOptions(**budget), densification=lambda _: strategy
    )
    assert strategy.seen == [(0, 20), (1, 25), (2, 30), (3, 35)]
    assert len(result.gaussians) == 40


def test_fit_reaches_k_before_it_stops_at_target_psnr(image):
    strategy = Growing([0.5], curvature.initialize(image, 5, seeded(1)))
    initial = curvature.initialize(image, 20, seeded())
    result = fit(image, initial, FitOptions(40, target_psnr=1.0), densification=lambda _: strategy)
    assert len(result.gaussians) == 25
    assert result.history[-1].iteration == 20


def test_edit_leaves_the_steps_of_kept_gaussians_unchanged():
    """Six do not touch each other, and two in the middle go; what comes has no memories."""
    means = torch.stack([torch.arange(6) * 8.0 + 4, torch.full((6,), 4.3)], dim=1)
    scales, colors = torch.tensor([[0.9, 0.8]]).expand(6, 2), torch.rand(6, 3, generator=seeded(1))
    gaussians = Gaussians(means, scales, torch.linspace(0, 1, 6), colors, 8, 48, "sum")
    target = torch.rand(3, 8, 48, generator=seeded(2)) * torch.linspace(0.2, 1, 48)
    rates, factor = LearningRates(), 0.1
    config = rates.config()
    edited, other = (AutogradDescent(Relative(gaussians), target, config, "auto") for _ in range(2))
    for descent in (edited, other):
        for _ in range(4):
            descent.step(factor)
    stay = torch.tensor([0, 2, 3, 5])
    edited.edit(torch.isin(torch.arange(6), stay), chosen(gaussians, [1]))
    for step in range(4):
        edited.step(factor)
        other.step(factor)
        for name in NAMES:
            ours, theirs = (getattr(descent.gaussians(), name) for descent in (edited, other))
            torch.testing.assert_close(ours[:4], theirs[stay], rtol=0, atol=1e-6)
        if step == 0:
            (new, known), (new_square, known_square) = (
                next(islice(weights(memory), 4, None)) for memory in (rates.gradient_betas, rates.square_betas)
            )
            unit = (render(gaussians) - target).square().mean().sqrt()
            wanted = factor * rates.colors * unit * new / known / (new_square / known_square) ** 0.5
            moved = (edited.gaussians().colors[4] - colors[1]).abs()
            torch.testing.assert_close(moved, wanted.expand(3), rtol=1e-3, atol=0)


def cuda_descent(gaussians, target, rates):
    """Return the descent on a GPU; on a CPU, it runs in Triton's interpreter."""
    skip_without_kernels()
    from fastgs.fitting.optimizer_cuda import CudaDescent

    return CudaDescent(Relative(gaussians), target, rates)


def cpu_descent(gaussians, target, rates):
    """Return the descent on a CPU."""
    if target.is_cuda:
        pytest.skip("runs where there is no GPU")
    return CpuDescent(Relative(gaussians), target, rates, LOSSES["mse"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the interpreter computes with NumPy
@pytest.mark.parametrize("make", [cuda_descent, cpu_descent])
def test_descent_edits_as_autograd_descent(make):
    """Edits come several times and in any order with steps; the order of the Gaussians may differ."""
    gaussians, target = gaussians_and_target(8, 9, 18)
    rates = LearningRates(gradient_betas=BetaSchedule(2.5, 0, 2.5), square_betas=BetaSchedule(5, 0, 5))
    ours = make(gaussians, target, rates)
    theirs = AutogradDescent(Relative(gaussians), target, rates.config(), "auto")
    generator = seeded()

    def order():
        """Return the numbers that our Gaussians have among theirs."""
        places = torch.cdist(ours.gaussians().means, theirs.gaussians().means).argmin(1)
        assert torch.equal(places.sort().values, torch.arange(len(places), device=places.device))
        return places

    for turn, (steps, added) in enumerate([(0, 2), (2, 4), (1, 0)]):
        for _ in range(steps):
            ours.step(0.7)
            theirs.step(0.7)
        keep = torch.rand(len(theirs.gaussians()), generator=generator).to(target.device) < 0.8
        fresh = gaussians_and_target(added, 9, 18, seed=turn + 1)[0]
        kept = theirs.gaussians().means[keep]
        ours.edit(keep[order()], fresh)
        theirs.edit(keep, fresh)
        assert len(ours.gaussians()) == int(keep.sum()) + added
        assert torch.cdist(kept, ours.gaussians().means).min(1).values.max() < 1e-3
        torch.testing.assert_close(ours.image(), theirs.image().detach(), rtol=0, atol=2e-4)
    ours.step(1.0)
    theirs.step(1.0)
    places = order()
    assert ours.finite()
    for name in NAMES:
        torch.testing.assert_close(
            getattr(ours.gaussians(), name), getattr(theirs.gaussians(), name)[places], rtol=0, atol=1e-3
        )
