"""Tests of the Triton backend against the reference, on a GPU or else in Triton's interpreter."""

import gc
import math
import weakref
from dataclasses import replace

import pytest
import torch
from against_reference import (
    DEVICE,
    assert_equal_to_reference,
    gaussians_and_target,
    random_tensors,
    render_with_gradients,
)
from optional import skip_without_kernels
from torch.nn import functional

from fastgs.fitting.adam import BetaSchedule
from fastgs.fitting.densification import relocation
from fastgs.fitting.fit import fit
from fastgs.fitting.optimizer import AutogradDescent, LearningRates
from fastgs.fitting.options import FitOptions
from fastgs.fitting.parametrization import Relative
from fastgs.render import reference

skip_without_kernels()
from fastgs.fitting import optimizer_cuda  # noqa: E402
from fastgs.fitting.optimizer_cuda import CudaDescent  # noqa: E402
from fastgs.render import cuda, cuda_bin_kernels, cuda_kernels  # noqa: E402

# The interpreter computes with NumPy, which warns where a GPU does not.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

BLENDS = pytest.mark.parametrize("blend", ["normalized", "sum"])
CHOOSE_SHAPE = cuda.choose_shape
GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


def on_device(tensors):
    return [tensor.to(DEVICE) for tensor in tensors]


CASES = {
    "every size": random_tensors(40, 19, 26),
    "narrower than a pixel": random_tensors(40, 19, 26, scales=lambda uniform: 0.05 + 0.1 * uniform(40, 2)),
    "1 to 1000 times the image": random_tensors(9, 19, 26, scales=lambda uniform: 26 * 1000 ** uniform(9, 2)),
    "off the canvas": random_tensors(
        30, 19, 26, means=lambda uniform: 200 * uniform(30, 2) - 90, scales=lambda uniform: 0.5 + 50 * uniform(30, 2)
    ),
    "needles": random_tensors(12, 19, 26, scales=lambda _: torch.tensor([[0.05, 500.0], [500.0, 0.05]]).repeat(6, 1)),
    # More Gaussians than pixels in a tile, and than are sorted at a time.
    "100 on a tile": random_tensors(100, 8, 8, scales=lambda uniform: 0.5 + 3 * uniform(100, 2)),
}
SIZES = {"100 on a tile": (8, 8)}
# The offset along a needle of 0.05 px is thousands of its widths, of which float32 keeps four decimals.
TOLERANCES = {"needles": {"value": 1e-4, "gradient": 4e-3}}


@pytest.mark.slow
@BLENDS
@pytest.mark.parametrize("case", CASES)
def test_cuda_matches_the_reference(case, blend):
    height, width = SIZES.get(case, (19, 26))
    assert_equal_to_reference(on_device(CASES[case]), height, width, blend, cuda, **TOLERANCES.get(case, {}))


@pytest.mark.slow
@BLENDS
def test_cuda_matches_the_reference_on_ragged_batches(blend):
    """Neither tiles nor Gaussians of one image affect another, with canvases of different sizes and empty images."""
    counts, pitches = [20, 0, 1, 30, 0], [(1.0, 1.0), (1.0, 1.0), (0.5, 2.0), (1.3, 0.7), (1.0, 1.0)]
    tensors = on_device(random_tensors(51, 11, 17))
    assert_equal_to_reference(tensors, 11, 17, blend, cuda, counts=counts, pitches=pitches)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (8, 8), (9, 7), (1, 25)])
def test_cuda_matches_the_reference_at_borders_of_tiles(height, width):
    assert_equal_to_reference(on_device(random_tensors(12, height, width)), height, width, "normalized", cuda)


@BLENDS
def test_cuda_renders_no_gaussians_as_black(blend):
    nothing = [tensor.requires_grad_() for tensor in on_device(random_tensors(0, 9, 10))]
    images, gradients = render_with_gradients(nothing, 9, 10, blend, cuda)
    assert torch.equal(images, torch.zeros_like(images))
    assert [len(each) for each in gradients] == [0] * 4


@pytest.mark.slow
@pytest.mark.parametrize("lanes", [4, 32, 64])
def test_cuda_gradients_do_not_depend_on_the_number_of_lanes(lanes, monkeypatch):
    """The lanes of a Gaussian cover whole rows of its box at a time, or parts of one; only rounding differs."""
    monkeypatch.setattr(cuda, "choose_shape", lambda pixels: cuda.Shape(max(1, 32 // lanes), lanes, 1))
    assert_equal_to_reference(on_device(random_tensors(13, 12, 17)), 12, 17, "normalized", cuda)


@pytest.mark.slow
def test_cuda_is_deterministic():
    first, second = (render_with_gradients(on_device(CASES["every size"]), 19, 26, "sum", cuda) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert all(torch.equal(one, other) for one, other in zip(first[1], second[1], strict=True))


@pytest.mark.slow
def test_cuda_keeps_improper_values_within_their_image():
    """With NaN, infinity or huge numbers in a tensor, the other image and its gradients are not affected."""
    sound = on_device(random_tensors(6, 7, 9))
    batch = {"counts": [3, 3], "pitches": [(1.0, 1.0), (0.5, 2.0)], "height": 7, "width": 9, "normalized": True}
    wanted = cuda.rasterize(*sound, **batch)[1]
    for which in range(4):
        for value in (float("nan"), float("inf"), -float("inf"), 3e38, 0.0, -1.0, 2.0**31):
            tensors = [tensor.clone() for tensor in sound]
            tensors[which][0] = value
            tensors = [tensor.requires_grad_() for tensor in tensors]
            images = cuda.rasterize(*tensors, **batch)
            images.sum().backward()
            assert torch.equal(images[1], wanted), (which, value)
            assert all(torch.isfinite(tensor.grad[3:]).all() for tensor in tensors), (which, value)


def binned(tensors, height, width, counts=None, pitches=None):
    """Return the pairs (tile, Gaussian) of the bins, sorted."""
    counts = counts or [len(tensors[0])]
    pitches = pitches or [(1.0, 1.0)] * len(counts)
    layout = cuda.lay_out(tuple(counts), tuple(pitches), height, width, torch.device(DEVICE))
    bins = cuda.find_tiles(cuda.prepare(*on_device(tensors)), layout)
    assert torch.equal(bins.counts, bins.starts.diff())
    tiles = torch.arange(len(bins.counts), device=DEVICE).repeat_interleave(bins.counts)
    return layout, set(zip(tiles.tolist(), bins.bins.tolist(), strict=True))


def weighed(tensors, layout, counts, pitches):
    """Return the pairs of a tile and a Gaussian that weighs something in it, and those within its bounding box."""
    rows, columns = layout.tiles
    inner = torch.arange(8, dtype=torch.float64) + 0.5
    touched, boxed, first = set(), set(), 0
    for image, (count, (pitch_y, pitch_x)) in enumerate(zip(counts, pitches, strict=True)):
        for tile in range(rows * columns):
            y, x = tile // columns * 8 + inner, tile % columns * 8 + inner
            y, x = y[y < layout.height] * pitch_y, x[x < layout.width] * pitch_x
            means, scales, rotations, _ = (each[first : first + count].double() for each in tensors)
            weights = reference.weights(means, scales, rotations, torch.cartesian_prod(y, x).flip(1))
            cosine, sine = rotations.cos().square(), rotations.sin().square()
            u, v = scales.square().unbind(1)
            extents = 3.5 * torch.stack([cosine * u + sine * v, sine * u + cosine * v], 1).sqrt()
            low, high = means - extents, means + extents
            near = (high[:, 0] > x[0]) & (low[:, 0] < x[-1]) & (high[:, 1] > y[0]) & (low[:, 1] < y[-1])
            number = image * rows * columns + tile
            touched |= {(number, first + each) for each in (weights > 1e-9).any(0).nonzero()[:, 0].tolist()}
            boxed |= {(number, first + each) for each in near.nonzero()[:, 0].tolist()}
        first += count
    return touched, boxed


@pytest.mark.slow
def test_bins_hold_all_that_weighs_and_little_else():
    counts, pitches = [30, 0, 25], [(1.0, 1.0), (1.0, 1.0), (0.5, 2.0)]
    tensors = random_tensors(55, 48, 65, scales=lambda uniform: 0.3 * 60 ** uniform(55, 2))
    layout, found = binned(tensors, 37, 50, counts, pitches)
    touched, boxed = weighed(tensors, layout, counts, pitches)
    assert len(touched) > 250
    assert touched <= found
    # Between the pixels and within the rounding there is room for some that weigh nothing in any pixel.
    assert len(found) < 1.06 * len(touched) < 0.9 * len(boxed)


def test_one_gaussian_over_the_canvas_is_in_every_tile():
    """A needle is in those that it crosses."""
    one = random_tensors(1, 90, 130, scales=lambda _: torch.full((1, 2), 1e4))
    layout, found = binned(one, 90, 130)
    assert len(found) == layout.tiles[0] * layout.tiles[1]
    means, _, _, colors = one
    needle = means * 0, torch.tensor([[0.4, 500.0]]), torch.tensor([-math.pi / 4]), colors
    _, found = binned(needle, 90, 130)
    assert {tile for tile, _ in found} == {
        row * 17 + column for row in range(12) for column in range(17) if abs(row - column) <= 1
    } - {16 * 17}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("blend", "channels"), [("normalized", 3), ("sum", 3), ("normalized", 1), ("sum", 2), ("normalized", 4)]
)
def test_cuda_descent_matches_autograd(blend, channels, monkeypatch):
    if channels == 1:  # the shape that a device has
        monkeypatch.setattr(cuda, "choose_shape", CHOOSE_SHAPE)
    gaussians, target = gaussians_and_target(12, 9, 14, blend=blend, channels=channels)
    # One schedule begins without memory and soon reaches its longest, the other is constant.
    for memory in (BetaSchedule(1, 0.5, 1.7), BetaSchedule(2.5, 0, 5)):
        rates = LearningRates(gradient_betas=memory)
        ours = CudaDescent(Relative(gaussians), target, rates)
        theirs = AutogradDescent(Relative(gaussians), target, rates.config(), "auto")
        for factor in (1.0, 0.7, 0.2):
            ours.step(factor)
            theirs.step(factor)
        assert ours.finite()
        torch.testing.assert_close(ours.image(), theirs.image().detach(), rtol=0, atol=1e-4)
        for name in ("means", "scales", "rotations", "colors"):
            wanted = getattr(theirs.gaussians(), name)
            assert (wanted - getattr(gaussians, name)).abs().max() > 0.01
            torch.testing.assert_close(getattr(ours.gaussians(), name), wanted, rtol=0, atol=1e-3)


def test_descents_keep_what_the_last_channel_means():
    gaussians, target = gaussians_and_target(5, 9, 10, channels=4)
    descent = CudaDescent(Relative(replace(gaussians, alpha=True)), target, LearningRates())
    assert descent.gaussians().alpha


QUESTIONS = {
    "gaussians": lambda descent: descent.gaussians(),
    "appraise": lambda descent: descent.appraise(lambda gaussians, image: gaussians),
    "finite": lambda descent: descent.finite(),
}


@pytest.mark.slow
def test_cuda_descent_cuts_large_gaussians(monkeypatch):
    """Their boxes are cut into slices, the last of which may be shorter; one alone has all its pixels in slices."""
    monkeypatch.setattr(optimizer_cuda, "SLICE", 40)
    for count, longest in ((1, 0), (7, 1)):
        monkeypatch.setattr(optimizer_cuda, "LONGEST", longest)
        gaussians, target = gaussians_and_target(count, 11, 14)
        gaussians = replace(gaussians, scales=gaussians.scales * torch.linspace(1, 4, count)[:, None].to(DEVICE))
        ours = CudaDescent(Relative(gaussians), target, LearningRates())
        theirs = AutogradDescent(Relative(gaussians), target, LearningRates().config(), "auto")
        for factor in (1.0, 0.5):
            ours.step(factor)
            theirs.step(factor)
        torch.testing.assert_close(ours.image(), theirs.image().detach(), rtol=0, atol=1e-4)
        slices = int(ours._state[cuda_bin_kernels.SLICES.value])
        assert count / 4 < slices <= count * math.ceil(11 * 14 / 40)
        for name in ("means", "scales", "rotations", "colors"):
            ours_now, wanted = (getattr(each.gaussians(), name) for each in (ours, theirs))
            torch.testing.assert_close(ours_now, wanted, rtol=0, atol=1e-3)


def images_of(descent):
    """Return the number of images that a descent has made on the device."""
    return int(descent._state[cuda_bin_kernels.IMAGES.value])


@pytest.mark.slow
@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
def test_cuda_descent_repeats_steps_when_bins_overflow(question):
    """When Gaussians need more room in a bin than there is, the steps since then are repeated with more."""
    gaussians, target = gaussians_and_target(7, 9, 8)
    factors = [1.0, 0.9, 0.5, *[0.4] * (10 if question is QUESTIONS["gaussians"] else 0)]
    roomy, tight = (CudaDescent(Relative(gaussians), target, LearningRates()) for _ in range(2))
    for descent in (roomy, tight):
        descent.step(factors[0])
        descent.image()
    bins = tight._bins
    bins.starts.clamp_(max=15)  # room for the first tile only
    for factor in factors[1:]:
        roomy.step(factor)
        tight.step(factor)
    assert images_of(tight) == 2
    # Asking for the Gaussians repeats the steps, and so does every other question.
    question(tight)
    assert images_of(tight) == 1 + len(factors)
    now = tight.gaussians()
    assert torch.equal(tight.image(), roomy.image())
    for name in ("means", "scales", "rotations", "colors"):
        assert torch.equal(getattr(now, name), getattr(roomy.gaussians(), name))
    tight.step(1.0)
    roomy.step(1.0)
    assert torch.equal(tight.image(), roomy.image())


@pytest.mark.slow
def test_cuda_descent_is_freed_at_once():
    """Its memory does not wait for a search for cycles."""
    gaussians, target = gaussians_and_target(5, 9, 10)
    descent = CudaDescent(Relative(gaussians), target, LearningRates())
    for _ in range(3):
        descent.step(1.0)
    descent.edit(torch.tensor([True] * 4 + [False], device=target.device), gaussians_and_target(1, 9, 10)[0])
    descent.step(1.0)
    rows, itself = weakref.ref(descent._rows), weakref.ref(descent)
    gc.disable()
    try:
        del descent
        assert itself() is None and rows() is None
    finally:
        gc.enable()


def test_cuda_descent_notices_divergence():
    gaussians, target = gaussians_and_target(5, 9, 10)
    descent = CudaDescent(Relative(gaussians), target, LearningRates(colors=float("inf")))
    assert descent.finite()
    descent.step(1.0)
    assert not descent.finite()


def test_constants_match_the_reference():
    assert cuda_bin_kernels.CUTOFF.value == reference.CUTOFF
    edge = cuda_kernels.FADE_SLOPE.value * cuda_bin_kernels.UNIT.value
    for distance, fade in ((reference.FADE_START, 1), (reference.CUTOFF, 0)):
        assert cuda_kernels.FADE_OFFSET.value - edge * distance**2 == pytest.approx(fade, abs=1e-12)


class TestOnAGpu:
    """Tests that need a device: CUDA graphs, and whole fits."""

    pytestmark = GPU

    def test_fit_is_as_good_as_on_the_cpu(self):
        gaussians, target = gaussians_and_target(2000, 96, 130)
        target = functional.avg_pool2d(target[None], 9, 1, 4)[0]
        on_gpu = fit(target, gaussians, FitOptions(100)).history
        on_cpu = fit(target.cpu(), gaussians.to("cpu"), FitOptions(100)).history
        assert [entry.iteration for entry in on_gpu] == [entry.iteration for entry in on_cpu]
        assert on_gpu[-1].psnr == pytest.approx(on_cpu[-1].psnr, abs=0.1)

    def test_fit_is_deterministic(self):
        gaussians, target = gaussians_and_target(2000, 96, 130)
        first, second = (fit(target, gaussians, FitOptions(30)) for _ in range(2))
        assert torch.equal(first.image, second.image)

    def test_relocation_is_deterministic_and_leaves_no_memory(self):
        gaussians, target = gaussians_and_target(2000, 96, 130)
        images, memory = [], []
        for _ in range(3):
            moves = relocation(gaussians, torch.Generator().manual_seed(0))
            images.append(fit(target, gaussians, FitOptions(65), densification=moves).image.cpu())
            memory.append(torch.cuda.memory_allocated())
        assert torch.equal(images[0], images[1])
        assert memory[1] == memory[2]

    @pytest.mark.parametrize("loss", ["l1", "mse+ssim"])
    def test_fit_takes_other_losses(self, loss):
        gaussians, target = gaussians_and_target(500, 40, 50)
        history = fit(target, gaussians, FitOptions(20, loss=loss)).history
        assert history[-1].psnr > history[0].psnr

    def test_fit_in_float64_keeps_the_precision(self):
        gaussians, target = gaussians_and_target(50, 20, 30)
        doubles = gaussians.to(torch.float64)
        fitted = fit(target.double(), replace(doubles), FitOptions(3))
        assert fitted.image.dtype == torch.float64
