"""Errors of corrected Gaussians and the forces on their corrections, on the CPU: without autograd, on kept memory."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fastgs.gaussians import MIN_SCALE, Gaussians
from fastgs.models import forces_kernels as own
from fastgs.models.attribute import CORRECTIONS, STATE_CHANNELS
from fastgs.render import cpu_kernels as kernels
from fastgs.render.cpu_arrays import PARTS, count_blocks, count_channels, lay_out, make_planes
from fastgs.render.cpu_geometry_kernels import BLOCK
from fastgs.runtime import threads

SMALLEST = np.float32(MIN_SCALE)


class Seen(NamedTuple):
    """View of corrected Gaussians that a pass of the attribute network has.

    Attributes:
        errors: (B, 3, H, W) images minus renderings; overwritten by the next call.
        sizes: (B,) root mean squares of the errors.
        states: (N, STATE_CHANNELS) columns of `fastgs.models.attribute.GaussianState`, divided by the number of
            Gaussians in the pixel of each; overwritten, too.
    """

    errors: Tensor
    sizes: Tensor
    states: Tensor


class FastForces:
    """Renders corrected Gaussians, and says how the error pulls at each correction.

    Args:
        images: (B, 3, H, W) in [0, 1].
        base: Gaussians of all images, those of one after those of the other, before any correction.
        counts: B numbers of Gaussians.
        places: (N,) number of the image of each Gaussian.
        number: (N, 1) number of Gaussians in the pixel of each.
    """

    def __init__(self, images: Tensor, base: Gaussians, counts: list[int], places: Tensor, number: Tensor) -> None:
        batch, channels, height, width = images.shape
        self.images = np.ascontiguousarray(images.numpy())
        self.counts, self.canvas, self.normalized = counts, (height, width), base.blend == "normalized"
        logs, angle = base.scales.log(), 2 * base.rotations
        half_ratio, area = 0.5 * (logs[:, 0] - logs[:, 1]), base.scales.prod(1)
        rows = [base.means[:, 0], base.means[:, 1], area.sqrt(), logs.mean(1)]
        rows += [half_ratio * torch.cos(angle), half_ratio * torch.sin(angle), 2 * torch.pi * area]
        self.base, self.base_colors = torch.stack(rows, dim=1).numpy(), base.colors.contiguous().numpy()
        self.places, self.number = places.numpy(), number[:, 0].contiguous().numpy()
        count = len(base)
        self.fields = [np.empty(shape, np.float32) for shape in ((count, 2), (count, 2), count, (count, channels))]
        self.gradients = [np.empty_like(each) for each in self.fields]
        self.slopes = np.empty((count, own.SLOPES), np.float32)
        self.forces, self.previous = np.zeros((2, count, CORRECTIONS), np.float32)
        self.states = np.empty((count, STATE_CHANNELS), np.float32)
        self.stride = width + kernels.MARGIN
        self.planes, self.in_pixels = (make_planes(batch * height, channels, self.stride) for _ in range(2))
        self.drawn, self.errors = np.empty((2, *self.images.shape), np.float32)
        self.squares = np.empty(batch * height)

    def __call__(self, corrections: Tensor, answer: Tensor) -> Seen:
        """Look at (N, CORRECTIONS) corrections, to which (N, CORRECTIONS) `answer` was added since the last call."""
        changes, added = corrections.numpy(), answer.numpy()
        means, scales, rotations, colors = self.fields
        count = PARTS * threads.num_threads()
        applied = (self.base, self.base_colors, changes, SMALLEST, *self.fields, self.slopes)
        threads.run(own.correct, applied, threads.parts(len(means), count))
        pitches = [(1.0, 1.0)] * len(self.counts)
        layout = lay_out(means, scales, rotations, self.counts, pitches, *self.canvas)
        zeros = count_channels(colors.shape[1])

        def look(top: int, bottom: int) -> None:
            geometry = (layout.frames, layout.bounds, layout.spans, colors, zeros, layout.offsets, self.stride)
            kernels.forward(*geometry, self.planes, self.drawn, self.normalized, top, bottom)
            own.subtract(self.images, self.drawn, self.errors, self.squares, top, bottom)
            pixels = (self.planes, self.drawn, self.errors, self.stride, self.normalized, self.in_pixels)
            kernels.pixel_gradients(*pixels, top, bottom)

        threads.run(look, (), layout.bands)
        size = self.images[0].size
        sizes = np.sqrt(self.squares.reshape(len(self.counts), -1).sum(1) / size).clip(1e-4).astype(np.float32)
        self.forces, self.previous = self.previous, self.forces

        def gather(start: int, stop: int) -> None:
            gaussians = (scales, layout.frames, layout.bounds, colors, zeros, layout.offsets, layout.pitches)
            where = (*self.canvas, self.stride, self.in_pixels, *self.gradients)
            kernels.backward(*gaussians, *where, start, stop)
            known = (self.base, changes, self.slopes, *self.gradients, self.places, sizes)
            result = (self.number, self.previous, added, self.forces, self.states)
            first = start * BLOCK
            own.describe(*known, *result, first, min(stop * BLOCK, len(means)))

        threads.run(gather, (), threads.parts(count_blocks(len(means)), count))
        return Seen(torch.from_numpy(self.errors), torch.from_numpy(sizes), torch.from_numpy(self.states))
