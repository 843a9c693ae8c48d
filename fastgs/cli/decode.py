"""`fastgs decode`: files of Gaussians in, images out; those that are larger than the memory in strips."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from fastgs.cli.coding import GAUSSIANS, output_folder, read_fgs, read_safetensors
from fastgs.cli.console import Failures, Parser, local
from fastgs.cli.kernels import compile_drawing
from fastgs.cli.processing import process_files
from fastgs.cli.results import Results
from fastgs.cli.tiling import showing_tiles
from fastgs.cli.work import Done, Job
from fastgs.codec import FormatError, Restoration, decode_arrays, read_frame, read_restoration
from fastgs.codec.frame import MAX_SIDE
from fastgs.definition import GaussianArrays
from fastgs.io.pixels import Floats
from fastgs.io.places import Place
from fastgs.io.samples import Samples
from fastgs.io.writing import choose_suffix, write_picture
from fastgs.jobs.sources import Source
from fastgs.runtime.lazy import importing

# Largest image that is drawn whole: what `load_image` reads, the default of PIL.Image.MAX_IMAGE_PIXELS.
MAX_PIXELS = 89_478_485
# Largest number of samples that antialiasing draws, about as many as the canvas has pixels: minutes of work.
MAX_SAMPLES = 2**30
STRIP_PIXELS = 2**24  # size from which TIFF is written in strips, which take less memory
TIFF = (".tif", ".tiff")


def declare(parser: Parser) -> None:
    """Declare the options of the subcommand."""
    parser.description = (
        "Draw files of Gaussians as images, at any size, with their transparency. Files that ask for restoration are "
        "restored at the size of their canvas only. Large TIFF is written in strips, which takes little memory."
    )
    add = parser.add_argument
    files = ".fgs files, or .safetensors files of `fastgs predict`"
    add("files", nargs="+", type=local, metavar="FILE", help=files)
    add("-o", "--output", type=local, required=True, metavar="PATH", help="the image to write, such as FILE.png, for "
        "one file; or a folder, for STEM.png of each file")  # fmt: skip
    add("--scale", type=float, default=1.0, metavar="S", help="factor of both sides of the canvas (default: 1)")
    bits = "bits per sample: 8, 16, or 32 for TIFF in floating point (default: 8)"
    add("--bits", type=int, choices=(8, 16, 32), default=8, help=bits)
    add("--region", type=_region, metavar="X,Y,W,H", help="draw only W x H pixels of the image, from column X and row "
        "Y on, counted from 0")  # fmt: skip
    add("--pyramid", action="store_true", help="add smaller sizes to TIFF, for viewers of large pictures")
    add("--partial", action="store_true", help="take files that are cut short, too, for a coarse image")
    add("--bytes", type=int, metavar="N", help="read only the first N bytes of each file, for the best image that they "
        "give")  # fmt: skip
    parser.set_defaults(run=lambda arguments: _decode(parser, arguments))


def _decode(parser: Parser, arguments: argparse.Namespace) -> int:
    """Draw every file that can be drawn, report the others, and return the exit code."""
    if not 0 < arguments.scale < math.inf:
        parser.error(f"argument --scale: must be more than 0 and finite, got {arguments.scale:g}")
    if arguments.bytes is not None and arguments.bytes < 1:
        parser.error(f"argument --bytes: must be at least 1, got {arguments.bytes}")
    if arguments.pyramid and arguments.region is not None:
        parser.error("argument --pyramid: not allowed with argument --region")
    files: list[Path] = arguments.files
    suffixes = [suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.SAVE]
    folder = output_folder(parser, arguments.output, len(files) > 1, suffixes)

    def plan(sources: list[Source], label: str) -> Job:
        path = Path(sources[0].location)
        gaussians, restoration, start = _load(path, arguments)
        if _in_strips(gaussians, arguments, folder is None):
            output = arguments.output if folder is None else folder / f"{path.stem}.tif"
            return _plan_strips(path, gaussians, restoration, output, arguments)
        picture = _draw(gaussians, restoration, arguments.scale, arguments.region)
        seconds = time.perf_counter() - start
        suffix = choose_suffix(picture, arguments.bits)
        output = arguments.output if folder is None else folder / f"{path.stem}{suffix}"

        def run(stage: Path) -> Done:
            write_picture(stage / output.name, picture, bits=arguments.bits)
            size = " x ".join(map(str, picture.values.shape[:0:-1]))
            return Done(f"{path} -> {output}  {size}  {len(gaussians)} Gaussians  {seconds:.2f} s")

        return Job([output.name], run)

    place = Place(str(arguments.output.parent if folder is None else folder))
    return process_files([[Source(str(path))] for path in files], plan, Results(Failures(parser), place), place)


def _region(text: str) -> tuple[int, int, int, int]:
    """Return the four numbers of an option of argparse."""
    try:
        x, y, width, height = (int(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected four whole numbers X,Y,W,H, got {text!r}") from error
    if min(x, y) < 0 or min(width, height) < 1:
        raise argparse.ArgumentTypeError(f"expected X and Y from 0 on, and W and H from 1 on, got {text!r}")
    return x, y, width, height


def _load(path: Path, arguments: argparse.Namespace) -> tuple[GaussianArrays, Restoration | None, float]:
    """Return the Gaussians of a file, its restoration if it is to be applied, and the time when its bytes were there.

    Raises:
        ValueError: The file cannot be read.
    """
    cut = arguments.partial or arguments.bytes is not None
    if path.suffix.lower() == GAUSSIANS:
        if cut:
            raise ValueError("is no .fgs file, which --partial and --bytes are for")
        start = time.perf_counter()
        gaussians = read_safetensors(path)
        compile_drawing(gaussians.channels)
        return gaussians, None, start
    data = read_fgs(path, arguments.bytes)
    start = time.perf_counter()
    with suppress(FormatError):  # which the next line raises with advice
        frame = read_frame(data, partial=True)
        restores = frame.restoration is not None and arguments.scale == 1
        compile_drawing(frame.channels.count, restores, learned=frame.symbols is not None)
    gaussians = _decode_gaussians(data, cut)
    return gaussians, read_restoration(data, cut) if arguments.scale == 1 else None, start


def _in_strips(gaussians: GaussianArrays, arguments: argparse.Namespace, is_named: bool) -> bool:
    """Tell whether the image is drawn and written in strips.

    Args:
        gaussians: Gaussians of the file.
        arguments: Arguments of the command.
        is_named: True if the output is the one file that was named.

    Raises:
        ValueError: A pyramid was asked for in another format than TIFF.
    """
    if arguments.region is not None:
        return False
    is_tiff = not is_named or arguments.output.suffix.lower() in TIFF
    if arguments.pyramid:
        if not is_tiff:
            raise ValueError("--pyramid is for TIFF; name the output FILE.tif")
        return True
    pixels = arguments.scale * gaussians.height * (arguments.scale * gaussians.width)
    return is_tiff and pixels > (STRIP_PIXELS if is_named else MAX_PIXELS)


def _plan_strips(
    path: Path,
    gaussians: GaussianArrays,
    restoration: Restoration | None,
    output: Path,
    arguments: argparse.Namespace,
) -> Job:
    """Prepare the writing of an image in strips."""
    height, width = _scale_canvas(gaussians, arguments.scale, None, math.inf)

    def run(stage: Path) -> Done:
        from fastgs.io.strips import TILE, write_strips

        start = time.perf_counter()
        kind = Samples(np.zeros((gaussians.channels, 1, 1), np.float32), gaussians.alpha)
        with showing_tiles(path.name) as show:

            def strips() -> Iterator[Floats]:
                for number, strip in enumerate(_draw_strips(gaussians, restoration, height, width, TILE)):
                    show(min(1.0, number * TILE / height), "drawing")
                    yield strip

            write_strips(
                stage / output.name, strips(), kind, height, width, bits=arguments.bits, pyramid=arguments.pyramid
            )
        seconds = time.perf_counter() - start
        return Done(f"{path} -> {output}  {width} x {height}  {len(gaussians)} Gaussians  {seconds:.2f} s")

    return Job([output.name], run)


def _draw_strips(
    gaussians: GaussianArrays, restoration: Restoration | None, height: int, width: int, rows: int
) -> Iterator[Floats]:
    """Yield the strips of an image; with restoration, it has the size of the canvas."""
    with importing():
        from fastgs.render.cpu_arrays import Region  # deferred: brings in numba
        from fastgs.render.strips import render_strips

    if restoration is None:
        antialias = gaussians.height * gaussians.width <= MAX_SAMPLES
        yield from render_strips(gaussians, height, width, rows, antialias)
        return
    from fastgs.codec.restoration import draw

    for top in range(0, height, rows):
        yield draw(gaussians, restoration, Region(0, top, width, min(rows, height - top)))


def _draw(
    gaussians: GaussianArrays,
    restoration: Restoration | None,
    scale: float,
    region: tuple[int, int, int, int] | None,
) -> Samples:
    """Render Gaussians, or the part of their image in a region, at a factor of the size of their canvas.

    With restoration, the factor is 1.
    """
    with importing():
        # Deferred: brings in numba, which a wrong file does not need.
        from fastgs.render.cpu_arrays import Region, render
        from fastgs.render.strips import render_strips

    height, width = _scale_canvas(gaussians, scale, region, MAX_PIXELS)
    part = None if region is None else Region(*region)
    if restoration is not None:
        from fastgs.codec.restoration import draw  # deferred: many files do without

        return Samples(draw(gaussians, restoration, part))
    canvas = gaussians.height * gaussians.width
    if max(canvas, height * width) <= MAX_PIXELS:
        return Samples(render(gaussians, height, width, True, part), gaussians.alpha)
    strips = render_strips(gaussians, height, width, antialias=canvas <= MAX_SAMPLES, region=part)
    return Samples(np.concatenate([*strips], axis=1), gaussians.alpha)


def _decode_gaussians(data: bytes, partial: bool) -> GaussianArrays:
    """Return the Gaussians of a file.

    Args:
        data: Bytes of the file.
        partial: True to accept a file that is cut short.

    Raises:
        FormatError: The file is damaged or cut; if it can be drawn in part, the message says how.
    """
    try:
        return decode_arrays(data, partial)
    except FormatError as error:
        try:
            decode_arrays(data, partial=True)
        except FormatError:
            raise error from None
        raise FormatError(f"{error}; --partial draws a coarse image from what is there") from None


def _scale_canvas(
    gaussians: GaussianArrays, scale: float, region: tuple[int, int, int, int] | None, most: float
) -> tuple[int, int]:
    """Return the height and width of the image.

    Args:
        gaussians: Gaussians of the file.
        scale: Factor of both sides of the canvas.
        region: Part that is drawn; None for all.
        most: Largest number of pixels that are drawn.

    Raises:
        ValueError: The image would have no pixels, or too many.
    """
    height, width = scale * gaussians.height, scale * gaussians.width
    canvas = f"a scale of {scale:g} of its canvas of {gaussians.width} x {gaussians.height} pixels"
    if not (height * width if region is None else region[2] * region[3]) <= most:
        advice = "choose a smaller --scale, or write TIFF (-o FILE.tif)"
        raise ValueError(f"{canvas} gives more than {most:,} pixels; {advice}")
    if not max(height, width) <= MAX_SIDE:
        raise ValueError(f"{canvas} gives more than {MAX_SIDE:,} pixels a side; choose a smaller --scale")
    if min(round(height), round(width)) < 1:
        raise ValueError(f"{canvas} leaves none; choose a larger --scale")
    return round(height), round(width)
