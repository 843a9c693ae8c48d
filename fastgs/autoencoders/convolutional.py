"""Autoencoders that see their set as an image: features on ever smaller grids."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn
from torchvision.models.resnet import BasicBlock, conv1x1

from fastgs.autoencoders.base import SingleAutoencoder

# `ConvAutoencoder` halves grids until their longer side is at most this.
SMALLEST = 4


class _Pyramid(SingleAutoencoder):
    """One block of layers on each grid, the same ones mirrored, and linear layers to the latent and from it."""

    def _widths(self) -> Sequence[int]:
        """Channels of the features on each grid, the largest grid first; each next one is of half its size."""
        raise NotImplementedError

    def _block(self, inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
        raise NotImplementedError

    def _levels(self) -> list[tuple[int, tuple[int, int]]]:
        """Channels, and rows and columns, of the features on each grid."""
        levels, grid = [], (self.rows, self.columns)
        for width in self._widths():
            levels.append((width, grid))
            grid = (-(-grid[0] // 2), -(-grid[1] // 2))
        return levels

    def _encoder(self) -> nn.Module:
        levels = self._levels()
        (first, _), (last, (rows, columns)) = levels[0], levels[-1]
        layers = [*self._convolved(self.channels, first), *self._block(first, first)]
        for (inputs, _), (outputs, _) in pairwise(levels):
            layers += self._block(inputs, outputs, stride=2)
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(last * rows * columns, self.latent))

    def _decoder(self) -> nn.Module:
        levels = self._levels()[::-1]
        (last, (rows, columns)), (first, _) = levels[0], levels[-1]
        layers = [nn.Linear(self.latent, last * rows * columns), nn.Unflatten(1, (last, rows, columns))]
        layers += self._block(last, last)
        for (inputs, _), (outputs, grid) in pairwise(levels):
            layers += [nn.Upsample(grid), *self._block(inputs, outputs)]
        return nn.Sequential(*layers, nn.Conv2d(first, self.channels, 3, padding=1))

    def _convolved(self, inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
        """A convolution of 3 x 3 and what follows it."""
        norm = nn.BatchNorm2d(outputs) if self.batch_norm else nn.Identity()
        return [nn.Conv2d(inputs, outputs, 3, stride, padding=1), norm, nn.ReLU(inplace=True)]


class ConvAutoencoder(_Pyramid):
    """Convolutions: with strides down to about 4 x 4, and back by nearest neighbours.

    `width` channels at full and at half size, and twice as many for each halving from there.
    """

    def _widths(self) -> Sequence[int]:
        widths = [self.width]
        while max(self.rows, self.columns) > SMALLEST * 2 ** (len(widths) - 1):
            widths.append(self.width * 2 ** (len(widths) - 1))
        return widths

    def _block(self, inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
        return [*self._convolved(inputs, outputs, stride), nn.Dropout2d(self.dropout)]


class ResNetAutoencoder(_Pyramid):
    """ResNet-18 (He et al. 2016), if `width` is 64, and its mirror image.

    As usual for small images, its first convolution is of 3 x 3 without a stride and no pooling follows. Nor are the
    last features averaged over their grid, which would lose where they were: the latent is of all of them.

    `width` channels in the first of the four stages, and twice as many in each that follows.
    """

    def _widths(self) -> Sequence[int]:
        return [self.width * 2**stage for stage in range(4)]

    def _block(self, inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
        """A stage: two residual blocks, the first of which changes the size and the number of channels."""
        norm = nn.BatchNorm2d if self.batch_norm else nn.Identity
        shortcut = None if inputs == outputs else nn.Sequential(conv1x1(inputs, outputs, stride), norm(outputs))
        return [
            BasicBlock(inputs, outputs, stride, shortcut, norm_layer=norm),
            BasicBlock(outputs, outputs, norm_layer=norm),
            nn.Dropout2d(self.dropout),
        ]
