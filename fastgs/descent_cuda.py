"""A descent of which the GPU knows every step: two CUDA graphs, of static shapes, that wait for nothing.

One renders and leaves the gradient of the squared error in every pixel; the other collects it by Gaussian and takes a
step of Adam. The host only launches them, and sets the factor of the rates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
import triton
from torch import Tensor

from fastgs.descent import Rates, Variables
from fastgs.descent_kernels import descend
from fastgs.gaussians import Gaussians
from fastgs.render import cuda

# Room in the lists of the tiles, relative to what they need when it is made: fits make Gaussians overlap more.
ROOM = 1.5


class CudaDescent:
    """Squared error, on a GPU; see `fastgs.descent.Descent`.

    The lists of the tiles have room for so many entries. If Gaussians grow beyond it, no step is taken any more; that
    is seen when an image is asked for, which makes room and takes the missing steps. So results are exact whatever the
    room is.

    Args:
        gaussians: where to start; at least one.
        target: (3, H, W).
        rates: of the steps.
    """

    def __init__(self, gaussians: Gaussians, target: Tensor, rates: Rates) -> None:
        start = Variables.of(gaussians)
        number, device = len(gaussians), target.device
        self._start = gaussians
        self._target = target.contiguous()
        self._rates = rates
        self._color_unit: float | None = None
        self._layout = cuda.lay_out((number,), ((1.0, 1.0),), gaussians.height, gaussians.width, device)
        # What a step reads and writes stays where it is.
        self._fixed = gaussians.means.detach().contiguous(), start.unit.contiguous(), start.floors.contiguous()
        rows = torch.cat([start.offsets, start.log_scales, start.rotations[:, None], start.colors], dim=1)
        self._variables = rows.T.contiguous()
        self._averages, self._squares = torch.zeros_like(self._variables), torch.zeros_like(self._variables)
        means, scales, rotations, colors = (
            each.detach().clone(memory_format=torch.contiguous_format)
            for each in (gaussians.means, gaussians.scales, gaussians.rotations, gaussians.colors)
        )
        self._gaussians = means, scales, rotations, colors
        self._in_gaussians = tuple(torch.empty_like(each) for each in self._gaussians)
        self._image = target.new_empty(1, 3, gaussians.height, gaussians.width)
        self._in_pixels = target.new_empty(1, 4, gaussians.height, gaussians.width)
        self._taken = torch.zeros((), dtype=torch.int32, device=device)
        self._factor = torch.ones((), device=device)
        self._rendered = False
        self._unseen: list[float] = []  # factors of the steps since the device was last asked
        self._steps = 0
        with torch.cuda.device_of(target):  # type: ignore[no-untyped-call]
            _, counts = cuda.prepare(means, scales, rotations, self._layout)
        self._make_room(int(counts.sum()))

    def _make_room(self, entries: int) -> None:
        self._capacity = max(1, math.ceil(ROOM * entries))
        self._render, self._descend = (
            _Graph(work, self._target.device) for work in (self._launch_render, self._launch_descend)
        )
        self._rendered = False

    def _launch_render(self) -> None:
        means, scales, rotations, colors = self._gaussians
        self._frames, counts = cuda.prepare(means, scales, rotations, self._layout)
        self._ends = counts.cumsum(0, dtype=torch.int32)
        tiles = cuda.list_tiles(self._frames, self._ends, self._layout, self._capacity)
        normalized = self._start.blend == "normalized"
        cuda.draw(self._frames, colors, tiles, self._layout, normalized, self._image, self._in_pixels, self._target)

    def _launch_descend(self) -> None:
        _, scales, _, colors = self._gaussians
        cuda.collect(scales, colors, self._frames, self._layout, self._in_pixels, self._in_gaussians)
        self._taken += self._ends[-1] <= self._capacity
        assert self._color_unit is not None
        number = len(scales)
        descend[(triton.cdiv(number, cuda.BLOCK),)](
            self._variables, self._averages, self._squares, *self._fixed, *self._in_gaussians, *self._gaussians,
            self._ends, self._taken, self._factor, *self._rates.steps(self._color_unit),
            *(math.log2(beta) if beta else -math.inf for beta in self._rates.betas), number, self._capacity,
            BLOCK=cuda.BLOCK,
        )  # fmt: skip

    @torch.no_grad()
    def image(self) -> Tensor:
        """See `Descent`; the next step overwrites it."""
        while True:
            if not self._rendered:
                self._render()
                self._rendered = True
            entries, taken = torch.stack([self._ends[-1], self._taken]).tolist()
            if entries <= self._capacity:
                self._unseen.clear()
                return self._image[0]
            missing = self._unseen[len(self._unseen) - (self._steps - taken) :]
            self._steps, self._unseen = taken, []
            self._make_room(entries)
            for factor in missing:
                self.step(factor)

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """See `Descent`; does not wait for it to be done."""
        if self._color_unit is None:
            self._color_unit = (self.image() - self._target).square().mean().sqrt().item()
        if not self._rendered:
            self._render()
        self._factor.fill_(factor)
        self._descend()
        self._rendered = False
        self._unseen.append(factor)
        self._steps += 1

    def finite(self) -> bool:
        """See `Descent`."""
        return bool(torch.isfinite(self._variables).all())

    def gaussians(self) -> Gaussians:
        """See `Descent`."""
        means, scales, rotations, colors = (each.clone() for each in self._gaussians)
        return replace(self._start, means=means, scales=scales, rotations=rotations, colors=colors)


class _Graph:
    """Launches work the first time, which may compile kernels, and replays what it launched ever after.

    Args:
        work: launches kernels of static shapes, and leaves what others read in the same memory each time.
        device: of the kernels; on a CPU, where they are interpreted, each call launches them anew.
    """

    def __init__(self, work: Callable[[], None], device: torch.device) -> None:
        self._work = work
        self._device = device
        self._launched = False
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        if self._device.type != "cuda":
            self._work()
            return
        with torch.cuda.device(self._device):
            if not self._launched:
                self._work()
                self._launched = True
                return
            if self._graph is None:
                self._graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(self._graph):
                    self._work()
            self._graph.replay()
