"""The method of this project: networks or a heuristic place the Gaussians, a short fit refines and relocates them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fastgs.fitting.densification import Relocation
from fastgs.fitting.optimizer import OptimizationConfig
from fastgs.fitting.options import DEFAULT_ITERATIONS
from fastgs.gaussians import Blend, Gaussians
from fastgs.initializers import DEFAULT, INITIALIZERS, Initializer
from fastgs.methods import WEIGHTS
from fastgs.methods.method import Method

if TYPE_CHECKING:
    from fastgs.models.feed_forward import LearnedInitializer


@lru_cache(maxsize=1)
def load_networks(weights: str | Path = WEIGHTS) -> LearnedInitializer:
    """Return trained networks, which are kept until others are asked for.

    Args:
        weights: Name in checkpoints/ or a path.

    Raises:
        FileNotFoundError: There are no such weights.
        ValueError: The weights cannot be read.
    """
    from fastgs.models.pretrained import load_weights  # deferred: importing the networks takes seconds

    return load_weights(weights)


def initialize_learned(image: Tensor, num_gaussians: int, generator: torch.Generator | None = None) -> Gaussians:
    """Let the networks that ship with the package place K Gaussians."""
    return load_networks().to(image.device).initialize(image, num_gaussians, generator)


def make_relocation(num_gaussians: int, pixels: int, steps: int, generator: torch.Generator | None) -> Relocation:
    """Return the relocation for a fit of K Gaussians on a canvas of so many pixels, in so many steps."""
    return Relocation.for_steps(steps, num_gaussians / pixels, generator)


def make_method(
    initialize: Initializer,
    blend: Blend = "normalized",
    optimization: OptimizationConfig | None = None,
    networks: Callable[[], Iterable[nn.Module]] = tuple,
) -> Method:
    """Return the method of this project with a given start.

    Args:
        initialize: Callable (image, num_gaussians, generator) -> Gaussians at the start.
        blend: Blend rule; Gaussians are relocated under the normalized one only, as which of them are idle is not
            known for sums.
        optimization: Rates and loss, by default `LearningRates` for the number of steps.
        networks: Callable that gives the networks which `initialize` runs.
    """
    return Method(
        source="this project",
        iterations=DEFAULT_ITERATIONS,
        initialize=initialize,
        blend=blend,
        optimization=optimization,
        densification=make_relocation if blend == "normalized" else None,
        networks=networks,
    )


FASTGS = make_method(initialize_learned, networks=lambda: (load_networks(),))
CURVATURE = make_method(INITIALIZERS[DEFAULT])  # without networks
