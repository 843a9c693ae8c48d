"""Our own: networks predict the Gaussians, a short fit refines them."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fastgs.fitting.densification import Relocation
from fastgs.fitting.fit import DEFAULT_ITERATIONS
from fastgs.gaussians import Gaussians
from fastgs.initializers import DEFAULT, INITIALIZERS
from fastgs.methods.method import Method

if TYPE_CHECKING:
    from fastgs.models.feed_forward import LearnedInitializer


@lru_cache(maxsize=1)
def _networks() -> LearnedInitializer:
    from fastgs.models.pretrained import load_weights  # deferred: importing the networks takes seconds

    return load_weights("base")


def predict(image: Tensor, num_gaussians: int, generator: torch.Generator | None = None) -> Gaussians:
    """K Gaussians from the shipped networks."""
    return _networks().to(image.device).initialize(image, num_gaussians, generator)


def relocation(num_gaussians: int, pixels: int, steps: int, generator: torch.Generator) -> Relocation:
    """Ours, see there."""
    return Relocation.for_steps(steps, num_gaussians / pixels, generator)


_OURS = partial(Method, source="this project", iterations=DEFAULT_ITERATIONS, densification=relocation)
FASTGS = _OURS(initialize=predict, networks=lambda: _networks().children())
# Without networks.
CURVATURE = _OURS(initialize=INITIALIZERS[DEFAULT])
