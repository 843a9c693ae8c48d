"""Convolutions without gradients, on the CPU, whose rows the threads of `fastgs.runtime.threads` share.

Those of OpenMP wait for each other at each operator, and then spin on the cores that kernels need; on a busy machine
that takes several times as long. How rows are divided does not depend on the number of threads, so neither does the
result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from fastgs.runtime import threads

PARTS = 2  # for each thread, since threads wake up late
SMALLEST_BAND = 32  # rows of a band that goes through several layers, which takes a few rows of its neighbours
SMALLEST_PART = 40_000_000  # multiplications of a convolution that are worth a hand-over


class Convolution(NamedTuple):
    """Convolution that keeps the size.

    Attributes:
        weight: (out, in, S, S) weights, S odd.
        bias: (out,) biases, or None.
    """

    weight: Tensor
    bias: Tensor | None

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None, precision: torch.dtype) -> Convolution:
        """Return one with copies of weights and biases in a precision."""
        weight = weight.detach().to(precision, copy=True, memory_format=torch.channels_last)
        return cls(weight, None if bias is None else bias.detach().to(precision, copy=True))

    @property
    def margin(self) -> int:
        """Number of rows above and below that a row depends on."""
        return self.weight.shape[2] // 2

    def __call__(self, features: Tensor) -> Tensor:
        """Return all rows; beyond the borders there are zeros."""
        return functional.conv2d(features, self.weight, self.bias, padding=self.margin)

    def between(self, slab: Tensor) -> Tensor:
        """Return the rows that depend on rows of the slab alone: all but `margin` at the top and at the bottom."""
        return functional.conv2d(slab, self.weight, self.bias, padding=(0, self.margin))


class SharedConvolution(nn.Module):
    """Convolution of any stride in several threads.

    Args:
        layer: Convolution, padded by zeros.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.layer = layer

    @classmethod
    def replace_all(cls, module: nn.Module) -> None:
        """Put one in the place of each convolution within a module, of those that can be divided."""
        for parent in list(module.modules()):
            for name, child in parent.named_children():
                if type(child) is nn.Conv2d and child.padding_mode == "zeros" and not isinstance(child.padding, str):
                    setattr(parent, name, cls(child))

    @override
    def forward(self, features: Tensor) -> Tensor:
        layer = self.layer
        features = features.to(layer.weight.dtype)
        assert not isinstance(layer.padding, str)
        # From the first to the last row or column that one depends on.
        reaches = [dilation * (size - 1) for dilation, size in zip(layer.dilation, layer.kernel_size, strict=True)]
        axes = zip(features.shape[2:], layer.padding, reaches, layer.stride, strict=True)
        rows, columns = ((size + 2 * padding - reach - 1) // stride + 1 for size, padding, reach, stride in axes)
        stride, padding, reach = layer.stride[0], layer.padding[0], reaches[0]
        parts = _split(rows, len(features) * rows * columns * layer.weight.numel())
        if len(parts) < 2:
            return layer(features)  # type: ignore[no-any-return]
        result = make_features(len(features), layer.out_channels, (rows, columns), features.dtype)

        def compute(start: int, stop: int) -> None:
            # The layer pads the part as it pads the whole. Rows that this makes wrong are left out.
            wrong = min(start, -(-padding // stride))
            part = features[:, :, (start - wrong) * stride : (stop - 1) * stride - padding + reach + 1]
            result[:, :, start:stop] = layer(part)[:, :, wrong : wrong + stop - start]

        run(compute, parts)
        return result


class DecoderBlock:
    """Block of the decoder; a convolution of an image enlarged by 2 is a transposed one of the small image.

    That has 4 multiplications for each weight where the other has 9, and the large image is never made.

    Args:
        block: Block of segmentation-models-pytorch without normalization and attention.
        channels: Number of channels of the small image.
        precision: Type of the convolutions.
    """

    def __init__(self, block: Any, channels: int, precision: torch.dtype) -> None:
        first, second = block.conv1[0], block.conv2[0]
        self.second = Convolution.of(second.weight, second.bias, precision)
        weight = first.weight.detach()
        # Each of the 4 x 4 weights is the sum of those that meet the same small pixel.
        padded = functional.pad(weight[:, :channels].transpose(0, 1).flip(2, 3), (1, 1, 1, 1))
        sums = padded[..., :-1, :] + padded[..., 1:, :]
        self.enlarging = (sums[..., :-1] + sums[..., 1:]).to(precision)
        self.bias = first.bias.detach().to(precision)
        self.skip = Convolution.of(weight[:, channels:], None, precision) if weight.shape[1] > channels else None
        self.first = first.to(precision)  # for an encoder that does not halve exactly

    def __call__(self, features: Tensor, skip: Tensor | None, size: torch.Size) -> Tensor:
        """Map (B, C, h, w) features and those of the encoder at twice the resolution to features there."""
        rows, columns = features.shape[2:]
        if tuple(size) != (2 * rows, 2 * columns):
            enlarged = functional.interpolate(features, size=size)
            enlarged = self.first(enlarged if skip is None else torch.cat([enlarged, skip], dim=1))
            return self.second(enlarged.relu_()).relu_()
        result = make_features(len(features), len(self.second.weight), (2 * rows, 2 * columns), features.dtype)

        def compute(start: int, stop: int) -> None:
            first, last = max(start - 1, 0), min(stop + 1, rows)
            part = features[:, :, first:last]
            enlarged = functional.conv_transpose2d(part, self.enlarging, self.bias, stride=2, padding=1)
            if skip is not None and self.skip is not None:
                enlarged += self.skip(skip[:, :, 2 * first : 2 * last])
            wrong = 2 * (start - first)
            result[:, :, 2 * start : 2 * stop] = self.second(enlarged.relu_())[:, :, wrong : wrong + 2 * (stop - start)]
            result[:, :, 2 * start : 2 * stop].relu_()

        weights = self.enlarging.numel() + 4 * self.second.weight.numel()
        weights += 0 if self.skip is None else 4 * self.skip.weight.numel()
        run(compute, _split(rows, len(features) * rows * columns * weights))
        return result


def make_features(batch: int, channels: int, cells: tuple[int, int], precision: torch.dtype) -> Tensor:
    """Return (B, channels, h, w) values, whatever they are."""
    return torch.empty((batch, channels, *cells), dtype=precision, memory_format=torch.channels_last)


def bands(images: int, rows: int) -> list[tuple[int, int]]:
    """Return intervals [start, stop) of the rows of images one below the other, each within one image."""
    number = min(-(-PARTS * threads.num_threads() // images), max(1, rows // SMALLEST_BAND))
    return [
        (image * rows + start, image * rows + stop)
        for image in range(images)
        for start, stop in threads.parts(rows, number)
    ]


def run(work: Callable[[int, int], None], parts: list[tuple[int, int]]) -> None:
    """Call `work(start, stop)` for every part, in threads; operators of torch run in the one thread that calls them.

    Modes of torch are those of a thread: that the caller wants no gradients would be unknown to the others. Automatic
    precision is, so all that an operator is given must have the precision that it should have.
    """

    def alone(start: int, stop: int) -> None:
        with threads.reserved(1), torch.no_grad():
            work(start, stop)

    threads.run(alone, (), parts)


def slab(features: Tensor, image: int, start: int, stop: int) -> Tensor:
    """Return rows [start, stop) of an image of (B, C, h, w) features as (1, C, stop - start, w); 0 beyond the image."""
    rows = features.shape[2]
    inside = features[image : image + 1, :, max(start, 0) : min(stop, rows)]
    if inside.shape[2] == stop - start:
        return inside
    result = make_features(1, inside.shape[1], (stop - start, inside.shape[3]), inside.dtype)
    result[:, :, max(-start, 0) : min(stop, rows) - start] = inside
    return blank(result, start, rows)


def blank(slab: Tensor, start: int, rows: int) -> Tensor:
    """Set rows of a slab, which begins at row `start`, to 0 in place, where they are beyond an image of `rows` rows."""
    slab[:, :, : max(-start, 0)] = 0
    slab[:, :, max(rows - start, 0) :] = 0
    return slab


def _split(rows: int, multiplications: int) -> list[tuple[int, int]]:
    """Return one part for each thread, if there is enough to do; more would read more rows of each other."""
    return threads.parts(rows, min(max(multiplications // SMALLEST_PART, 1), threads.num_threads()))
