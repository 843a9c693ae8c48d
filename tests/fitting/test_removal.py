"""Appraisal of Gaussians by the kernels: as by plain torch, for any number of threads."""

import pytest
import torch
from seeds import seeded
from torch.nn import functional

from fastgs.fitting import removal
from fastgs.fitting.removal import Appraiser, removal_errors
from fastgs.gaussians import Gaussians
from fastgs.initializers.filters import smooth
from fastgs.render import render


def scattered(count, channels, height, width, seed=0):
    """Return Gaussians of all sizes, also beyond the borders, and a target."""
    generator = seeded(seed)
    means = (1.4 * torch.rand(count, 2, generator=generator) - 0.2) * torch.tensor([width, height])
    scales = 0.3 + 4 * torch.rand(count, 2, generator=generator) ** 2
    rotations, colors = torch.randn(count, generator=generator), torch.rand(count, channels, generator=generator)
    target = torch.rand(channels, height, width, generator=generator)
    return Gaussians(means, scales, rotations, colors, height, width), target


def refuse():
    raise AssertionError("the kernels render by themselves")


@pytest.mark.parametrize(
    ("channels", "height", "width"),
    [(3, 40, 57), (3, 33, 64), (1, 1, 1), (1, 5, 3), (2, 3, 90), (4, 70, 5), (16, 9, 11)],
)
def test_appraisal_is_that_of_torch(channels, height, width):
    gaussians, target = scattered(60, channels, height, width)
    drawn = render(gaussians)
    appraisal = Appraiser(target)(gaussians, refuse)
    wanted = removal_errors(gaussians, drawn)
    found, result = appraisal.removal_errors(lambda: "done")
    assert result == "done"
    errors = (drawn - target).square().sum(0)
    cells = functional.avg_pool2d(errors[None], appraisal.side, ceil_mode=True)[0]
    assert appraisal.side == (2 if height * width >= 16 * 60 else 1)
    torch.testing.assert_close(appraisal.errors, cells, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert (found >= 0).all()


def test_gaussians_outside_are_worth_nothing():
    gaussians, target = scattered(5, 3, 20, 20)
    away = Gaussians(gaussians.means + 1000, gaussians.scales, gaussians.rotations, gaussians.colors, 20, 20)
    appraisal = Appraiser(target)(away, refuse)
    found, _ = appraisal.removal_errors(int)
    assert found.tolist() == [0.0] * 5
    torch.testing.assert_close(appraisal.errors, functional.avg_pool2d(target.square().sum(0)[None], 2)[0])


@pytest.mark.parametrize("kept", [0, 2**26])
def test_appraisals_follow_one_another(kept, monkeypatch):
    """Memory that is kept leaves no trace; beyond a size it is not kept."""
    monkeypatch.setattr(removal, "KEPT_BYTES", kept)
    first, target = scattered(50, 3, 31, 45)
    second, _ = scattered(70, 3, 31, 45, seed=1)
    appraiser = Appraiser(target)
    for gaussians in (first, second, first):
        appraisal, fresh = (each(gaussians, refuse) for each in (appraiser, Appraiser(target)))
        assert torch.equal(appraisal.errors, fresh.errors)
        assert torch.equal(appraisal.removal_errors(int)[0], fresh.removal_errors(int)[0])
    assert all((each is not None) == bool(kept) for each in (appraiser._kept, appraiser._planes))


def test_any_number_of_threads_gives_the_same():
    gaussians, target = scattered(300, 3, 64, 80)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            appraisal = Appraiser(target)(gaussians, refuse)
            results.append((appraisal.errors, appraisal.removal_errors(int)[0], smooth(appraisal.errors, 2.3)))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(results[0], other, strict=True))


def test_a_task_that_fails_is_heard_of():
    gaussians, target = scattered(30, 3, 16, 16)
    with pytest.raises(ZeroDivisionError):
        Appraiser(target)(gaussians, refuse).removal_errors(lambda: 1 / 0)
