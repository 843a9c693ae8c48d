"""Small photo and Gaussians on its canvas, for the tests of methods."""

import numpy as np
import skimage.data
import torch
from seeds import seeded

from fastgs.fitting.covariance import covariances
from fastgs.fitting.fit import fit
from fastgs.fitting.options import FitOptions
from fastgs.gaussians import Gaussians
from fastgs.methods import METHODS

PEERS = [name for name in METHODS if not name.startswith("fastgs")]
HEIGHT, WIDTH = 48, 64


def photo():
    """Return a (3, HEIGHT, WIDTH) image in [0, 1]."""
    pixels = skimage.data.chelsea()[100 : 100 + HEIGHT, 150 : 150 + WIDTH]
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).float() / 255


def some_gaussians(count=20, blend="sum", seed=0):
    uniform = torch.rand(count, 8, generator=seeded(seed), dtype=torch.float64)
    means = uniform[:, :2] * torch.tensor([WIDTH, HEIGHT])
    scales, rotations = 0.6 + 4 * uniform[:, 2:4], 6 * uniform[:, 4] - 3
    return Gaussians(means, scales, rotations, uniform[:, 5:] - 0.2, HEIGHT, WIDTH, blend)


def gradients_of_mix(parametrization, weights, inverse=False):
    """Return variables of four Gaussians, and the gradients of `weights · (xx, xy, yy)` by their names.

    The entries are those of the covariances that are drawn, or of their inverses.
    """
    variables = parametrization(some_gaussians(4))
    _, scales, rotations, _ = variables.attributes()
    matrices = covariances(1 / scales if inverse else scales, rotations)
    (matrices @ torch.tensor(weights).double()).sum().backward()
    return variables, {name: each.grad for name, each in variables.free.items() if each.grad is not None}


def canvas(blend="sum", **tensors):
    """Return Gaussians with the given attributes, and defaults for the others."""
    count = len(next(iter(tensors.values())))
    defaults = {"means": torch.full((count, 2), 5.0), "scales": torch.ones(count, 2), "rotations": torch.zeros(count)}
    return Gaussians(
        **{**defaults, "colors": torch.zeros(count, 3), **tensors}, height=HEIGHT, width=WIDTH, blend=blend
    )


def counts_over_a_run(name, image, count, iterations):
    """Return (share of the run, number of Gaussians) after each event of a fit."""
    counts = []
    method = METHODS[name]
    strategy = method.densification(count, image[0].numel(), iterations, seeded())

    class Watched:
        events, grows = strategy.events, strategy.grows

        def edit(self, event, target, descent):
            edit = strategy.edit(event, target, descent)
            counts.append(int(edit.keep.sum()) + len(edit.added))
            return edit

    initial = method.initialize(image, method.start(count), seeded())
    assert len(initial) == -(-count // 2)
    optimization = method.optimization
    result = fit(image, initial, FitOptions(iterations), optimization=optimization, densification=lambda _: Watched())
    assert len(result.gaussians) == count
    return list(zip(strategy.events, counts, strict=True))


class Still:
    """Descent that makes no steps."""

    def __init__(self, gaussians, image):
        self.gaussians = lambda: gaussians
        self.image = lambda: image
