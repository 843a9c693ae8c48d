"""Predictor: an image in, exactly K Gaussians out, the same for the same seed; one line for every wrong argument."""

import math
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import initializer
from skimage import data

import fastgs
from fastgs import predictor
from fastgs.initializers import DEFAULT, INITIALIZERS
from fastgs.models import pretrained as weights
from fastgs.predictor import work_device
from fastgs.render import dispatch

ROOT = Path(__file__).resolve().parent.parent
PHOTO = np.ascontiguousarray(data.chelsea()[::6, ::6])  # 50 x 76
HEIGHT, WIDTH, _ = PHOTO.shape
TENSORS = ("means", "scales", "rotations", "colors")


def test_predictor_result_is_consistent():
    entries = []
    result = fastgs.Predictor()(PHOTO, 200, 15, callback=entries.append)
    assert len(result.gaussians) == len(result.initial) == 200
    assert (result.gaussians.height, result.gaussians.width) == (HEIGHT, WIDTH)
    assert result.image.shape == result.target.shape == (3, HEIGHT, WIDTH)
    assert result.image.min() >= 0 and result.image.max() <= 1
    assert torch.equal(result.image, fastgs.render(result.gaussians).clamp(0, 1))
    mse = (result.image.double() - result.target.double()).square().mean().item()
    assert result.psnr == pytest.approx(-10 * math.log10(mse), abs=1e-6)
    assert result.psnr > result.psnr_init + 3
    assert result.history == entries
    assert [entry.iteration for entry in result.history] == [0, 10, 15]
    assert (result.psnr_init, result.psnr) == (result.history[0].psnr, result.history[-1].psnr)
    assert result.seconds_fit == result.history[-1].seconds > 0 and result.seconds_init > 0


@pytest.mark.parametrize("init", INITIALIZERS)
def test_predictor_gives_exactly_k_for_every_initializer(init):
    for count in (1, 137, HEIGHT * WIDTH + 1):
        assert len(fastgs.Predictor(init)(PHOTO, count, 1).gaussians) == count


def test_predictor_fits_one_pixel():
    result = fastgs.Predictor()(np.full((1, 1, 3), 90, np.uint8), 2, 20)
    assert result.image.shape == (3, 1, 1) and result.psnr > 40


@pytest.mark.parametrize("blend", ["normalized", "sum"])
def test_predictor_starts_the_same_for_both_blends(blend):
    result = fastgs.Predictor()(PHOTO, 150, 20, blend=blend)
    start = fastgs.Predictor()(PHOTO, 150, 0)
    assert result.gaussians.blend == result.initial.blend == blend
    assert all(torch.equal(getattr(result.initial, name), getattr(start.initial, name)) for name in TENSORS)
    assert result.psnr > result.psnr_init + 2


def test_predictor_repeats_with_a_seed():
    before = torch.get_rng_state()
    first, again, other = (fastgs.Predictor()(PHOTO, 150, 12, seed=seed) for seed in (3, 3, 4))
    for name in TENSORS:
        assert torch.equal(getattr(first.gaussians, name), getattr(again.gaussians, name))
    assert not torch.equal(first.gaussians.means, other.gaussians.means)
    assert torch.equal(torch.get_rng_state(), before)  # the global generator is left alone


def test_predictor_stops_at_the_first_limit():
    none = fastgs.Predictor()(PHOTO, 100, 0)
    assert none.psnr == none.psnr_init and len(none.history) == 1
    assert fastgs.Predictor()(PHOTO, 100).history[-1].iteration == 200
    timed = fastgs.Predictor()(PHOTO, 100, seconds=0.3)
    assert timed.seconds_fit >= 0.3 and timed.history[-1].iteration > 0
    goal = none.psnr + 1
    early = fastgs.Predictor()(PHOTO, 100, target_psnr=goal)
    assert early.psnr >= goal and early.history[-1].iteration < 200


def test_predictor_takes_numpy_integers():
    result = fastgs.Predictor()(PHOTO, np.int64(20), np.int32(1), seed=np.uint8(1), size=np.int64(16))
    assert len(result.gaussians) == 20 and result.image.shape == (3, 16, 16)


def test_predictor_composites_on_the_background():
    nothing = np.zeros((20, 30, 4), np.uint8)
    result = fastgs.Predictor()(nothing, 4, 0, background=(255, 0, 51))
    assert torch.allclose(result.target.mean((1, 2)), torch.tensor([1, 0, 0.2]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_gaussians": 0}, "num_gaussians: must be at least 1, got 0"),
        ({"num_gaussians": 2.5}, "num_gaussians: expected an integer, got 2.5"),
        ({"num_gaussians": True}, "num_gaussians: expected an integer, got True"),
        ({"iterations": -1}, "iterations: must be at least 0, got -1"),
        ({"seconds": 0}, "seconds: must be more than 0 and finite, got 0"),
        ({"seconds": math.inf}, "seconds: must be more than 0 and finite, got inf"),
        ({"target_psnr": math.nan}, "target_psnr: must be finite, got nan"),
        ({"seed": -1}, "seed: must be at least 0, got -1"),
        ({"seed": 2**64}, f"seed: must be below 2^64, got {2**64}"),
        ({"size": 0}, "size: must be at least 1, got 0"),
        ({"blend": "over"}, "blend: expected one of normalized, sum, got 'over'"),
        ({"loss": "l3"}, "loss: expected one of mse, l1, mse+ssim, l1+ssim, got 'l3'"),
        ({"background": (0, 0, 256)}, "background: expected three numbers in [0, 255], got (0, 0, 256)"),
        ({"backend": "tpu"}, "backend: expected one of auto, reference, cpu, cuda, got 'tpu'"),
    ],
)
def test_predictor_refuses_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        fastgs.Predictor()(**({"image": PHOTO, "num_gaussians": 10} | arguments))


def test_work_device_is_a_gpu_unless_the_backend_forbids(monkeypatch):
    cpu, first, second, apple = (torch.device(name) for name in ("cpu", "cuda:0", "cuda:1", "mps"))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    for module in (predictor, dispatch):
        monkeypatch.setattr(module, "has_triton", lambda: True)
    for there_is_one, backend, home, place in [
        (True, "auto", cpu, first),
        (True, "cuda", cpu, first),
        (True, "auto", second, second),
        (True, "cpu", cpu, cpu),
        (True, "reference", cpu, cpu),
        (False, "auto", cpu, cpu),
        (False, "auto", apple, cpu),
    ]:
        monkeypatch.setattr(torch.cuda, "is_available", lambda there_is_one=there_is_one: there_is_one)
        assert work_device(home, backend) == place


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_predictor_refuses_cuda_without_a_gpu():
    with pytest.raises(ValueError, match=r"^backend: .cuda. needs a CUDA device, and PyTorch finds none; use .auto.$"):
        fastgs.Predictor()(PHOTO, 10, 1, backend="cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("init", "tolerance"), [("curvature", 0.05), ("learned", 0.5)])
def test_predictor_on_gpu_matches_cpu(init, tolerance):
    """Results are where the image was; heuristics start from the same Gaussians, networks are rounded differently."""
    on_gpu, on_cpu = (fastgs.Predictor(init)(PHOTO, 300, 20, backend=backend) for backend in ("cuda", "cpu"))
    assert on_gpu.gaussians.means.device == on_gpu.image.device == torch.device("cpu")
    assert on_gpu.psnr_init == pytest.approx(on_cpu.psnr_init, abs=tolerance)
    assert on_gpu.psnr == pytest.approx(on_cpu.psnr, abs=4 * tolerance)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.full((3, 4, 4), math.nan), "source: the tensor holds NaN or infinity"),
        (torch.full((3, 4, 4), math.inf), "source: the tensor holds NaN or infinity"),
        (torch.full((3, 4, 4), 255.0), r"source: expected values in \[0, 1\]"),
        (torch.zeros(48, 64, 3), r"source: expected a floating-point tensor of shape \(1 to 32, H, W\)"),
        (np.zeros((4, 4, 7), np.uint8), "source: expected an array of shape"),
        ("nowhere.png", "nowhere.png: no such file"),
        (None, "source: expected a path"),
    ],
)
def test_predictor_refuses_wrong_images(image, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        fastgs.Predictor()(image, 10, 1)


def test_predictor_refuses_wrong_init(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"^init: expected one of curvature, .*, learned, got 'best'$"):
        fastgs.Predictor("best")
    with pytest.raises(ValueError, match=r"^weights: are for init 'learned', not 'grid'; leave one of the two out$"):
        fastgs.Predictor("grid", tmp_path)
    monkeypatch.setattr("fastgs.io.weights.CHECKPOINTS", tmp_path)
    for make in (lambda: fastgs.Predictor("learned"), lambda: fastgs.Predictor.from_pretrained("base")):
        with pytest.raises(FileNotFoundError, match=r"^base: no such weights"):
            make()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Return the weights of small networks, in a folder that is nothing but theirs."""
    path = tmp_path_factory.mktemp("weights") / "base"
    weights.save_weights(path, initializer(), {})
    return path


def test_from_pretrained_loads_a_name_or_a_path(small, monkeypatch):
    predictor = fastgs.Predictor.from_pretrained(small)
    assert (predictor.init, predictor.weights) == ("learned", str(small))
    result = predictor(PHOTO, 150, 12, seed=3)
    assert len(result.gaussians) == 150 and result.psnr > result.psnr_init + 3
    heuristic = fastgs.Predictor()
    assert (heuristic.init, heuristic.weights) == (DEFAULT, None)
    assert result.psnr_init != pytest.approx(heuristic(PHOTO, 150, 0, seed=3).psnr, abs=0.01)

    monkeypatch.setattr("fastgs.io.weights.CHECKPOINTS", small.parent)
    others = fastgs.Predictor("learned"), fastgs.Predictor(weights=small), pickle.loads(pickle.dumps(predictor))
    for other in others:
        assert torch.equal(other(PHOTO, 150, 12, seed=3).gaussians.means, result.gaussians.means)


@pytest.mark.parametrize("count", [1, 137, HEIGHT * WIDTH + 1])
def test_learned_predictor_gives_exactly_k(small, count):
    for blend in ("normalized", "sum"):
        result = fastgs.Predictor(weights=small)(PHOTO, count, 1, blend=blend)
        assert len(result.gaussians) == count and result.gaussians.blend == blend
