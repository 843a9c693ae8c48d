import pytest
import torch

from fastgs.fitting.batch import fit_batch
from fastgs.fitting.fit import fit
from fastgs.fitting.options import FitOptions
from fastgs.initializers import INITIALIZERS
from fastgs.metrics.quality import psnr
from fastgs.render import render

SIZES, COUNTS = [(16, 16), (12, 20), (16, 16)], [64, 40, 100]


@pytest.fixture(scope="module")
def batch():
    """Return images of different size, contrast and number of Gaussians."""
    generator = torch.Generator().manual_seed(5)
    targets = []
    for contrast, (height, width) in zip((0.1, 1.0, 0.5), SIZES, strict=True):
        noise = torch.rand(1, 3, height // 4, width // 4, generator=generator)
        image = torch.nn.functional.interpolate(noise, (height, width), mode="bicubic")[0].clamp(0, 1)
        targets.append(0.5 + contrast * (image - 0.5))
    starts = [INITIALIZERS["grid"](*pair, generator) for pair in zip(targets, COUNTS, strict=True)]
    return targets, starts


def test_fit_batch_gives_what_fits_of_single_images_do(batch):
    targets, starts = batch
    together = fit_batch(targets, starts, 20)
    for number, (target, start) in enumerate(zip(targets, starts, strict=True)):
        alone = fit(target, start, FitOptions(20))
        assert torch.equal(together.gaussians[number].means, alone.gaussians.means)
        assert torch.equal(together.images[number], alone.image)
        psnrs = together.first_psnrs[number], together.psnrs[number]
        assert psnrs == (alone.history[0].psnr, alone.history[-1].psnr)


def test_steps_in_common_match_fits_of_single_images(batch):
    """They are equal to the rounding of float32, whatever else is in the batch."""
    targets, starts = batch
    together = fit_batch(targets, starts, 20, backend="reference")
    for number, (target, start) in enumerate(zip(targets, starts, strict=True)):
        found = together.gaussians[number]
        assert (found.height, found.width, len(found)) == (*SIZES[number], COUNTS[number])
        assert together.psnrs[number] == pytest.approx(psnr(render(found), target), abs=1e-3)
        alone = fit(target, start, FitOptions(20))
        assert together.psnrs[number] == pytest.approx(alone.history[-1].psnr, abs=0.1)
        torch.testing.assert_close(render(found), alone.image, atol=5e-3, rtol=0)


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_fit_batch_repeats_exactly(batch, backend):
    first, second = fit_batch(*batch, 5, backend=backend), fit_batch(*batch, 5, backend=backend)
    assert first.psnrs == second.psnrs
    for one, other in zip(first.gaussians, second.gaussians, strict=True):
        assert torch.equal(one.means, other.means) and torch.equal(one.colors, other.colors)


def test_fit_batch_of_no_steps_returns_the_start(batch):
    targets, starts = batch
    result = fit_batch(targets, starts, 0)
    for found, start in zip(result.gaussians, starts, strict=True):
        torch.testing.assert_close(found.scales, start.scales)
        assert torch.equal(found.colors, start.colors)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda targets, starts: ([], []), "targets: the batch is empty"),
        (lambda targets, starts: (targets[:2], starts), "3 starts"),
        (lambda targets, starts: ([targets[1], *targets[1:]], starts), r"targets\[0\]: expected shape \(3, 16, 16\)"),
        (lambda targets, starts: ([targets[0] * torch.nan, *targets[1:]], starts), r"targets\[0\]: holds NaN"),
    ],
)
def test_fit_batch_refuses_wrong_batches(batch, change, message):
    with pytest.raises(ValueError, match=message):
        fit_batch(*change(*batch), 1)
