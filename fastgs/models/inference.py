"""Both networks without gradients, on the CPU: the same answers in less than half of the operations.

Only pixels with Gaussians have a state, and only there the attribute network is asked for an answer. So its first
convolution adds the contributions of the states cell by cell (a cell is FOLD x FOLD pixels), and the last one is
computed for the cells of Gaussians alone; as dense convolutions these two are 4 of 10 multiplications of a pass. What
encoder and decoder say of the surroundings hardly changes from pass to pass, so it is kept after the first few.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastgs.models import inference_kernels as kernels
from fastgs.models.attribute import STATE_CHANNELS, AttributeNetwork
from fastgs.models.conditioned import ConditionedNetwork
from fastgs.models.unet import FOLD
from fastgs.runtime import threads

# Passes that look at the surroundings anew. With 1, 2 or all of 7 of them, four photos of Kodak are at 29.05, 29.19 and
# 29.19 dB (benchmarks/LOG.md, section "Attribute network").
ENCODED = 2

# Gaussians per pixel. More of them take more memory and time than planes of all pixels.
MOST_PER_PIXEL = 0.25

PARTS = 4  # of the work per thread; several, since threads wake up late


class _Convolution(NamedTuple):
    """Convolution that keeps the size.

    Attributes:
        weight: (out, in, S, S) weights, S odd.
        bias: (out,) biases, or None.
    """

    weight: Tensor
    bias: Tensor | None

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None, precision: torch.dtype) -> _Convolution:
        """Return one with copies of weights and biases in a precision."""
        weight = weight.detach().to(precision, copy=True, memory_format=torch.channels_last)
        return cls(weight, None if bias is None else bias.detach().to(precision, copy=True))

    def __call__(self, features: Tensor) -> Tensor:
        return functional.conv2d(features, self.weight, self.bias, padding=self.weight.shape[2] // 2)


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
        self.decoder = [_PreparedBlock(block, count, precision) for block, count in pairs]
        width = unet.detail.out_channels
        merge = torch.split(unet.merge.weight, [unet.merge.in_channels - width, width], dim=1)
        self.merge_surroundings = _Convolution.of(merge[0], unet.merge.bias, precision)
        self.merge_detail = _Convolution.of(merge[1], None, precision)

    def surroundings(self, detail: Tensor, condition: Tensor) -> Tensor:
        """Return what encoder and decoder add to the (B, C, h, w) details, before the residual blocks."""
        features = self.unet.encoder(detail)
        features[-1] = self.unet.film(features[-1], condition)
        result, skips = features[-1], features[-2:0:-1]
        for index, block in enumerate(self.decoder):
            size = features[-2 - index].shape[2:]
            result = block(result, skips[index] if index < len(skips) else None, size)
        return self.merge_surroundings(result)

    def features(self, detail: Tensor, surroundings: Tensor) -> Tensor:
        """Return the (B, C, h, w) inputs of the last convolution."""
        merged = self.merge_detail(detail)
        merged += surroundings
        return functional.silu(self.unet.blocks(merged), inplace=True)


class FastPosition(PreparedUNet):
    """Position network without gradients, on the CPU.

    Args:
        network: Network on the CPU; it is copied, and not changed.
        precision: Type of the convolutions: float32 or bfloat16.
    """

    def __call__(self, images: Tensor, prior: Tensor, num_gaussians: Tensor) -> Tensor:
        """Return the logarithm of the density, as `PositionNetwork` does."""
        height, width = images.shape[-2:]
        relative = (prior * (height * width)).log()
        condition = self.condition(num_gaussians, height, width)
        planes = torch.cat([images - 0.5, relative[:, None]], dim=1)
        padded = height + -height % self.unet.multiple, width + -width % self.unet.multiple
        detail = self.unet.detail(_fold(planes, planes.new_zeros(len(planes), 0), padded, self.precision))
        answer = self.unet.head(self.features(detail, self.surroundings(detail, condition)))
        correction = functional.pixel_shuffle(answer, FOLD)[:, 0, :height, :width].float()
        return (relative + correction).flatten(1).log_softmax(1).view_as(relative)


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
        width, inputs = weight.shape[0], weight.shape[2] - STATE_CHANNELS
        known, changing = weight[:, :, :inputs].chunk(2, dim=2)
        self.known = _Convolution.of(known.flatten(1, 2), unet.detail.bias, precision)  # image and spacing
        self.changing = _Convolution.of(changing.flatten(1, 2), None, precision)  # error and its size
        # By pixel of the cell, for each state the contributions to the 9 cells around.
        states = weight[:, :, inputs:].flip(3, 4).permute(1, 2, 3, 4, 0)
        self.states = states.reshape(FOLD**2, STATE_CHANNELS, 9 * width).to(precision)
        # From the 9 cells around to the answers for the pixels of the cell.
        self.head = unet.head.weight.detach().permute(2, 3, 1, 0).flatten(0, 2).to(precision)
        assert unet.head.bias is not None
        self.head_bias = unet.head.bias.detach().clone()


class _PreparedBlock:
    """Block of the decoder; a convolution of an image enlarged by 2 is a transposed one of the small image.

    That has 4 multiplications for each weight where the other has 9, and the large image is never made.

    Args:
        block: Block of segmentation-models-pytorch without normalization and attention.
        channels: Number of channels of the small image.
        precision: Type of the convolutions.
    """

    def __init__(self, block: Any, channels: int, precision: torch.dtype) -> None:
        first, second = block.conv1[0], block.conv2[0]
        self.second = _Convolution.of(second.weight, second.bias, precision)
        weight = first.weight.detach()
        # Each of the 4 x 4 weights is the sum of those that meet the same small pixel.
        padded = functional.pad(weight[:, :channels].transpose(0, 1).flip(2, 3), (1, 1, 1, 1))
        sums = padded[..., :-1, :] + padded[..., 1:, :]
        self.enlarging = (sums[..., :-1] + sums[..., 1:]).to(precision)
        self.bias = first.bias.detach().to(precision)
        self.skip = _Convolution.of(weight[:, channels:], None, precision) if weight.shape[1] > channels else None
        self.first = first.to(precision)  # for an encoder that does not halve exactly

    def __call__(self, features: Tensor, skip: Tensor | None, size: torch.Size) -> Tensor:
        """Map (B, C, h, w) features and those of the encoder at twice the resolution to features there."""
        if tuple(size) == (2 * features.shape[2], 2 * features.shape[3]):
            enlarged = functional.conv_transpose2d(features, self.enlarging, self.bias, stride=2, padding=1)
            if skip is not None and self.skip is not None:
                enlarged += self.skip(skip)
        else:
            enlarged = functional.interpolate(features, size=size)
            enlarged = self.first(enlarged if skip is None else torch.cat([enlarged, skip], dim=1))
        return self.second(enlarged.relu_()).relu_()


class FastPasses:
    """Passes of the attribute network over a batch.

    Args:
        network: Prepared network.
        images: (B, 3, H, W) in [0, 1].
        densities: (B, H, W) densities that the Gaussians were drawn from.
        pixels: (N,) index of the pixel of each Gaussian among all B H W.
        number: (N, 1) number of Gaussians in that pixel.
        num_gaussians: (B,) numbers of Gaussians.
    """

    def __init__(
        self,
        network: PreparedAttribute,
        images: Tensor,
        densities: Tensor,
        pixels: Tensor,
        number: Tensor,
        num_gaussians: Tensor,
    ) -> None:
        self.network, self.number, self.passes = network, number, 0
        batch, _, height, width = images.shape
        self.size = (height, width)
        self.condition = network.condition(num_gaussians, height, width)
        multiple = network.unet.multiple
        bottom, right = -height % multiple, -width % multiple
        self.padded = height + bottom, width + right
        self.cells = (batch, (height + bottom) // FOLD, (width + right) // FOLD)
        rows, columns = pixels // width, pixels % width
        image, rows = rows // height, rows % height
        self._place(image, rows, columns, bottom, right)
        spacing = -0.5 * (densities * num_gaussians[:, None, None]).log()
        known = torch.cat([images - 0.5, spacing[:, None] - 1], dim=1)
        start = network.known(_fold(known, known.new_zeros(batch, 0), self.padded, network.precision))
        self.start = _rows(start).float().flatten(1).contiguous()
        self.sums = torch.empty_like(self.start)
        self.surroundings: Tensor | None = None

    def _place(self, image: Tensor, rows: Tensor, columns: Tensor, bottom: int, right: int) -> None:
        """Find the cells of Gaussians. Beyond the borders pixels are repeated, and so are Gaussians in them."""
        height, width = self.size
        cell_rows = image * self.cells[1] + rows // FOLD
        self.own_rows, self.own_columns = cell_rows, columns // FOLD
        self.own_pixels = rows % FOLD * FOLD + columns % FOLD
        places, index = torch.stack([image, rows, columns]), torch.arange(len(rows))
        for axis, copies, last in ((1, bottom, height - 1), (2, right, width - 1)):
            repeats = torch.where(places[axis] == last, copies + 1, 1)
            source = torch.repeat_interleave(repeats)
            steps = torch.arange(len(source)) - (repeats.cumsum(0) - repeats)[source]
            places, index = places[:, source], index[source]
            places[axis] += steps
        image, rows, columns = places
        pixel = rows % FOLD * FOLD + columns % FOLD
        terms = [torch.nonzero(pixel == each)[:, 0] for each in range(FOLD**2)]
        self.sources = [index[each] for each in terms]
        joined = torch.cat(terms)
        cell_rows = (image * self.cells[1] + rows // FOLD)[joined]
        order = torch.argsort(cell_rows, stable=True)
        self.columns, self.terms = (columns // FOLD)[joined][order], order
        counts = torch.bincount(cell_rows, minlength=self.cells[0] * self.cells[1])
        self.offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])

    def __call__(self, errors: Tensor, sizes: Tensor, state: Tensor) -> Tensor:
        """Apply the network once.

        Args:
            errors: (B, 3, H, W) images minus renderings, divided by their size.
            sizes: (B,) sizes of the errors.
            state: (N, STATE_CHANNELS) `GaussianState.columns` of the Gaussians.

        Returns:
            (N, CORRECTIONS) answers for the Gaussians, in `units` of the sizes of the errors.
        """
        network = self.network
        detail = network.changing(_fold(errors, (sizes.log() + 3)[:, None], self.padded, network.precision))
        detail += self._spread(state / self.number)
        if self.passes < ENCODED:
            self.surroundings = network.surroundings(detail, self.condition)
        self.passes += 1
        assert self.surroundings is not None
        return self._answers(network.features(detail, self.surroundings))

    def _spread(self, state: Tensor) -> Tensor:
        """Return the (B, C, h, w) part of the details that does not depend on errors."""
        batch, height, width = self.cells
        pairs = zip(self.sources, self.network.states, strict=True)
        products = [state[source].to(weight.dtype) @ weight for source, weight in pairs]
        channels = self.sums.shape[1] // width
        contributions = torch.cat(products).float().view(-1, 3, 3 * channels)
        shared = (self.start, self.offsets, self.columns, self.terms, contributions, height, channels, self.sums)
        _run(kernels.spread, shared, batch * height)
        sums = self.sums.view(batch, height, width, channels).permute(0, 3, 1, 2)
        return sums.to(self.network.precision)  # to add it in another precision than the sum's takes ten times as long

    def _answers(self, features: Tensor) -> Tensor:
        """Return the (N, CORRECTIONS) answers of the last convolution at the Gaussians."""
        cells = _rows(features).contiguous()
        found = cells.new_empty(len(self.own_rows), 9, cells.shape[2])
        kind = torch.int16 if cells.dtype == torch.bfloat16 else cells.dtype  # NumPy has no bfloat16
        _run(
            kernels.gather,
            (cells.view(kind), self.own_rows, self.own_columns, self.cells[1], found.view(kind)),
            len(found),
        )
        # Those of all pixels of the cell: to sort Gaussians by pixel would take longer.
        answers = (found.flatten(1) @ self.network.head).float() + self.network.head_bias
        return answers.view(len(found), FOLD**2, -1)[torch.arange(len(found)), self.own_pixels]


def _fold(planes: Tensor, extra: Tensor, size: tuple[int, int], precision: torch.dtype) -> Tensor:
    """Fold (B, C, H, W) planes and (B, D) constant ones, enlarged to a size, into channels of cells.

    Returns:
        (B, FOLD^2 (C + D), h, w).
    """
    batch, height, width = len(planes), size[0] // FOLD, size[1] // FOLD
    channels = FOLD**2 * (planes.shape[1] + extra.shape[1])
    folded = planes.new_empty(batch * height, width * channels)
    _run(kernels.fold, (planes.contiguous(), extra, width, folded), batch * height)
    return folded.to(precision).view(batch, height, width, channels).permute(0, 3, 1, 2)


def _rows(features: Tensor) -> Tensor:
    """Return (B, C, h, w) features as (B h, w, C) ones."""
    return features.permute(0, 2, 3, 1).flatten(0, 1)


def _run(kernel: Any, arguments: Sequence[Any], count: int) -> None:
    """Run a kernel on parts of [0, count)."""
    arrays = tuple(each.numpy() if isinstance(each, Tensor) else each for each in arguments)
    threads.run(kernel, arrays, threads.parts(count, PARTS * threads.num_threads()))
