"""Predictor.batch: the results of single images up to rounding, in their order, of any sizes and kinds."""

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

import fastgs


@pytest.fixture(scope="module")
def crops() -> list[np.ndarray]:
    """Return crops of one size, and one of another."""
    photo = data.coffee()
    return [np.ascontiguousarray(photo[40 * n : 40 * n + 32, 50 : 90 - 8 * (n == 2)]) for n in range(4)]


def psnrs(results) -> list[float]:
    return [result.psnr for result in results]


@pytest.mark.parametrize("blend", ["normalized", "sum"])
def test_a_batch_gives_what_single_calls_do(crops, blend):
    """Gaussians are relocated on the way."""
    predictor = fastgs.Predictor()
    alone = [predictor(crop, 60, 70, seed=3, blend=blend) for crop in crops]
    together = predictor.batch(crops, 60, 70, seed=3, blend=blend)
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one.initial.means, other.initial.means) and torch.equal(one.target, other.target)
        for name in ("means", "scales", "rotations", "colors"):
            assert torch.equal(getattr(one.gaussians, name), getattr(other.gaussians, name))
        assert [entry.psnr for entry in one.history] == [entry.psnr for entry in other.history]
        assert (other.iterations, len(other.gaussians), other.picture.alpha) == (70, 60, False)
        assert torch.equal(one.image, other.image)


def test_images_that_take_their_steps_together_give_what_single_calls_do(crops):
    """There are several of a size for each thread; events and entries of the history fall between each other."""
    images = [np.ascontiguousarray(np.roll(crop, shift, 1)) for shift in range(3) for crop in (crops[0], crops[2])]
    images[2] = np.zeros_like(images[2])
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for init in ("curvature", "gradient"):
            predictor = fastgs.Predictor(init)
            alone, together = [predictor(each, 45, 67) for each in images], predictor.batch(images, 45, 67)
            for one, other in zip(alone, together, strict=True):
                assert torch.equal(one.image, other.image) and torch.equal(one.gaussians.scales, other.gaussians.scales)
                history = [(entry.iteration, entry.psnr) for entry in one.history]
                assert [(entry.iteration, entry.psnr) for entry in other.history] == history
                # Who keeps one result does not keep the memory of the others.
                for tensor in (other.image, other.target, other.gaussians.means, other.initial.means):
                    assert tensor.untyped_storage().nbytes() == 4 * tensor.numel()
    finally:
        torch.set_num_threads(before)


def test_a_batch_does_not_depend_on_the_number_of_threads(crops):
    before = torch.get_num_threads()
    found = []
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            found.append(fastgs.Predictor().batch(crops, 60, 70))
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(before)
    for one, other in zip(*found, strict=True):
        assert torch.equal(one.gaussians.means, other.gaussians.means)


def test_steps_in_common_give_what_single_calls_do_but_for_rounding(crops):
    """GPUs take them; the reference renderer takes them on any device."""
    predictor = fastgs.Predictor()
    alone = [predictor(crop, 30, 10, seed=3, backend="reference") for crop in crops]
    together = predictor.batch(crops, 30, 10, seed=3, backend="reference")
    assert psnrs(together) == pytest.approx(psnrs(alone), abs=0.01)
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one.initial.means, other.initial.means) and torch.equal(one.target, other.target)
        assert one.psnr_init == pytest.approx(other.psnr_init, abs=1e-4)
        assert (other.iterations, len(other.gaussians), other.picture.alpha) == (10, 30, False)
        assert torch.allclose(fastgs.render(other.gaussians).clamp(0, 1), other.image, atol=1e-5)
    assert psnrs(predictor.batch(crops, 30, 10, seed=3, backend="reference")) == psnrs(together)


@pytest.mark.slow
def test_relocation_helps_steps_in_common_as_it_helps_single_calls(crops):
    predictor = fastgs.Predictor()
    alone = psnrs(predictor(crop, 60, 200) for crop in crops)
    together = psnrs(predictor.batch(crops, 60, 200, backend="reference"))
    assert together == pytest.approx(alone, abs=0.6)
    assert np.mean(together) == pytest.approx(np.mean(alone), abs=0.25)


def test_images_of_several_kinds_and_no_steps(crops):
    gray, alpha = Image.fromarray(crops[0]).convert("L"), Image.fromarray(crops[1]).convert("RGBA")
    alpha.putalpha(gray.resize(alpha.size))
    results = fastgs.Predictor().batch([gray, crops[0], alpha], 20, 0, blend="sum")
    assert [result.gaussians.channels for result in results] == [1, 3, 4]
    assert results[2].gaussians.alpha and results[0].gaussians.blend == "sum"
    assert all(len(result.history) == 1 and result.psnr == result.psnr_init for result in results)
    assert fastgs.Predictor().batch([], 20) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [({"num_gaussians": 0}, "num_gaussians"), ({"iterations": -1}, "iterations"), ({"blend": "over"}, "blend")],
)
def test_wrong_arguments_are_named(crops, options, message):
    with pytest.raises(ValueError, match=f"^{message}: "):
        fastgs.Predictor().batch(crops, **{"num_gaussians": 5, **options})
