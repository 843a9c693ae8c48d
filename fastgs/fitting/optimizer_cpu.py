"""Descent on a CPU in two phases: from Gaussians to the gradients of pixels, and from those to the next Gaussians.

Both are numba kernels on memory that is kept; neither autograd nor an operator of torch takes part in a step on the
squared error. Other losses are functions of the rendered image for autograd, and the kernels do the rest.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from fastgs.fitting.adam import weights
from fastgs.fitting.loss_functions import SquaredError
from fastgs.fitting.losses import Loss
from fastgs.fitting.optimizer import Descent, LearningRates
from fastgs.fitting.optimizer_cpu_kernels import descend
from fastgs.fitting.parametrization import Relative
from fastgs.gaussians import Gaussians
from fastgs.render import cpu_kernels as kernels
from fastgs.render.cpu_arrays import PARTS, Layout, count_blocks, count_channels, lay_out, make_planes, split_rows
from fastgs.runtime import threads

GEOMETRY = 5  # free variables of a Gaussian beside its colours: offsets u, v, log scales u, v, rotation

# Number of steps after which rows are shared out anew among the threads, as Gaussians move and grow.
STEPS_PER_SPLIT = 20

Floats = NDArray[np.float32]


class CpuDescent(Descent):
    """Descent on the CPU with `GrowingAdam` on variables of `Relative`.

    Args:
        variables: Variables at their start, of at least one Gaussian, float32.
        target: (C, H, W) image, C at most `fastgs.render.cpu_kernels.MOST_CHANNELS`.
        rates: Learning rates.
        loss: Callable (image, target) -> scalar.
    """

    def __init__(self, variables: Relative, target: Tensor, rates: LearningRates, loss: Loss) -> None:
        self._variables = variables
        self._target = target.detach().contiguous()
        self._rates = rates
        self._loss = None if isinstance(loss, SquaredError) else loss
        self._color_unit: float | None = None
        self._normalized = variables.blend == "normalized"
        self._weights = weights(rates.gradient_betas), weights(rates.square_betas)
        channels, height, width = target.shape
        self._zeros = count_channels(channels)
        self._stride = width + kernels.MARGIN
        self._planes = make_planes(height, channels, self._stride)
        self._in_pixels = self._planes if self._loss is None else make_planes(height, channels, self._stride)
        self._image = torch.empty_like(self._target)
        spare = np.zeros((GEOMETRY + channels, len(variables)), np.float32)
        self._load(spare, spare)

    def _load(self, averages: Floats, squares: Floats) -> None:
        """Copy the variables, with the averages of Adam, (GEOMETRY + C, N) each."""
        variables, count = self._variables, len(self._variables)
        with torch.no_grad():
            means, scales, rotations, colors = (each.contiguous().numpy() for each in variables.attributes())
        height, width = variables.canvas
        self._layout: Layout = lay_out(means, scales, rotations, [count], [(1.0, 1.0)], height, width)
        room = count_blocks(count) * kernels.BLOCK

        def with_room(rows: Floats) -> Floats:
            padded = np.zeros((len(rows), room), np.float32)
            padded[:, :count] = rows
            return padded

        free = [each.detach().reshape(count, -1).T.numpy() for each in variables.free.values()]
        start, frame, floors = (variables.fixed[name] for name in ("start", "frame", "floors"))
        fixed = [each.T.numpy() for each in (start, torch.view_as_real(frame), floors)]
        self._rows, self._averages, self._squares = map(with_room, (np.concatenate(free), averages, squares))
        self._fixed = with_room(np.concatenate(fixed))
        self._shapes = with_room(np.concatenate([means.T, scales.T]))
        self._shapes[2:, count:] = 1
        self._colors = np.ascontiguousarray(with_room(colors.T).T)
        self._since_split = 0
        self._drawn = self._kept = False  # whether planes are those of these Gaussians, and whether the image is

    def _draw(self, keep: bool) -> None:
        """Fill the planes, and if `keep` the image."""
        layout = self._layout
        shared = (*layout[:3], self._colors, self._zeros, layout.offsets, self._stride, self._planes)
        image = self._image.numpy()
        if self._loss is None:
            outputs = self._target.numpy(), image, keep, self._normalized
            threads.run(kernels.descend_pixels, (*shared, *outputs), layout.bands)
        else:
            threads.run(kernels.forward, (*shared, image[None], self._normalized), layout.bands)
        self._drawn, self._kept = True, keep or self._loss is not None

    @override
    @torch.no_grad()
    def image(self) -> Tensor:
        # The next step overwrites it.
        if not self._kept:
            self._draw(keep=True)
        return self._image

    @override
    def step(self, factor: float) -> None:
        if self._color_unit is None:
            self._color_unit = math.sqrt((self.image() - self._target).square().mean().item())
        if not self._drawn:
            self._draw(keep=False)
        if self._loss is not None:
            self._find_pixel_gradients(self._loss)
        gradient, square = (next(each) for each in self._weights)
        rates = [rate * factor / gradient.known for rate in self._rates.steps(self._color_unit).values()]
        layout, flat = self._layout, (-1,)
        arguments = (
            *layout[:3], self._colors, self._zeros, len(self._variables), *self._variables.canvas,
            self._stride, self._in_pixels,
            *(each.reshape(flat) for each in (self._rows, self._averages, self._squares, self._fixed, self._shapes)),
            np.array(rates, np.float32), np.array([gradient.new, square.new, 1 / square.known], np.float32),
        )  # fmt: skip
        threads.run(descend, arguments, threads.parts(len(layout.spans), PARTS * threads.num_threads()))
        self._drawn = self._kept = False
        self._since_split += 1
        if self._since_split == STEPS_PER_SPLIT:
            bands = split_rows(layout, len(self._variables), self._target.shape[1])
            self._layout, self._since_split = layout._replace(bands=bands), 0

    def _find_pixel_gradients(self, loss: Loss) -> None:
        """Compute the gradients of the pixels for a loss that autograd knows."""
        with torch.enable_grad():
            image = self._image.detach().requires_grad_()
            (upstream,) = torch.autograd.grad(loss(image, self._target), image)
        images = self._image.numpy()[None], upstream.contiguous().numpy()[None]
        pixels = (self._planes, *images, self._stride, self._normalized, self._in_pixels)
        threads.run(kernels.pixel_gradients, pixels, self._layout.bands)

    @override
    @torch.no_grad()
    def edit(self, keep: Tensor, added: Gaussians) -> None:
        count = len(self._variables)
        rows = torch.from_numpy(self._rows[:, :count].copy())
        offsets, log_scales, rotations, colors = rows.T.split([2, 2, 1, len(self._target)], dim=1)  # type: ignore[no-untyped-call]
        free = offsets.contiguous(), log_scales, rotations[:, 0], colors
        self._variables.free = dict(zip(Relative.NAMES, free, strict=True))
        self._variables.edit(keep, added)
        kept, spare = keep.numpy(), np.zeros((len(rows), len(added)), np.float32)
        averages, squares = (
            np.concatenate([each[:, :count][:, kept], spare], axis=1) for each in (self._averages, self._squares)
        )
        self._load(averages, squares)

    @override
    def finite(self) -> bool:
        return bool(np.isfinite(self._rows[:, : len(self._variables)]).all())

    @override
    def gaussians(self) -> Gaussians:
        count = len(self._variables)
        height, width = self._variables.canvas
        means, scales = (torch.from_numpy(self._shapes[rows, :count].T.copy()) for rows in (slice(2), slice(2, 4)))
        rotations = torch.from_numpy(self._rows[4, :count].copy())
        colors = torch.from_numpy(self._colors[:count].copy())
        variables = self._variables
        return Gaussians(means, scales, rotations, colors, height, width, variables.blend, variables.alpha)
