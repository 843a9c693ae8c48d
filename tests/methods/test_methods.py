"""Every method on a small photo, and what makes each the method that it claims to be."""

import pytest
import torch
from method_data import PEERS, photo, some_gaussians
from skimage import data

from fastgs.fitting import covariance
from fastgs.fitting.optimizer import AutogradDescent
from fastgs.fitting.options import FitOptions
from fastgs.methods import METHODS, fast_2dgs, gaussianimage, gaussianimage_plus, image_gs, instant_gi


@pytest.fixture(scope="module")
def image():
    return photo()


def test_registry_has_the_published_methods():
    names = "gaussianimage-cholesky gaussianimage-rs gaussianimage-plus image-gs-gradient image-gs-saliency"
    assert [*names.split(), "instant-gi-dither", "fast-2dgs"] == PEERS


@pytest.mark.parametrize("name", PEERS)
def test_method_gives_exactly_k_and_repeats(name, image):
    first, second = (METHODS[name](image, 60, FitOptions(12), seed=3) for _ in range(2))
    assert len(first.gaussians) == 60
    assert first.gaussians.blend == METHODS[name].blend
    assert torch.isfinite(first.image).all()
    for tensor in ("means", "scales", "rotations", "colors"):
        assert torch.equal(getattr(first.gaussians, tensor), getattr(second.gaussians, tensor))
    other = METHODS[name](image, 60, FitOptions(0), seed=4)
    assert not torch.equal(other.initial.means, first.initial.means)


@pytest.mark.parametrize("name", PEERS)
def test_method_gives_exactly_k_for_tiny_k_and_budgets(name, image):
    for count, budget in (
        (1, {"iterations": 0}),
        (2, {"iterations": 1}),
        (3, {"seconds": 0.01}),
        (1, {"iterations": 7}),
    ):
        assert len(METHODS[name](image, count, FitOptions(**budget)).gaussians) == count


@pytest.mark.parametrize("name", PEERS)
def test_method_raises_psnr(name, image):
    history = METHODS[name](image, 60, FitOptions(60)).history
    # That is all that GaussianImage can do at its rates, which are for 50,000 steps.
    assert history[-1].psnr > history[0].psnr + 0.2


@pytest.mark.parametrize("name", ["fastgs-curvature", *(name for name in PEERS if not METHODS[name].networks())])
def test_fit_does_not_depend_on_the_number_of_threads(name):
    """The image is large enough for torch to split its sums and convolutions among threads."""
    image = torch.from_numpy(data.coffee()[:230, :250].copy()).permute(2, 0, 1) / 255
    before, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(METHODS[name](image, 200, FitOptions(2)))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(before)
    for tensor in ("means", "scales", "rotations", "colors"):
        for when in ("initial", "gaussians"):
            first, *others = (getattr(getattr(result, when), tensor) for result in results)
            assert all(torch.equal(first, other) for other in others)
    assert len({result.psnr for result in results}) == 1


ADAM, ADAMW = torch.optim.Adam, torch.optim.AdamW
ADAM_DEFAULTS = {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0}
ADAN_DEFAULTS = {"betas": (0.98, 0.92, 0.99), "eps": 1e-8, "weight_decay": 0.0}
TRAITS = {
    "gaussianimage-cholesky": ("sum", None, 50_000, gaussianimage.Cholesky, "Adan", ADAN_DEFAULTS, {1e-3}),
    "gaussianimage-rs": ("sum", None, 50_000, gaussianimage.RotationScale, "Adan", ADAN_DEFAULTS, {1e-3}),
    "gaussianimage-plus": (
        "sum", None, 50_000, gaussianimage_plus.Covariance, "Adam", ADAM_DEFAULTS | {"eps": 1e-15}, {0.018},
    ),
    "image-gs-gradient": (
        "normalized", 10, 10_000, image_gs.InverseScale, "Adam", ADAM_DEFAULTS, {5e-4, 2e-3, 5e-3},
    ),
    "image-gs-saliency": (
        "normalized", 10, 10_000, image_gs.InverseScale, "Adam", ADAM_DEFAULTS, {5e-4, 2e-3, 5e-3},
    ),
    "instant-gi-dither": ("sum", None, 50_000, instant_gi.ClampedScale, "Adan", ADAN_DEFAULTS, {1e-3}),
    "fast-2dgs": (
        "normalized", 10, 5_000, fast_2dgs.Plain, "AdamW", ADAM_DEFAULTS | {"weight_decay": 0.05}, {2e-3},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PEERS)
def test_method_has_its_published_traits(name, image):
    blend, top_k, iterations, parametrization, optimizer, settings, rates = TRAITS[name]
    method = METHODS[name]
    assert (method.blend, method.optimization.top_k, method.iterations) == (blend, top_k, iterations)
    assert method.optimization.parametrization is parametrization
    assert "arXiv" in method.source
    descent = AutogradDescent(
        parametrization(some_gaussians(blend=blend)), image.double(), method.optimization, "reference"
    )
    descent.step(0.5)
    assert type(descent._optimizer).__name__ == optimizer
    for group in descent._optimizer.param_groups:
        assert {setting: group[setting] for setting in settings} == settings
        assert group["lr"] == 0.5 * method.optimization.rates(0.1)[group["name"]]
    assert {group["lr"] for group in descent._optimizer.param_groups} == {0.5 * rate for rate in rates}


@pytest.mark.parametrize("name", PEERS)
def test_parametrization_returns_the_given_gaussians(name):
    given = some_gaussians(blend=METHODS[name].blend)
    variables = METHODS[name].optimization.parametrization(given)
    assert tuple(variables.free) == variables.NAMES
    made = variables.gaussians()
    # Axes may swap, so the ellipses are compared.
    ellipses = [covariance.covariances(each.scales, each.rotations) for each in (made, given)]
    torch.testing.assert_close(*ellipses, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(made.means, given.means, rtol=0, atol=1e-4)
    assert torch.equal(made.colors, given.colors)


def at(schedule, *shares):
    return [schedule(share, [20.0]) for share in shares]


@pytest.mark.parametrize("name", ["gaussianimage-cholesky", "gaussianimage-rs", "gaussianimage-plus"])
def test_rates_halve_at_20000_and_40000_of_50000_steps(name):
    assert at(METHODS[name].optimization.schedule, 0, 0.399, 0.4, 0.799, 0.8, 1) == [1, 1, 0.5, 0.5, 0.25, 0.25]


def test_rates_of_instant_gi_halve_at_every_10000_steps():
    schedule = METHODS["instant-gi-dither"].optimization.schedule
    assert at(schedule, 0, 0.199, 0.2, 0.4, 0.6, 0.8) == [1, 1, 0.5, 0.25, 0.125, 0.0625]
