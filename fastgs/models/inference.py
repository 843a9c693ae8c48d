"""Attribute network without gradients, on the CPU: the same answers in less than half of the operations.

Only pixels with Gaussians have a state, and only there the attribute network is asked for an answer. So its first
convolution adds the contributions of the states cell by cell (a cell is FOLD x FOLD pixels), and the last one is
computed for the cells of Gaussians alone; as dense convolutions these two are 4 of 10 multiplications of a pass. What
encoder and decoder say of the surroundings hardly changes from pass to pass, so it is kept after the first few; from
then on, the first convolution and the 1 x 1 one behind it are one.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from fastgs.models import bands
from fastgs.models import inference_kernels as kernels
from fastgs.models.attribute import STATE_CHANNELS, AttributeNetwork
from fastgs.models.bands import Convolution
from fastgs.models.forces import Seen
from fastgs.models.prepared import PreparedUNet, call, count_cells, find_image, flatten_rows, fold
from fastgs.models.unet import FOLD
from fastgs.render.cpu_arrays import count_channels
from fastgs.runtime import threads

# Passes that look at the surroundings anew. With 1, 2 or all of 7 of them, four photos of Kodak are at 29.05, 29.19 and
# 29.19 dB (benchmarks/LOG.md, section "Attribute network").
ENCODED = 2

# Gaussians per pixel. More of them take more memory and time than planes of all pixels.
MOST_PER_PIXEL = 0.25


class _Detail(NamedTuple):
    """First convolution, or that and the 1 x 1 one behind it.

    Attributes:
        changing: Part of it that sees the error and its size.
        states: Flat weights of `inference_kernels.spread`, in float32.
    """

    changing: Convolution
    states: Tensor


class PreparedAttribute(PreparedUNet):
    """Attribute network in the shapes and the precision that `FastPasses` needs.

    Args:
        network: Network on the CPU; it is copied, and not changed.
        precision: Type of the convolutions: float32 or bfloat16.
    """

    def __init__(self, network: AttributeNetwork, precision: torch.dtype) -> None:
        super().__init__(network, precision)
        unet = network.unet
        # The channels of a cell: those of its pixels one after the other.
        weight = torch.unflatten(unet.detail.weight.detach(), 1, (FOLD**2, -1))
        inputs = weight.shape[2] - STATE_CHANNELS
        known, changing = weight[:, :, :inputs].chunk(2, dim=2)
        self.known = Convolution.of(known.flatten(1, 2), unet.detail.bias, precision)  # image and spacing
        self.detail = self._first(changing, weight[:, :, inputs:])
        merged = torch.einsum("oc,cpihw->opihw", self.merge_weight, weight)
        self.merged = self._first(merged[:, :, inputs // 2 : inputs], merged[:, :, inputs:])
        # From the 9 cells around to the answers for the pixels of the cell.
        self.head = unet.head.weight.detach().permute(2, 3, 1, 0).flatten(0, 2).to(precision)
        assert unet.head.bias is not None
        self.head_bias = unet.head.bias.detach().clone()

    def _first(self, changing: Tensor, states: Tensor) -> _Detail:
        """Return the first convolution for (C, FOLD^2, inputs, 3, 3) weights of what changes from pass to pass."""
        around = states.flip(3, 4).permute(1, 3, 2, 4, 0).flatten(3)
        around = functional.pad(around, (0, -around.shape[3] % kernels.WIDE))
        return _Detail(Convolution.of(changing.flatten(1, 2), None, self.precision), around.flatten().contiguous())


class FastPasses:
    """Passes of the attribute network over a batch.

    Args:
        network: Prepared network.
        images: (B, 3, H, W) in [0, 1].
        densities: (B, H, W) densities that the Gaussians were drawn from.
        pixels: (N,) index of the pixel of each Gaussian among all B H W.
        num_gaussians: (B,) numbers of Gaussians.
    """

    def __init__(
        self,
        network: PreparedAttribute,
        images: Tensor,
        densities: Tensor,
        pixels: Tensor,
        num_gaussians: Tensor,
    ) -> None:
        self.network, self.passes = network, 0
        batch, _, height, width = images.shape
        self.size = (height, width)
        self.condition = network.condition(num_gaussians, height, width)
        self.batch, self.cells = batch, count_cells(height, width, network.unet.multiple)
        self.parts = bands.bands(batch, self.cells[0])
        rows, columns = pixels // width, pixels % width
        image, rows = rows // height, rows % height
        self._place(image, rows, columns)
        self.channels = len(network.known.weight)
        spacing = -0.5 * (densities * num_gaussians[:, None, None]).log()
        known = torch.cat([images - 0.5, spacing[:, None] - 1], dim=1)
        constant = known.new_ones(batch), known.new_zeros(batch, 0)
        # What sums of states begin with.
        self.start = bands.make_features(batch, self.channels, self.cells, torch.float32)

        def begin(start: int, stop: int) -> None:
            image, start, stop = find_image(start, stop, self.cells[0])
            folded = fold(known, *constant, image, start - 1, stop + 1, self.cells, network.precision)
            self.start[image, :, start:stop] = network.known.between(folded)[0]

        bands.run(begin, self.parts)
        self.features = bands.make_features(batch, self.channels, self.cells, network.precision)
        self.surroundings: Tensor | None = None

    def _place(self, image: Tensor, rows: Tensor, columns: Tensor) -> None:
        """Find the cells of Gaussians. Beyond the borders pixels are repeated, and so are Gaussians in them."""
        height, width = self.size
        cell_rows = image * self.cells[0] + rows // FOLD
        self.own_rows, self.own_columns = cell_rows, columns // FOLD
        self.own_pixels = rows % FOLD * FOLD + columns % FOLD
        places, index = torch.stack([image, rows, columns]), torch.arange(len(rows))
        for axis, cells, last in ((1, self.cells[0], height - 1), (2, self.cells[1], width - 1)):
            repeats = torch.where(places[axis] == last, cells * FOLD - last, 1)
            source = torch.repeat_interleave(repeats)
            steps = torch.arange(len(source)) - (repeats.cumsum(0) - repeats)[source]
            places, index = places[:, source], index[source]
            places[axis] += steps
        image, rows, columns = places
        cell_rows, pixel = image * self.cells[0] + rows // FOLD, rows % FOLD * FOLD + columns % FOLD
        # By pixel within a row, since all Gaussians of one have the same weights.
        order = torch.argsort(cell_rows * FOLD**2 + pixel, stable=True)
        self.columns, self.pixels, self.sources = (columns // FOLD)[order], pixel[order], index[order]
        counts = torch.bincount(cell_rows, minlength=self.batch * self.cells[0])
        self.offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])

    def __call__(self, seen: Seen) -> Tensor:
        """Apply the network once.

        Returns:
            (N, CORRECTIONS) answers for the Gaussians, in `units` of the sizes of the errors.
        """
        network, rows = self.network, self.cells[0]
        first = network.detail if self.passes < ENCODED else network.merged
        planes = seen.errors, 1 / seen.sizes, (seen.sizes.log() + 3)[:, None]

        def look(start: int, stop: int) -> None:
            image, start, stop = find_image(start, stop, rows)
            detail[image, :, start:stop] = self._detail(first, planes, seen.states, image, start, stop)[0]

        def finish(start: int, stop: int) -> None:
            image, start, stop = find_image(start, stop, rows)
            begin, end = start - network.margin, stop + network.margin
            if self.passes < ENCODED:
                assert self.surroundings is not None
                merged = network.merge(detail, self.surroundings, image, begin, end)
            else:
                merged = bands.blank(self._detail(first, planes, seen.states, image, begin, end), begin, rows)
            self.features[image, :, start:stop] = network.features(merged, begin, rows)[0]

        if self.passes < ENCODED:
            detail = bands.make_features(self.batch, self.channels, self.cells, network.precision)
            bands.run(look, self.parts)
            self.surroundings = network.surroundings(detail, self.condition)
        elif self.passes == ENCODED:
            assert self.surroundings is not None
            self.start = network.merge_detail(self.start.to(network.precision)).float() + self.surroundings
        bands.run(finish, self.parts)
        self.passes += 1
        return self._answers()

    def _detail(
        self, first: _Detail, planes: tuple[Tensor, Tensor, Tensor], states: Tensor, image: int, start: int, stop: int
    ) -> Tensor:
        """Return rows [start, stop) of the first convolution, for arguments of `_fold`; anything beyond the image."""
        precision, channels, columns = self.network.precision, self.channels, self.cells[1]
        folded = fold(*planes, image, start - 1, stop + 1, self.cells, precision)
        detail = first.changing.between(folded)
        # With a cell on the left, and room for whole vectors on the right.
        sums = torch.empty(stop - start, (columns + 2) * channels + kernels.WIDE)
        places = (flatten_rows(self.start), self.offsets, self.columns, self.pixels, self.sources)
        zeros = count_channels(-(-3 * channels // kernels.WIDE))
        weighted = (states, first.states, zeros, self.cells[0], image, start, channels, sums)
        call(kernels.spread, *places, *weighted)
        inside = sums[:, channels : (columns + 1) * channels].reshape(1, stop - start, columns, channels)
        # To add it in another precision than the sum's takes ten times as long.
        detail += inside.permute(0, 3, 1, 2).to(precision)
        return detail

    def _answers(self) -> Tensor:
        """Return the (N, CORRECTIONS) answers of the last convolution at the Gaussians."""
        network = self.network
        cells = flatten_rows(self.features)
        answers = torch.empty(len(self.own_rows), len(network.head_bias) // FOLD**2)
        kind = torch.int16 if cells.dtype == torch.bfloat16 else cells.dtype  # NumPy has no bfloat16

        def answer(start: int, stop: int) -> None:
            rows, columns, pixels = (each[start:stop] for each in (self.own_rows, self.own_columns, self.own_pixels))
            found = cells.new_empty(stop - start, 9 * self.channels)
            call(kernels.gather, cells.view(kind), rows, columns, *self.cells, found.view(kind))
            # Those of all pixels of the cell: to sort Gaussians by pixel would take longer.
            all_pixels = (found @ network.head).view(stop - start, FOLD**2, -1)
            biases = network.head_bias.view(FOLD**2, -1)
            answers[start:stop] = all_pixels[torch.arange(stop - start), pixels].float() + biases[pixels]

        bands.run(answer, threads.parts(len(answers), bands.PARTS * threads.num_threads()))
        return answers
