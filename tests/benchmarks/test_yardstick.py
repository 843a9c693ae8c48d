"""C++ yardstick against a brute-force computation in float64, differentiated by autograd."""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the yardstick needs g++")

ROOT = Path(__file__).parents[2]
HEIGHT, WIDTH, COUNT = 29, 37, 60


@pytest.fixture(scope="module")
def yardstick() -> ModuleType:
    sys.path.insert(0, str(ROOT))
    try:
        return importlib.import_module("benchmarks.speed.yardstick")
    finally:
        sys.path.remove(str(ROOT))


def brute_force(parameters: list[torch.Tensor], cutoff: float, epsilon: float) -> torch.Tensor:
    """Return the (3, H, W) image, with every Gaussian at every pixel."""
    means, conics, colors = parameters
    y, x = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
    dx, dy = x - means[:, 0, None, None], y - means[:, 1, None, None]
    a, b, c = conics[:, :, None, None].unbind(1)
    d2 = a * dx**2 + 2 * b * dx * dy + c * dy**2
    w = torch.exp(-d2 / 2) * (d2 < cutoff**2)
    return torch.einsum("khw,kc->chw", w, colors) / (w.sum(0) + epsilon)


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [0.3, 0.9, 2.5, 12.0])
@pytest.mark.parametrize("threads", [1, 3])
def test_image_and_gradients_agree_with_brute_force(yardstick: ModuleType, sigma: float, threads: int) -> None:
    means, conics, colors = yardstick.scene(COUNT, sigma, HEIGHT, WIDTH, seed=3)
    means = means * 1.6 - np.float32(0.3 * WIDTH)  # some lie outside the image
    gradient = np.random.default_rng(4).normal(size=(3, HEIGHT, WIDTH)).astype(np.float32)
    image, inverse = yardstick.forward(means, conics, colors, HEIGHT, WIDTH, threads)
    gradients = yardstick.backward(means, conics, colors, image, inverse, gradient, threads)

    exact = [torch.tensor(array, dtype=torch.float64, requires_grad=True) for array in (means, conics, colors)]
    expected = brute_force(exact, yardstick.CUTOFF, yardstick.EPSILON)
    wanted = torch.autograd.grad(expected, exact, torch.tensor(gradient, dtype=torch.float64))

    np.testing.assert_allclose(image, expected.detach().numpy(), atol=2e-5)
    for found, right in zip(gradients, wanted, strict=True):
        np.testing.assert_allclose(found, right.numpy(), atol=1e-4 * right.abs().max().item())


def test_threads_do_not_change_the_result(yardstick: ModuleType) -> None:
    arrays = yardstick.scene(COUNT, 2.5, HEIGHT, WIDTH)
    results = []
    for threads in (1, 2):
        image, inverse = yardstick.forward(*arrays, HEIGHT, WIDTH, threads)
        results.append([image, inverse, *yardstick.backward(*arrays, image, inverse, image, threads)])
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


def test_no_gaussians_give_a_black_image(yardstick: ModuleType) -> None:
    empty = np.zeros((0, 2), np.float32), np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32)
    image, inverse = yardstick.forward(*empty, HEIGHT, WIDTH, 2)
    assert not image.any()
    assert [g.shape for g in yardstick.backward(*empty, image, inverse, image, 2)] == [(0, 2), (0, 3), (0, 3)]
