"""`fastgs decode`: .fgs files in, images out."""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

from PIL import Image

from fastgs.cli.coding import output_folder, read_fgs
from fastgs.cli.console import Failures, Parser
from fastgs.cli.kernels import compile_drawing
from fastgs.cli.processing import Done, Job, process_files
from fastgs.codec import FormatError, Restoration, decode_arrays, read_restoration
from fastgs.definition import GaussianArrays
from fastgs.io.places import Place
from fastgs.io.samples import Samples
from fastgs.io.writing import choose_suffix, write_picture
from fastgs.jobs.sources import Source
from fastgs.runtime.lazy import importing

MAX_PIXELS = 89_478_485  # largest image that `load_image` reads, the default of PIL.Image.MAX_IMAGE_PIXELS


def declare(parser: Parser) -> None:
    """Declare the options of the subcommand."""
    parser.description = (
        "Draw .fgs files as images, at any size, with their transparency. Files that ask for restoration are restored "
        "at the size of their canvas only."
    )
    add = parser.add_argument
    add("files", nargs="+", type=Path, metavar="FILE", help=".fgs files")
    add("-o", "--output", type=Path, required=True, metavar="PATH", help="the image to write, such as FILE.png, for "
        "one file; or a folder, for STEM.png of each file")  # fmt: skip
    add("--scale", type=float, default=1.0, metavar="S", help="factor of both sides of the canvas (default: 1)")
    bits = "bits per sample: 8, 16, or 32 for TIFF in floating point (default: 8)"
    add("--bits", type=int, choices=(8, 16, 32), default=8, help=bits)
    add("--region", type=_region, metavar="X,Y,W,H", help="draw only W x H pixels of the image, from column X and row "
        "Y on, counted from 0")  # fmt: skip
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
    files: list[Path] = arguments.files
    suffixes = [suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.SAVE]
    folder = output_folder(parser, arguments.output, len(files) > 1, suffixes)

    def plan(sources: list[Source], label: str) -> Job:
        path = Path(sources[0].location)
        data = read_fgs(path, arguments.bytes)
        start = time.perf_counter()
        is_partial = arguments.partial or arguments.bytes is not None
        gaussians = _decode_gaussians(data, is_partial)
        restoration = read_restoration(data, is_partial) if arguments.scale == 1 else None
        compile_drawing(gaussians.channels, restores=restoration is not None)
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
    return process_files([[Source(str(path))] for path in files], plan, Failures(parser), place)


def _region(text: str) -> tuple[int, int, int, int]:
    """Return the four numbers of an option of argparse."""
    try:
        x, y, width, height = (int(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected four whole numbers X,Y,W,H, got {text!r}") from error
    if min(x, y) < 0 or min(width, height) < 1:
        raise argparse.ArgumentTypeError(f"expected X and Y from 0 on, and W and H from 1 on, got {text!r}")
    return x, y, width, height


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

    height, width = _scale_canvas(gaussians, scale)
    # Antialiasing takes about as many samples as the canvas has pixels.
    antialias = gaussians.height * gaussians.width <= MAX_PIXELS
    part = None if region is None else Region(*region)
    if restoration is not None:
        from fastgs.codec.restoration import draw  # deferred: many files do without

        return Samples(draw(gaussians, restoration, part))
    return Samples(render(gaussians, height, width, antialias, part), gaussians.alpha)


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


def _scale_canvas(gaussians: GaussianArrays, scale: float) -> tuple[int, int]:
    """Return the height and width of the image.

    Raises:
        ValueError: The image would have no pixels, or too many.
    """
    height, width = scale * gaussians.height, scale * gaussians.width
    canvas = f"a scale of {scale:g} of its canvas of {gaussians.width} x {gaussians.height} pixels"
    if not height * width <= MAX_PIXELS:
        raise ValueError(f"{canvas} gives more than {MAX_PIXELS:,} pixels; choose a smaller --scale")
    if min(round(height), round(width)) < 1:
        raise ValueError(f"{canvas} leaves none; choose a larger --scale")
    return round(height), round(width)
