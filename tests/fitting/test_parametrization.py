"""Variables are the Gaussians that they were made of, and optimizers remember what they are told to keep."""

import pytest
import torch
from torch.nn import functional

from fastgs.fitting.loss_functions import SquaredError
from fastgs.fitting.optimizer import AutogradDescent, LearningRates
from fastgs.fitting.parametrization import MIN_SCALE, Relative
from fastgs.gaussians import Gaussians

NAMES = ("means", "scales", "rotations", "colors")


def some_gaussians(count, seed=0, blend="normalized"):
    uniform = torch.rand(count, 8, generator=torch.Generator().manual_seed(seed))
    means, scales = 20 * uniform[:, :2], 0.05 + 3 * uniform[:, 2:4]
    return Gaussians(means, scales, 6 * uniform[:, 4], uniform[:, 5:], 18, 22, blend)


def test_relative_returns_the_given_gaussians():
    given = some_gaussians(30)
    made = Relative(given).gaussians()
    for name in NAMES:
        torch.testing.assert_close(getattr(made, name), getattr(given, name), rtol=1e-5, atol=1e-6)
    assert (made.height, made.width, made.blend) == (18, 22, "normalized")


def test_relative_variables_have_their_units():
    """Offsets are in diameters of the Gaussian along its axes, scales above a floor, 0.9 of narrower ones."""
    given = some_gaussians(30)
    variables = Relative(given)
    with torch.no_grad():
        variables.free["offsets"] += torch.tensor([0.5, 0.0])
        variables.free["log_scales"] -= 30
    means, scales, rotations, colors = variables.attributes()
    radius = given.scales.prod(1, keepdim=True).sqrt()
    along = torch.stack([given.rotations.cos(), given.rotations.sin()], dim=1)
    torch.testing.assert_close(means, given.means + radius * along)
    narrow = given.scales * 0.9 < MIN_SCALE
    assert narrow.any() and not narrow.all()
    torch.testing.assert_close(scales, torch.where(narrow, 0.9 * given.scales, MIN_SCALE))
    assert torch.equal(rotations, given.rotations)
    assert torch.equal(colors, given.colors)


def test_parametrization_copies_the_gaussians():
    given = some_gaussians(5)
    variables = Relative(given)
    with torch.no_grad():
        for each in [*variables.free.values(), *variables.fixed.values()]:
            each.fill_(7)
    assert torch.equal(given.means, some_gaussians(5).means)
    assert torch.equal(given.colors, some_gaussians(5).colors)


def test_edit_keeps_the_order_and_appends():
    given, added = some_gaussians(6), some_gaussians(3, seed=1)
    variables = Relative(given)
    with torch.no_grad():
        variables.free["offsets"] += 0.25
    before = variables.gaussians()
    keep = torch.tensor([True, False, True, True, False, True])
    variables.edit(keep, added)
    assert len(variables) == 7
    assert all(each.requires_grad and each.is_leaf for each in variables.free.values())
    for name in NAMES:
        expected = torch.cat([getattr(before, name)[keep], getattr(added, name)])
        torch.testing.assert_close(getattr(variables.gaussians(), name), expected, rtol=1e-5, atol=1e-6)


def descent(gaussians, optimizer="ours"):
    target = torch.rand(3, 18, 22, generator=torch.Generator().manual_seed(5))
    config = LearningRates().config(SquaredError() if optimizer == "ours" else functional.l1_loss)
    return AutogradDescent(Relative(gaussians), target, config, "auto")


@pytest.mark.parametrize("optimizer", ["ours", "another loss"])
def test_edit_keeps_the_optimizer_state_of_kept_gaussians(optimizer):
    walker = descent(some_gaussians(6), optimizer)
    for _ in range(3):
        walker.step(1.0)
    states = [dict(walker._optimizer.state[group["params"][0]]) for group in walker._optimizer.param_groups]
    before = walker.gaussians()
    keep = torch.tensor([False, True, True, False, True, True])
    walker.edit(keep, some_gaussians(2, seed=1))
    assert len(walker._optimizer.state) == len(states) == 4
    for group, old in zip(walker._optimizer.param_groups, states, strict=True):
        (variable,) = group["params"]
        assert variable is walker._variables.free[group["name"]]
        new = walker._optimizer.state[variable]
        assert new["step"] == old["step"] == 3
        for moment in ("exp_avg", "exp_avg_sq"):
            assert old[moment].any()
            assert torch.equal(new[moment][:4], old[moment][keep])
            assert new[moment].shape == variable.shape
            assert not new[moment][4:].any()
    for name in NAMES:
        assert torch.equal(getattr(walker.gaussians(), name)[:4], getattr(before, name)[keep])
    walker.step(1.0)
    for name in NAMES:
        assert (getattr(walker.gaussians(), name)[:4] != getattr(before, name)[keep]).any()
    assert walker.finite()


def test_image_after_edit_is_of_the_new_gaussians():
    walker = descent(some_gaussians(6))
    before = walker.image().detach().clone()
    walker.edit(torch.zeros(6, dtype=torch.bool), some_gaussians(2, seed=1))
    fresh = descent(some_gaussians(2, seed=1))
    assert not torch.equal(walker.image(), before)
    # The scales went through logarithms and back.
    torch.testing.assert_close(walker.image(), fresh.image(), rtol=0, atol=1e-5)


def test_edit_before_the_first_step():
    walker = descent(some_gaussians(6))
    walker.edit(torch.ones(6, dtype=torch.bool), some_gaussians(1, seed=1))
    walker.step(1.0)
    assert len(walker.gaussians()) == 7
