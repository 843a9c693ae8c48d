"""Both networks without gradients, on the CPU: the same answers in less than half of the operations.

Only pixels with Gaussians have a state, and only there the attribute network is asked for an answer. So its first
convolution adds the contributions of the states cell by cell (a cell is FOLD x FOLD pixels), and the last one is
computed for the cells of Gaussians alone; as dense convolutions these two are 4 of 10 multiplications of a pass. What
encoder and decoder say of the surroundings hardly changes from pass to pass, so it is kept after the first few; from
then on, the first convolution and the 1 x 1 one behind it are one. Threads share images by bands of rows
(`fastgs.models.bands`).
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastgs.models import bands
from fastgs.models import inference_kernels as kernels
from fastgs.models.attribute import STATE_CHANNELS, AttributeNetwork
from fastgs.models.bands import Convolution, DecoderBlock, SharedConvolution
from fastgs.models.conditioned import ConditionedNetwork
from fastgs.models.forces import Seen
from fastgs.models.unet import FOLD
from fastgs.render.cpu_arrays import count_channels
from fastgs.runtime import threads

# Passes that look at the surroundings anew. With 1, 2 or all of 7 of them, four photos of Kodak are at 29.05, 29.19 and
# 29.19 dB (benchmarks/LOG.md, section "Attribute network").
ENCODED = 2

# Gaussians per pixel. More of them take more memory and time than planes of all pixels.
MOST_PER_PIXEL = 0.25


class PreparedUNet:
    """Weights of the U-Net of a network in the shapes and the precision that inference needs.

    Args:
        network: Network on the CPU; it is copied, and not changed.
        precision: Type of the convolutions: float32 or bfloat16.
    """

    def __init__(self, network: ConditionedNetwork, precision: torch.dtype) -> None:
        self.precision = precision
        self.condition = network.condition
        self.unet = unet = copy.deepcopy(network.unet).requires_grad_(False)
        for module in unet.modules():
            if isinstance(module, nn.Conv2d):  # autocast would convert them in every pass
                module.to(precision)
        outs = [block.conv1[0].out_channels for block in unet.decoder.blocks]
        channels = [unet.encoder.out_channels[-1], *outs[:-1]]
        pairs = zip(unet.decoder.blocks, channels, strict=True)
        self.decoder = [DecoderBlock(block, count, precision) for block, count in pairs]
        SharedConvolution.replace_all(unet.encoder)
        width = unet.detail.out_channels
        merge = torch.split(network.unet.merge.weight.detach(), [unet.merge.in_channels - width, width], dim=1)
        self.merge_weight = merge[1][:, :, 0, 0]
        self.merge_surroundings = Convolution.of(merge[0], unet.merge.bias, precision)
        self.merge_detail = Convolution.of(merge[1], None, precision)
        self.blocks = [
            [Convolution.of(each.weight, each.bias, precision) for each in block.convolutions[::2]]
            for block in network.unet.blocks
        ]
        self.margin = sum(each.margin for block in self.blocks for each in block)

    def surroundings(self, detail: Tensor, condition: Tensor) -> Tensor:
        """Return what encoder and decoder add to the (B, C, h, w) details, before the residual blocks."""
        features = self.unet.encoder(detail)
        features[-1] = self.unet.film(features[-1], condition)
        result, skips = features[-1], features[-2:0:-1]
        for index, block in enumerate(self.decoder):
            size = features[-2 - index].shape[2:]
            result = block(result, skips[index] if index < len(skips) else None, size)
        return self.merge_surroundings(result)

    def merge(self, detail: Tensor, surroundings: Tensor, image: int, start: int, stop: int) -> Tensor:
        """Return rows [start, stop) of an image as inputs of the residual blocks; rows beyond it are 0."""
        merged = self.merge_detail(bands.slab(detail, image, start, stop))
        merged += bands.slab(surroundings, image, start, stop)
        return merged

    def features(self, merged: Tensor, start: int, rows: int) -> Tensor:
        """Return the inputs of the last convolution.

        Args:
            merged: (1, C, n, w) inputs of the residual blocks, which are overwritten; 0 beyond the image.
            start: Row of the image that they begin with.
            rows: Number of rows of the image.

        Returns:
            (1, C, n - 2 margin, w), from row start + margin on; anything beyond the image.
        """
        for first, second in self.blocks:
            inner = functional.silu(first.between(functional.silu(merged)), inplace=True)
            inner = second.between(bands.blank(inner, start + first.margin, rows))
            margin = first.margin + second.margin
            start += margin
            inner += merged[:, :, margin:-margin]
            merged = bands.blank(inner, start, rows)
        return functional.silu(merged, inplace=True)


class FastPosition(PreparedUNet):
    """Position network without gradients, on the CPU.

    Args:
        network: Network on the CPU; it is copied, and not changed.
        precision: Type of the convolutions: float32 or bfloat16.
    """

    def __init__(self, network: ConditionedNetwork, precision: torch.dtype) -> None:
        super().__init__(network, precision)
        self.detail, self.head = (
            Convolution.of(each.weight, each.bias, precision) for each in (network.unet.detail, network.unet.head)
        )

    def __call__(self, images: Tensor, prior: Tensor, num_gaussians: Tensor) -> Tensor:
        """Return the logarithm of the density, as `PositionNetwork` does."""
        batch, (height, width) = len(images), images.shape[-2:]
        relative = (prior * (height * width)).log()
        condition = self.condition(num_gaussians, height, width)
        planes = torch.cat([images - 0.5, relative[:, None]], dim=1)
        cells = _count_cells(height, width, self.unet.multiple)
        constant = planes.new_ones(batch), planes.new_zeros(batch, 0)
        detail = _make_features(batch, len(self.detail.weight), cells, self.precision)
        answer = _make_features(batch, len(self.head.weight), cells, self.precision)
        rows = cells[0]

        def fold(start: int, stop: int) -> None:
            image, start, stop = _find_image(start, stop, rows)
            folded = _fold(planes, *constant, image, start - 1, stop + 1, cells, self.precision)
            detail[image, :, start:stop] = self.detail.between(folded)[0]

        def finish(start: int, stop: int) -> None:
            image, start, stop = _find_image(start, stop, rows)
            first, margin = start - self.margin - 1, self.margin + 1
            merged = self.merge(detail, surroundings, image, first, stop + margin)
            features = bands.blank(self.features(merged, first, rows), start - 1, rows)
            answer[image, :, start:stop] = self.head.between(features)[0]

        parts = bands.bands(batch, rows)
        bands.run(fold, parts)
        surroundings = self.surroundings(detail, condition)
        bands.run(finish, parts)
        correction = functional.pixel_shuffle(answer, FOLD)[:, 0, :height, :width].float()
        return (relative + correction).flatten(1).log_softmax(1).view_as(relative)


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
        self.batch, self.cells = batch, _count_cells(height, width, network.unet.multiple)
        self.parts = bands.bands(batch, self.cells[0])
        rows, columns = pixels // width, pixels % width
        image, rows = rows // height, rows % height
        self._place(image, rows, columns)
        self.channels = len(network.known.weight)
        spacing = -0.5 * (densities * num_gaussians[:, None, None]).log()
        known = torch.cat([images - 0.5, spacing[:, None] - 1], dim=1)
        constant = known.new_ones(batch), known.new_zeros(batch, 0)
        # What sums of states begin with.
        self.start = _make_features(batch, self.channels, self.cells, torch.float32)

        def begin(start: int, stop: int) -> None:
            image, start, stop = _find_image(start, stop, self.cells[0])
            folded = _fold(known, *constant, image, start - 1, stop + 1, self.cells, network.precision)
            self.start[image, :, start:stop] = network.known.between(folded)[0]

        bands.run(begin, self.parts)
        self.features = _make_features(batch, self.channels, self.cells, network.precision)
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
            image, start, stop = _find_image(start, stop, rows)
            detail[image, :, start:stop] = self._detail(first, planes, seen.states, image, start, stop)[0]

        def finish(start: int, stop: int) -> None:
            image, start, stop = _find_image(start, stop, rows)
            begin, end = start - network.margin, stop + network.margin
            if self.passes < ENCODED:
                assert self.surroundings is not None
                merged = network.merge(detail, self.surroundings, image, begin, end)
            else:
                merged = bands.blank(self._detail(first, planes, seen.states, image, begin, end), begin, rows)
            self.features[image, :, start:stop] = network.features(merged, begin, rows)[0]

        if self.passes < ENCODED:
            detail = _make_features(self.batch, self.channels, self.cells, network.precision)
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
        folded = _fold(*planes, image, start - 1, stop + 1, self.cells, precision)
        detail = first.changing.between(folded)
        # With a cell on the left, and room for whole vectors on the right.
        sums = torch.empty(stop - start, (columns + 2) * channels + kernels.WIDE)
        places = (_rows(self.start), self.offsets, self.columns, self.pixels, self.sources)
        zeros = count_channels(-(-3 * channels // kernels.WIDE))
        weighted = (states, first.states, zeros, self.cells[0], image, start, channels, sums)
        _call(kernels.spread, *places, *weighted)
        inside = sums[:, channels : (columns + 1) * channels].unflatten(1, (columns, channels))
        # To add it in another precision than the sum's takes ten times as long.
        detail += inside[None].permute(0, 3, 1, 2).to(precision)
        return detail

    def _answers(self) -> Tensor:
        """Return the (N, CORRECTIONS) answers of the last convolution at the Gaussians."""
        network = self.network
        cells = _rows(self.features)
        answers = torch.empty(len(self.own_rows), len(network.head_bias) // FOLD**2)
        kind = torch.int16 if cells.dtype == torch.bfloat16 else cells.dtype  # NumPy has no bfloat16

        def answer(start: int, stop: int) -> None:
            rows, columns, pixels = (each[start:stop] for each in (self.own_rows, self.own_columns, self.own_pixels))
            found = cells.new_empty(stop - start, 9 * self.channels)
            _call(kernels.gather, cells.view(kind), rows, columns, *self.cells, found.view(kind))
            # Those of all pixels of the cell: to sort Gaussians by pixel would take longer.
            all_pixels = (found @ network.head).view(stop - start, FOLD**2, -1)
            biases = network.head_bias.view(FOLD**2, -1)
            answers[start:stop] = all_pixels[torch.arange(stop - start), pixels].float() + biases[pixels]

        bands.run(answer, threads.parts(len(answers), bands.PARTS * threads.num_threads()))
        return answers


def _count_cells(height: int, width: int, multiple: int) -> tuple[int, int]:
    """Return the rows and columns of cells of an image that is enlarged to multiples of a number of pixels."""
    return -(-height // multiple) * multiple // FOLD, -(-width // multiple) * multiple // FOLD


def _find_image(start: int, stop: int, rows: int) -> tuple[int, int, int]:
    """Return an image and the interval of its rows for an interval of the rows of all images."""
    image = start // rows
    return image, start - image * rows, stop - image * rows


def _make_features(batch: int, channels: int, cells: tuple[int, int], precision: torch.dtype) -> Tensor:
    """Return (B, channels, h, w) values, whatever they are."""
    return torch.empty((batch, channels, *cells), dtype=precision, memory_format=torch.channels_last)


def _fold(
    planes: Tensor,
    factors: Tensor,
    extra: Tensor,
    image: int,
    start: int,
    stop: int,
    cells: tuple[int, int],
    precision: torch.dtype,
) -> Tensor:
    """Fold (B, C, H, W) planes times (B,) factors and (B, D) constant ones, enlarged to a size, into channels of cells.

    Returns:
        (1, FOLD^2 (C + D), stop - start, w) rows of an image; 0 beyond its cells.
    """
    channels = FOLD**2 * (planes.shape[1] + extra.shape[1])
    folded = torch.empty(stop - start, cells[1] * channels)
    _call(kernels.fold, planes, factors, extra, image, start, *cells, folded)
    return folded.to(precision).view(1, stop - start, cells[1], channels).permute(0, 3, 1, 2)


def _rows(features: Tensor) -> Tensor:
    """Return (B, C, h, w) features as (B h, w C) ones."""
    return features.permute(0, 2, 3, 1).flatten(2).flatten(0, 1)


def _call(kernel: Any, *arguments: Any) -> None:
    """Call a kernel with arrays in the place of tensors."""
    kernel(*(each.numpy() if isinstance(each, Tensor) else each for each in arguments))
