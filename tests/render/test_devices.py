"""Tests of devices without kernels: results are those of the CPU, by moving there, and no float64 is made on them."""

import logging
import re
import shutil
import sysconfig
from dataclasses import replace

import pytest
import torch
from networks import initializer
from pretended import pretended_device
from seeds import seeded

import fastgs
from fastgs.fitting.batch import fit_batch
from fastgs.fitting.fit import fit
from fastgs.fitting.optimizer import LearningRates
from fastgs.fitting.options import FitOptions
from fastgs.initializers import INITIALIZERS
from fastgs.methods.fastgs import make_method
from fastgs.render import choose, dispatch, probe, render_device

pytestmark = pytest.mark.usefixtures("one_thread")
TENSORS = ("means", "scales", "rotations", "colors")


@pytest.fixture
def image():
    return torch.rand(3, 16, 20, generator=seeded(2))


def assert_same(there, here, device):
    """Check that Gaussians on a device are those of the CPU."""
    for name in TENSORS:
        assert getattr(there, name).device == device
        torch.testing.assert_close(getattr(there, name).cpu(), getattr(here, name))


# Choice of the backend


@pytest.mark.parametrize("name", ["cpu", "mps", "xpu", "cuda"])
@pytest.mark.parametrize("triton", [False, True])
def test_auto_takes_kernels_wherever_tensors_are(name, triton, monkeypatch):
    monkeypatch.setattr(dispatch, "has_triton", lambda: triton)
    device = torch.device(name)
    kernels = name == "cuda" and triton
    assert choose(device, "auto") == ("cuda" if kernels else "cpu")
    assert render_device(device, "auto") == (device if kernels else torch.device("cpu"))
    assert choose(device, "auto", top_k=5) == "cpu"  # for which Triton has no kernels
    # Other types have no kernels, and must keep their precision.
    assert choose(device, "auto", dtype=torch.float64) == "reference"
    assert choose(device, "reference") == "reference"
    assert render_device(device, "reference") == device
    if name != "cpu":
        with pytest.raises(ValueError, match=f"^backend: 'cpu' takes float32 tensors on the CPU, got .* on {name}$"):
            choose(device, "cpu")


# Triton that is there and does not run


@pytest.fixture
def gpu(monkeypatch):
    """Pretend that there is a GPU, and return a function that says what happens when a kernel is launched there."""

    def launch(result):
        def render_probe():
            if isinstance(result, Exception):
                raise result
            return result

        monkeypatch.setattr(probe, "_render_probe", render_probe)

    pytest.importorskip("triton")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "this GPU")
    for each in (probe.has_triton, probe.triton_obstacle):
        each.cache_clear()
        monkeypatch.setattr(probe, each.__name__, each)
    yield launch
    for each in (probe.has_triton, probe.triton_obstacle):
        each.cache_clear()


def test_kernels_that_run_are_used(gpu, caplog):
    gpu(1e-6)
    assert choose(torch.device("cuda"), "auto") == choose(torch.device("cuda"), "cuda") == "cuda"
    assert not caplog.records


@pytest.mark.parametrize(
    ("missing", "result", "reason"),
    [
        ("compiler", RuntimeError("Failed to find C compiler"), "Triton finds no C compiler (install gcc, or set CC)"),
        ("headers", RuntimeError("gcc failed"), "Triton finds no headers of Python (install python3-dev; "),
        ("driver", OSError("broke\ntwice"), "Triton cannot launch a kernel (OSError('broke\\ntwice'))"),
        ("sense", 0.5, "Triton draws wrong images on this GPU"),
        ("sense", float("nan"), "Triton draws wrong images on this GPU"),
    ],
)
def test_what_kernels_lack_is_said_once_and_the_cpu_serves(missing, result, reason, gpu, monkeypatch, caplog, tmp_path):
    gpu(result)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None if missing == "compiler" else name)
    (tmp_path / "Python.h").touch()
    include = tmp_path / "none" if missing == "headers" else tmp_path
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(include))
    device = torch.device("cuda")
    with caplog.at_level(logging.WARNING):
        assert [choose(device, "auto") for _ in range(3)] == ["cpu"] * 3
    (record,) = caplog.records
    line = record.getMessage()
    assert line.startswith(reason) and line.endswith("; its kernels are not used, and the work is done on the CPU")
    assert "\n" not in line
    with pytest.raises(ValueError, match=f"^backend: 'cuda' cannot be used \\({re.escape(reason)}"):
        choose(device, "cuda")


# Work on a device without kernels


def test_rendering_and_its_gradients_are_those_of_the_cpu(image):
    here = INITIALIZERS["curvature"](image, 40, seeded())
    wanted = fastgs.render(here)
    leaves = [getattr(here, name).clone().requires_grad_() for name in TENSORS]
    wanted_gradients = torch.autograd.grad(fastgs.render(fastgs.Gaussians(*leaves, 16, 20)).square().sum(), leaves)
    with pretended_device() as device:
        there = here.to(device)
        rendered = fastgs.render(there)
        assert rendered.device == device and torch.equal(rendered.cpu(), wanted)
        assert torch.equal(fastgs.render(there, top_k=3).cpu(), fastgs.render(here, top_k=3))
        leaves = [getattr(there, name).clone().requires_grad_() for name in TENSORS]
        moved = fastgs.Gaussians(*leaves, 16, 20)
        gradients = torch.autograd.grad(fastgs.render(moved).square().sum(), leaves)
        for gradient, each in zip(gradients, wanted_gradients, strict=True):
            assert gradient.device == device and torch.equal(gradient.cpu(), each)


@pytest.mark.parametrize("init", ["curvature", "gradient", "saliency", "grid", "random", "nearest"])
def test_initializers_work_there(init, image):
    here = INITIALIZERS[init](image, 40, seeded())
    with pretended_device() as device:
        assert_same(INITIALIZERS[init](image.to(device), 40, seeded()), here, device)


def test_learned_start_works_there(image):
    """Both networks run on the device, and their feedback on the CPU."""
    networks = initializer()
    with torch.no_grad():
        here = networks(torch.stack([image, image.flip(2)]), [40, 25], [seeded(1), seeded(2)])
    with pretended_device() as device, torch.no_grad():
        images = torch.stack([image, image.flip(2)]).to(device)
        there = networks.to(device)(images, [40, 25], [seeded(1), seeded(2)])
        for each, wanted in zip(there, here, strict=True):
            assert_same(each, wanted, device)


@pytest.mark.parametrize("top_k", [None, 4])
def test_fit_is_done_on_the_cpu(top_k, image):
    start = INITIALIZERS["curvature"](image, 40, seeded())
    options, config = FitOptions(12), replace(LearningRates().config(), top_k=top_k)
    here = fit(image, start, options, optimization=config)
    with pretended_device() as device:
        there = fit(image.to(device), start.to(device), options, optimization=config)
        assert_same(there.gaussians, here.gaussians, device)
        assert torch.equal(there.image.cpu(), here.image)
        assert [entry.psnr for entry in there.history] == [entry.psnr for entry in here.history]


def test_fits_of_a_batch_are_done_on_the_cpu(image):
    starts = [INITIALIZERS["curvature"](image, count, seeded()) for count in (20, 30)]
    here = fit_batch([image, image], starts, 5)
    with pretended_device() as device:
        there = fit_batch([image.to(device)] * 2, [each.to(device) for each in starts], 5)
        for each, wanted in zip(there.gaussians, here.gaussians, strict=True):
            assert_same(each, wanted, device)
        assert there.psnrs == here.psnrs and there.images[0].device == device


def test_methods_give_results_where_the_image_is(image):
    method = make_method(INITIALIZERS["curvature"])
    here = method(image, 40, FitOptions(70))  # relocates
    with pretended_device() as device:
        there = method(image.to(device), 40, FitOptions(70))
        assert_same(there.gaussians, here.gaussians, device)
        assert there.psnr == here.psnr
        predicted = fastgs.Predictor()(image.to(device), 40, 70)
        assert_same(predicted.gaussians, fastgs.Predictor()(image, 40, 70).gaussians, torch.device("cpu"))
