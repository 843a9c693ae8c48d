"""Convolutional autoencoders, which see their set as an image: features on ever smaller grids."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn
from torchvision.models.resnet import BasicBlock, conv1x1
from typing_extensions import override

from fastgs.autoencoders.base import SingleAutoencoder

# Longer side of the smallest grid, at most; `ConvAutoencoder` halves grids until then.
SMALLEST_GRID = 4


class _Pyramid(SingleAutoencoder):
    """Autoencoder of one block of layers on each grid, the same mirrored, and linear layers to and from latents."""

    def _widths(self) -> Sequence[int]:
        """Return the numbers of channels on each grid, the largest grid first; each next one has half its size."""
        raise NotImplementedError

    def _build_block(self, inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
        """Build the layers on one grid."""
        raise NotImplementedError

    def _levels(self) -> list[tuple[int, tuple[int, int]]]:
        """Return the number of channels, and rows and columns, of the features on each grid."""
        levels, grid = [], (self.rows, self.columns)
        for width in self._widths():
            levels.append((width, grid))
            grid = (-(-grid[0] // 2), -(-grid[1] // 2))
        return levels

    @override
    def _build_encoder(self) -> nn.Module:
        levels = self._levels()
        (first, _), (last, (rows, columns)) = levels[0], levels[-1]
        layers = [*self._build_convolution(self.channels, first), *self._build_block(first, first)]
        for (inputs, _), (outputs, _) in pairwise(levels):
            layers += self._build_block(inputs, outputs, stride=2)
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(last * rows * columns, self.latent))

    @override
    def _build_decoder(self) -> nn.Module:
        levels = self._levels()[::-1]
        (last, (rows, columns)), (first, _) = levels[0], levels[-1]
        layers = [nn.Linear(self.latent, last * rows * columns), nn.Unflatten(1, (last, rows, columns))]
        layers += self._build_block(last, last)
        for (inputs, _), (outputs, grid) in pairwise(levels):
            layers += [nn.Upsample(grid), *self._build_block(inputs, outputs)]
        return nn.Sequential(*layers, nn.Conv2d(first, self.channels, 3, padding=1))

    def _build_convolution(self, inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
        """Build a 3 x 3 convolution with its normalization and activation."""
        norm = nn.BatchNorm2d(outputs) if self.batch_norm else nn.Identity()
        return [nn.Conv2d(inputs, outputs, 3, stride, padding=1), norm, nn.ReLU(inplace=True)]


class ConvAutoencoder(_Pyramid):
    """Convolutional autoencoder: with strides down to about 4 x 4, and back by nearest neighbours.

    It has `width` channels at full and at half size, and twice as many for each halving from there.
    """

    @override
    def _widths(self) -> Sequence[int]:
        widths = [self.width]
        while max(self.rows, self.columns) > SMALLEST_GRID * 2 ** (len(widths) - 1):
            widths.append(self.width * 2 ** (len(widths) - 1))
        return widths

    @override
    def _build_block(self, inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
        return [*self._build_convolution(inputs, outputs, stride), nn.Dropout2d(self.dropout)]


class ResNetAutoencoder(_Pyramid):
    """ResNet-18 (He et al. 2016), if `width` is 64, and its mirror image.

    As usual for small images, its first convolution is 3 x 3 without a stride and no pooling follows. The last features
    are not averaged over their grid either, since that would lose where they were: the latents depend on all of them.

    It has `width` channels in the first of the four stages, and twice as many in each that follows.
    """

    @override
    def _widths(self) -> Sequence[int]:
        return [self.width * 2**stage for stage in range(4)]

    @override
    def _build_block(self, inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
        # A stage: two residual blocks, the first of which changes the size and the number of channels.
        norm = nn.BatchNorm2d if self.batch_norm else nn.Identity
        shortcut = None if inputs == outputs else nn.Sequential(conv1x1(inputs, outputs, stride), norm(outputs))
        return [
            BasicBlock(inputs, outputs, stride, shortcut, norm_layer=norm),
            BasicBlock(outputs, outputs, norm_layer=norm),
            nn.Dropout2d(self.dropout),
        ]
