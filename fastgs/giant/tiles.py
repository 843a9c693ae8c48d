"""Fit of the tiles, one after the other; each of them is on disk as soon as it is done."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastgs.definition import CUTOFF
from fastgs.fitting.fit import HistoryEntry
from fastgs.fitting.parametrization import Attributes
from fastgs.gaussians import Gaussians
from fastgs.giant.options import GiantOptions, Progress
from fastgs.giant.plan import Plan
from fastgs.giant.source import Source
from fastgs.initializers import INITIALIZERS
from fastgs.initializers.from_density import gaussians_at
from fastgs.initializers.sampling import sample
from fastgs.io.files import atomic_write, parse_json
from fastgs.io.window import Window
from fastgs.methods.fastgs import make_method
from fastgs.predictor import work_device

REACH = 1.001 * CUTOFF  # of a Gaussian, in standard deviations, with room for rounding


@dataclass(frozen=True)
class TileRecord:
    """Numbers of a tile that was fitted.

    Attributes:
        num_gaussians: Number of Gaussians that it gave to the picture.
        pixels: Number of pixels of the window.
        psnr_init: PSNR in dB of the window before the fit.
        psnr: PSNR in dB of the window after the fit.
        seconds_init: Wall clock of reading the window and placing the Gaussians.
        seconds_fit: Wall clock of the steps.
    """

    num_gaussians: int
    pixels: int
    psnr_init: float
    psnr: float
    seconds_init: float
    seconds_fit: float


class Tiles:
    """Tiles of a picture that are fitted so far, on disk and in memory.

    Args:
        plan: Plan of the fit.
        blend: Blend rule.
        folder: Folder of the tiles.

    Attributes:
        gaussians: Gaussians of the tiles so far, in pixels of the picture.
        records: Numbers of each tile so far.
        margins: Gaussians of the last tiles that lie in tiles after them, by the index of the tile.
    """

    def __init__(self, plan: Plan, options: GiantOptions, folder: Path) -> None:
        self._plan, self._folder = plan, folder
        empty = torch.zeros(0, 2)
        self.gaussians = Gaussians(
            empty,
            empty,
            empty[:, 0],
            torch.zeros(0, plan.kind.channels),
            plan.height,
            plan.width,
            options.blend,
            plan.kind.alpha,
        )
        self.records: list[TileRecord] = []
        self.margins: dict[int, Gaussians] = {}
        found = []
        while self._path(len(self.records)).exists():
            index = len(self.records)
            found.append(Gaussians.load(self._path(index)))
            self.records.append(TileRecord(**parse_json(self._path(index, "json").read_bytes())))
        for index in self._neighbours(len(self.records)):
            self.margins[index] = Gaussians.load(self._path(index, "margin.safetensors"))
        self.gaussians = _join([self.gaussians, *found])

    def _neighbours(self, index: int) -> range:
        """Return the tiles before one that may touch it or tiles after it."""
        return range(max(0, index - self._plan.columns - 1), index)

    def _path(self, index: int, suffix: str = "safetensors") -> Path:
        return self._folder / f"tile-{index:06}.{suffix}"

    def add(self, gaussians: Gaussians, margin: Gaussians, record: TileRecord) -> None:
        """Keep the next tile."""
        index = len(self.records)
        with atomic_write(self._path(index, "json")) as temporary:
            temporary.write_text(json.dumps(vars(record)) + "\n", encoding="utf-8")
        margin.save(self._path(index, "margin.safetensors"))
        gaussians.save(self._path(index))  # last, since it says that the tile is whole
        self.records.append(record)
        self.margins[index] = margin
        self.margins = {each: self.margins[each] for each in self._neighbours(index + 1)}
        self.gaussians = _join([self.gaussians, gaussians])


def fit_tiles(source: Source, plan: Plan, options: GiantOptions, folder: Path, progress: Progress) -> Tiles:
    """Fit all tiles that are not fitted yet.

    Args:
        source: The picture.
        plan: Plan of the fit.
        options: Options of the fit.
        folder: Folder of the tiles.
        progress: Callable that is told how far the work is.

    Raises:
        ImageError: The picture cannot be read, or has changed.
        OSError: A tile cannot be written.
        ValueError: A fit diverged, or a tile on disk is damaged.
    """
    tiles = Tiles(plan, options, folder)
    masses = [plan.mass(index) for index in range(plan.count)]
    for index in range(len(tiles.records), plan.count):

        def show(share: float, state: str, index: int = index) -> None:
            progress((index + share) / plan.count, f"tile {index + 1} of {plan.count}{state}")

        show(0.0, "")
        left = plan.num_gaussians - len(tiles.gaussians)
        count = left if index == plan.count - 1 else round(left * masses[index] / sum(masses[index:]))
        gaussians, margin, record = _fit_tile(source, plan, options, index, count, tiles, show)
        # By chance, tiles may have taken more than is left, where there are hardly any Gaussians.
        tiles.add(_select(gaussians, torch.arange(min(left, len(gaussians)))), margin, record)
    return tiles


def _fit_tile(
    source: Source, plan: Plan, options: GiantOptions, index: int, count: int, tiles: Tiles, progress: Progress
) -> tuple[Gaussians, Gaussians, TileRecord]:
    """Fit a tile with its margin; return the Gaussians that it gives to the picture, and those of tiles still to come.

    Args:
        source: The picture.
        plan: Plan of the fit.
        options: Options of the fit.
        index: Number of the tile.
        count: Number of Gaussians for the tile without its margin.
        tiles: Tiles before.
        progress: Callable that is told how far the work is.
    """
    start = time.perf_counter()
    window = plan.window(index)
    image = plan.kind.conform(source.picture(window))
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence([options.seed, index]).generate_state(1)[0]))
    corner = torch.tensor([window.left, window.top], dtype=torch.float64)
    frozen = _move(_select(tiles.gaussians, _reaching(tiles.gaussians, window)), -corner, window.height, window.width)
    placed = _place(image, plan, options, index, count, tiles, generator)
    method = make_method(INITIALIZERS[options.init], options.blend)
    device = work_device(image.device, options.backend)
    seconds_init = time.perf_counter() - start

    def show(entry: HistoryEntry) -> None:
        share = entry.iteration / options.iterations if options.iterations else 1.0
        progress(share, f", iteration {entry.iteration} of {options.iterations}, {entry.psnr:.2f} dB")

    fitted = method.refine(
        image.to(device), placed.to(device), options.fit(), generator=generator, frozen=frozen.to(device), callback=show
    )
    found = _move(fitted.gaussians.to("cpu"), corner, plan.height, plan.width)
    first, last = fitted.history[0], fitted.history[-1]
    given = plan.tile_of(found.means) <= index
    kept, margin = _select(found, given), _select(found, ~given)
    pixels = window.height * window.width
    return kept, margin, TileRecord(len(kept), pixels, first.psnr, last.psnr, seconds_init, last.seconds)


def _place(
    image: Tensor,
    plan: Plan,
    options: GiantOptions,
    index: int,
    count: int,
    tiles: Tiles,
    generator: torch.Generator,
) -> Gaussians:
    """Return the Gaussians that the fit of a tile begins with: those of margins of tiles before, and new ones.

    Args:
        image: (C, H, W) tile with its margin.
        plan: Plan of the fit.
        options: Options of the fit.
        index: Number of the tile.
        count: Number of Gaussians for the tile without its margin.
        tiles: Tiles before.
        generator: Random generator of the places.

    Returns:
        Gaussians in pixels of the window.
    """
    window, is_last = plan.window(index), index == plan.count - 1
    taken, covered, done = _take_over(plan, index, window, tiles)
    missing = count - int((plan.tile_of(taken.means) == index).sum())
    inside = _contains(plan.core(index), *_places(window))
    if is_last:  # what is missing goes anywhere, so that the number is exact
        taken = _thin_out(taken, count)
        covered = covered if bool((inside & ~covered).any()) else done
    density = plan.density(image, options.init)
    free = torch.where(covered, 0, density)
    mass, total = (each.sum(dtype=torch.float64).item() for each in (free[inside], free))
    number = max(0, round(missing * total / mass)) if mass > 0 else 0
    placed = _move(taken, -torch.tensor([window.left, window.top], dtype=torch.float64), window.height, window.width)
    if not number:
        return placed
    # Errors that are diffused may make a place where the density is 0, so shapes follow from that of all pixels.
    new = gaussians_at(sample(free, number, generator=generator), image, density / total)
    return _join([placed, replace(new, blend=options.blend, alpha=plan.kind.alpha)])


def _take_over(plan: Plan, index: int, window: Window, tiles: Tiles) -> tuple[Gaussians, Tensor, Tensor]:
    """Return what there is of a window: Gaussians that tiles before have fitted around them, and where these lie.

    Only those at most half a margin away from a tile are taken, since beyond that the tile did not see what they reach.

    Args:
        plan: Plan of the fit.
        index: Number of the tile.
        window: Tile with its margin.
        tiles: Tiles before.

    Returns:
        The Gaussians that are not in tiles before, in pixels of the picture; an (H, W) mask of the pixels of the window
        that these or the tiles before have; and one of the latter alone.
    """
    rows, columns = _places(window)
    done = rows // plan.tile * plan.columns + columns // plan.tile < index
    covered, taken = done, [_select(tiles.gaussians, slice(0))]
    # A later tile has seen the Gaussians of those before it.
    for other in sorted(tiles.margins, reverse=True):
        zone = plan.grown(plan.core(other), plan.halo // 2)
        gaussians = tiles.margins[other]
        x, y = (gaussians.means[:, axis].long() for axis in (0, 1))
        inside = _contains(zone, y, x) & _contains(window, y, x)
        inside[inside.clone()] = ~covered[y[inside] - window.top, x[inside] - window.left]
        taken.append(_select(gaussians, inside))
        covered = covered | _contains(zone, rows, columns)
    return _join(taken), covered, done


def _places(window: Window) -> tuple[Tensor, Tensor]:
    """Return the rows (H, 1) and the columns (W,) of a window in the picture."""
    rows = torch.arange(window.top, window.top + window.height)[:, None]
    return rows, torch.arange(window.left, window.left + window.width)


def _thin_out(gaussians: Gaussians, most: int) -> Gaussians:
    """Return so many of the Gaussians at most, evenly chosen from the list."""
    if len(gaussians) <= most:
        return gaussians
    return _select(gaussians, torch.linspace(0, len(gaussians) - 1, most).long())


def _contains(window: Window, rows: Tensor, columns: Tensor) -> Tensor:
    """Tell which pixels lie in a window."""
    down = (rows >= window.top) & (rows < window.top + window.height)
    return down & (columns >= window.left) & (columns < window.left + window.width)


def _reaching(gaussians: Gaussians, window: Window) -> Tensor:
    """Return a (K,) mask of the Gaussians that are drawn in a window, and perhaps of a few more."""
    reach = REACH * gaussians.scales.amax(1, keepdim=True) + 1
    low = torch.tensor([window.left, window.top])
    high = low + torch.tensor([window.width, window.height])
    return ((gaussians.means + reach >= low) & (gaussians.means - reach <= high)).all(1)


def _move(gaussians: Gaussians, by: Tensor, height: int, width: int) -> Gaussians:
    """Return Gaussians moved by x, y in pixels, on another canvas."""
    return replace(gaussians, means=(gaussians.means + by).float(), height=height, width=width)


def _select(gaussians: Gaussians, places: Tensor | slice) -> Gaussians:
    return replace(gaussians, **{name: getattr(gaussians, name)[places] for name in Attributes._fields})


def _join(sets: list[Gaussians]) -> Gaussians:
    fields: dict[str, Any] = {name: torch.cat([getattr(each, name) for each in sets]) for name in Attributes._fields}
    return replace(sets[0], **fields)
