"""Tests of the measures against closed forms and independent implementations."""

import math
import subprocess
import sys

import pytest
import torch
from skimage.metrics import structural_similarity

from fastgs.metrics import quality as metrics
from fastgs.metrics.quality import ms_ssim, psnr, ssim, ssim_loss
from fastgs.metrics.structure import multiscale_similarity, similarity


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(3, 24, 32, generator=generator)
    return target + 0.1 * torch.randn(3, 24, 32, generator=generator), target


def test_psnr_matches_closed_forms():
    black = torch.zeros(3, 4, 5)
    assert psnr(black + 0.1, black) == pytest.approx(20, abs=1e-5)
    assert psnr(black + 1, black) == 0
    assert psnr(black, black) == pytest.approx(100)
    assert psnr(black + 1e-7, black) == pytest.approx(100)  # the floor, not 140 dB
    one_pixel = black.clone()
    one_pixel[1, 2, 3] = 0.5
    assert psnr(one_pixel, black) == pytest.approx(10 * math.log10(60 / 0.25), abs=1e-5)


def test_psnr_clamps_and_does_not_round():
    black = torch.zeros(3, 4, 5)
    assert psnr(black - 3, black) == pytest.approx(100)
    assert psnr(black + 7, black + 1) == pytest.approx(100)
    assert psnr(black + 0.4 / 255, black) == pytest.approx(-20 * math.log10(0.4 / 255), abs=1e-4)


def test_psnr_of_many_pixels_is_accurate():
    # Added one by one in float32, so many pixels would give an error of 0.1 dB. Added in pairs, the error is 2e-6 dB,
    # depending on the number of threads.
    black = torch.zeros(3, 1500, 1500)
    assert psnr(black + 0.01, black) == pytest.approx(40, abs=1e-5)
    assert math.isnan(psnr(torch.full((3, 2, 2), math.nan), torch.zeros(3, 2, 2)))


def test_ssim_of_flat_images_is_the_luminance_term():
    # Without variance only the luminance term is left: (2ab + C1) / (a^2 + b^2 + C1) with C1 = 0.01^2.
    a, b = torch.full((3, 16, 16), 0.4), torch.full((3, 16, 16), 0.8)
    assert ssim(a, b) == pytest.approx((2 * 0.32 + 1e-4) / (0.16 + 0.64 + 1e-4), abs=1e-4)
    assert ssim(a, a) == pytest.approx(1)
    assert ssim(a - 2, a * 0) == pytest.approx(1)  # clamped


def test_ssim_agrees_with_scikit_image(pair):
    image, target = (tensor.clamp(0, 1) for tensor in pair)
    wanted = structural_similarity(
        image.double().numpy(),
        target.double().numpy(),
        channel_axis=0,
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )[1].mean()  # over the whole map; its own score leaves out the border
    assert ssim(image, target) == pytest.approx(wanted, abs=2e-3)  # the two reflect borders differently


def test_ssim_loss_has_gradients_beyond_the_range(pair):
    image, target = pair
    image = (image + 1).requires_grad_()
    loss = ssim_loss(image, target)
    loss.backward()
    assert loss.shape == () and image.grad is not None
    assert torch.isfinite(image.grad).all() and (image.grad != 0).all()
    assert ssim_loss(target, target).item() == pytest.approx(0, abs=1e-6)


def loss_and_gradient(image, target):
    image = image.detach().requires_grad_()
    loss = ssim_loss(image, target)
    return loss.detach(), torch.autograd.grad(3 * loss, image)[0]


def noisy_pair(height, width, noise=0.1, offset=0.0):
    generator = torch.Generator().manual_seed(0)
    target = offset + torch.rand(3, height, width, generator=generator)
    return target + noise * torch.randn(target.shape, generator=generator), target


PAIRS = {
    "odd": noisy_pair(41, 57),
    "near": noisy_pair(33, 40, noise=0.01),
    "unrelated": (noisy_pair(24, 30)[0], noisy_pair(24, 30, noise=1.0)[0].flip(1)),
    "smallest": noisy_pair(6, 6),
    "smallest for vectors": noisy_pair(6, 8),
    "narrow": noisy_pair(50, 9),
    "beyond the range": noisy_pair(20, 21, offset=3.0),
    "not contiguous": tuple(tensor.mT for tensor in noisy_pair(19, 23)),
    "flat": (torch.full((3, 20, 21), 0.4), torch.full((3, 20, 21), 0.8)),
    "black and white": (torch.zeros(3, 9, 16), torch.ones(3, 9, 16)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_ssim_loss_in_float32_matches_torchmetrics(name):
    """In float64 the loss is torchmetrics'. Without variance, float32 is less accurate."""
    image, target = PAIRS[name]
    loss, gradient = loss_and_gradient(image, target)
    wanted, wanted_gradient = loss_and_gradient(image.double(), target.double())
    assert loss.dtype == gradient.dtype == torch.float32
    assert loss.item() == pytest.approx(wanted.item(), abs=1e-5)
    largest = wanted_gradient.abs().max().item()
    torch.testing.assert_close(gradient.double(), wanted_gradient, rtol=0, atol=1e-3 * largest)
    if name in ("odd", "near", "unrelated", "narrow", "not contiguous"):
        assert loss.item() == pytest.approx(wanted.item(), abs=2e-7)
        torch.testing.assert_close(gradient.double(), wanted_gradient, rtol=0, atol=1e-5 * largest)


@pytest.mark.parametrize("image", [noisy_pair(24, 35)[0], torch.full((3, 9, 10), 0.3)])
def test_ssim_loss_of_equal_images_is_zero(image):
    loss, gradient = loss_and_gradient(image, image.clone())
    assert loss == 0 and (gradient == 0).all()


def test_ssim_loss_does_not_depend_on_the_number_of_threads():
    before = torch.get_num_threads()
    results = []
    for number in (1, 2, 3, 40):
        torch.set_num_threads(number)
        results.append(loss_and_gradient(*noisy_pair(45, 61)))
    torch.set_num_threads(before)
    for result in results[1:]:
        assert all(torch.equal(ours, first) for ours, first in zip(result, results[0], strict=True))


def test_ssim_loss_has_gradients_for_the_target(pair):
    image, target = (tensor.requires_grad_() for tensor in pair)
    ours = torch.autograd.grad(ssim_loss(image, target), [image, target])
    swapped = torch.autograd.grad(ssim_loss(target, image), [target, image])
    torch.testing.assert_close(ours, swapped[::-1])
    torch.testing.assert_close(3 * ours[0], loss_and_gradient(image, target.detach())[1], rtol=0, atol=1e-7)


def test_ssim_loss_of_nan_is_nan(pair):
    image, target = pair
    image[1, 2, 3] = math.nan
    assert math.isnan(ssim_loss(image, target))


def test_ms_ssim_decreases_with_noise():
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(3, 176, 180, generator=generator)
    near = target + 0.05 * torch.randn(target.shape, generator=generator)
    far = target + 0.3 * torch.randn(target.shape, generator=generator)
    assert ms_ssim(target, target) == pytest.approx(1)
    scores = ms_ssim(near, target), ms_ssim(far, target)
    assert 0 < scores[1] < scores[0] < 1
    assert ms_ssim(target[:, :175], target[:, :175]) is None


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-8), (torch.float32, 5e-6)])
def test_structure_is_that_of_torchmetrics(dtype, tolerance):
    from torchmetrics.functional import image as theirs

    image, target = (each.to(dtype).clamp(0, 1) for each in noisy_pair(181, 190))
    wanted = (
        theirs.structural_similarity_index_measure(image[None], target[None], data_range=1.0),
        theirs.multiscale_structural_similarity_index_measure(image[None], target[None], data_range=1.0),
    )
    found = similarity(image, target).whole, multiscale_similarity(image, target)
    torch.testing.assert_close(found, wanted, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("metric", "largest", "shape", "exponent"),
    [(ssim, 24, (25, 27), 1.0), (ms_ssim, 352, (353, 180), 0.1333)],
    ids=["ssim", "ms_ssim"],
)
def test_tiles_are_weighted_by_their_area(monkeypatch, metric, largest, shape, exponent):
    """One tile is black instead of white: its score is the luminance term, at the coarsest scale."""
    assert metrics.MAX_TILE == 1536  # scores of large photos depend on it
    monkeypatch.setattr(metrics, "MAX_TILE", largest)
    rows, columns = (-(-size // 2) if size > largest else size for size in shape)
    white = torch.ones(3, *shape)
    image = white.clone()
    image[:, :rows, :columns] = 0
    share, score = rows * columns / math.prod(shape), (1e-4 / (1 + 1e-4)) ** exponent
    assert metric(image, white) == pytest.approx(share * score + 1 - share, abs=1e-5)


@pytest.mark.parametrize("metric", [psnr, ssim, ms_ssim, ssim_loss])
def test_measures_refuse_other_shapes(metric):
    image = torch.rand(3, 8, 8)
    for other in (image[:, :1], image[:1], image[None], torch.rand(3, 0, 8)):
        with pytest.raises(ValueError, match=r"expected two images of one shape \(C, H, W\)"):
            metric(other, image)
    with pytest.raises(ValueError, match="expected two images"):
        metric(image[0], image[0])


@pytest.mark.parametrize("metric", [psnr, ssim, ssim_loss])
def test_measures_of_equal_channels_are_those_of_one(metric):
    a, b = torch.rand(2, 1, 40, 50, generator=torch.Generator().manual_seed(0))
    wanted = float(metric(a, b))
    for channels in (2, 3, 7):
        found = float(metric(a.expand(channels, -1, -1).contiguous(), b.expand(channels, -1, -1).contiguous()))
        assert found == pytest.approx(wanted, abs=1e-5)


def test_ssim_refuses_tiny_images():
    with pytest.raises(ValueError, match="at least 6 pixels"):
        ssim(torch.rand(3, 5, 9), torch.rand(3, 5, 9))
    ssim(torch.rand(3, 6, 9), torch.rand(3, 6, 9))


@pytest.mark.slow
def test_quality_imports_torchmetrics_late():
    code = "import sys, fastgs.metrics.quality; assert 'torchmetrics' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
