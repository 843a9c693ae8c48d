"""Network that restores decoded images, to be trained; `fastgs.codec.restoration` applies it without torch."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

FOLD = 2  # pixels along each axis that are one position of the network
SLOPE = 0.1  # of the leaky rectifier
CHANNELS = 3  # of the images


class RestorationNetwork(nn.Module):
    """Maps planes of decoded images to corrections of the images; until trained, to zero.

    A first convolution, residual blocks of two convolutions, and a last one, all 3 x 3. They work on 2 x 2 pixels
    folded into channels (Shi et al. 2016, arXiv 1609.05158), so a photo of 768 x 512 pixels takes 98,304
    multiplications for each weight.

    Args:
        planes: Number of planes of the input.
        width: Number of channels of the layers; a multiple of 6, which the kernel of the decoder computes at once.
        blocks: Number of residual blocks.

    Raises:
        ValueError: An argument is out of range; the message begins with the argument.
    """

    def __init__(self, planes: int = 6, width: int = 30, blocks: int = 2) -> None:
        super().__init__()
        if width < 6 or width % 6:
            raise ValueError(f"width: must be a multiple of 6, got {width}")
        for name, value in (("planes", planes), ("blocks", blocks)):
            if value < 1:
                raise ValueError(f"{name}: must be at least 1, got {value}")
        self.arguments = {"planes": planes, "width": width, "blocks": blocks}
        channels = [FOLD**2 * planes, *[width] * (2 * blocks + 1), FOLD**2 * CHANNELS]
        self.layers = nn.ModuleList(nn.Conv2d(inputs, outputs, 3, padding=1) for inputs, outputs in pairwise(channels))
        for parameter in self.layers[-1].parameters():
            nn.init.zeros_(parameter)
        self.to(memory_format=torch.channels_last)  # several times faster on CPUs

    def load_exported(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take the weights of a file of weights.

        Raises:
            ValueError: They are of a network of another size.
        """
        shapes = {name: tuple(parameter.shape) for name, parameter in self.named_parameters()}
        if shapes != {name: array.shape for name, array in arrays.items()}:
            raise ValueError("the weights are those of a network of another size")
        self.load_state_dict({name: torch.from_numpy(array.astype(np.float32)) for name, array in arrays.items()})

    def forward(self, planes: Tensor) -> Tensor:
        """Map (B, planes, H, W) planes of even sides to (B, 3, H, W) corrections."""
        first, *middle, last = self.layers
        folded = functional.pixel_unshuffle(planes, FOLD).contiguous(memory_format=torch.channels_last)
        features = first(folded)
        for one, other in zip(middle[::2], middle[1::2], strict=True):
            inner = one(functional.leaky_relu(features, SLOPE))
            features = features + other(functional.leaky_relu(inner, SLOPE))
        return functional.pixel_shuffle(last(functional.leaky_relu(features, SLOPE)), FOLD).float()
