"""Plan of a fit in tiles: where they lie, and how many of the Gaussians each of them gets."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastgs.codec.frame import MAX_SIDE
from fastgs.giant.detail import DETAILS, REACH
from fastgs.giant.options import GiantOptions, Progress
from fastgs.giant.source import Kind, Source, digest, read_status
from fastgs.initializers.filters import shape_feature
from fastgs.io.files import atomic_write, parse_json
from fastgs.io.pixels import ImageError
from fastgs.io.window import Window

# Width of the margin around a tile that is fitted with it, in units of the mean spacing of the Gaussians, and in pixels
# at least (benchmarks/LOG.md, "Giant images").
HALO, LEAST_HALO = 6.0, 32
MOST_PIXELS = 2**22  # that are measured at a time
_VERSION = 1


@dataclass(frozen=True)
class Plan:
    """Plan of a fit in tiles.

    Attributes:
        height: Height of the picture in pixels.
        width: Width of the picture in pixels.
        tile: Side of the tiles in pixels; the last of a row or column are as small as what is left.
        num_gaussians: K of the whole picture.
        kind: Kind of the windows.
        power: Power of the feature in the density.
        uniform: Share of the Gaussians that are spread evenly.
        features: Sum of the feature to this power over the pixels of each tile, row by row.
    """

    height: int
    width: int
    tile: int
    num_gaussians: int
    kind: Kind
    power: float
    uniform: float
    features: list[float]

    @property
    def columns(self) -> int:
        """Return the number of tiles in a row."""
        return -(-self.width // self.tile)

    @property
    def count(self) -> int:
        """Return the number of tiles."""
        return self.columns * -(-self.height // self.tile)

    @property
    def halo(self) -> int:
        """Return the width in pixels of the margin that is fitted with a tile."""
        spacing = math.sqrt(self.height * self.width / self.num_gaussians)
        return min(self.tile // 2, max(LEAST_HALO, math.ceil(HALO * spacing)))

    def core(self, index: int) -> Window:
        """Return the place of a tile."""
        top, left = index // self.columns * self.tile, index % self.columns * self.tile
        return Window(top, left, min(self.tile, self.height - top), min(self.tile, self.width - left))

    def window(self, index: int) -> Window:
        """Return the place of a tile with its margin."""
        return self.grown(self.core(index), self.halo)

    def grown(self, window: Window, margin: int) -> Window:
        """Return a window with a margin, within the picture."""
        top, left = max(0, window.top - margin), max(0, window.left - margin)
        bottom = min(self.height, window.top + window.height + margin)
        right = min(self.width, window.left + window.width + margin)
        return Window(top, left, bottom - top, right - left)

    def mass(self, index: int) -> float:
        """Return the share of the Gaussians that a tile gets by the density."""
        core = self.core(index)
        return self._shares()[0] * self.features[index] + self._shares()[1] * core.height * core.width

    def density(self, image: Tensor, init: str) -> Tensor:
        """Return the (H, W) density of positions in a window; over the whole picture it sums to 1.

        Args:
            image: (C, H, W) window.
            init: Name in `DETAILS`.
        """
        by_feature, even = self._shares()
        return shape_feature(DETAILS[init].feature(image), self.power).mul_(by_feature).add_(even)

    def _shares(self) -> tuple[float, float]:
        """Return the density per unit of the feature and the even one, as `mix_with_uniform` has them."""
        total, pixels = math.fsum(self.features), self.height * self.width
        return ((1 - self.uniform) / total, self.uniform / pixels) if total > 0 else (0.0, 1 / pixels)

    def tile_of(self, means: Tensor) -> Tensor:
        """Return the index of the tile that each of (N, 2) positions x, y lies in, or is nearest to."""
        x = (means[:, 0] / self.tile).long().clamp(0, self.columns - 1)
        y = (means[:, 1] / self.tile).long().clamp(0, self.count // self.columns - 1)
        return y * self.columns + x


def measure(source: Source, options: GiantOptions, progress: Progress) -> Plan:
    """Look at all pixels once, and share the Gaussians out.

    Args:
        source: The picture.
        options: Options of the fit.
        progress: Callable that is told how far the work is.

    Raises:
        ImageError: The picture cannot be read, is of a kind that is not fitted in tiles, or has a side of more than
            65,535 pixels.
    """
    height, width, tile = source.height, source.width, options.tile
    if max(height, width) > MAX_SIDE:
        raise ImageError(f"{source.path}: has {width} x {height} pixels; a side is at most {MAX_SIDE:,}, cut it up")
    detail = DETAILS[options.init]
    power, uniform = detail.mixture(options.num_gaussians / (height * width))
    plan = Plan(height, width, tile, options.num_gaussians, Kind(), power, uniform, [])
    features, kind = [0.0] * plan.count, Kind()
    rows = max(1, MOST_PIXELS // width)
    for first in range(0, plan.count, plan.columns):
        end = min(plan.core(first).top + tile, height)
        for top in range(plan.core(first).top, end, rows):
            strip = Window(top, 0, min(rows, end - top), width)
            around = plan.grown(strip, REACH)
            picture = source.picture(around)
            kind = kind.joined(picture)
            # Transparency counts as a channel where there is some, as in a fit.
            shaped = shape_feature(detail.feature(picture.values), power)
            sums = shaped[top - around.top :][: strip.height].sum(0, dtype=torch.float64)
            for column, part in enumerate(torch.split(sums, tile)):
                features[first + column] += part.sum().item()
            progress((top + strip.height) / height, "measuring detail")
    return Plan(height, width, tile, options.num_gaussians, kind, power, uniform, features)


def load_or_measure(source: Source, options: GiantOptions, folder: Path, progress: Progress) -> Plan:
    """Return the plan of a run that was ended, or make one and keep it.

    Args:
        source: The picture.
        options: Options of the fit.
        folder: Folder of the tiles; it is made.
        progress: Callable that is told how far the work is.

    Raises:
        ImageError: The folder holds tiles of another picture or with other options, or see `measure`.
    """
    path = folder / "plan.json"
    if path.exists():
        return _load(path, source, options)
    plan = measure(source, options, progress)
    folder.mkdir(exist_ok=True)
    size, time = source.status
    file = {"size": size, "time": time, "digest": digest(source.path)}
    content = {"version": _VERSION, "file": file, "options": options.record(), "plan": asdict(plan)}
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")
    return plan


def _load(path: Path, source: Source, options: GiantOptions) -> Plan:
    """Read a plan, and compare what it was made for."""
    advice = f"delete {path.parent} to begin anew"
    try:
        content: dict[str, Any] = parse_json(path.read_bytes())
        if content["version"] != _VERSION:
            raise ValueError(f"is of version {content['version']}")
        file, made, fields = content["file"], content["options"], content["plan"]
        plan = Plan(**fields | {"kind": Kind(**fields["kind"])})
        known = file["size"], file["time"], file["digest"]
    except (ValueError, KeyError, TypeError) as error:
        raise ImageError(f"{source.path}: {path} cannot be read ({error}); {advice}") from error
    size, time, content_digest = known
    if read_status(source.path) != (size, time) and (source.status[0] != size or digest(source.path) != content_digest):
        changed = f"has changed since its tiles in {path.parent} were fitted; bring the old one back"
        raise ImageError(f"{source.path}: {changed}, or {advice}")
    now = options.record()
    other = [name for name in now if made.get(name) != now[name]]
    if other:
        differing = ", ".join(f"{name} {made.get(name)} instead of {now[name]}" for name in other)
        raise ImageError(
            f"{source.path}: {path.parent} holds tiles of a run with {differing}; give the same options, or {advice}"
        )
    return plan
