"""Descent on a CPU in two phases: from Gaussians to the gradients of pixels, and from those to the next Gaussians.

Both are numba kernels on memory that is kept; neither autograd nor an operator of torch takes part in a step on the
squared error. Other losses are functions of the rendered image for autograd, and the kernels do the rest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from fastgs.fitting.adam import tabulate
from fastgs.fitting.loss_functions import SquaredError
from fastgs.fitting.losses import Loss
from fastgs.fitting.optimizer import Descent, LearningRates
from fastgs.fitting.optimizer_cpu_kernels import descend, move, take_steps
from fastgs.fitting.parametrization import Relative
from fastgs.fitting.removal import Appraisal, Appraiser
from fastgs.gaussians import Gaussians
from fastgs.metrics.quality import psnr, psnr_of_error
from fastgs.render import cpu_geometry_kernels as geometry
from fastgs.render import cpu_kernels as kernels
from fastgs.render.cpu_arrays import PARTS, count_blocks, count_channels, lay_out, make_planes, split_rows
from fastgs.runtime import threads

GEOMETRY = 5  # free variables of a Gaussian beside its colours: offsets u, v, log scales u, v, rotation
FIXED = 6  # numbers of a Gaussian that do not change: start x, y, frame, floors u, v

# Number of steps after which rows are shared out anew among the threads, as Gaussians move and grow.
STEPS_PER_SPLIT = 20

# Place in pixels, to the left and above every canvas, of Gaussians that fill a block.
OUTSIDE = 1e6

Floats = NDArray[np.float32]


class CpuDescent(Descent):
    """Descent on the CPU with `GrowingAdam` on variables of `Relative`.

    Args:
        variables: Variables at their start, of at least one Gaussian, float32.
        target: (C, H, W) image, C at most `fastgs.render.cpu_kernels.MOST_CHANNELS`.
        rates: Learning rates.
        loss: Callable (image, target) -> scalar.
        frozen: Gaussians on the same canvas that are drawn, too, and stay as they are.
    """

    def __init__(
        self, variables: Relative, target: Tensor, rates: LearningRates, loss: Loss, frozen: Gaussians | None = None
    ) -> None:
        self._canvas, self._blend, self._alpha = variables.canvas, variables.blend, variables.alpha
        self._target = target.detach().contiguous()
        self._rates = rates
        self._loss = None if isinstance(loss, SquaredError) else loss
        self._color_unit: float | None = None
        self._normalized = variables.blend == "normalized"
        self._taken = 0
        channels, height, width = target.shape
        self._zeros = count_channels(channels)
        self._stride = width + kernels.MARGIN
        self._planes = make_planes(height, channels, self._stride)
        self._in_pixels = self._planes if self._loss is None else make_planes(height, channels, self._stride)
        self._image = torch.empty_like(self._target)
        self._errors = np.empty(height, np.float64)
        # The state begins with the frozen Gaussians, in blocks that no step touches.
        before = join(Relative(_fill_block(frozen))) if frozen is not None and len(frozen) else None
        self._base = 0 if before is None else before.shape[1]
        state = join(variables)
        self._load(state if before is None else np.concatenate([before, state], axis=1))

    def _load(self, state: Floats) -> None:
        """Copy the state (S, N) of N Gaussians into memory with room for whole blocks."""
        count = state.shape[1]
        room = np.zeros((len(state), count_blocks(count) * geometry.BLOCK), np.float32)
        room[:, :count] = state
        self._adopt(room, count)

    def _adopt(self, state: Floats, count: int) -> None:
        """Go on from the state (S, P) of N Gaussians, with room for whole blocks."""
        self._state, self._count = state, count
        number = GEOMETRY + len(self._target)
        borders = [number, 2 * number, 3 * number, 3 * number + FIXED]
        self._rows, self._averages, self._squares, self._fixed, self._shapes = np.split(self._state, borders)
        self._shapes[2:, count:] = 1  # nobody's scales
        self._colors = np.stack(self._rows[GEOMETRY:], axis=1)  # type: ignore[call-overload]
        means, scales = self._means_and_scales()
        self._layout = lay_out(means, scales, self._rows[4, :count], [count], [(1.0, 1.0)], *self._canvas)
        self._since_split = 0
        self._drawn = self._kept = self._measured = False  # what there is of these Gaussians: planes, image, errors

    def _draw(self, keep: bool = False, measure: bool = False) -> None:
        """Fill the planes, if `keep` the image, and if `measure` the errors."""
        layout = self._layout
        shared = (*layout[:3], self._colors, self._zeros, layout.offsets, self._stride, self._planes)
        image = self._image.numpy()
        if self._loss is None:
            outputs = self._target.numpy(), image, self._errors, keep, measure, self._normalized
            threads.run(kernels.descend_pixels, (*shared, *outputs), layout.bands)
        else:
            threads.run(kernels.forward, (*shared, image[None], self._normalized), layout.bands)
        self._drawn, self._kept, self._measured = True, keep or self._loss is not None, measure

    @override
    @torch.no_grad()
    def image(self) -> Tensor:
        # The next step overwrites it.
        if not self._kept:
            self._draw(keep=True)
        return self._image

    @override
    def quality(self) -> float:
        if self._loss is not None:
            return psnr(self.image(), self._target)
        if not self._measured:
            self._draw(measure=True)
        return psnr_of_error(float(self._errors.sum()) / self._target.numel())

    @override
    def step(self, factor: float) -> None:
        rates, shares = self._plan([factor])
        if not self._drawn:
            self._draw()
        if self._loss is not None:
            self._find_pixel_gradients(self._loss)
        arguments = (
            *self._layout[:3], self._colors, self._zeros, self._count, *self._canvas, self._stride, self._in_pixels,
            *self._flat(), rates[0], shares[0],
        )  # fmt: skip
        first = self._base // geometry.BLOCK
        parts = threads.shares(len(self._layout.spans) - first, PARTS)
        threads.run(descend, arguments, [(first + start, first + stop) for start, stop in parts])
        self._drawn = self._kept = self._measured = False
        self._since_split += 1
        if self._since_split == STEPS_PER_SPLIT:
            bands = split_rows(self._layout, self._count, self._target.shape[1])
            self._layout, self._since_split = self._layout._replace(bands=bands), 0

    @override
    def steps(self, factors: Sequence[float]) -> None:
        if self._loss is not None or threads.num_threads() > 1:
            super().steps(factors)
            return
        # One call for all of them: in a small image, calling kernels takes as long as what they do.
        rates, shares = self._plan(factors)
        take_steps(
            *(each[None] for each in self._layout[:3]), self._colors[None], self._zeros, self._layout.offsets,
            self._count, *self._canvas, self._stride, self._planes, self._target.numpy()[None],
            self._image.numpy()[None], self._errors[None], False, False, self._normalized, self._drawn,
            self._base // geometry.BLOCK, self._state[None], rates[None], shares,
        )  # fmt: skip
        self._drawn = self._kept = self._measured = False

    def _plan(self, factors: Sequence[float]) -> tuple[Floats, Floats]:
        """Return the rates (steps, 4) and the shares (steps, 3) of the next steps, see optimizer_cpu_kernels.py."""
        if self._color_unit is None:
            self._color_unit = math.sqrt((self.image() - self._target).square().mean().item())
        start, self._taken = self._taken, self._taken + len(factors)
        betas = self._rates.gradient_betas, self._rates.square_betas
        gradients, squares = (tabulate(each, start, self._taken) for each in betas)
        full = np.array(list(self._rates.steps(self._color_unit).values()))
        rates = np.multiply.outer(factors, full) / gradients[:, 1:]
        shares = np.stack([gradients[:, 0], squares[:, 0], 1 / squares[:, 1]], axis=1)
        return rates.astype(np.float32), shares.astype(np.float32)

    def _flat(self) -> Iterator[Floats]:
        """Yield the parts of the state, flat."""
        return (each.reshape(-1) for each in (self._rows, self._averages, self._squares, self._fixed, self._shapes))

    def _find_pixel_gradients(self, loss: Loss) -> None:
        """Compute the gradients of the pixels for a loss that autograd knows."""
        with torch.enable_grad():
            image = self._image.detach().requires_grad_()
            (upstream,) = torch.autograd.grad(loss(image, self._target), image)
        images = self._image.numpy()[None], upstream.contiguous().numpy()[None]
        pixels = (self._planes, *images, self._stride, self._normalized, self._in_pixels)
        threads.run(kernels.pixel_gradients, pixels, self._layout.bands)

    @override
    def edit(self, keep: Tensor, added: Gaussians) -> None:
        # Neighbours in memory are to be neighbours in the image.
        fresh, kept = np.ascontiguousarray(join(Relative(added))), self._base + np.flatnonzero(keep.numpy())
        x, y = (np.concatenate([self._state[row][kept], fresh[row]]) for row in (-4, -3))
        order = np.argsort(np.floor(y) * self._canvas[1] + x, kind="stable")
        places = np.empty_like(order)
        places[order] = self._base + np.arange(len(order))
        free = np.append(kept, np.zeros(len(added), kept.dtype))[order]
        members = np.concatenate([np.arange(self._base), free]).astype(np.int32)
        state = np.empty((len(fresh), count_blocks(len(members)) * geometry.BLOCK), np.float32)
        arguments = self._state, fresh, members, places[len(kept) :], state
        threads.run(move, arguments, threads.shares(len(state), PARTS))
        self._adopt(state, len(members))

    @override
    def appraise(self, appraiser: Appraiser) -> Appraisal:
        if self._loss is not None or not self._normalized:
            if self._base:  # an appraiser would draw without the frozen ones
                return Appraisal(self.gaussians(), self.image(), appraiser.target)
            return super().appraise(appraiser)
        self._drawn = self._kept = self._measured = False  # the planes are used for something else
        return appraiser.draw(self._find_gaussians(), self._layout, self._planes, self._colors)

    @override
    def finite(self) -> bool:
        return bool(np.isfinite(self._rows[:, self._base : self._count]).all())

    @override
    def gaussians(self) -> Gaussians:
        return replace(self._find_gaussians())  # which the constructor checks

    def _find_gaussians(self) -> Gaussians:
        """Return the Gaussians as they are now, whose values are not checked."""
        means, scales = (torch.from_numpy(each[self._base :]) for each in self._means_and_scales())
        rotations = torch.from_numpy(self._rows[4, self._base : self._count].copy())
        colors = torch.from_numpy(self._colors[self._base : self._count].copy())
        return Gaussians.unchecked(means, scales, rotations, colors, *self._canvas, self._blend, self._alpha)

    def _means_and_scales(self) -> tuple[Floats, Floats]:
        """Return copies, (N, 2) each, the frozen ones included."""
        x, y, u, v = self._shapes[:, : self._count]
        return np.stack([x, y], axis=1), np.stack([u, v], axis=1)


def _fill_block(gaussians: Gaussians) -> Gaussians:
    """Add Gaussians that reach no pixel, so that there is a whole number of blocks."""
    missing = count_blocks(len(gaussians)) * geometry.BLOCK - len(gaussians)
    outside = gaussians.means.new_full((missing, 2), -OUTSIDE)
    filling = {
        "means": outside,
        "scales": torch.ones_like(outside),
        "rotations": outside.new_zeros(missing),
        "colors": outside.new_zeros(missing, gaussians.channels),
    }
    joined: dict[str, Any] = {name: torch.cat([getattr(gaussians, name), each]) for name, each in filling.items()}
    return replace(gaussians, **joined)


@torch.no_grad()
def join(variables: Relative) -> Floats:
    """Return the state (S, N) of N Gaussians that have not moved yet.

    Its rows are the variables, both averages of Adam, what is fixed, and the shapes of optimizer_cpu_kernels.py.
    """
    count = len(variables)
    rows = torch.cat([each.detach()[:, None].flatten(1) for each in variables.free.values()], dim=1)
    start, frame, floors = (variables.fixed[name] for name in ("start", "frame", "floors"))
    means, scales, _, _ = variables.attributes()
    memory = torch.zeros(count, 2 * rows.shape[1])
    joined: Floats = torch.cat([rows, memory, start, torch.view_as_real(frame), floors, means, scales], dim=1).T.numpy()
    return joined
