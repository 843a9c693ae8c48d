"""`fastgs predict`: images in, Gaussians and their reconstructions out. predicting.py does the work."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, get_args

from fastgs.cli.console import Parser, wrong_argument
from fastgs.cli.images import add_background, add_images, add_job, add_seed, add_size, check_images, make_place
from fastgs.cli.kernels import compile_fit
from fastgs.cli.processing import process_images
from fastgs.cli.tiling import add_tile, check_tile_usage, choose_tile, plan_tiles
from fastgs.cli.weights import digest_weights
from fastgs.cli.work import Batches, Job
from fastgs.cli.workers import add_workers, check_workers, choose_workers, has_gpu
from fastgs.definition import Backend, Blend
from fastgs.fitting.losses import LOSSES
from fastgs.fitting.options import DEFAULT_ITERATIONS, FIT_OPTIONS, FitOptions
from fastgs.initializers import DEFAULT, INITIALIZERS
from fastgs.io.version import installed_version
from fastgs.jobs.sources import Source
from fastgs.methods import COUNT_WEIGHTS, LEARNED, WEIGHTS, ZOOM_WEIGHTS
from fastgs.methods.arguments import AUTO, Auto, check_arguments, check_init, check_wish
from fastgs.runtime.lazy import call

# Options of the image that `Predictor.__call__` takes under the same name.
IMAGE_OPTIONS = ("num_gaussians", "seed", "size", "zoom", "blend", "background")
# Those of the files that are written.
FILE_OPTIONS = ("init", "weights", "zoom_weights", "keep_profile", "bits", "plots", "html", "batch", "tile", "pyramid")
# Those that batches cannot have, see `Predictor.batch`.
SINGLE_OPTIONS = ("seconds", "target_psnr", "loss", "zoom", "zoom_weights", "stack", "plots")


def declare(parser: Parser) -> None:
    """Declare the options of the subcommand."""
    parser.description = (
        "Fit Gaussians to images. For each image, STEM.png (the reconstruction) and STEM.safetensors (the "
        "Gaussians) go to the output folder; report.json there has one record per image of this run. Gray and "
        "transparency are kept; high dynamic range, more channels than PNG holds, and pictures in tiles are written as "
        "STEM.tif. A run on several images can be killed at any moment and gone on with by --resume."
    )
    add_images(parser)
    add = parser.add_argument
    count = f"how many Gaussians, or {AUTO} for as many as --target-psnr takes (default: 10000)"
    add("-k", "--num-gaussians", type=_count, default=10_000, metavar="K", help=count)
    add(
        "--iterations",
        type=int,
        metavar="N",
        help=f"number of steps (default: {DEFAULT_ITERATIONS}, or no limit with --seconds)",
    )
    add("--seconds", type=float, metavar="S", help="stop after this time per image (default: no limit)")
    add("--target-psnr", type=float, metavar="DB", help="stop at this PSNR in dB; with -k auto, reach it with all "
        "steps (default: no target)")  # fmt: skip
    add("--init", help=f"where to start: {', '.join(INITIALIZERS)} (default: {DEFAULT}, or {LEARNED} with --weights)")
    trained = f"trained networks that predict the start: a name in checkpoints/ or a path (default: {WEIGHTS})"
    add("--weights", metavar="NAME_OR_PATH", help=trained)
    add_seed(parser)
    add_size(parser)
    zoom = "make the reconstruction F times as large as the image, with detail from a trained network (default: 1)"
    add("--zoom", type=float, metavar="F", help=zoom)
    network = f"network of --zoom: a name in checkpoints/ or a path; none interpolates (default: {ZOOM_WEIGHTS})"
    add("--zoom-weights", metavar="NAME_OR_PATH", help=network)
    add("--blend", default="normalized", help=f"{' or '.join(get_args(Blend))} (default: normalized)")
    add("--loss", default="mse", help=f"{', '.join(LOSSES)} (default: mse)")
    add_background(parser)
    profile = "keep the numbers of the file and its ICC profile (default: convert to sRGB)"
    add("--keep-profile", action="store_true", help=profile)
    bits = "bits per sample of the reconstruction: 8, 16, or 32 for TIFF in floating point (default: 8)"
    add("--bits", type=int, choices=(8, 16, 32), default=8, help=bits)
    add("--stack", action="store_true", help="fit all images, of one size, as the channels of one set of Gaussians; or "
        "one .npy or TIFF file of bands")  # fmt: skip
    add("--backend", default="auto", help=f"renderer: {', '.join(get_args(Backend))} (default: auto)")
    add_tile(parser)
    add_workers(parser)
    batch = "fit N images at once, which is faster for small ones: each in a thread, on a GPU in the same steps"
    usual = "small ones as it fits on a CPU, with the same results; 1 on a GPU"
    add("--batch", type=int, metavar="N", help=f"{batch} (default: {usual})")
    add_job(parser, ["safetensors", "tar"])
    add("--plots", action="store_true", help="also write STEM-plots.png, one figure of what happened")
    add("--html", action="store_true", help="also write STEM.html, a page that draws the Gaussians at any zoom")
    folder = (
        "folder or URL to write to; with --stack also the file of the Gaussians, FILE.safetensors (default: output)"
    )
    add("-o", "--output", default="output", metavar="DIR", help=folder)
    parser.set_defaults(run=lambda arguments: _predict(parser, arguments))


def _count(text: str) -> int | Auto:
    """Return a number of Gaussians, or that it follows from a PSNR."""
    if text == AUTO:
        return AUTO
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number or {AUTO}, got {text!r}") from None


def _predict(parser: Parser, arguments: argparse.Namespace) -> int:
    """Check the options, and fit every image that can be."""
    _check_usage(parser, arguments)
    if arguments.zoom is not None and arguments.zoom_weights is None:
        arguments.zoom_weights = ZOOM_WEIGHTS
    elif arguments.zoom_weights == "none":
        arguments.zoom_weights = None
    networks = None
    if check_init(arguments.init, arguments.weights) == LEARNED or arguments.zoom_weights is not None:
        networks = call("fastgs.cli.predicting:check_networks", parser, arguments)
    if arguments.num_gaussians == AUTO:
        networks = [*(networks or []), *digest_weights(parser, [COUNT_WEIGHTS])]
    is_file = _names_file(arguments)
    place = make_place(parser, str(Path(arguments.output).parent) if is_file else arguments.output)
    return process_images(
        parser,
        arguments,
        partial(_plan, arguments),
        partial(_count_workers, arguments),
        place,
        _list_settings(arguments, networks),
        "stack" if arguments.stack else None,
        report=True,
        batches=_choose_batches(parser, arguments),
    )


def _list_settings(arguments: argparse.Namespace, networks: list[str] | None) -> dict[str, Any]:
    """Return everything that decides about the results, besides the images."""
    names = (*IMAGE_OPTIONS, *FIT_OPTIONS, *FILE_OPTIONS)
    options = {name: getattr(arguments, name) for name in dict.fromkeys(names)}
    return {"command": "predict", **options, "weights of networks": networks, "fastgs": installed_version()}


def _names_file(arguments: argparse.Namespace) -> bool:
    """Tell whether the output is the file of the Gaussians of a stack."""
    return PurePosixPath(arguments.output).suffix == ".safetensors"


def _choose_batches(parser: Parser, arguments: argparse.Namespace) -> Batches | None:
    """Return how several images are fitted at once; None if each is fitted by itself."""
    if arguments.batch is not None:
        return Batches(partial(_prepare, arguments), arguments.batch) if arguments.batch > 1 else None
    is_single = any(getattr(arguments, name) != parser.get_default(name) for name in SINGLE_OPTIONS)
    if is_single or arguments.num_gaussians == AUTO or arguments.tile is not None:
        return None
    if arguments.backend not in ("auto", "cpu") or has_gpu(arguments.backend):
        return None
    return Batches(partial(_prepare, arguments))


def _prepare(arguments: argparse.Namespace, sources: list[Source]) -> Collection[Source]:
    """Fit several images at once, and return those that were."""
    if len(sources) == 1:
        return ()
    found: Collection[Source] = call("fastgs.cli.predicting:prepare", arguments, sources)
    return found


def _plan(arguments: argparse.Namespace, sources: list[Source], label: str) -> Job:
    """Prepare the fit of an image, or of several as a stack."""
    if not arguments.stack:
        compile_fit(Path(sources[0].location), arguments.backend, arguments.loss)
        tile = choose_tile(arguments, sources[0])
        if tile is not None:
            return plan_tiles(arguments, sources[0], tile)
    # By its name: this process needs no torch where others do the work.
    job: Job = call("fastgs.cli.predicting:plan", arguments, sources, label)
    return job


def _count_workers(arguments: argparse.Namespace, sources: list[Source]) -> int:
    """Return the number of processes for several images."""
    if arguments.workers is not None:
        return int(arguments.workers)
    # A time limit means the time of the whole machine, and processes would wait for each other on a GPU.
    if arguments.seconds is not None or arguments.tile is not None or has_gpu(arguments.backend):
        return 1
    networks = check_init(arguments.init, arguments.weights) == LEARNED
    count = None if arguments.num_gaussians == AUTO else arguments.num_gaussians
    return choose_workers(sources, arguments.size, count, networks, arguments.zoom or 1)


def _check_usage(parser: Parser, arguments: argparse.Namespace) -> None:
    """End with one line about the first wrong option."""
    check_images(parser, arguments)
    check_workers(parser, arguments)
    try:
        check_init(arguments.init, arguments.weights)
        check_arguments(**{name: getattr(arguments, name) for name in IMAGE_OPTIONS})
        options = FitOptions(**{name: getattr(arguments, name) for name in FIT_OPTIONS})
        if arguments.num_gaussians == AUTO:
            check_wish(options)
    except ValueError as error:
        wrong_argument(parser, error)
    check_tile_usage(parser, arguments)
    if arguments.zoom_weights is not None and arguments.zoom is None:
        parser.error("argument --zoom-weights: is for --zoom; give the factor, such as --zoom 2")
    if arguments.stack and arguments.background is not None:
        parser.error("argument --background: not allowed with argument --stack, which keeps alpha as a channel")
    if arguments.shards is not None and arguments.shard_kind == "safetensors" and (arguments.plots or arguments.html):
        parser.error("argument --shards: holds Gaussians alone; pictures and pages go to --shard-kind tar")
    batch = 1 if arguments.batch is None else arguments.batch
    if batch < 1:
        parser.error(f"argument --batch: must be at least 1, got {batch}")
    for option in SINGLE_OPTIONS if batch > 1 else ():
        if getattr(arguments, option) != parser.get_default(option):
            parser.error(f"argument --batch: not allowed with argument --{option.replace('_', '-')}")
    for option in ("resume", "shard", "shards"):
        if arguments.stack and getattr(arguments, option) != parser.get_default(option):
            parser.error(f"argument --{option}: not allowed with argument --stack, which is one fit")
    if _names_file(arguments) and not arguments.stack:
        parser.error("argument -o/--output: names a folder; a file is for --stack")
