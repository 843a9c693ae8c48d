"""Pictures in tiles: options, the choice to take tiles, and the work; until it begins, no torch is imported."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from PIL import Image

from fastgs.cli.console import Parser, one_line, wrong_argument
from fastgs.cli.progress import batch_progress
from fastgs.cli.work import Done, Job
from fastgs.cli.workers import LIBRARIES, PER_FILE_PIXEL, PER_GAUSSIAN, PER_PIXEL, PER_TILE_PIXEL, TILE
from fastgs.fitting.options import DEFAULT_ITERATIONS
from fastgs.giant.options import DEFAULT_TILE, INITS, GiantOptions, Progress, check_tile, tiles_folder
from fastgs.initializers import DEFAULT
from fastgs.io.pixels import ImageError
from fastgs.io.places import is_url
from fastgs.jobs.sources import Source
from fastgs.methods.arguments import AUTO
from fastgs.runtime.lazy import call, importing, load
from fastgs.runtime.memory import available_memory

# Options of whole pictures, by their names in the arguments.
WHOLE = ("stack", "size", "zoom", "zoom_weights", "seconds", "target_psnr", "weights", "keep_profile", "plots", "html")
SMALL_TILE = 512  # pixels; the smallest that is chosen where memory is short
LINE_SECONDS = 2.5  # from one line of progress to the next, where stderr is no terminal


def add_tile(parser: Parser) -> None:
    """Declare --tile and --pyramid."""
    tile = "fit in overlapping tiles of PIXELS a side, from disk, in memory that follows the tile; writes STEM.tif " \
        f"(default: {DEFAULT_TILE}, or less, for a picture that would not fit in memory, else no tiles)"  # fmt: skip
    parser.add_argument("--tile", type=int, metavar="PIXELS", help=tile)
    pyramid = "with --tile, add smaller sizes to STEM.tif, for viewers of large pictures"
    parser.add_argument("--pyramid", action="store_true", help=pyramid)


def check_tile_usage(parser: Parser, arguments: argparse.Namespace) -> None:
    """End with one line about the first option that does not go with tiles."""
    if arguments.tile is None:
        if arguments.pyramid:
            parser.error("argument --pyramid: is for --tile")
        return
    try:
        check_tile(arguments.tile)
        for name in WHOLE:
            if getattr(arguments, name):
                parser.error(f"argument --tile: not allowed with argument --{name.replace('_', '-')}")
        if (arguments.batch or 1) > 1:
            parser.error("argument --tile: not allowed with argument --batch")
        if arguments.num_gaussians == AUTO:
            parser.error(f"argument --tile: not allowed with --num-gaussians {AUTO}")
        make_options(arguments, arguments.tile)
    except ValueError as error:
        wrong_argument(parser, error)


def make_options(arguments: argparse.Namespace, tile: int) -> GiantOptions:
    """Return the options of a fit in tiles.

    Raises:
        ValueError: An option does not go with tiles; the message begins with its name.
    """
    return GiantOptions(
        num_gaussians=arguments.num_gaussians,
        tile=tile,
        iterations=DEFAULT_ITERATIONS if arguments.iterations is None else arguments.iterations,
        init=arguments.init or DEFAULT,
        seed=arguments.seed,
        blend=arguments.blend,
        loss=arguments.loss,
        background=arguments.background,
        backend=arguments.backend,
    )


def choose_tile(arguments: argparse.Namespace, source: Source) -> int | None:
    """Return the side of the tiles that a picture is fitted in; None if it is fitted whole.

    A line on stderr says so if it was not asked for.

    Raises:
        ImageError: The picture has more pixels than are read without `--tile`; one line.
    """
    if arguments.tile is not None:
        return int(arguments.tile)
    if source.is_remote or is_url(arguments.output):
        return None
    if any(getattr(arguments, name) for name in WHOLE) or (arguments.batch or 1) > 1 or arguments.num_gaussians == AUTO:
        return None
    if (arguments.init or DEFAULT) not in INITS:
        return None
    size = call("fastgs.io.windows:read_size", Path(source.location))  # by its name: brings in what reads files
    if size is None:
        return None
    height, width, is_tiff = size
    need, room = estimate_memory(height * width, arguments.num_gaussians), available_memory()
    too_large = Image.MAX_IMAGE_PIXELS is not None and height * width > Image.MAX_IMAGE_PIXELS
    if too_large and not is_tiff:
        text = f"has {width} x {height} pixels, which are not decoded whole without being asked"
        raise ImageError(f"{source}: {text}; --tile {DEFAULT_TILE} fits it in tiles, as it does a TIFF by itself")
    if too_large or (room is not None and need > room):
        tile = DEFAULT_TILE
        while room is not None and tile > SMALL_TILE and estimate_memory(2 * tile**2, arguments.num_gaussians) > room:
            tile //= 2
        known = "" if room is None else f", of {room / 1e9:.1f} GB"
        text = f"a fit of all {width} x {height} pixels takes about {need / 1e9:.1f} GB{known}"
        line = one_line(f"{source}: {text}; it is done in tiles of {tile} (--tile)")
        print(f"fastgs: {line}", file=sys.stderr)
        return tile
    return None


def estimate_memory(pixels: int, num_gaussians: int) -> int:
    """Return about how many bytes of memory a fit takes that is not in tiles, see `fastgs.cli.workers`."""
    per_pixel = PER_FILE_PIXEL + PER_PIXEL
    return LIBRARIES + per_pixel * pixels + PER_TILE_PIXEL * min(pixels, TILE) + PER_GAUSSIAN * num_gaussians


def plan_tiles(arguments: argparse.Namespace, source: Source, tile: int) -> Job:
    """Prepare the fit of a picture in tiles.

    Raises:
        ValueError: The picture, or the folder, is not on this disk.
    """
    if source.is_remote or is_url(arguments.output):
        raise ValueError("is not on this disk, or is to be written elsewhere, which --tile does not do")
    options = make_options(arguments, tile)
    path, folder = Path(source.location), Path(arguments.output)
    outputs = [f"{path.stem}{suffix}" for suffix in (".tif", ".safetensors")]

    def run(stage: Path) -> Done:
        begin = time.perf_counter()
        with showing_tiles(path.name) as progress:
            try:
                with importing():
                    fit_giant = load("fastgs.giant.run:fit_giant")
                result = fit_giant(
                    *(path, stage, options),
                    tiles=tiles_folder(folder, path.stem),
                    bits=arguments.bits,
                    pyramid=arguments.pyramid,
                    progress=progress,
                )
            except OSError as error:
                kept = f"the tiles in {tiles_folder(folder, path.stem)} are kept, and the same command goes on there"
                raise OSError(error.errno, f"{error.strerror or error}; {kept}") from error
        seconds = time.perf_counter() - begin
        tiles = f"{result.plan.count} tiles" + (f", {result.resumed} of an earlier run" if result.resumed else "")
        quality = f"{result.comparison.psnr:.2f} dB  {len(result.gaussians)} Gaussians"
        line = f"{path} -> {folder / outputs[0]}  {quality}  {tiles}  {seconds:.1f} s"
        return Done(line, result.describe(path, options))

    return Job(outputs, run)


@contextmanager
def showing_tiles(label: str) -> Iterator[Progress]:
    """Show how far the tiles of a picture are on stderr: a bar on a terminal, else a line every few seconds.

    Args:
        label: Name of the picture.

    Yields:
        Function that is told the share of the work that is done, and a text.
    """
    if sys.stderr.isatty():
        with batch_progress(1) as show:
            yield lambda share, state: show(min(share, 0.999), f"{label}: {state}")
        return
    now = (0.0, "starting")
    ended = Event()
    stream = sys.stderr  # the one of this run; another thread may see another one later

    def say() -> None:
        while not ended.wait(LINE_SECONDS):
            share, state = now
            print(f"fastgs: {one_line(label)}: {share:.0%}, {state}", file=stream, flush=True)

    def keep(share: float, state: str) -> None:
        nonlocal now
        now = share, state

    # Of a thread, since a step on a large tile takes longer than a line may.
    thread = Thread(target=say, daemon=True)
    thread.start()
    try:
        yield keep
    finally:
        ended.set()
        thread.join()
