"""Tests of the descent on the CPU against the same steps by autograd."""

from dataclasses import replace

import pytest
import torch
from against_reference import gaussians_and_target
from torch.nn import functional

from fastgs.fitting.adam import BetaSchedule
from fastgs.fitting.fit import fit
from fastgs.fitting.losses import LOSSES
from fastgs.fitting.optimizer import AutogradDescent, LearningRates, OptimizationConfig
from fastgs.fitting.optimizer_cpu import STEPS_PER_SPLIT, CpuDescent
from fastgs.fitting.options import FitOptions
from fastgs.fitting.parametrization import Relative
from fastgs.fitting.removal import Appraiser
from fastgs.initializers import INITIALIZERS
from fastgs.render import rasterize, render
from fastgs.runtime import threads

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


@pytest.mark.parametrize(("count", "blend", "channels", "loss"), [
    (130, "normalized", 3, "mse"), (65, "sum", 4, "mse"), (3, "normalized", 1, "mse"), (20, "normalized", 3, "l1"),
])  # fmt: skip
@pytest.mark.parametrize("frozen", [False, True])
def test_steps_at_once_are_those_one_by_one(count, blend, channels, loss, frozen):
    gaussians, target = gaussians_and_target(count, 33, 58, blend=blend, channels=channels)
    gaussians, target = gaussians.to("cpu"), target.cpu()
    others = gaussians if frozen else None
    one_by_one, at_once = (
        CpuDescent(Relative(gaussians), target, LearningRates(), LOSSES[loss], others) for _ in range(2)
    )
    factors = [1.0, 0.9, 0.5, 0.2, 0.1]
    for factor in factors:
        one_by_one.step(factor)
    with threads.reserved(1):
        at_once.quality()  # the first step finds the image drawn, the third one does not
        at_once.steps(factors[:2])
        at_once.steps(factors[2:])
    assert torch.equal(one_by_one.image(), at_once.image())
    assert one_by_one.quality() == at_once.quality()
    for name in NAMES:
        assert torch.equal(getattr(one_by_one.gaussians(), name), getattr(at_once.gaussians(), name))


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


@pytest.mark.parametrize(("loss", "blend"), [("mse", "normalized"), ("l1", "normalized"), ("mse", "sum")])
def test_frozen_gaussians_are_drawn_and_stay(loss, blend):
    gaussians, target = gaussians_and_target(170, 40, 50, blend=blend)
    gaussians, target = gaussians.to("cpu"), target.cpu()
    frozen, free = (
        replace(gaussians, **{name: getattr(gaussians, name)[part] for name in NAMES})
        for part in (slice(70), slice(70, None))
    )
    rates = LearningRates()
    ours = CpuDescent(Relative(free), target, rates, LOSSES[loss], frozen)
    theirs = AutogradDescent(Relative(free), target, rates.config(LOSSES[loss]), "cpu", frozen)
    for factor in (1.0, 0.5):
        ours.step(factor)
        theirs.step(factor)
    # One goes, one comes, and the frozen ones are still there.
    keep = torch.arange(len(free)) != 3
    added = replace(free, **{name: getattr(free, name)[3:4] for name in NAMES})
    for descent in (ours, theirs):
        descent.edit(keep, added)
        descent.step(0.5)
    appraisal = ours.appraise(Appraiser(target))
    whole = {name: torch.cat([getattr(frozen, name), getattr(ours.gaussians(), name)]) for name in NAMES}
    image = render(replace(gaussians, **whole))
    torch.testing.assert_close(ours.image(), image, rtol=0, atol=2e-5)
    torch.testing.assert_close(theirs.image().detach(), image, rtol=0, atol=2e-3)
    assert len(appraisal.gaussians) == len(free)
    errors = functional.avg_pool2d((image - target).square().sum(0, keepdim=True), appraisal.side)[0]
    torch.testing.assert_close(appraisal.errors, errors, rtol=0, atol=2e-3)


def test_fit_fills_what_frozen_gaussians_leave():
    """One half of a picture is fitted, then the other beside it: the error is about that of one fit."""
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(3, 6, 8, generator=generator)
    target = functional.interpolate(target[None], size=(48, 64), mode="bicubic").clamp(0, 1)[0]
    start = INITIALIZERS["curvature"](target, 200, generator)
    left = start.means[:, 0] < 32

    def part(gaussians, mask):
        return replace(gaussians, **{name: getattr(gaussians, name)[mask] for name in NAMES})

    options = FitOptions(iterations=60)
    whole = fit(target, start, options)
    first = part(whole.gaussians, whole.gaussians.means[:, 0] < 32)
    second = fit(target, part(start, ~left), options, frozen=first)
    assert len(second.gaussians) == int((~left).sum())
    assert second.history[0].psnr < second.history[-1].psnr - 3
    assert second.history[-1].psnr > whole.history[-1].psnr - 2
