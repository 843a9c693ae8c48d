"""U-Nets without gradients, on the CPU, whose images are shared by bands of rows, and the position network with one.

A cell is FOLD x FOLD pixels, which the networks fold into channels.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastgs.models import bands
from fastgs.models import inference_kernels as kernels
from fastgs.models.bands import Convolution, DecoderBlock, SharedConvolution
from fastgs.models.conditioned import ConditionedNetwork
from fastgs.models.unet import FOLD


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
        convolutions = [each for each in network.unet.blocks.modules() if isinstance(each, nn.Conv2d)]
        layers = [Convolution.of(each.weight, each.bias, precision) for each in convolutions]
        self.blocks = list(zip(layers[::2], layers[1::2], strict=True))
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
        cells = count_cells(height, width, self.unet.multiple)
        constant = planes.new_ones(batch), planes.new_zeros(batch, 0)
        detail = bands.make_features(batch, len(self.detail.weight), cells, self.precision)
        answer = bands.make_features(batch, len(self.head.weight), cells, self.precision)
        rows = cells[0]

        def look(start: int, stop: int) -> None:
            image, start, stop = find_image(start, stop, rows)
            folded = fold(planes, *constant, image, start - 1, stop + 1, cells, self.precision)
            detail[image, :, start:stop] = self.detail.between(folded)[0]

        def finish(start: int, stop: int) -> None:
            image, start, stop = find_image(start, stop, rows)
            first, margin = start - self.margin - 1, self.margin + 1
            merged = self.merge(detail, surroundings, image, first, stop + margin)
            features = bands.blank(self.features(merged, first, rows), start - 1, rows)
            answer[image, :, start:stop] = self.head.between(features)[0]

        parts = bands.bands(batch, rows)
        bands.run(look, parts)
        surroundings = self.surroundings(detail, condition)
        bands.run(finish, parts)
        correction = functional.pixel_shuffle(answer, FOLD)[:, 0, :height, :width].float()
        return (relative + correction).flatten(1).log_softmax(1).view_as(relative)


def count_cells(height: int, width: int, multiple: int) -> tuple[int, int]:
    """Return the rows and columns of cells of an image that is enlarged to multiples of a number of pixels."""
    return -(-height // multiple) * multiple // FOLD, -(-width // multiple) * multiple // FOLD


def find_image(start: int, stop: int, rows: int) -> tuple[int, int, int]:
    """Return an image and the interval of its rows for an interval of the rows of all images."""
    image = start // rows
    return image, start - image * rows, stop - image * rows


def fold(
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
    call(kernels.fold, planes, factors, extra, image, start, *cells, folded)
    return folded.to(precision).view(1, stop - start, cells[1], channels).permute(0, 3, 1, 2)


def flatten_rows(features: Tensor) -> Tensor:
    """Return (B, C, h, w) features as (B h, w C) ones."""
    return features.permute(0, 2, 3, 1).flatten(2).flatten(0, 1)


def call(kernel: Any, *arguments: Any) -> None:
    """Call a kernel with arrays in the place of tensors."""
    kernel(*(each.numpy() if isinstance(each, Tensor) else each for each in arguments))
