"""Definition of Gaussians without torch: constants of the image, names of rules and renderers, and fields as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Blend = Literal["normalized", "sum"]
Backend = Literal["auto", "reference", "cpu", "cuda"]

# Number of colour channels of an RGB image.
CHANNELS = 3
# Smallest standard deviation in pixels that a heuristic, a network or a fit gives a Gaussian. A thinner one falls
# between the pixel centres: it sees no pixel and costs nothing at the fitted size, but shows as a hairline in a larger
# image.
MIN_SCALE = 0.3

# Support of a Gaussian, in standard deviations: its weight begins to fade here, and is 0 from there on.
FADE_START, CUTOFF = 3.0, 3.5
# Sum of weights at which the normalized blend is halfway between the Gaussians' colour and black.
EPSILON = 1e-2


@dataclass(frozen=True, eq=False)
class GaussianArrays:
    """K Gaussians as NumPy arrays, for work that needs no torch: what a decoder reads and the CPU draws.

    The values are not checked; `fastgs.Gaussians.from_arrays` does so.

    Attributes:
        means: (K, 2) centres x, y in pixels, float32 like the other arrays.
        scales: (K, 2) standard deviations in pixels.
        rotations: (K,) angles of the first axis in radians.
        colors: (K, C) colours.
        height: Height of the canvas in pixels.
        width: Width of the canvas in pixels.
        blend: Rule that the Gaussians were fitted with, "normalized" or "sum".
        alpha: True if the last channel is opacity and the other ones are multiplied by it.
    """

    means: NDArray[np.float32]
    scales: NDArray[np.float32]
    rotations: NDArray[np.float32]
    colors: NDArray[np.float32]
    height: int
    width: int
    blend: Blend = "normalized"
    alpha: bool = False

    @property
    def channels(self) -> int:
        """Return C, the number of channels, alpha included."""
        return int(self.colors.shape[1])

    def __len__(self) -> int:
        return len(self.means)


def check_blend(blend: str) -> None:
    """Check the name of a blend rule.

    Raises:
        ValueError: The rule is unknown.
    """
    if blend not in get_args(Blend):
        raise ValueError(f"blend: expected one of {', '.join(get_args(Blend))}, got {blend!r}")


def check_backend(backend: str) -> None:
    """Check the name of a renderer.

    Raises:
        ValueError: The renderer is unknown.
    """
    if backend not in get_args(Backend):
        raise ValueError(f"backend: expected one of {', '.join(get_args(Backend))}, got {backend!r}")
