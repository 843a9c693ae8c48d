"""Tests of the descent on the CPU against the same steps by autograd."""

import pytest
import torch
from against_reference import gaussians_and_target
from torch.nn import functional

from fastgs.fitting.adam import BetaSchedule
from fastgs.fitting.losses import LOSSES
from fastgs.fitting.optimizer import AutogradDescent, LearningRates, OptimizationConfig
from fastgs.fitting.optimizer_cpu import STEPS_PER_SPLIT, CpuDescent
from fastgs.fitting.parametrization import Relative
from fastgs.render import rasterize

NAMES = ("means", "scales", "rotations", "colors")
MSE = LOSSES["mse"]
BATCH = {"counts": [20], "pitches": [(1.0, 1.0)]}


@pytest.mark.parametrize(
    ("count", "blend", "channels", "loss"),
    [
        (1, "normalized", 3, "mse"),
        (63, "normalized", 1, "mse"),
        (64, "sum", 3, "mse"),
        (65, "normalized", 4, "mse"),
        (200, "normalized", 9, "mse"),
        (130, "normalized", 3, "l1"),
        (130, "sum", 2, "mse+ssim"),
    ],
)
def test_cpu_descent_matches_autograd(count, blend, channels, loss):
    gaussians, target = (each.cpu() if isinstance(each, torch.Tensor) else each.to("cpu") for each in
                         gaussians_and_target(count, 33, 58, blend=blend, channels=channels))  # fmt: skip
    # One schedule begins without memory and soon reaches its longest, the other is constant.
    for memory in (BetaSchedule(1, 0.5, 1.7), BetaSchedule(2.5, 0, 5)):
        rates = LearningRates(gradient_betas=memory)
        ours = CpuDescent(Relative(gaussians), target, rates, LOSSES[loss])
        theirs = AutogradDescent(Relative(gaussians), target, rates.config(LOSSES[loss]), "cpu")
        for factor in (1.0, 0.7, 0.2):
            ours.step(factor)
            theirs.step(factor)
        assert ours.finite()
        torch.testing.assert_close(ours.image(), theirs.image().detach(), rtol=0, atol=2e-4)
        for name in NAMES:
            wanted = getattr(theirs.gaussians(), name)
            assert (wanted - getattr(gaussians, name)).abs().max() > 0.01
            torch.testing.assert_close(getattr(ours.gaussians(), name), wanted, rtol=0, atol=2e-3)


def test_image_is_that_of_the_gaussians():
    """Ask for it before each step or only at the end, which decides where the errors of pixels are computed."""
    gaussians, target = gaussians_and_target(100, 40, 50)
    gaussians, target = gaussians.to("cpu"), target.cpu()
    asked, unasked = (CpuDescent(Relative(gaussians), target, LearningRates(), MSE) for _ in range(2))
    for _ in range(STEPS_PER_SPLIT + 1):
        asked.image()
        asked.step(0.5)
        unasked.step(0.5)
    assert torch.equal(asked.image(), unasked.image())
    for name in NAMES:
        assert torch.equal(getattr(asked.gaussians(), name), getattr(unasked.gaussians(), name))
    again = CpuDescent(Relative(unasked.gaussians()), target, LearningRates(), MSE)
    torch.testing.assert_close(again.image(), unasked.image(), rtol=0, atol=2e-6)


def test_cpu_descent_does_not_depend_on_the_number_of_threads():
    gaussians, target = gaussians_and_target(500, 61, 70)
    gaussians, target = gaussians.to("cpu"), target.cpu()
    before, results = torch.get_num_threads(), []
    try:
        for number in (1, 2, 5):
            torch.set_num_threads(number)
            descent = CpuDescent(Relative(gaussians), target, LearningRates(), MSE)
            for _ in range(STEPS_PER_SPLIT + 3):
                descent.step(1.0)
            results.append(descent.gaussians())
    finally:
        torch.set_num_threads(before)
    for name in NAMES:
        assert all(torch.equal(getattr(results[0], name), getattr(other, name)) for other in results[1:])


def test_cpu_descent_notices_divergence():
    gaussians, target = gaussians_and_target(5, 9, 10)
    descent = CpuDescent(Relative(gaussians.to("cpu")), target.cpu(), LearningRates(colors=float("inf")), MSE)
    assert descent.finite()
    descent.step(1.0)
    assert not descent.finite()


def test_optimizers_of_others_get_the_gradient_of_the_mean():
    """They need not be blind to its scale, as `GrowingAdam` is, for which a multiple is computed faster."""
    gaussians, target = gaussians_and_target(20, 13, 18)
    config = OptimizationConfig(
        parametrization=Relative,
        optimizer=lambda groups: torch.optim.SGD(groups, lr=1.0),
        rates=lambda _: dict.fromkeys(Relative.NAMES, 1.0),
        schedule=lambda *_: 1.0,
        loss=MSE,
    )
    descent, variables = AutogradDescent(Relative(gaussians), target, config, "auto"), Relative(gaussians)
    loss = functional.mse_loss(rasterize(*variables.attributes(), **BATCH, height=13, width=18)[0], target)
    wanted = torch.autograd.grad(loss, variables.free["colors"])[0]
    descent.step(1.0)
    torch.testing.assert_close(gaussians.colors - descent.gaussians().colors, wanted, rtol=1e-3, atol=1e-6)
