"""Descent of many small images of one size in one thread: a call of a kernel takes steps of one image after the other.

What Python does for the steps of 32 x 32 pixels takes longer than they do, so it is done for all images at once. The
numbers are those of optimizer_cpu.py, to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from fastgs.fitting.adam import tabulate
from fastgs.fitting.optimizer import Descent, LearningRates
from fastgs.fitting.optimizer_cpu import GEOMETRY, Floats, join
from fastgs.fitting.optimizer_cpu_kernels import take_steps
from fastgs.fitting.parametrization import Attributes, Relative
from fastgs.gaussians import Gaussians
from fastgs.metrics.quality import psnr, psnr_of_error
from fastgs.render import cpu_geometry_kernels as geometry
from fastgs.render import cpu_kernels as kernels
from fastgs.render.cpu_arrays import count_blocks, count_channels, make_planes


class SmallDescent(Descent):
    """Descent of small images on the squared error, all by the calling thread.

    Args:
        targets: (B, C, H, W) images.
        starts: K Gaussians for each image.
        rates: Learning rates.

    Attributes:
        targets: The images.
        counts: B times K.
        layouts: `frames` (B, F), `bounds` (B, 3, P) and `spans` (B, blocks, 2) of cpu_geometry_kernels.py.
        colors: (B, P, C) colours, with room for whole blocks of Gaussians.
        offsets: (2,) 0 and K.
        pitches: (1, 2) ones.
        stride: Length of a row of planes.
        planes: Planes of one image, see `fastgs.render.cpu_arrays.make_planes`, which anyone may overwrite.
    """

    def __init__(self, targets: Tensor, starts: Sequence[Gaussians], rates: LearningRates) -> None:
        number, channels, height, width = targets.shape
        self.targets, self.counts = targets.contiguous(), [len(each) for each in starts]
        self._first, self._count, self._rates = starts[0], len(starts[0]), rates
        self._zeros = count_channels(channels)
        self.stride = width + kernels.MARGIN
        self.planes = make_planes(height, channels, self.stride)
        self._images, self._errors = torch.empty_like(self.targets), np.empty((number, height))
        self._units: NDArray[np.float64] | None = None  # of colours, known once there are images
        self._taken = 0
        blocks = count_blocks(self._count)
        room = blocks * geometry.BLOCK
        self.layouts = (
            np.empty((number, room * geometry.FRAME), np.float32),
            np.empty((number, 3, room), np.int32),
            np.empty((number, blocks, 2), np.int32),
        )
        self.offsets, self.pitches = np.array([0, self._count]), np.ones((1, 2), np.float32)
        columns = (torch.cat([getattr(each, name) for each in starts]) for name in Attributes._fields)
        state = join(Relative(self._first.with_tensors(*columns)))
        self._states = np.zeros((number, len(state), room), np.float32)
        self._load(state.reshape(len(state), number, self._count).transpose(1, 0, 2))

    def _load(self, states: Floats) -> None:
        """Go on from the states (B, S, K)."""
        self._states[:, :, : self._count] = states
        self._states[:, -2:, self._count :] = 1  # nobody's scales
        channels = len(self._zeros)
        colors = self._states[:, GEOMETRY : GEOMETRY + channels]
        self.colors = np.ascontiguousarray(colors.transpose(0, 2, 1))
        means, scales, rotations = self.geometry()
        offsets, pitches, canvas = self.offsets, self.pitches, self.targets.shape[2:]
        blocks = self.layouts[2].shape[1]
        for each in zip(means, scales, rotations, *self.layouts, strict=True):
            geometry.prepare(*each[:3], offsets, pitches, *canvas, *each[3:], 0, blocks)

    def geometry(self) -> tuple[Floats, Floats, Floats]:
        """Return copies of the means (B, K, 2), the scales (B, K, 2) and the rotations (B, K)."""
        shapes = self._states[:, -4:, : self._count].transpose(0, 2, 1)
        rotations = self._states[:, 4, : self._count]
        return np.ascontiguousarray(shapes[..., :2]), np.ascontiguousarray(shapes[..., 2:]), rotations.copy()

    def _run(self, rates: Floats, shares: Floats, keep: bool, measure: bool) -> None:
        take_steps(
            *self.layouts, self.colors, self._zeros, self.offsets, self._count, *self.targets.shape[2:],
            self.stride, self.planes, self.targets.numpy(), self._images.numpy(),
            self._errors, keep, measure, self._first.blend == "normalized", False, 0, self._states, rates, shares,
        )  # fmt: skip

    @override
    def image(self) -> Tensor:
        """Render the Gaussians of each image as they are now, (B, C, H, W); the next call overwrites it."""
        self._run(np.empty((len(self.targets), 0, 4), np.float32), np.empty((0, 3), np.float32), True, False)
        return self._images

    @override
    def quality(self) -> float:
        """Return the PSNR of all images as one, in dB."""
        return psnr(self.image().flatten(0, 1), self.targets.flatten(0, 1))

    @override
    def step(self, factor: float) -> None:
        self.steps([factor])

    @override
    def steps(self, factors: Sequence[float]) -> None:
        if self._units is None:
            squares = (self.image() - self.targets).square().flatten(1)
            self._units = squares.mean(1).double().sqrt().numpy()
        start, self._taken = self._taken, self._taken + len(factors)
        betas = self._rates.gradient_betas, self._rates.square_betas
        gradients, squares_ = (tabulate(each, start, self._taken) for each in betas)
        full = np.array([list(self._rates.steps(unit).values()) for unit in self._units])
        rates = np.array(factors)[:, None] * full[:, None] / gradients[:, 1:]
        shares = np.stack([gradients[:, 0], squares_[:, 0], 1 / squares_[:, 1]], axis=1)
        self._run(rates.astype(np.float32), shares.astype(np.float32), False, True)

    def psnrs(self) -> list[float]:
        """Return the PSNR of each image before the last `steps`, in dB."""
        return [psnr_of_error(error) for error in (self._errors.sum(1) / self.targets[0].numel()).tolist()]

    @override
    def edit(self, keep: Tensor, added: Gaussians) -> None:
        """Keep Gaussians by a mask, and add others, as many for each image; both in the order of the images."""
        number, size, _ = self._states.shape
        fresh = join(Relative(added)).reshape(size, number, -1).transpose(1, 0, 2)
        kept = np.nonzero(keep.numpy().reshape(number, -1))[1].reshape(number, 1, -1)
        states = np.concatenate([np.take_along_axis(self._states, kept, 2), fresh], axis=2)
        # Neighbours in memory are to be neighbours in the image.
        x, y = states[:, -4], states[:, -3]
        order = np.argsort(np.floor(y) * self.targets.shape[3] + x, axis=1, kind="stable")
        self._load(np.take_along_axis(states, order[:, None], 2))

    @override
    def finite(self) -> bool:
        return bool(np.isfinite(self._states[:, : GEOMETRY + len(self._zeros), : self._count]).all())

    @override
    def gaussians(self) -> Gaussians:
        """Return the Gaussians as they are now, those of one image after the other."""
        arrays = *self.geometry(), self.colors[:, : self._count]
        columns = [torch.from_numpy(each.reshape(-1, *each.shape[2:])) for each in arrays]
        return replace(self._first, **Attributes(*columns)._asdict())
