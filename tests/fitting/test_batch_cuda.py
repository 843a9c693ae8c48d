"""Fits of several images at once by the kernels of a GPU, which Triton's interpreter stands in for."""

import pytest
import torch
from against_reference import DEVICE, gaussians_and_target
from optional import skip_without_kernels

from fastgs.fitting.fit import fit
from fastgs.fitting.optimizer import LearningRates
from fastgs.fitting.options import FitOptions
from fastgs.fitting.parametrization import Relative

skip_without_kernels()
from fastgs.fitting import batch  # noqa: E402
from fastgs.fitting.batch_cuda import KernelBatch  # noqa: E402
from fastgs.fitting.batch_descent import join  # noqa: E402
from fastgs.fitting.optimizer_cuda import CudaDescent  # noqa: E402

# The interpreter computes with NumPy, which warns where a GPU does not.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@pytest.mark.slow
@pytest.mark.parametrize(("blend", "channels"), [("normalized", 3), ("sum", 1)])
def test_images_of_a_batch_are_fitted_as_if_alone(blend, channels):
    """They have other numbers of Gaussians and other errors, and one Gaussian of each is replaced on the way."""
    counts, rates = (5, 3, 9), LearningRates()
    pairs = [gaussians_and_target(count, 9, 11, count, blend, channels) for count in counts]
    starts, targets = zip(*pairs, strict=True)
    targets = [target * contrast for target, contrast in zip(targets, (1.0, 0.2, 0.6), strict=True)]
    added = [gaussians_and_target(1, 9, 11, 20 + count, blend, channels)[0] for count in counts]
    together = KernelBatch(targets, starts, rates)
    alone = [CudaDescent(Relative(start), target, rates) for start, target in zip(starts, targets, strict=True)]
    keeps = [torch.arange(count, device=DEVICE) != 1 for count in counts]
    for factor in (1.0, 0.7):
        for descent in (together, *alone):
            descent.step(factor)
    together.edit(torch.cat(keeps), join(added))
    for edit in zip(alone, keeps, added, strict=True):
        CudaDescent.edit(*edit)
    for descent in (together, *alone):
        descent.step(0.5)
    psnrs = together.psnrs()
    for number, (found, image, wanted) in enumerate(zip(together.each(), together.images(), alone, strict=True)):
        torch.testing.assert_close(image, wanted.image(), rtol=0, atol=1e-5)
        assert psnrs[number] == pytest.approx(wanted.quality(), abs=1e-3)
        for name in ("means", "scales", "rotations", "colors"):
            torch.testing.assert_close(getattr(found, name), getattr(wanted.gaussians(), name), rtol=0, atol=1e-4)


@pytest.mark.slow
def test_batches_of_one_size_are_fitted_by_the_kernels(monkeypatch):
    """Those of several sizes are not; both give what fits of single images do."""
    monkeypatch.setattr(batch, "choose", lambda *_, **__: "cuda")
    made, make = [], batch._make_descent
    monkeypatch.setattr(batch, "_make_descent", lambda *arguments: made.append(make(*arguments)) or made[-1])
    for width in (8, 7):
        starts, targets = zip(*(gaussians_and_target(4, 8, side, seed=side) for side in (8, width)), strict=True)
        found = batch.fit_batch(targets, starts, 3)
        assert isinstance(made[-1], KernelBatch) == (width == 8)
        for number, (start, target) in enumerate(zip(starts, targets, strict=True)):
            alone = fit(target, start, FitOptions(3))
            torch.testing.assert_close(found.images[number], alone.image, rtol=0, atol=1e-3)
            assert found.psnrs[number] == pytest.approx(alone.history[-1].psnr, abs=1e-2)
            assert found.first_psnrs[number] == pytest.approx(alone.history[0].psnr, abs=1e-3)
