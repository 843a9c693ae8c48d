"""`fastgs encode`: images in, .fgs files out."""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastgs.cli.coding import output_folder
from fastgs.cli.console import Parser, wrong_argument
from fastgs.cli.images import (
    add_background,
    add_images,
    add_job,
    add_seed,
    add_size,
    check_images,
    give_many,
    make_place,
)
from fastgs.cli.kernels import compile_fit
from fastgs.cli.processing import process_images
from fastgs.cli.progress import fit_progress
from fastgs.cli.weights import digest_weights
from fastgs.cli.work import Done, Job
from fastgs.cli.workers import add_workers, check_workers, choose_workers
from fastgs.codec import DEFAULT, MAX_BPP, SCHEMES, choose_scheme, decode, decode_image, encode
from fastgs.codec.effort import DEFAULT_EFFORT, check_effort
from fastgs.codec.restoration_entry import MODELS
from fastgs.codec.symbol_models import MODELS_OF_SYMBOLS
from fastgs.codec.tuning import DEFAULT_TUNE, TUNES, check_tune
from fastgs.fitting.options import FitOptions
from fastgs.io.pixels import ImageError
from fastgs.io.places import Place, is_url
from fastgs.io.version import installed_version
from fastgs.jobs.sources import Source
from fastgs.methods import COUNT_WEIGHTS
from fastgs.methods.arguments import check_arguments

if TYPE_CHECKING:
    from fastgs.io.picture import Picture

# Options that decide about the bytes of the files.
OPTIONS = (
    "bpp",
    "target_psnr",
    "num_gaussians",
    "scheme",
    "effort",
    "tune",
    "iterations",
    "seed",
    "size",
    "background",
    "html",
)


def declare(parser: Parser) -> None:
    """Declare the options of the subcommand."""
    parser.description = (
        "Fit Gaussians to images and write them as .fgs files, of a given size, quality or number of "
        "Gaussians. A size or a quality takes several fits. Gray and transparency are kept; the PSNR is then that of "
        "gray, or of premultiplied colours and alpha. A run on several images can be killed at any moment and gone on "
        "with by --resume."
    )
    add_images(parser)
    add = parser.add_argument
    add("-o", "--output", required=True, metavar="PATH", help="the file to write, FILE.fgs, for one image; or a folder "
        "or URL, for STEM.fgs of each image")  # fmt: skip
    sizes = parser.add_mutually_exclusive_group(required=True)
    sizes.add_argument("--bpp", type=float, metavar="R", help="bits per pixel of the file: at most as many, and within "
        "3%% of them if that can be")  # fmt: skip
    sizes.add_argument("--target-psnr", type=float, metavar="DB", help="a small file of at least this PSNR in dB")
    sizes.add_argument("-k", "--num-gaussians", type=int, metavar="K", help="how many Gaussians, at most")
    add("--scheme", default=DEFAULT, help=f"{', '.join(SCHEMES)} (default: {DEFAULT})")
    add("--effort", type=int, metavar="N", help="time to take for a better image at the same size, from 1, the "
        f"fastest, to 9; only with the scheme {DEFAULT} (default: {DEFAULT_EFFORT})")  # fmt: skip
    add("--tune", default=DEFAULT_TUNE, metavar="MEASURE", help=f"measure that the file is made for, "
        f"{' or '.join(TUNES)}, for which errors count less where the image is busy; only with the scheme {DEFAULT} "
        f"(default: {DEFAULT_TUNE})")  # fmt: skip
    add("--iterations", type=int, metavar="N", help="number of steps of each fit (default: that of the effort)")
    add_seed(parser)
    add_size(parser)
    add_background(parser)
    add_workers(parser)
    add_job(parser, ["tar"])
    add("--html", action="store_true", help="also write a page that shows the file beside the image, FILE.html")
    parser.set_defaults(run=lambda arguments: _encode(parser, arguments))


def _encode(parser: Parser, arguments: argparse.Namespace) -> int:
    """Write every image that can be, and say which could not."""
    _check_usage(parser, arguments)
    place, name = _choose_place(parser, arguments)

    def count_workers(sources: list[Source]) -> int:
        return arguments.workers or choose_workers(sources, arguments.size, arguments.num_gaussians)

    settings: dict[str, Any] = {"command": "encode", **{each: getattr(arguments, each) for each in OPTIONS}}
    settings["weights of networks"] = digest_weights(parser, _list_networks(arguments))
    settings["fastgs"] = installed_version()
    return process_images(parser, arguments, partial(_plan, arguments, place, name), count_workers, place, settings)


def _list_networks(arguments: argparse.Namespace) -> list[str]:
    """Return the names of the weights that files depend on."""
    names = [*MODELS_OF_SYMBOLS.values(), *MODELS.values()] if arguments.scheme == DEFAULT else []
    return names if arguments.target_psnr is None else [*names, COUNT_WEIGHTS]


def _choose_place(parser: Parser, arguments: argparse.Namespace) -> tuple[Place, str | None]:
    """Return the folder of the outputs, and the name of the one file to write; None if there may be several."""
    if is_url(arguments.output) or arguments.shards is not None:
        return make_place(parser, arguments.output), None
    output = Path(arguments.output)
    folder = output_folder(parser, output, give_many(parser, arguments), [".fgs"])
    return (Place(str(output.parent)), output.name) if folder is None else (Place(str(folder)), None)


def _plan(arguments: argparse.Namespace, place: Place, name: str | None, sources: list[Source], label: str) -> Job:
    """Prepare the work on one image."""
    (source,) = sources
    name = f"{source.stem}.fgs" if name is None else name

    def run(folder: Path) -> Done:
        output = place.file(name) if arguments.shards is None else str(place)
        return Done(_encode_image(source, output, folder / name, label, arguments))

    return Job([name, *(each.name for each in _pages(Path(name), arguments))], run)


def _pages(output: Path, arguments: argparse.Namespace) -> list[Path]:
    """Return the page to write for a file, if any."""
    return [output.with_suffix(".html")] if arguments.html else []


def _check_usage(parser: Parser, arguments: argparse.Namespace) -> None:
    """End with one line about the first wrong option."""
    check_images(parser, arguments)
    check_workers(parser, arguments)
    if arguments.bpp is not None and not 0 < arguments.bpp <= MAX_BPP:
        parser.error(f"argument --bpp: must be more than 0 and at most {MAX_BPP:g}, got {arguments.bpp:g}")
    if arguments.target_psnr is not None and not 0 < arguments.target_psnr < math.inf:
        parser.error(f"argument --target-psnr: must be more than 0 and finite, got {arguments.target_psnr:g}")
    count = 1 if arguments.num_gaussians is None else arguments.num_gaussians
    try:
        if arguments.effort is not None:
            check_effort(arguments.effort)
        check_tune(arguments.tune)
        SCHEMES.check("scheme", arguments.scheme)
        if arguments.effort is not None or arguments.tune != DEFAULT_TUNE:
            choose_scheme(arguments.scheme, arguments.effort, arguments.tune)
        check_arguments(num_gaussians=count, seed=arguments.seed, size=arguments.size)
        FitOptions(arguments.iterations)
    except ValueError as error:
        wrong_argument(parser, error)


def _encode_image(source: Source, output: str, path: Path, label: str, arguments: argparse.Namespace) -> str:
    """Write the file of one image to a path, from where it goes to the output; return the line about it."""
    compile_fit(Path(source.location), work="encode")
    from fastgs.metrics.quality import psnr  # deferred: wrong options are found without torch

    picture = _read(source, arguments)
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
            tune=arguments.tune,
            iterations=arguments.iterations,
            seed=arguments.seed,
            callback=callback,
        ).data
    seconds = time.perf_counter() - start
    path.write_bytes(data)
    for page in _pages(path, arguments):
        from fastgs.cli.viewing import make_fgs_picture  # deferred: few runs make pages
        from fastgs.methods.page import make_original
        from fastgs.page import write_page

        original = make_original(image, picture.alpha)
        write_page(page, [replace(make_fgs_picture(path.name, data), original=original)])
    gaussians = decode(data)
    bpp = 8 * len(data) / image[0].numel()
    quality = psnr(decode_image(data).to(image), image)
    return (
        f"{source} -> {output}  {len(data)} bytes  {bpp:.4f} bpp  {quality:.2f} dB  {len(gaussians)} Gaussians  "
        f"{seconds:.1f} s"
    )


def _read(source: Source, arguments: argparse.Namespace) -> Picture:
    """Read an image that a file can hold.

    Raises:
        ImageError: The image cannot be read, or has high dynamic range or numbers with a range of their own.
    """
    from fastgs.io.picture import read_picture

    with source.local() as path:
        picture = read_picture(path, arguments.size, arguments.background)
    if picture.is_hdr or picture.range != (0.0, 1.0):
        kind = "high dynamic range" if picture.is_hdr else "numbers with a range of their own"
        raise ImageError(f"{source}: has {kind}, which .fgs files do not keep; use fastgs predict")
    return picture
