"""Fast-2DGS (arXiv 2512.12774): positions drawn from a network's density, attributes from another network, AdamW.

Constants are those of engine.py in github.com/Aztech-Lab/Fast-2DGS, but 5000 steps, by a summary of the paper; the code
has 3000, so that a patience of 100 is a larger share there.
What differs: the networks are those of this project, as theirs have no published weights for the attributes. The
density is that of the position network, which is trained for the same aim. Attributes come of one pass of the attribute
network over heuristic ones, where theirs predicts them at once; a second pass is not part of their method. Draws are
independent, so a pixel may be drawn again, but a second centre lies elsewhere in it, where theirs coincide for ever.
Top-K blending is their rasterizer's (gmod, a changed Image-GS), whose K is taken to be that of Image-GS.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from typing_extensions import override

from fastgs.fitting.covariance import SMALLEST
from fastgs.fitting.loss_functions import SquaredError
from fastgs.fitting.optimizer import OptimizationConfig
from fastgs.fitting.parametrization import Attributes, Parametrization
from fastgs.gaussians import Gaussians
from fastgs.initializers.from_density import gaussians_at
from fastgs.initializers.sampling import sample
from fastgs.methods.gaussianimage import constant
from fastgs.methods.image_gs import TOP_K
from fastgs.methods.method import Method
from fastgs.methods.schedules import reductions
from fastgs.runtime.precision import repeatable

if TYPE_CHECKING:
    from fastgs.models.feed_forward import LearnedInitializer

ITERATIONS = 5_000
RATE, LOWEST_RATE = 2e-3, 1e-5  # learning rates of all variables: the first and the last
WEIGHT_DECAY = 0.05  # decay of all variables: centres drift to the corner, scales to nothing
FACTOR = 0.7  # of the rates, whenever patience has run out
PATIENCE = 100  # steps without an improvement
THRESHOLD = -10 * math.log10(1 - 1e-4)  # dB that count as an improvement; PyTorch's default is 1e-4 of the loss


class Plain(Parametrization):
    """Variables without activations: centres in units of the canvas, scales in pixels, whose sign does not matter."""

    NAMES = ("means", "scales", "rotations", "colors")

    @override
    def _split(self, gaussians: Gaussians) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        free = {
            "means": gaussians.means / self._canvas_size(gaussians.means),
            "scales": gaussians.scales.detach().clone(),
            "rotations": gaussians.rotations.detach().clone(),
            "colors": gaussians.colors.detach().clone(),
        }
        return free, {}

    @override
    def attributes(self) -> Attributes:
        means = self.free["means"] * self._canvas_size(self.free["means"])
        scales = self.free["scales"].abs().clamp(min=SMALLEST)
        return Attributes(means, scales, self.free["rotations"], self.free["colors"])


@lru_cache(maxsize=1)
def _load_networks() -> LearnedInitializer:
    from fastgs.models.pretrained import load_weights  # deferred: importing the networks takes seconds

    networks = load_weights("base")
    assert networks.attribute is not None
    networks.attribute.passes = 1
    return networks


@torch.no_grad()
def initialize(image: Tensor, num_gaussians: int, generator: torch.Generator | None = None) -> Gaussians:
    """Draw positions with replacement from the density of the position network, and correct heuristic attributes."""
    networks = _load_networks().to(image.device)
    from fastgs.models.feed_forward import Joined, from_rgb, to_rgb  # deferred likewise

    rgb = to_rgb(image)
    with repeatable(image.device):
        density = networks.log_densities(rgb[None], [num_gaussians])[0].exp()
        means = sample(density, num_gaussians, "multinomial", generator).to(image.device)
        placed = Joined(gaussians_at(means, rgb, density), [num_gaussians])
        return from_rgb(networks.correct(rgb[None], density[None], placed)[-1].gaussians, image)


def schedule(progress: float, psnrs: Sequence[float]) -> float:
    """Return a factor that falls by 0.7 for each fiftieth of the run without an improvement, down to 1/200."""
    times = reductions(progress, psnrs, patience=PATIENCE / ITERATIONS, threshold=THRESHOLD)
    return float(max(FACTOR**times, LOWEST_RATE / RATE))


METHOD = Method(
    source="arXiv 2512.12774, github.com/Aztech-Lab/Fast-2DGS",
    iterations=ITERATIONS,
    initialize=initialize,
    optimization=OptimizationConfig(
        Plain,
        partial(torch.optim.AdamW, weight_decay=WEIGHT_DECAY),
        constant(RATE, Plain.NAMES),
        schedule,
        SquaredError(),
        top_k=TOP_K,
    ),
)
