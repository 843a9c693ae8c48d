"""Names and defaults of datasets of Gaussians, for command lines."""

from __future__ import annotations

from typing import Literal

Split = Literal["train", "val", "test"]
Channels = Literal["rgb", "gray", "rgba", "gray-alpha"]

# Channels of the images of a dataset. Alpha is the last one, and the others are multiplied by it.
COLORS: dict[Channels, tuple[str, ...]] = {
    "rgb": ("red", "green", "blue"),
    "gray": ("gray",),
    "rgba": ("red", "green", "blue", "alpha"),
    "gray-alpha": ("gray", "alpha"),
}

INITS = ("grid", "random", "nearest")
ITERATIONS = 20  # from a grid: 80 dB with one Gaussian per pixel, 45 dB with one per four pixels
SHARD_SIZE = 1024  # images
