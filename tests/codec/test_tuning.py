"""Files that are made for SSIM."""

import pytest
import torch

from fastgs.codec import SCHEMES, choose_scheme, decode_image, encode
from fastgs.codec.rdo import Search
from fastgs.codec.tuning import LEAST_VARIANCE, POWER, WeightedSquaredError, find_importance
from fastgs.metrics.quality import psnr, ssim


def test_importance_falls_with_the_variance_around_a_pixel():
    """Columns of 0 and 1 in turns have the variance 5 * 6 / 11^2 in a window of 11."""
    image = torch.zeros(3, 40, 60)
    torch.testing.assert_close(find_importance(image), torch.ones(40, 60))
    image[:, :, 30::2] = 1
    importance = find_importance(image)
    assert importance.mean() == pytest.approx(1, rel=1e-5)
    ratio = ((30 / 121 + LEAST_VARIANCE) / LEAST_VARIANCE) ** POWER
    assert float(importance[20, 5] / importance[20, 45]) == pytest.approx(ratio, rel=1e-3)


def test_weighted_error_is_the_mean_over_pixels_and_channels():
    importance = torch.tensor([[0.5, 1.5]])
    image, target = torch.tensor([[[0.2, 0.4]], [[0.0, 1.0]]]), torch.zeros(2, 1, 2)
    expected = (0.5 * 0.2**2 + 1.5 * 0.4**2 + 1.5) / 4
    assert float(WeightedSquaredError(importance)(image, target)) == pytest.approx(expected)


def test_search_weighs_errors(astronaut, fitted):
    """A factor for all pixels is one for the price, too, and changes nothing; left out pixels lose their detail."""
    factor = torch.full((128, 128), 4.0)
    plain, scaled = Search(astronaut, fitted), Search(astronaut, fitted, importance=factor.numpy())
    half = factor.clone()
    half[:, :64] = 0
    one_sided = Search(astronaut, fitted, importance=half.numpy())
    for each in (plain, scaled, one_sided):
        each.run(1)
    assert scaled.found.error == pytest.approx(4 * plain.found.error, rel=0.01)
    assert scaled.count == pytest.approx(plain.count, rel=0.01)
    left = [sum((layer.symbols[:, 0] * 2.0**-layer.steps.position < 60).sum() for layer in each.found.layers)
            for each in (plain, one_sided)]  # fmt: skip
    assert left[1] < 0.5 * left[0]


def test_wrong_measure_is_refused(photo):
    with pytest.raises(ValueError, match=r"^tune: expected one of psnr, ssim, got vmaf$"):
        encode(photo, num_gaussians=5, tune="vmaf")
    for scheme in SCHEMES:
        if scheme != "fastgs":
            with pytest.raises(ValueError, match=f"^tune: the scheme '{scheme}' has only psnr$"):
                choose_scheme(scheme, tune="ssim")


@pytest.mark.slow
def test_file_for_ssim_has_a_better_one(astronaut):
    plain, tuned = (decode_image(encode(astronaut, bpp=0.8, effort=3, tune=tune).data) for tune in ("psnr", "ssim"))
    assert ssim(tuned, astronaut) > ssim(plain, astronaut) + 0.001
    assert psnr(tuned, astronaut) < psnr(plain, astronaut)
