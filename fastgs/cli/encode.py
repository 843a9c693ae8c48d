"""`fastgs encode`: images in, .fgs files out."""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fastgs.cli.coding import output_folder
from fastgs.cli.console import Parser, fit_progress, wrong_argument
from fastgs.cli.images import Done, Job, add_background, add_images, add_seed, add_size, process_images
from fastgs.cli.kernels import compile_fit
from fastgs.cli.workers import add_workers, check_workers, choose_workers
from fastgs.codec import DEFAULT, MAX_BPP, SCHEMES, choose_scheme, decode, decode_image, encode
from fastgs.codec.effort import DEFAULT_EFFORT, check_effort
from fastgs.fitting.options import FitOptions
from fastgs.io.files import atomic_write
from fastgs.io.pixels import ImageError
from fastgs.methods.arguments import check_arguments

if TYPE_CHECKING:
    from fastgs.io.picture import Picture


def declare(parser: Parser) -> None:
    """Declare the options of the subcommand."""
    parser.description = (
        "Fit Gaussians to images and write them as .fgs files, of a given size, quality or number of "
        "Gaussians. A size or a quality takes several fits. Gray and transparency are kept; the PSNR is then that of "
        "gray, or of premultiplied colours and alpha."
    )
    add_images(parser)
    add = parser.add_argument
    add("-o", "--output", type=Path, required=True, metavar="PATH", help="the file to write, FILE.fgs, for one image; "
        "or a folder, for STEM.fgs of each image")  # fmt: skip
    sizes = parser.add_mutually_exclusive_group(required=True)
    sizes.add_argument("--bpp", type=float, metavar="R", help="bits per pixel of the file: at most as many, and within "
        "3%% of them if that can be")  # fmt: skip
    sizes.add_argument("--target-psnr", type=float, metavar="DB", help="a small file of at least this PSNR in dB")
    sizes.add_argument("-k", "--num-gaussians", type=int, metavar="K", help="how many Gaussians, at most")
    add("--scheme", default=DEFAULT, help=f"{', '.join(SCHEMES)} (default: {DEFAULT})")
    add("--effort", type=int, metavar="N", help="time to take for a better image at the same size, from 1, the "
        f"fastest, to 9; only with the scheme {DEFAULT} (default: {DEFAULT_EFFORT})")  # fmt: skip
    add("--iterations", type=int, metavar="N", help="number of steps of each fit (default: that of the effort)")
    add_seed(parser)
    add_size(parser)
    add_background(parser)
    add_workers(parser)
    add("--html", action="store_true", help="also write a page that shows the file beside the image, FILE.html")
    parser.set_defaults(run=lambda arguments: _encode(parser, arguments))


def _encode(parser: Parser, arguments: argparse.Namespace) -> int:
    """Write every image that can be, and say which could not."""
    _check_usage(parser, arguments)
    several = len(arguments.images) > 1 or Path(arguments.images[0]).is_dir()
    folder = output_folder(parser, arguments.output, several, [".fgs"])

    def count_workers(paths: list[Path]) -> int:
        return arguments.workers or choose_workers(paths, arguments.size, arguments.num_gaussians)

    return process_images(parser, arguments.images, partial(_plan, arguments, folder), count_workers)


def _plan(arguments: argparse.Namespace, folder: Path | None, paths: list[Path], label: str) -> Job:
    """Prepare the work on one image."""
    (path,) = paths
    output = arguments.output if folder is None else folder / f"{path.stem}.fgs"
    return Job([output, *_pages(output, arguments)], lambda: Done(_encode_image(path, output, label, arguments)))


def _pages(output: Path, arguments: argparse.Namespace) -> list[Path]:
    """Return the page to write for a file, if any."""
    return [output.with_suffix(".html")] if arguments.html else []


def _check_usage(parser: Parser, arguments: argparse.Namespace) -> None:
    """End with one line about the first wrong option."""
    check_workers(parser, arguments)
    if arguments.bpp is not None and not 0 < arguments.bpp <= MAX_BPP:
        parser.error(f"argument --bpp: must be more than 0 and at most {MAX_BPP:g}, got {arguments.bpp:g}")
    if arguments.target_psnr is not None and not 0 < arguments.target_psnr < math.inf:
        parser.error(f"argument --target-psnr: must be more than 0 and finite, got {arguments.target_psnr:g}")
    count = 1 if arguments.num_gaussians is None else arguments.num_gaussians
    try:
        SCHEMES.check("scheme", arguments.scheme)
        if arguments.effort is not None:
            check_effort(arguments.effort)
            choose_scheme(arguments.scheme, arguments.effort)
        check_arguments(num_gaussians=count, seed=arguments.seed, size=arguments.size)
        FitOptions(arguments.iterations)
    except ValueError as error:
        wrong_argument(parser, error)


def _encode_image(path: Path, output: Path, label: str, arguments: argparse.Namespace) -> str:
    """Write the file of one image; return the line about it."""
    compile_fit(path, work="encode")
    from fastgs.metrics.quality import psnr  # deferred: wrong options are found without torch

    picture = _read(path, arguments)
    image = picture.values
    iterations = arguments.iterations
    if iterations is None:
        iterations = choose_scheme(arguments.scheme, arguments.effort).iterations
    start = time.perf_counter()
    with fit_progress(label, iterations, None) as callback:
        data = encode(
            image,
            alpha=picture.alpha,
            scheme=arguments.scheme,
            bpp=arguments.bpp,
            target_psnr=arguments.target_psnr,
            num_gaussians=arguments.num_gaussians,
            effort=arguments.effort,
            iterations=arguments.iterations,
            seed=arguments.seed,
            callback=callback,
        ).data
    seconds = time.perf_counter() - start
    with atomic_write(output) as temporary:
        temporary.write_bytes(data)
    for page in _pages(output, arguments):
        from fastgs.cli.viewing import make_fgs_picture  # deferred: few runs make pages
        from fastgs.methods.page import make_original
        from fastgs.page import write_page

        original = make_original(image, picture.alpha)
        write_page(page, [replace(make_fgs_picture(output.name, data), original=original)])
    gaussians = decode(data)
    bpp = 8 * len(data) / image[0].numel()
    quality = psnr(decode_image(data).to(image), image)
    return (
        f"{path} -> {output}  {len(data)} bytes  {bpp:.4f} bpp  {quality:.2f} dB  {len(gaussians)} Gaussians  "
        f"{seconds:.1f} s"
    )


def _read(path: Path, arguments: argparse.Namespace) -> Picture:
    """Read an image that a file can hold.

    Raises:
        ImageError: The image cannot be read, or has high dynamic range or numbers with a range of their own.
    """
    from fastgs.io.picture import read_picture

    picture = read_picture(path, arguments.size, arguments.background)
    if picture.is_hdr or picture.range != (0.0, 1.0):
        kind = "high dynamic range" if picture.is_hdr else "numbers with a range of their own"
        raise ImageError(f"{path}: has {kind}, which .fgs files do not keep; use fastgs predict")
    return picture
