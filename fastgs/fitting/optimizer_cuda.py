"""Descent on a GPU without a wait for the host: two CUDA graphs of static shapes.

One renders and leaves the gradient of the squared error in every pixel; the other collects it by Gaussian and takes a
step of Adam. The host only launches them, and sets the factor of the rates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import islice

import torch
import triton
from torch import Tensor
from typing_extensions import override

from fastgs.fitting.adam import weights
from fastgs.fitting.optimizer import Descent, LearningRates
from fastgs.fitting.optimizer_cuda_kernels import descend
from fastgs.fitting.parametrization import Relative
from fastgs.gaussians import Gaussians
from fastgs.metrics.quality import psnr
from fastgs.render import cuda

# Capacity of the lists of the tiles, relative to their need when they are made: fits make Gaussians overlap more.
ROOM = 1.5

STEPS = 1024  # by then the memories of Adam grow no more

GEOMETRY = 5  # free variables of a Gaussian beside its colours: offsets u, v, log scales u, v, rotation


class CudaDescent(Descent):
    """Descent on the squared error, on a GPU.

    The lists of the tiles have a capacity. If Gaussians grow beyond it, no step is taken any more; that is seen when an
    image or the Gaussians are asked for, which enlarges the lists and takes the missing steps. So results are exact
    whatever the capacity is.

    Args:
        variables: Variables at their start, of at least one Gaussian.
        target: (C, H, W) image, C at most `fastgs.render.cuda.MOST_CHANNELS`.
        rates: Learning rates.
    """

    def __init__(self, variables: Relative, target: Tensor, rates: LearningRates) -> None:
        self._variables = variables
        self._target = target.contiguous()
        self._rates = rates
        self._color_unit: float | None = None
        self._canvas, self._blend = variables.canvas, variables.blend
        channels, height, width = target.shape
        self._image = target.new_empty(1, channels, height, width)
        self._in_pixels = target.new_empty(1, channels + 1, height, width)
        self._taken = torch.zeros((), dtype=torch.int32, device=target.device)
        self._factor = torch.ones((), device=target.device)
        self._weights = _weights(rates).to(target.device)
        self._unseen: list[float] = []  # factors of the steps since the device was last asked
        self._steps = 0
        self._load(*(torch.zeros(GEOMETRY + channels, len(variables), device=target.device) for _ in range(2)))

    def _load(self, averages: Tensor, squares: Tensor) -> None:
        """Copy the variables to the device, with the averages of Adam, (GEOMETRY + C, N) each."""
        variables = self._variables
        # Tensors that a step reads and writes stay where they are.
        start, frame, floors = (variables.fixed[name].contiguous() for name in ("start", "frame", "floors"))
        self._fixed = start, torch.view_as_real(frame), floors
        rows = [each.detach().reshape(len(variables), -1) for each in variables.free.values()]
        self._rows = torch.cat(rows, dim=1).T.contiguous()
        self._averages, self._squares = averages.contiguous(), squares.contiguous()
        with torch.no_grad():
            means, scales, rotations, colors = (
                each.clone(memory_format=torch.contiguous_format) for each in variables.attributes()
            )
        self._gaussians = means, scales, rotations, colors
        self._in_gaussians = tuple(torch.empty_like(each) for each in self._gaussians)
        self._layout = cuda.lay_out((len(variables),), ((1.0, 1.0),), *self._canvas, self._target.device)
        with torch.cuda.device_of(self._target):  # type: ignore[no-untyped-call]
            _, counts = cuda.prepare(means, scales, rotations, self._layout)
        self._make_room(int(counts.sum()))

    def _make_room(self, entries: int) -> None:
        self._capacity = max(1, math.ceil(ROOM * entries))
        self._render_graph, self._descend_graph = (_Graph(self._target.device) for _ in range(2))
        self._rendered = False

    def _render(self) -> None:
        self._render_graph.run(self._launch_render)

    def _descend(self) -> None:
        self._descend_graph.run(self._launch_descend)

    def _launch_render(self) -> None:
        means, scales, rotations, colors = self._gaussians
        self._frames, counts = cuda.prepare(means, scales, rotations, self._layout)
        self._ends = counts.cumsum(0)
        tiles = cuda.list_tiles(self._frames, self._ends, self._layout, self._capacity)
        normalized = self._blend == "normalized"
        cuda.draw(self._frames, colors, tiles, self._layout, normalized, self._image, self._in_pixels, self._target)

    def _launch_descend(self) -> None:
        _, scales, _, colors = self._gaussians
        cuda.collect(scales, colors, self._frames, self._layout, self._in_pixels, self._in_gaussians)
        self._taken += self._ends[-1] <= self._capacity
        assert self._color_unit is not None
        number = len(scales)
        descend[(triton.cdiv(number, cuda.BLOCK),)](
            self._rows, self._averages, self._squares, *self._fixed, *self._in_gaussians, *self._gaussians,
            self._ends, self._taken, self._factor, self._weights, *self._rates.steps(self._color_unit).values(),
            number, self._capacity, CHANNELS=len(self._target), LAST=len(self._weights), BLOCK=cuda.BLOCK,
        )  # fmt: skip

    @override
    @torch.no_grad()
    def image(self) -> Tensor:
        # The next step overwrites it.
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

    @override
    def quality(self) -> float:
        return psnr(self.image(), self._target)

    @override
    @torch.no_grad()
    def step(self, factor: float) -> None:
        # Does not wait for the step to be done.
        if self._color_unit is None:
            self._color_unit = (self.image() - self._target).square().mean().sqrt().item()
        if not self._rendered:
            self._render()
        if not self._unseen or factor != self._unseen[-1]:
            self._factor.fill_(factor)
        self._descend()
        self._rendered = False
        self._unseen.append(factor)
        self._steps += 1

    @override
    @torch.no_grad()
    def edit(self, keep: Tensor, added: Gaussians) -> None:
        self.image()  # all steps have been taken
        offsets, log_scales, rotations, colors = self._rows.T.split([2, 2, 1, len(self._target)], dim=1)  # type: ignore[no-untyped-call]
        free = offsets, log_scales, rotations[:, 0], colors
        self._variables.free = dict(zip(Relative.NAMES, free, strict=True))
        self._variables.edit(keep, added)
        spare = self._rows.new_zeros(len(self._rows), len(added))
        self._load(*(torch.cat([each[:, keep], spare], dim=1) for each in (self._averages, self._squares)))

    @override
    def finite(self) -> bool:
        self.image()  # all steps have been taken
        return bool(torch.isfinite(self._rows).all())

    @override
    def gaussians(self) -> Gaussians:
        self.image()  # all steps have been taken
        means, scales, rotations, colors = (each.clone() for each in self._gaussians)
        return Gaussians(means, scales, rotations, colors, *self._canvas, self._blend)


def _weights(rates: LearningRates) -> Tensor:
    """Return (S, 4) weights of both averages (see `fastgs.fitting.adam`) at each step until they change no more."""
    pairs = zip(weights(rates.gradient_betas), weights(rates.square_betas), strict=True)
    rows = [[*gradient, *square] for gradient, square in islice(pairs, STEPS)]
    return torch.tensor(rows)


class _Graph:
    """Launches work the first time, which may compile kernels, and replays what it launched ever after.

    It does not keep the work: a method of its owner would keep the owner, with all its memory, until Python looks for
    cycles.

    Args:
        device: Device of the kernels; on a CPU, where they are interpreted, each call launches them anew.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._launched = False
        self._graph: torch.cuda.CUDAGraph | None = None

    def run(self, work: Callable[[], None]) -> None:
        """Do the work.

        Args:
            work: The same callable each time. It launches kernels of static shapes, and leaves its results in the same
                memory each time.
        """
        if self._device.type != "cuda":
            work()
            return
        with torch.cuda.device(self._device):
            if not self._launched:
                work()
                self._launched = True
                return
            if self._graph is None:
                self._graph = torch.cuda.CUDAGraph()
                # On a stream of this device, and whatever other threads do, such as loading the next images.
                stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
                with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
                    work()
            self._graph.replay()
