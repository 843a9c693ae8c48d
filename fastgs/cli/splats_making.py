"""The work of `fastgs splats make`: sources are listed, fitted and written, with a progress bar."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from statistics import fmean

from fastgs.cli.console import FAILED, Failures, Parser, announce, make_folder, reporting, say_error
from fastgs.cli.download import locate
from fastgs.cli.progress import batch_progress
from fastgs.splats.making import Progress, check_folder, make
from fastgs.splats.shards import Settings
from fastgs.splats.sources import Source, find_sources, listing


def make_dataset(parser: Parser, arguments: argparse.Namespace) -> int:
    """Fit the images that can be read, report the others, and return the exit code."""
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
