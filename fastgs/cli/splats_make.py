"""`fastgs splats make`: turns a dataset of images into a dataset of Gaussians."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from pathlib import Path
from statistics import fmean

from fastgs.cli.console import (
    FAILED,
    Failures,
    Parser,
    announce,
    batch_progress,
    make_folder,
    reporting,
    say_error,
    wrong_argument,
)
from fastgs.cli.download import locate
from fastgs.cli.images import add_seed
from fastgs.data.datasets import DATASETS
from fastgs.fitting.options import FitOptions
from fastgs.methods.arguments import check_arguments
from fastgs.splats.channels import COLORS
from fastgs.splats.making import INITS, ITERATIONS, SHARD_SIZE, Progress, check_folder, make
from fastgs.splats.shards import Settings
from fastgs.splats.sources import Source, find_sources, listing


def declare(parser: Parser) -> None:
    """Declare the options of the subcommand."""
    parser.description = (
        "Fit Gaussians to many small images at once, and write them with their pixels to a folder: "
        "index.json and shard-*.safetensors. A run that was broken off continues where it stopped."
    )
    add = parser.add_argument
    add("data", nargs="+", metavar="DATA", help="image files, folders of images, folders of folders of images (whose "
        f"names are labels), or downloaded ones: {', '.join(DATASETS)}")  # fmt: skip
    add("-k", "--num-gaussians", type=int, default=1024, metavar="K", help="Gaussians per image (default: 1024)")
    add("--init", choices=INITS, default=INITS[0], help=f"initialization of the fits (default: {INITS[0]})")
    add("--iterations", type=int, default=ITERATIONS, metavar="N", help=f"steps of each fit (default: {ITERATIONS})")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--size", type=int, default=32, metavar="N", help="resize the shorter side to N pixels, then "
        "crop the centre (default: 32)")  # fmt: skip
    sizes.add_argument("--full-size", action="store_true", help="keep the size of the images")
    add("--crops", type=int, metavar="N", help="instead of resizing, cut N squares of --size anywhere in each image")
    add("--channels", choices=tuple(COLORS), default="rgb", help="channels of the images, to which each is converted; "
        "without alpha, transparent pixels are composited on white (default: rgb)")  # fmt: skip
    add_seed(parser)
    add("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes (default: one per core)")
    add("--shard-size", type=int, default=SHARD_SIZE, metavar="N", help="images per file; a run that was broken off "
        f"continues after the last complete file (default: {SHARD_SIZE})")  # fmt: skip
    add("--output", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.set_defaults(run=lambda arguments: _make(parser, arguments))


def _make(parser: Parser, arguments: argparse.Namespace) -> int:
    """Fit the images that can be read, and report the others."""
    _check_usage(parser, arguments)
    failures = Failures(parser)
    sources: list[Source] = []
    for given in arguments.data:
        path = locate(parser, given)
        with reporting(path, failures):
            sources += find_sources(path)
    sources = list(dict.fromkeys(sources))
    if not sources:
        return FAILED
    settings = _settings(arguments, sources)
    try:
        check_folder(arguments.output, settings)
    except ValueError as error:
        parser.error(f"argument --output: {error}")
    make_folder(parser, arguments.output)

    def warn(source: Source, reason: str) -> None:
        say_error(f"{source.path}: {reason}")
        failures.append(source)

    lines: list[str] = []
    try:
        with reporting(arguments.output, failures):
            lines.append(_make_with_progress(arguments, sources, settings, warn))
    except BrokenExecutor:
        say_error("a worker process was killed, perhaps for lack of memory; repeat with fewer --workers to go on")
        return FAILED
    with reporting("standard output", failures):
        for line in lines:
            announce(line)
    return FAILED if failures else 0


def _make_with_progress(
    arguments: argparse.Namespace, sources: Sequence[Source], settings: Settings, warn: Callable[[Source, str], None]
) -> str:
    """Make the dataset with a progress bar on stderr, and return a line that describes it."""
    speed = ""
    with batch_progress(len(sources) * (settings.crops or 1)) as show:

        def advance(progress: Progress) -> None:
            nonlocal speed
            if progress.fitted:
                speed = f"  {progress.fitted / progress.seconds:.1f} images/s"
            show(progress.done, f"{progress.psnr:.2f} dB{speed}")

        index = make(sources, settings, arguments.output, arguments.workers, advance, warn)
    psnr = fmean(entry.psnr for entry in index.entries)
    return (
        f"{arguments.output}: {len(index.entries)} images  {index.num_gaussians} Gaussians each  {psnr:.2f} dB{speed}"
    )


def _check_usage(parser: Parser, arguments: argparse.Namespace) -> None:
    """End with one line about the first wrong option; apply --full-size."""
    if arguments.full_size:
        arguments.size = None
        if arguments.crops is not None:
            parser.error("argument --crops: not allowed with argument --full-size")
    for name in ("workers", "shard_size", "crops"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            wrong_argument(parser, ValueError(f"{name}: must be at least 1, got {value}"))
    try:
        check_arguments(num_gaussians=arguments.num_gaussians, seed=arguments.seed, size=arguments.size)
        FitOptions(arguments.iterations)
    except ValueError as error:
        wrong_argument(parser, error)


def _settings(arguments: argparse.Namespace, sources: Sequence[Source]) -> Settings:
    """Return the settings of the dataset."""
    return Settings(
        num_gaussians=arguments.num_gaussians,
        initialization=arguments.init,
        iterations=arguments.iterations,
        seed=arguments.seed,
        size=arguments.size,
        crops=arguments.crops,
        shard_size=arguments.shard_size,
        sources=listing(sources),
        channels=arguments.channels,
    )
