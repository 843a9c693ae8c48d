"""Network that makes one Gaussian for each quarter of a pixel, so that its rendering is sharp at any larger size.

All convolutions run at the resolution of the small image and answer for the Gaussians of a pixel at once, as
pixel-shuffled outputs do (Shi et al. 2016, arXiv 1609.05158). That the answer is Gaussians instead of pixels makes it
independent of the factor, as in GSASR (arXiv 2501.06838) and ContinuousSR (arXiv 2503.06617), whose networks are a
hundred times as large. Colours are corrections to the image that interpolation and the camera alone give.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastgs.gaussians import Gaussians
from fastgs.models.unet import ResidualBlock
from fastgs.render import rasterize
from fastgs.io.resampling import Filter, make_consistent

PER_AXIS = 2  # Gaussians of a pixel along each axis
NUMBERS = 8  # numbers of a Gaussian: two of the centre, two of the scales, the rotation, and three of the colour
SCALE = 0.25  # standard deviation, in pixels of the small image, that the network corrects
REACH = 0.5  # largest correction of a centre, in pixels of the small image
STRETCH = 1.5  # largest correction of the logarithm of a scale


class ZoomNetwork(nn.Module):
    """Maps (B, 3, h, w) images to the Gaussians of larger ones; until trained, to an interpolation.

    Args:
        width: Number of channels of the convolutions.
        blocks: Number of residual blocks of two 3 x 3 convolutions.
        filter: Filter of `fastgs.io.resampling.reduce` by which small images come from large ones.

    Raises:
        ValueError: An argument is out of range; the message begins with the argument.
    """

    def __init__(self, width: int = 32, blocks: int = 8, filter: Filter = "bicubic") -> None:
        super().__init__()
        for name, value in {"width": width, "blocks": blocks}.items():
            if value < 1:
                raise ValueError(f"{name}: must be at least 1, got {value}")
        self.arguments: dict[str, Any] = {"width": width, "blocks": blocks, "filter": filter}
        self.filter: Filter = filter
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.Sequential(*(ResidualBlock(width) for _ in range(blocks)))
        self.head = nn.Conv2d(width, PER_AXIS**2 * NUMBERS, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        self.to(memory_format=torch.channels_last)  # up to four times faster on CPUs

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, h, w) images in [0, 1] to (B, 2 h, 2 w, 8) corrections, one for each quarter of a pixel."""
        features = self.first((images - 0.5).contiguous(memory_format=torch.channels_last))
        features = features + self.blocks(features)
        answer = self.head(functional.silu(features)).float()
        batch, _, height, width = answer.shape
        quarters = answer.permute(0, 2, 3, 1).reshape(batch, height, width, PER_AXIS, PER_AXIS, NUMBERS)
        return quarters.transpose(2, 3).reshape(batch, PER_AXIS * height, PER_AXIS * width, NUMBERS)

    def gaussians(self, images: Tensor) -> list[Gaussians]:
        """Return the 4 h w Gaussians of each of (B, 3, h, w) images in [0, 1], on canvases of h x w."""
        _, _, height, width = images.shape
        means, scales, rotations, colors = self._attributes(images)
        return [
            Gaussians(*each, height, width, "normalized") for each in zip(means, scales, rotations, colors, strict=True)
        ]

    def render(self, images: Tensor, height: int, width: int) -> Tensor:
        """Render the Gaussians of (B, 3, h, w) images in [0, 1] at a larger size; (B, 3, height, width), not clamped.

        Whatever the network does, the result is consistent with the images, see `make_consistent`.
        """
        batch, _, small_height, small_width = images.shape
        attributes = [each.flatten(0, 1) for each in self._attributes(images)]
        rendered = rasterize(
            *attributes,
            counts=[PER_AXIS**2 * small_height * small_width] * batch,
            pitches=[(small_height / height, small_width / width)] * batch,
            height=height,
            width=width,
        )
        return make_consistent(rendered, images, self.filter)

    def _attributes(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return means, scales, rotations and colours, each (B, 4 h w, ...), in pixels of the images."""
        batch, _, height, width = images.shape
        corrections = self(images).flatten(1, 2)
        rows = (torch.arange(PER_AXIS * height, device=images.device) + 0.5) / PER_AXIS
        columns = (torch.arange(PER_AXIS * width, device=images.device) + 0.5) / PER_AXIS
        grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1).flatten(0, 1)
        means = grid + REACH * torch.tanh(corrections[..., 0:2])
        scales = SCALE * torch.exp(STRETCH * torch.tanh(corrections[..., 2:4]))
        rotations = corrections[..., 4]
        size = (PER_AXIS * height, PER_AXIS * width)
        with torch.no_grad():
            enlarged = functional.interpolate(images, size, mode="bicubic", antialias=True)
            enlarged = make_consistent(enlarged, images, self.filter)
        colors = enlarged.permute(0, 2, 3, 1).flatten(1, 2) + corrections[..., 5:8]
        return means, scales, rotations, colors

