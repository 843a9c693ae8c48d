"""Options of a fit in tiles, and whether a picture needs one. No torch is imported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fastgs.codec.frame import MAX_SIDE
from fastgs.definition import Backend, Blend, check_blend
from fastgs.fitting.options import FitOptions, check_integer
from fastgs.initializers import DEFAULT
from fastgs.io.pixels import Background

DEFAULT_TILE = 2048  # pixels; a tile takes about as long as a photo, and less than a gigabyte
LEAST_TILE = 128
# Starts whose density can be taken of a part of a picture as of the whole.
INITS = ("curvature", "gradient")

Progress = Callable[[float, str], None]  # share of the work that is done, in [0, 1], and a text


@dataclass(frozen=True)
class GiantOptions:
    """Options of a fit in tiles, checked when they are made.

    Attributes:
        num_gaussians: K of the whole picture.
        tile: Side of the tiles in pixels, from 128 to 65,535.
        iterations: Number of steps for each tile.
        init: "curvature" or "gradient", whose density says how many Gaussians a place has.
        seed: Random seed.
        blend: "normalized" or "sum", see `fastgs.render`.
        loss: Name in `fastgs.fitting.losses.LOSSES`.
        background: R, G, B in [0, 255] that transparent pixels are composited on; None keeps transparency.
        backend: Renderer, see `fastgs.render`.

    Raises:
        ValueError: A value has the wrong type or range; the message is one line that begins with its name.
    """

    num_gaussians: int
    tile: int = DEFAULT_TILE
    iterations: int = 200
    init: str = DEFAULT
    seed: int = 0
    blend: Blend = "normalized"
    loss: str = "mse"
    background: Background | None = None
    backend: Backend = "auto"

    def __post_init__(self) -> None:
        check_integer("num_gaussians", self.num_gaussians, least=1)
        check_integer("seed", self.seed, least=0)
        check_tile(self.tile)
        check_blend(self.blend)
        self.fit()
        if self.init not in INITS:
            raise ValueError(f"init: expected one of {', '.join(INITS)} for a fit in tiles, got {self.init!r}")

    def fit(self) -> FitOptions:
        """Return the options of the fit of a tile."""
        return FitOptions(iterations=self.iterations, loss=self.loss, backend=self.backend)

    def record(self) -> dict[str, Any]:
        """Return the options as they are compared before tiles of an earlier run are taken over."""
        fields = asdict(self)
        fields["background"] = None if self.background is None else list(self.background)
        return fields


def check_tile(tile: int) -> None:
    """Check the side of tiles.

    Raises:
        ValueError: It makes no sense; the message begins with "tile: ".
    """
    check_integer("tile", tile, least=LEAST_TILE)
    if tile > MAX_SIDE:
        raise ValueError(f"tile: must be at most {MAX_SIDE:,}, got {tile}")


def tiles_folder(output: Path, stem: str) -> Path:
    """Return the folder beside the output in which the tiles of a picture are kept until it is done."""
    return output / f"{stem}.tiles"
