"""`fastgs evaluate`: measures methods or codecs on images, and writes records."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Generic, TypeVar

from fastgs.cli.console import FAILED, Failures, Parser, make_folder, reporting, say_error, wrong_argument
from fastgs.cli.download import locate
from fastgs.cli.images import add_seed
from fastgs.cli.measuring import ConsoleMonitor, existing_records
from fastgs.data.datasets import image_folders
from fastgs.evaluation.codecs.coders import check_codec, codec_names, fits_gaussians
from fastgs.evaluation.codecs.measure import measure as measure_codec
from fastgs.evaluation.codecs.records import CodecRecord, CodecTask
from fastgs.evaluation.harness import ImageRecordT, ImageTaskT, RecordFile, measure_tasks, plan_images
from fastgs.evaluation.methods.measure import measure as measure_method
from fastgs.evaluation.methods.records import Budget, MethodRecord, MethodTask
from fastgs.evaluation.records import ImageRecord
from fastgs.fitting.options import FitOptions
from fastgs.io.finding import find_images
from fastgs.methods import METHODS
from fastgs.methods.arguments import check_arguments

_T = TypeVar("_T", str, int, float)

_KINDS: tuple[type[ImageRecord], ...] = (MethodRecord, CodecRecord)


@dataclass(frozen=True)
class _Work(Generic[ImageTaskT, ImageRecordT]):
    """Work to do on each image.

    Attributes:
        kind: Class of the records.
        make_tasks: Function that returns the tasks on an image, given its path and the SHA-256 of its file.
        rank: Function that returns a number by which tasks are ordered.
        measure: Function that measures a task, as `fastgs.evaluation.methods.measure.measure`.
    """

    kind: type[ImageRecordT]
    make_tasks: Callable[[str, str], Sequence[ImageTaskT]]
    rank: Callable[[ImageTaskT], int]
    measure: Callable[..., ImageRecordT]


def declare(parser: Parser) -> None:
    """Declare the options of the subcommand."""
    parser.description = (
        "Fit every image by every method with every K and budget, on the CPU, or write it by every codec "
        "at every rate, and write one record for each fit or file. Records that the file has already are not made "
        "again, so that what was broken off continues where it stopped, and what is new is added."
    )
    add = parser.add_argument
    named = ", ".join(image_folders())
    add("data", nargs="+", metavar="DATA", help=f"image files, folders of images, or downloaded photos: {named}")
    kinds = parser.add_mutually_exclusive_group(required=True)
    kinds.add_argument("--methods", type=_list(str), metavar="NAME,...", help=f"some of {', '.join(METHODS)}")
    kinds.add_argument("--codec", type=_list(str), metavar="NAME,...", help=f"some of {', '.join(codec_names())}")
    add("-k", "--num-gaussians", type=_list(int), metavar="K,...", help="with --methods: numbers of Gaussians")
    add("--bpp", type=_list(float), metavar="R,...", help="with --codec: bits per pixel that files may have at most")
    add("--iterations", type=_list(int), metavar="N,...", help="budgets as numbers of iterations; with --codec, those "
        "of each fit of a codec by Gaussians (default: the codec's own)")  # fmt: skip
    add("--seconds", type=_list(float), metavar="S,...", help="with --methods: budgets as seconds of the iterations")
    sizes = parser.add_mutually_exclusive_group()
    shorter = "resize the shorter side to N pixels, then crop to the centre (default: 512)"
    sizes.add_argument("--size", type=int, default=512, metavar="N", help=shorter)
    sizes.add_argument("--full-size", action="store_true", help="keep the size of the images")
    add_seed(parser)
    add("--output", type=Path, required=True, metavar="FILE", help="JSON file of the records")
    add("--pictures", type=Path, metavar="DIR", help="folder for targets and reconstructions (default: none "
        "are kept)")  # fmt: skip
    add("--workers", type=int, default=1, metavar="N", help="number of processes; with more than 1, seconds do not "
        "measure speed (default: 1)")  # fmt: skip
    parser.set_defaults(run=lambda arguments: _evaluate(parser, arguments))


def _evaluate(parser: Parser, arguments: argparse.Namespace) -> int:
    """Check the options, and measure."""
    _check_shared_options(parser, arguments)
    if arguments.codec is None:
        _check_method_options(parser, arguments)
        return _run(parser, arguments, _method_work(arguments))
    _check_codec_options(parser, arguments)
    return _run(parser, arguments, _codec_work(arguments))


def _run(parser: Parser, arguments: argparse.Namespace, work: _Work[ImageTaskT, ImageRecordT]) -> int:
    """Measure what can be measured and has no record yet, and return the exit code."""
    failures = Failures(parser)
    paths: list[Path] = []
    for given in arguments.data:
        with reporting(Path(given), failures):
            paths += find_images(locate(parser, given, image_folders()))
    records = existing_records(parser, arguments.output, work.kind, *_KINDS)
    make_folder(parser, arguments.output.parent)
    if arguments.pictures is not None:
        make_folder(parser, arguments.pictures, "--pictures")

    file: RecordFile[ImageTaskT, ImageRecordT] = RecordFile(arguments.output, records)
    monitor = ConsoleMonitor(lambda task: str(task.image), failures)
    pending = plan_images(file, paths, work.make_tasks, work.rank, arguments.size, arguments.pictures, monitor)
    if records:
        with monitor.guard(file.path):
            file.save()
    workers = min(arguments.workers, max(1, len(pending)))
    measure = partial(work.measure, pictures=arguments.pictures, workers=workers)
    try:
        with monitor.bar(len(pending)):
            measure_tasks(file, pending, measure, monitor, workers)
    except BrokenExecutor:
        say_error("a worker process was killed, perhaps for lack of memory; repeat with fewer --workers to go on")
        return FAILED
    return FAILED if failures else 0


def _method_work(arguments: argparse.Namespace) -> _Work[MethodTask, MethodRecord]:
    """Return the work for --methods: one fit for each method, K and budget."""
    budgets = [Budget(iterations, None) for iterations in arguments.iterations or []]
    budgets += [Budget(None, seconds) for seconds in arguments.seconds or []]

    def make_tasks(image: str, digest: str) -> list[MethodTask]:
        return [
            MethodTask(
                method=method,
                image=image,
                sha256=digest,
                size=arguments.size,
                num_gaussians=count,
                budget=budget,
                seed=arguments.seed,
            )
            for method, count, budget in product(arguments.methods, arguments.num_gaussians, budgets)
        ]

    return _Work(MethodRecord, make_tasks, lambda task: int(arguments.methods.index(task.method)), measure_method)


def _codec_work(arguments: argparse.Namespace) -> _Work[CodecTask, CodecRecord]:
    """Return the work for --codec: one file for each codec, rate and, for codecs that fit, number of iterations."""

    def make_tasks(image: str, digest: str) -> list[CodecTask]:
        return [
            CodecTask(
                codec=name,
                image=image,
                sha256=digest,
                size=arguments.size,
                bpp_target=rate,
                iterations=iterations,
                seed=arguments.seed if fits_gaussians(name) else None,
            )
            for name in arguments.codec
            for iterations in (arguments.iterations if fits_gaussians(name) else None) or [None]
            for rate in arguments.bpp
        ]

    return _Work(CodecRecord, make_tasks, lambda task: int(arguments.codec.index(task.codec)), measure_codec)


def _check_shared_options(parser: Parser, arguments: argparse.Namespace) -> None:
    """End with one line if one of the options that methods and codecs share is wrong."""
    if arguments.workers < 1:
        parser.error(f"argument --workers: must be at least 1, got {arguments.workers}")
    if arguments.full_size:
        arguments.size = None
    try:
        check_arguments(num_gaussians=1, seed=arguments.seed, size=arguments.size)
        for iterations in arguments.iterations or []:
            FitOptions(iterations)
    except ValueError as error:
        wrong_argument(parser, error)


def _check_method_options(parser: Parser, arguments: argparse.Namespace) -> None:
    """End with one line if one of the options for methods is wrong."""
    unknown = [name for name in arguments.methods if name not in METHODS]
    if unknown:
        parser.error(f"argument --methods: expected some of {', '.join(METHODS)}, got {unknown[0]!r}")
    if arguments.bpp is not None:
        parser.error("argument --bpp: not allowed with argument --methods")
    if arguments.num_gaussians is None:
        parser.error("the following arguments are required with --methods: -k/--num-gaussians")
    if arguments.iterations is None and arguments.seconds is None:
        parser.error("one of the arguments --iterations and --seconds is required")
    try:
        for count in arguments.num_gaussians:
            check_arguments(num_gaussians=count)
        for seconds in arguments.seconds or []:
            FitOptions(seconds=seconds)
    except ValueError as error:
        wrong_argument(parser, error)


def _check_codec_options(parser: Parser, arguments: argparse.Namespace) -> None:
    """End with one line if one of the options for codecs is wrong."""
    for value, option in ((arguments.num_gaussians, "-k/--num-gaussians"), (arguments.seconds, "--seconds")):
        if value is not None:
            parser.error(f"argument {option}: not allowed with argument --codec")
    if arguments.bpp is None:
        parser.error("the following arguments are required with --codec: --bpp")
    for rate in arguments.bpp:
        if not 0 < rate < math.inf:
            parser.error(f"argument --bpp: must be more than 0 and finite, got {rate:g}")
    try:
        for name in arguments.codec:
            check_codec(name)
    except ValueError as error:
        wrong_argument(parser, error)


def _list(kind: Callable[[str], _T]) -> Callable[[str], list[_T]]:
    """Return a type for argparse: values between commas, each once."""

    def parse(text: str) -> list[_T]:
        try:
            return list(dict.fromkeys(kind(part.strip()) for part in text.split(",")))
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"expected numbers between commas, got {text!r}") from error

    return parse
