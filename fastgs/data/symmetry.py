"""The eight symmetries of the square: mirroring and turning of images."""

from __future__ import annotations

from torch import Tensor


def turn_image(image: Tensor, symmetry: int) -> Tensor:
    """Mirror and turn an image.

    Args:
        image: (..., H, W) tensor.
        symmetry: Number from 0 (no change) to 7. Of its bits, 1 mirrors left and right, 2 mirrors top and bottom, and
            4 then swaps x and y.

    Returns:
        (..., H, W) tensor, or (..., W, H) if x and y are swapped; it may be a view.
    """
    image = image.flip(-1) if symmetry & 1 else image
    image = image.flip(-2) if symmetry & 2 else image
    return image.transpose(-1, -2) if symmetry & 4 else image
