"""The work of `fastgs evaluate`: every method or codec on every image, one record each."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Generic

from fastgs.cli.console import FAILED, Failures, Parser, make_folder, reporting, say, say_error
from fastgs.cli.download import locate
from fastgs.cli.measuring import ConsoleMonitor, existing_records
from fastgs.data.datasets import image_folders
from fastgs.evaluation.codecs.coders import fits_gaussians, has_efforts
from fastgs.evaluation.codecs.measure import measure as measure_codec
from fastgs.evaluation.codecs.records import CodecRecord, CodecTask
from fastgs.evaluation.harness import ImageRecordT, ImageTaskT, RecordFile, measure_tasks, plan_images
from fastgs.evaluation.methods.forecast import Forecast
from fastgs.evaluation.methods.measure import measure as measure_method
from fastgs.evaluation.methods.published import Configuration, configurations
from fastgs.evaluation.methods.records import Budget, MethodRecord, MethodTask
from fastgs.evaluation.records import ImageRecord
from fastgs.evaluation.zoom.measure import KERNELS, PLAIN_FIT, ZOOM_FIT
from fastgs.evaluation.zoom.measure import measure as measure_zoom
from fastgs.evaluation.zoom.records import ZoomRecord, ZoomTask
from fastgs.fitting.options import DEFAULT_ITERATIONS
from fastgs.io.finding import find_images
from fastgs.methods import METHODS, ZOOM_WEIGHTS

# K at 512 x 512 unless another is asked for: half as many as a photo reduced by two has pixels.
ZOOM_GAUSSIANS = 32_768

_KINDS: tuple[type[ImageRecord], ...] = (MethodRecord, CodecRecord, ZoomRecord)


@dataclass(frozen=True)
class _Work(Generic[ImageTaskT, ImageRecordT]):
    """Work to do on each image.

    Attributes:
        kind: Class of the records.
        make_tasks: Function that returns the tasks on an image, given its path and the SHA-256 of its file.
        rank: Function that returns a number by which tasks are ordered.
        measure: Function that measures a task, as `fastgs.evaluation.methods.measure.measure`.
        foresee: Function (tasks to do, records, processes) that says how long the tasks take, and returns one that
            says, given each new record, how long the others take; None where nothing is said.
    """

    kind: type[ImageRecordT]
    make_tasks: Callable[[str, str], Sequence[ImageTaskT]]
    rank: Callable[[ImageTaskT], int]
    measure: Callable[..., ImageRecordT]
    foresee: Callable[[Sequence[ImageTaskT], Iterable[ImageRecordT], int], Callable[[ImageRecordT], str]] | None = None


def evaluate(parser: Parser, arguments: argparse.Namespace) -> int:
    """Measure methods, codecs or enlargements, and return the exit code."""
    if arguments.preset is not None:
        return _run(parser, arguments, _published_work(parser, arguments))
    if arguments.methods is not None:
        return _run(parser, arguments, _method_work(arguments))
    if arguments.codec is not None:
        return _run(parser, arguments, _codec_work(arguments))
    return _run(parser, arguments, _zoom_work(parser, arguments))


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
    pending = plan_images(file, paths, work.make_tasks, work.rank, arguments.pictures, monitor)
    if records:
        with monitor.guard(file.path):
            file.save()
    workers = min(arguments.workers, max(1, len(pending)))
    measure = partial(work.measure, pictures=arguments.pictures, workers=workers)
    try:
        if work.foresee is not None and pending:
            monitor.remark = work.foresee(pending, records.values(), workers)
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


def _published_work(parser: Parser, arguments: argparse.Namespace) -> _Work[MethodTask, MethodRecord]:
    """Return the work for --preset: the fits that papers report, image by image, or those fits with other numbers."""
    known = {each.method for each in configurations()}
    unknown = [name for name in arguments.methods or [] if name not in known]
    if unknown:
        parser.error(
            f"argument --methods: the preset has no results of {unknown[0]}; choose some of "
            f"{', '.join(name for name in METHODS if name in known)}"
        )
    has_size = arguments.full_size or arguments.size is not None
    cells = dict.fromkeys(
        Configuration(cell.method, count, iterations, arguments.size if has_size else cell.size)
        for cell in configurations(arguments.methods)
        for count in arguments.num_gaussians or [cell.num_gaussians]
        for iterations in arguments.iterations or [cell.iterations]
    )

    def make_tasks(image: str, digest: str) -> list[MethodTask]:
        return [
            MethodTask(
                method=cell.method,
                image=image,
                sha256=digest,
                size=cell.size,
                num_gaussians=cell.num_gaussians,
                budget=Budget(cell.iterations, None),
                seed=arguments.seed,
            )
            for cell in cells
        ]

    return _Work(MethodRecord, make_tasks, lambda task: 0, measure_method, _foresee)


def _foresee(
    pending: Sequence[MethodTask], records: Iterable[MethodRecord], workers: int
) -> Callable[[MethodRecord], str]:
    """Say how long fits take, and return a function that says, given each record, how long the others take."""
    forecast = Forecast(pending, records, workers)
    forecast.measure()
    many = f"{len(pending):,} fits" if len(pending) > 1 else "1 fit"
    processes = f"{workers} processes" if workers > 1 else "1 process"
    say(f"{many} to make, in about {forecast.left} on {processes}; started again, the command goes on where it stopped")

    def tell(record: MethodRecord) -> str:
        forecast.add(record)
        return f"  about {forecast.left} left"

    return tell


def _codec_work(arguments: argparse.Namespace) -> _Work[CodecTask, CodecRecord]:
    """Return the work for --codec: one file for each codec, rate and, for codecs that fit, effort and iterations."""

    def make_tasks(image: str, digest: str) -> list[CodecTask]:
        return [
            CodecTask(
                codec=name,
                image=image,
                sha256=digest,
                size=arguments.size,
                bpp_target=rate,
                iterations=iterations,
                effort=effort,
                seed=arguments.seed if fits_gaussians(name) else None,
            )
            for name in arguments.codec
            for effort in (arguments.effort if has_efforts(name) else None) or [None]
            for iterations in (arguments.iterations if fits_gaussians(name) else None) or [None]
            for rate in arguments.bpp
        ]

    return _Work(CodecRecord, make_tasks, lambda task: int(arguments.codec.index(task.codec)), measure_codec)


def _zoom_work(parser: Parser, arguments: argparse.Namespace) -> _Work[ZoomTask, ZoomRecord]:
    """Return the work for --zoom: every factor in every way, with and without a network."""
    network, digest = None, None
    if arguments.zoom_weights != "none":
        from fastgs.io.checkpoints import sha256_of
        from fastgs.io.weights import find_weights
        from fastgs.models.zoom import load_zoom

        network = arguments.zoom_weights or ZOOM_WEIGHTS
        try:
            load_zoom(network)
            digest = sha256_of(find_weights(network))
        except (FileNotFoundError, ValueError) as error:
            parser.error(f"argument --zoom-weights: {error}")
    counts = arguments.num_gaussians or [ZOOM_GAUSSIANS]
    budgets = arguments.iterations or [DEFAULT_ITERATIONS]
    fits = [PLAIN_FIT, ZOOM_FIT, *([] if network is None else [network])]
    ways: list[tuple[str, int | None, int | None]] = [(kernel, None, None) for kernel in KERNELS]
    ways += list(product(fits, counts, budgets))

    def make_tasks(image: str, sha256: str) -> list[ZoomTask]:
        return [
            ZoomTask(
                enlarger=enlarger,
                weights=digest if enlarger == network else None,
                image=image,
                sha256=sha256,
                size=arguments.size,
                zoom=zoom,
                num_gaussians=count,
                iterations=iterations,
                seed=None if count is None else arguments.seed,
            )
            for zoom in arguments.zoom
            for enlarger, count, iterations in ways
        ]

    ranks = {enlarger: rank for rank, enlarger in enumerate([*KERNELS, *fits])}
    return _Work(ZoomRecord, make_tasks, lambda task: ranks[task.enlarger], measure_zoom)
