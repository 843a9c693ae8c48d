"""A giant picture in, one file of Gaussians and its reconstruction out."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastgs.gaussians import Gaussians
from fastgs.giant.options import GiantOptions, Progress, tiles_folder
from fastgs.giant.output import Comparison, write_result
from fastgs.giant.plan import Plan, load_or_measure
from fastgs.giant.source import open_source
from fastgs.giant.tiles import Tiles, fit_tiles
from fastgs.io.files import exclusive
from fastgs.io.pixels import ImageError
from fastgs.io.version import installed_version
from fastgs.runtime import threads

# Shares of the work: measuring, fitting, and the rest for writing.
_MEASURING, _FITTING = 0.05, 0.9


@dataclass(frozen=True)
class GiantResult:
    """Picture that was fitted in tiles.

    Attributes:
        gaussians: K Gaussians on the canvas of the picture.
        path: Reconstruction, a TIFF file.
        plan: Tiles, and how the Gaussians were shared out.
        comparison: Quality of the reconstruction.
        psnr_init: PSNR in dB of the windows of all tiles before their fits.
        seconds_init: Wall clock of placing the Gaussians, those of runs before that were ended included.
        seconds_fit: Wall clock of the steps, likewise.
        resumed: Number of tiles that were there from such runs.
    """

    gaussians: Gaussians
    path: Path
    plan: Plan
    comparison: Comparison
    psnr_init: float
    seconds_init: float
    seconds_fit: float
    resumed: int

    def describe(self, image: str | Path, options: GiantOptions) -> dict[str, Any]:
        """Return the record for a report, with the names that `fastgs.methods.report.describe` gives."""
        plan, comparison = self.plan, self.comparison
        colors = "premultiplied colours and alpha" if self.gaussians.alpha else "colours"
        return {
            "image": str(image),
            "height": plan.height,
            "width": plan.width,
            "tile": plan.tile,
            "tiles": plan.count,
            "tiles_resumed": self.resumed,
            "channels": self.gaussians.channels,
            "alpha": self.gaussians.alpha,
            "num_gaussians": len(self.gaussians),
            "iterations": options.iterations,
            "init": options.init,
            "weights": None,
            "seed": options.seed,
            "blend": options.blend,
            "loss": options.loss,
            "psnr_init": self.psnr_init,
            "psnr": comparison.psnr,
            "psnr_of": f"{colors}, sRGB",
            "psnr_borders": comparison.psnr_borders,
            "psnr_inside": comparison.psnr_inside,
            "ms_ssim": None,
            "seconds_init": self.seconds_init,
            "seconds_fit": self.seconds_fit,
            "history": [(0, 0.0, self.psnr_init), (options.iterations, self.seconds_fit, comparison.psnr)],
            "fastgs": installed_version(),
        }


@threads.reserved()
def fit_giant(
    path: str | Path,
    output: str | Path,
    options: GiantOptions,
    *,
    tiles: str | Path | None = None,
    bits: int = 8,
    pyramid: bool = False,
    progress: Progress = lambda share, state: None,
) -> GiantResult:
    """Fit a picture in overlapping tiles, from disk.

    Memory follows the tile, not the picture, if the file can be read in parts, see `fastgs.io.windows.open_windows`.
    The tiles that are done lie in a folder of their own until all is written; a run that was ended, even by a kill or a
    full disk, goes on there when it is started again, with the same result.

    Args:
        path: Picture of gray or RGB, with or without transparency, with at most 65,535 pixels a side.
        output: Folder that exists; STEM.safetensors (exactly K Gaussians) and STEM.tif (their image) go there.
        options: Options of the fit.
        tiles: Folder for the tiles that are done; by default OUTPUT/STEM.tiles.
        bits: Bits per sample of the reconstruction: 8, 16, or 32 for floating point.
        pyramid: True to add smaller sizes to the reconstruction, as viewers of large pictures read them.
        progress: Callable that is told the share of the work that is done, and a text.

    Raises:
        ImageError: The picture cannot be read or is of a kind that is not fitted in tiles; it has changed since the
            tiles were fitted; these are of a run with other options; or another process is at work on them. The message
            begins with the path.
        OSError: A file cannot be written.
        ValueError: A fit diverged.

    Example:
        fit_giant("map.tif", "out", GiantOptions(num_gaussians=200_000, tile=2048, iterations=30))
    """
    path, output = Path(path), Path(output)
    folder = tiles_folder(output, path.stem) if tiles is None else Path(tiles)
    with open_source(path, options.background, folder) as source, _alone(path, folder):
        plan = load_or_measure(source, options, folder, _part(progress, 0, _MEASURING))
        resumed = len(Tiles(plan, options, folder).records)
        fitted = fit_tiles(source, plan, options, folder, _part(progress, _MEASURING, _FITTING))
        image, file = folder / f"{path.stem}.tif", folder / f"{path.stem}.safetensors"
        writing = _part(progress, _MEASURING + _FITTING, 1 - _MEASURING - _FITTING)
        comparison = write_result(image, fitted.gaussians, source, plan, bits, pyramid, writing)
        fitted.gaussians.save(file)
    for each in (file, image):
        os.replace(each, output / each.name)
    shutil.rmtree(folder)
    pixels = sum(record.pixels for record in fitted.records)
    error = sum(record.pixels * 10 ** (-record.psnr_init / 10) for record in fitted.records) / pixels
    return GiantResult(
        fitted.gaussians,
        output / image.name,
        plan,
        comparison,
        -10 * math.log10(error),
        sum(record.seconds_init for record in fitted.records),
        sum(record.seconds_fit for record in fitted.records),
        resumed,
    )


@contextmanager
def _alone(path: Path, folder: Path) -> Iterator[None]:
    """Keep other processes from the folder of the tiles, which is made if needed, and removed if nothing is in it.

    Raises:
        ImageError: Another process is at work there.
    """
    folder.mkdir(exist_ok=True)
    try:
        with exclusive(folder) as is_free:
            if not is_free:
                advice = "wait for its end, or choose another --output"
                raise ImageError(f"{path}: another run is at work on its tiles in {folder}; {advice}")
            yield
    finally:
        with suppress(OSError):  # tiles are there, or the folder is removed
            folder.rmdir()


def _part(progress: Progress, start: float, share: float) -> Progress:
    """Return the progress of a part of the work."""
    return lambda done, state: progress(start + share * done, state)
