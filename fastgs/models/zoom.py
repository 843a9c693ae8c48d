"""Network that makes one Gaussian for each quarter of a pixel, so that its rendering is sharp at any larger size.

All convolutions run at the resolution of the small image and answer for the Gaussians of a pixel at once, as
pixel-shuffled outputs do (Shi et al. 2016, arXiv 1609.05158). That the answer is Gaussians instead of pixels makes it
independent of the factor, as in GSASR (arXiv 2501.06838) and ContinuousSR (arXiv 2503.06617), whose networks are a
hundred times as large. Colours are corrections to the image that interpolation and the camera alone give.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastgs.io.resampling import Filter, check_filter, make_consistent
from fastgs.io.weights import checked_arguments, filled, find_weights, read_pair, write_pair
from fastgs.models.residual import ResidualBlock
from fastgs.render import rasterize
from fastgs.runtime.precision import has_bfloat16, repeatable

FORMAT = "fastgs.zoom"
VERSION = "1"

PER_AXIS = 2  # Gaussians of a pixel along each axis
NUMBERS = 8  # numbers of a Gaussian: two of the centre, two of the scales, the rotation, and three of the colour
SCALE = 0.25  # standard deviation, in pixels of the small image, that the network corrects
REACH = 0.5  # largest correction of a centre, in pixels of the small image
STRETCH = 1.5  # largest correction of the logarithm of a scale

# Side of the tiles that a large image is enlarged in, in pixels of the small image, and how far the result depends on
# pixels beyond: 3 x 3 convolutions by one pixel each, Gaussians by 3.5 of the largest standard deviations.
TILE = 512
GAUSSIAN_REACH = 5


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
        check_filter(filter)
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
        answer: Tensor = self.head(functional.silu(features)).float()
        batch, _, height, width = answer.shape
        quarters = answer.permute(0, 2, 3, 1).reshape(batch, height, width, PER_AXIS, PER_AXIS, NUMBERS)
        return quarters.transpose(2, 3).reshape(batch, PER_AXIS * height, PER_AXIS * width, NUMBERS)

    def render(self, images: Tensor, height: int, width: int) -> Tensor:
        """Render the Gaussians of (B, 3, h, w) images in [0, 1] at a larger size, differentiable in the weights.

        Returns:
            (B, 3, height, width), not clamped. Whatever the network does, it is consistent with the images, see
            `make_consistent`.
        """
        pitch = images.shape[2] / height, images.shape[3] / width
        rendered = self._render(images, self._interpolate(images), (0.0, 0.0), pitch, height, width)
        return make_consistent(rendered, images, self.filter)

    @torch.no_grad()
    def enlarge(self, image: Tensor, height: int, width: int) -> Tensor:
        """Enlarge one (3, h, w) image in [0, 1] as `render` does, in tiles, so that memory is that of a tile.

        Returns:
            (3, height, width), not clamped.
        """
        native = image.device.type == "cpu" and has_bfloat16()
        base, result = self._interpolate(image[None]), image.new_empty(1, 3, height, width)
        pitch = image.shape[1] / height, image.shape[2] / width
        reach = GAUSSIAN_REACH + 2 + 2 * len(self.blocks)
        for rows in _tiles(image.shape[1], height, reach):
            for columns in _tiles(image.shape[2], width, reach):
                (seen_rows, drawn_rows), (seen_columns, drawn_columns) = rows, columns
                part = image[None, :, seen_rows, seen_columns]
                quarters = base[:, :, _quartered(seen_rows), _quartered(seen_columns)]
                # Where the first pixel that is drawn lies on the tile.
                top = drawn_rows.start * pitch[0] - seen_rows.start
                left = drawn_columns.start * pitch[1] - seen_columns.start
                size = drawn_rows.stop - drawn_rows.start, drawn_columns.stop - drawn_columns.start
                with torch.autocast("cpu", torch.bfloat16, enabled=native), repeatable(image.device):
                    result[:, :, drawn_rows, drawn_columns] = self._render(part, quarters, (top, left), pitch, *size)
        return make_consistent(result, image[None], self.filter)[0]

    def _interpolate(self, images: Tensor) -> Tensor:
        """Return the (B, 3, 2 h, 2 w) images that interpolation and the camera alone give."""
        size = (PER_AXIS * images.shape[2], PER_AXIS * images.shape[3])
        with torch.no_grad():
            enlarged = functional.interpolate(images, size, mode="bicubic", antialias=True)
            return make_consistent(enlarged, images, self.filter)

    def _render(
        self,
        images: Tensor,
        interpolated: Tensor,
        corner: tuple[float, float],
        pitch: tuple[float, float],
        height: int,
        width: int,
    ) -> Tensor:
        """Render Gaussians of images, or of tiles of them.

        Args:
            images: (B, 3, h, w) in [0, 1].
            interpolated: (B, 3, 2 h, 2 w) from `_interpolate`.
            corner: y, x of the upper left corner of the result, in pixels of the images.
            pitch: Distance in y and x between pixels of the result, in pixels of the images.
            height: Height of the result in pixels.
            width: Width of the result in pixels.
        """
        batch, _, rows, columns = interpolated.shape
        corrections = self(images).flatten(1, 2)
        y = (torch.arange(rows, device=images.device) + 0.5) / PER_AXIS - corner[0]
        x = (torch.arange(columns, device=images.device) + 0.5) / PER_AXIS - corner[1]
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).flatten(0, 1)
        means = grid + REACH * torch.tanh(corrections[..., 0:2])
        scales = SCALE * torch.exp(STRETCH * torch.tanh(corrections[..., 2:4]))
        colors = interpolated.permute(0, 2, 3, 1).flatten(1, 2) + corrections[..., 5:8]
        return rasterize(
            *(each.flatten(0, 1) for each in (means, scales, corrections[..., 4], colors)),
            counts=[rows * columns] * batch,
            pitches=[pitch] * batch,
            height=height,
            width=width,
        )


def save_zoom(path: str | Path, network: ZoomNetwork, training: dict[str, Any]) -> None:
    """Write a network of zooming as PATH.safetensors and PATH.json; see `fastgs.io.weights.write_pair`."""
    info = {"format": FORMAT, "version": VERSION, "network": network.arguments, "training": training}
    write_pair(path, network.state_dict(), info)


def load_zoom(name_or_path: str | Path) -> ZoomNetwork:
    """Read a network that `save_zoom` wrote; see `fastgs.models.pretrained.load_weights`."""
    path = find_weights(name_or_path)
    tensors, info = read_pair(path, FORMAT, VERSION, "weights of zooming")
    arguments = checked_arguments(ZoomNetwork, info.get("network"), f"{path.with_suffix('.json')}: network")
    return filled(lambda: ZoomNetwork(**arguments), tensors, path)


def _tiles(small: int, large: int, reach: int) -> list[tuple[slice, slice]]:
    """Divide an axis into tiles.

    Returns:
        The pixels of the small image that each tile sees, and those of the large one that it draws.
    """
    count = -(-small // TILE)
    borders = [round(small * number / count) for number in range(count + 1)]
    drawn = [round(border * large / small) for border in borders]
    return [
        (slice(max(0, borders[i] - reach), min(small, borders[i + 1] + reach)), slice(drawn[i], drawn[i + 1]))
        for i in range(count)
    ]


def _quartered(part: slice) -> slice:
    return slice(PER_AXIS * part.start, PER_AXIS * part.stop)
