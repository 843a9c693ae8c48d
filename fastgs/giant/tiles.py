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
from fastgs.initializers.from_density import gaussians_from_density
from fastgs.io.files import atomic_write, parse_json
from fastgs.io.windows import Window
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
        found = []
        while self._path(len(self.records)).exists():
            index = len(self.records)
            found.append(Gaussians.load(self._path(index)))
            self.records.append(TileRecord(**parse_json(self._record(index).read_bytes())))
        self.gaussians = _join([self.gaussians, *found])

    def _path(self, index: int) -> Path:
        return self._folder / f"tile-{index:06}.safetensors"

    def _record(self, index: int) -> Path:
        return self._folder / f"tile-{index:06}.json"

    def add(self, gaussians: Gaussians, record: TileRecord) -> None:
        """Keep the next tile."""
        index = len(self.records)
        with atomic_write(self._record(index)) as temporary:
            temporary.write_text(json.dumps(vars(record)) + "\n", encoding="utf-8")
        gaussians.save(self._path(index))  # last, since it says that the tile is whole
        self.records.append(record)
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
        gaussians, record = _fit_tile(source, plan, options, index, count, tiles.gaussians, show)
        # By chance, tiles may have taken more than is left, where there are hardly any Gaussians.
        tiles.add(_select(gaussians, torch.arange(min(left, len(gaussians)))), record)
    return tiles


def _fit_tile(
    source: Source, plan: Plan, options: GiantOptions, index: int, count: int, before: Gaussians, progress: Progress
) -> tuple[Gaussians, TileRecord]:
    """Fit a tile with its margin, and return the Gaussians that are not in tiles still to come.

    Args:
        source: The picture.
        plan: Plan of the fit.
        options: Options of the fit.
        index: Number of the tile.
        count: Number of Gaussians for the tile without its margin.
        before: Gaussians of the tiles before.
        progress: Callable that is told how far the work is.
    """
    start = time.perf_counter()
    window = plan.window(index)
    image = plan.kind.conform(source.picture(window))
    density = plan.density(image, options.init)
    density[_fitted(plan, index, window)] = 0  # those pixels have Gaussians
    core = plan.core(index)
    top, left = core.top - window.top, core.left - window.left
    mass = density[top : top + core.height, left : left + core.width].sum(dtype=torch.float64).item()
    total = density.sum(dtype=torch.float64).item()
    number = round(count * total / mass)
    if index == plan.count - 1:
        number = count
    canvas = {"height": window.height, "width": window.width, "blend": options.blend, "alpha": plan.kind.alpha}
    corner = torch.tensor([window.left, window.top], dtype=torch.float64)
    near = _select(before, _reaching(before, window))
    frozen = replace(near, means=(near.means - corner).float(), **canvas)
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence([options.seed, index]).generate_state(1)[0]))
    placed = replace(gaussians_from_density(image, density, number, generator), **canvas)
    del density
    method = make_method(INITIALIZERS[options.init], options.blend)
    device = work_device(image.device, options.backend)  # type: ignore[arg-type]
    fit = options.fit()
    seconds_init = time.perf_counter() - start

    def show(entry: HistoryEntry) -> None:
        share = entry.iteration / options.iterations if options.iterations else 1.0
        progress(share, f", iteration {entry.iteration} of {options.iterations}, {entry.psnr:.2f} dB")

    fitted = method.refine(
        image.to(device), placed.to(device), fit, generator=generator, frozen=frozen.to(device), callback=show
    )
    found = fitted.gaussians.to("cpu")
    found = replace(found, means=(found.means + corner).float(), height=plan.height, width=plan.width)
    first, last = fitted.history[0], fitted.history[-1]
    kept = _select(found, plan.tile_of(found.means) <= index)
    pixels = window.height * window.width
    return kept, TileRecord(len(kept), pixels, first.psnr, last.psnr, seconds_init, last.seconds)


def _fitted(plan: Plan, index: int, window: Window) -> Tensor:
    """Return an (H, W) mask of the pixels of a window that lie in tiles before this one."""
    rows = torch.arange(window.top, window.top + window.height)[:, None] // plan.tile
    columns = torch.arange(window.left, window.left + window.width) // plan.tile
    return rows * plan.columns + columns < index


def _reaching(gaussians: Gaussians, window: Window) -> Tensor:
    """Return a (K,) mask of the Gaussians that are drawn in a window, and perhaps of a few more."""
    reach = REACH * gaussians.scales.amax(1, keepdim=True) + 1
    low = torch.tensor([window.left, window.top])
    high = low + torch.tensor([window.width, window.height])
    return ((gaussians.means + reach >= low) & (gaussians.means - reach <= high)).all(1)


def _select(gaussians: Gaussians, places: Tensor) -> Gaussians:
    return replace(gaussians, **{name: getattr(gaussians, name)[places] for name in Attributes._fields})


def _join(sets: list[Gaussians]) -> Gaussians:
    fields: dict[str, Any] = {name: torch.cat([getattr(each, name) for each in sets]) for name in Attributes._fields}
    return replace(sets[0], **fields)
