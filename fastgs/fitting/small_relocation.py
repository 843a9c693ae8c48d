"""Relocation in many small images at once; the numbers are those of `Relocation` for one image, to the bit."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastgs.fitting.densification import Edit, Relocation, error_density, select_useful
from fastgs.fitting.optimizer import Descent
from fastgs.fitting.optimizer_small import SmallDescent
from fastgs.fitting.removal import allocate_factors, choose_side, square
from fastgs.fitting.removal_kernels import MORE, appraise_each
from fastgs.initializers.from_density import Structure, gaussians_by_spacing_in_batch
from fastgs.initializers.sampling import project_each_at, sample_each
from fastgs.render.cpu_arrays import count_channels


class SmallRelocation:
    """Strategy for `SmallDescent`, see `fastgs.fitting.densification.Densification`.

    Args:
        relocation: Relocation of one image.
    """

    def __init__(self, relocation: Relocation) -> None:
        self.events, self.grows = relocation.events, relocation.grows
        self._relocation = relocation
        self._structure: Structure | None = None
        self._factors: NDArray[np.float32] | None = None

    def edit(self, event: int, target: Tensor, descent: Descent) -> Edit:
        """Move the Gaussians of each image that do least to where its error is largest."""
        assert isinstance(descent, SmallDescent)
        number, _, height, width = target.shape
        total, generator = descent.counts[0], self._relocation.generator
        count = self._relocation.count(event, total)
        side = choose_side(height * width, total)
        means, scales, rotations = descent.geometry()
        errors, removal = self._appraise(target, descent, (means, scales, rotations), side)
        places = sample_each(error_density(errors, total, side), count, generator)
        if side > 1:
            # Of a cell that is cut off by the border, the centre may lie outside.
            places = torch.minimum(side * places, places.new_tensor([width - 0.5, height - 0.5]))
        keep = select_useful(removal, count)
        if self._structure is None:
            self._structure = Structure.of(target)
        # They are as wide as there is room among all.
        stay = torch.from_numpy(means)[keep].reshape(number, total - count, 2)
        density = project_each_at(places, torch.cat([stay, places], dim=1), height, width)
        added = gaussians_by_spacing_in_batch(
            places.flatten(0, 1), target, (total * density.flatten()).rsqrt(), [count] * number, self._structure
        )
        return Edit(keep.flatten(), added)

    def _appraise(
        self, target: Tensor, small: SmallDescent, geometry: tuple[NDArray[np.float32], ...], side: int
    ) -> tuple[Tensor, Tensor]:
        """Return the errors of cells (B, Y, X), and the removal errors (B, K)."""
        number, channels, height, width = target.shape
        errors = np.empty((number, -(-height // side), -(-width // side)), np.float32)
        means, scales, rotations = geometry
        removal = np.empty(rotations.shape, np.float32)
        if self._factors is None:
            self._factors = allocate_factors(channels, height, width)
        zeros = count_channels(channels), count_channels(channels + MORE)
        squares = means, square(scales), rotations
        arguments = small.pitches, small.stride, small.planes, target.numpy(), side, *squares, self._factors
        appraise_each(*small.layouts, small.colors, *zeros, small.offsets, *arguments, errors, removal)
        return torch.from_numpy(errors), torch.from_numpy(removal)
