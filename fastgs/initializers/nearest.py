"""Initialization by nearest neighbours: positions are uniform, and scales follow the gap to the nearest other one."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fastgs.gaussians import MIN_SCALE, Gaussians

# Standard deviation in units of the distance to the nearest neighbour: twice `ShapeRule.scale`, which is in units of
# the spacing, since the mean distance is half the spacing where positions are drawn independently.
SCALE = 0.84


def initialize(image: Tensor, num_gaussians: int, generator: torch.Generator | None = None) -> Gaussians:
    """Return K round Gaussians anywhere on the canvas, in the colours of their pixels.

    This is a `fastgs.initializers.Initializer`.
    """
    from scipy.spatial import cKDTree  # deferred: slow to import

    _, height, width = image.shape
    means = torch.rand(num_gaussians, 2, generator=generator) * torch.tensor([width, height])
    # The nearest centre is the Gaussian's own, so the second is taken; a single Gaussian has it at infinity.
    distances, _ = cKDTree(means.numpy()).query(means.numpy(), k=[2])
    gaps = torch.from_numpy(distances[:, 0]).to(image).clamp(max=math.sqrt(height * width))
    means = means.to(image)
    columns = means[:, 0].long().clamp(0, width - 1)
    rows = means[:, 1].long().clamp(0, height - 1)
    return Gaussians(
        means=means,
        scales=(SCALE * gaps).clamp(min=MIN_SCALE)[:, None].repeat(1, 2),
        rotations=image.new_zeros(num_gaussians),
        colors=image[:, rows, columns].T.contiguous(),
        height=height,
        width=width,
    )
