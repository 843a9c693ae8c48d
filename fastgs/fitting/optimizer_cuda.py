"""Descent on a GPU without a wait for the host: CUDA graphs of static shapes, of one iteration and of ten.

An iteration is four kernels. One sums up the gradients in slices of the few large Gaussians; one collects the gradients
of each Gaussian, moves it by Adam, and puts it into the bins of the tiles that it touches now; one does the latter for
large Gaussians, by slices; the last renders each tile from its bin, and leaves the gradient of the squared error in
every pixel. The host only launches them, and sets the factors of the rates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
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
from fastgs.render import cuda_bin_kernels as bin_kernels
from fastgs.render import cuda_kernels as kernels

# Room of a bin: the number of Gaussians in it, and as many again, at least SPARE. Fits make Gaussians overlap more.
SPARE = 32
# Slices of the boxes of large Gaussians: their pixels, and the steps of a lane from which a box is cut (a step takes as
# long as the memory takes to answer).
SLICE, LONGEST = 512, 32
# Memory of all bins, relative to the room when it is allocated: edits share the same memory out anew.
ROOM = 1.5

STEPS = 1024  # by then the memories of Adam grow no more

BATCH = 10  # iterations of a graph

GEOMETRY = 5  # free variables of a Gaussian beside its colours: offsets u, v, log scales u, v, rotation


class CudaDescent(Descent):
    """Descent on the squared error, on a GPU.

    The bins of the tiles and the list of slices have a capacity. If there is no room for a Gaussian, no step is taken
    any more; that is seen when an image or the Gaussians are asked for, which makes room and takes the missing steps.
    So results are exact whatever the capacity is.

    Args:
        variables: Variables at their start, of at least one Gaussian.
        target: (C, H, W) image, C at most `fastgs.render.cuda.MOST_CHANNELS`; or, with counts, (B, C, H, W).
        rates: Learning rates.
        counts: Numbers of the Gaussians of B images, which the variables have one after the other; None for one image.
    """

    def __init__(
        self, variables: Relative, target: Tensor, rates: LearningRates, counts: Sequence[int] | None = None
    ) -> None:
        self._variables = variables
        self._target = target.contiguous()
        self._targets = self._target[None] if counts is None else self._target
        self._rates, self._counts = rates, counts
        self._canvas, self._blend, self._alpha = variables.canvas, variables.blend, variables.alpha
        batch, channels, height, width = self._targets.shape
        self._images = target.new_empty(batch, channels, height, width)
        self._in_pixels = target.new_empty(batch, channels + 1, height, width)
        # Root mean square errors of the first images, of none yet.
        self._units, self._has_units = torch.ones(batch, device=target.device), False
        self._state = torch.zeros(bin_kernels.STATES.value, dtype=torch.int32, device=target.device)
        self._table = [1.0] * BATCH  # what `_factors` holds
        self._factors = torch.ones(BATCH, device=target.device)
        self._weights = _weights(rates).to(target.device)
        self._steps = 0  # launched
        self._queue: list[float] = []  # factors of the steps that are not launched yet
        self._unseen: list[float] = []  # factors of the launched steps since the device was last asked
        self._seen = False  # whether it said that all of them were taken
        self._load(*(torch.zeros(GEOMETRY + channels, len(variables), device=target.device) for _ in range(2)))

    def _load(self, averages: Tensor, squares: Tensor) -> None:
        """Copy the variables to the device, with the averages of Adam, (GEOMETRY + C, N) each."""
        variables = self._variables
        # Tensors that a step reads and writes stay where they are.
        self._free, self._fixed = _join(variables), _fixed(variables)
        self._averages, self._squares = averages.contiguous(), squares.contiguous()
        with torch.no_grad(), torch.cuda.device_of(self._target):  # type: ignore[no-untyped-call]
            means, scales, rotations, colors = (each.contiguous() for each in variables.attributes())
            self._scales = scales.clone()
            self._rows = cuda.prepare(means, scales, rotations, colors)
        variables.free = {}  # they are in `_free` now
        counts = (len(scales),) if self._counts is None else tuple(self._counts)
        self._layout = cuda.lay_out(counts, ((1.0, 1.0),) * len(counts), *self._canvas, self._target.device)
        self._bins, self._slices = cuda.empty_bins(self._layout), self._make_slices(0)
        self._fill()

    def _make_slices(self, room: int) -> cuda.Slices:
        items, bases = (self._state.new_empty(size) for size in (room, len(self._scales)))
        partials = self._rows.new_empty(room, kernels.SUMS.value)
        return cuda.Slices(items, bases, partials, SLICE, LONGEST * self._shape.lanes)

    @property
    def _shape(self) -> cuda.Shape:
        return cuda.choose_shape(self._images.numel() / self._images.shape[1] / len(self._scales))

    def _fill(self) -> None:
        """Share out the memory of the bins by today's need, fill them, and render."""
        with torch.cuda.device_of(self._target):  # type: ignore[no-untyped-call]
            need = cuda.empty_bins(self._layout)
            self._state.zero_()
            cuda.fill(self._rows, self._layout, need, self._state, self._slices)
            ends = (need.counts + need.counts.clamp(min=SPARE)).cumsum(0, dtype=torch.int32)
            room, cuts = torch.stack([ends[-1], self._state[bin_kernels.COMING.value]]).tolist()
            cuts = 2 * cuts + cuda.WARP
            if room > len(self._bins.bins) or cuts > len(self._slices.items):
                size = math.ceil(ROOM * room)
                self._bins = need._replace(bins=ends.new_empty(size), entries=ends.new_empty(size))
                self._slices = self._make_slices(math.ceil(ROOM * cuts))
                self._one, self._many = (_Graph(self._target.device) for _ in range(2))
            self._bins.starts[1:] = ends
            self._bins.counts.zero_()
            self._state.zero_()
            self._state[bin_kernels.IMAGES.value] = self._steps
            cuda.fill(self._rows, self._layout, self._bins, self._state, self._slices)
            self._render()
        self._seen = True  # there was room

    def _render(self) -> None:
        cuda.draw(
            self._rows, self._images.shape[1], self._bins, self._layout, self._blend == "normalized",
            self._images, self._in_pixels, self._targets, self._state,
        )  # fmt: skip

    def _iterate(self) -> None:
        """Launch an iteration."""
        number, shape = len(self._scales), self._shape
        cuda.sum_slices(self._rows, self._layout, self._in_pixels, self._slices, self._state)
        descend[(triton.cdiv(number, shape.gaussians),)](
            self._free, self._averages, self._squares, *self._fixed, self._scales, self._rows,
            self._layout.images, self._layout.pitches, self._in_pixels,
            self._bins.starts, self._bins.counts, self._bins.bins, self._state,
            self._slices.items, self._slices.bases, len(self._slices.items), self._slices.partials,
            self._units, self._factors, self._weights,
            *self._rates.steps(1.0).values(), number, *self._canvas, *self._layout.tiles,
            CHANNELS=self._images.shape[1], LAST=len(self._weights), BATCH=BATCH,
            SLICE=self._slices.pixels, LIMIT=self._slices.limit,
            GAUSSIANS=shape.gaussians, LANES=shape.lanes, num_warps=shape.warps,
        )  # fmt: skip
        cuda.spread(self._rows, self._layout, self._bins, self._state, self._slices)
        self._render()

    def _iterate_batch(self) -> None:
        for _ in range(BATCH):
            self._iterate()

    def _launch(self) -> None:
        """Launch the steps of the queue."""
        for place, factor in enumerate(self._queue, self._steps):
            if self._table[place % BATCH] != factor:
                self._table[place % BATCH] = factor
                self._factors[place % BATCH].fill_(factor)
        if len(self._queue) == BATCH:
            self._many.run(self._iterate_batch)
        else:
            for _ in self._queue:
                self._one.run(self._iterate)
        self._seen = self._seen and not self._queue
        self._steps += len(self._queue)
        self._unseen += self._queue
        self._queue = []

    @override
    @torch.no_grad()
    def image(self) -> Tensor:
        # The next steps overwrite it. With counts, it is (B, C, H, W).
        while True:
            self._launch()
            if self._seen:
                self._unseen = []
                return self._images[0] if self._counts is None else self._images
            full, _, images, *_ = self._state.tolist()
            self._seen = not full
            if full:
                missing = self._unseen[len(self._unseen) - (self._steps - images) :]
                self._steps, self._unseen = images, []
                self._fill()
                for factor in missing:
                    self.step(factor)

    @override
    def quality(self) -> float:
        return psnr(self.image(), self._target)

    @override
    @torch.no_grad()
    def step(self, factor: float) -> None:
        # Does not wait for the step to be done; it may not even begin before there is a batch of steps.
        if not self._has_units:
            self._units.copy_((self.image() - self._targets).square().mean((1, 2, 3)).sqrt())
            self._has_units = True
        self._queue.append(factor)
        if len(self._queue) == BATCH:
            self._launch()

    @override
    @torch.no_grad()
    def edit(self, keep: Tensor, added: Gaussians) -> None:
        self.image()  # all steps have been taken
        gone = keep.logical_not().nonzero()[:, 0]
        if len(gone) == len(added):
            self._replace(gone, Relative(added))
            return
        offsets, log_scales, rotations, colors = self._free.T.split([2, 2, 1, self._images.shape[1]], dim=1)  # type: ignore[no-untyped-call]
        free = offsets, log_scales, rotations[:, 0], colors
        self._variables.free = dict(zip(Relative.NAMES, free, strict=True))
        self._variables.edit(keep, added)
        spare = self._free.new_zeros(len(self._free), len(added))
        self._load(*(torch.cat([each[:, keep], spare], dim=1) for each in (self._averages, self._squares)))

    def _replace(self, gone: Tensor, variables: Relative) -> None:
        """Put other Gaussians in the (M,) places of those that go; the graphs stay as they are."""
        if not len(gone):
            return
        self._free[:, gone] = _join(variables)
        self._averages[:, gone] = 0
        self._squares[:, gone] = 0
        for ours, theirs in zip(self._fixed, _fixed(variables), strict=True):
            ours[gone] = theirs
        with torch.cuda.device_of(self._target):  # type: ignore[no-untyped-call]
            means, scales, rotations, colors = (each.contiguous() for each in variables.attributes())
            self._scales[gone] = scales
            self._rows[gone] = cuda.prepare(means, scales, rotations, colors)[:-1]
        self._fill()

    @override
    def finite(self) -> bool:
        self.image()  # all steps have been taken
        return bool(torch.isfinite(self._free).all())

    @override
    def gaussians(self) -> Gaussians:
        return replace(self.unchecked())  # which the constructor checks

    def unchecked(self) -> Gaussians:
        """Return the Gaussians as they are now, whose values are not checked."""
        self.image()  # all steps have been taken
        first = bin_kernels.COLOR.value
        means, colors = (self._rows[:-1, a:b].clone() for a, b in ((0, 2), (first, first + self._images.shape[1])))
        shapes = self._scales.clone(), self._free[4].clone()
        return Gaussians.unchecked(means, *shapes, colors, *self._canvas, self._blend, self._alpha)


def _join(variables: Relative) -> Tensor:
    """Return the free variables as (GEOMETRY + C, N)."""
    rows = [each.detach().reshape(len(variables), -1) for each in variables.free.values()]
    return torch.cat(rows, dim=1).T.contiguous()


def _fixed(variables: Relative) -> tuple[Tensor, Tensor, Tensor]:
    """Return starts, frames and floors of variables, (N, 2) each."""
    start, frame, floors = (variables.fixed[name].contiguous() for name in ("start", "frame", "floors"))
    return start, torch.view_as_real(frame), floors


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
                self._graph = self._capture(work)
            self._graph.replay()

    def _capture(self, work: Callable[[], None]) -> torch.cuda.CUDAGraph:
        """Return the graph of the work.

        The work allocates nothing, so there is no need for `torch.cuda.graph`, which waits for the device and empties
        the caches of torch.
        """
        graph = torch.cuda.CUDAGraph()
        # On a stream of this device, and whatever other threads do, such as loading the next images.
        with torch.cuda.stream(torch.cuda.Stream(self._device)):  # type: ignore[no-untyped-call]
            graph.capture_begin(capture_error_mode="thread_local")
            try:
                work()
            finally:
                graph.capture_end()
        return graph
