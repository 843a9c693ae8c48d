"""`fastgs evaluate`: methods on photos, as records."""

from __future__ import annotations

import argparse
import hashlib
import math
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from itertools import product
from pathlib import Path
from typing import TypeVar

from fastgs.commands.console import (
    FAILED,
    Parser,
    announce,
    batch_progress,
    make_folder,
    reporting,
    say_error,
    wrong_argument,
)
from fastgs.evaluate import evaluate
from fastgs.fitting import HistoryEntry
from fastgs.images import find_images, load_image
from fastgs.methods import METHODS
from fastgs.predict import check_arguments
from fastgs.records import Budget, Record, Task, load_records, save_records

# Where `fastgs download` puts them, and how to call it.
DATASETS = {"kodak": ("data/kodak", "kodak"), "div2k": ("data/DIV2K_valid_HR", "div2k --split valid")}

_T = TypeVar("_T", str, int, float)


def declare(commands: argparse._SubParsersAction[Parser]) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "evaluate",
        help="measure methods on images",
        description="Fit every image by every method with every K and budget, on the CPU, and write one record for "
        "each fit. Records that the file has already are not made again, so that what was broken off continues where "
        "it stopped, and what is new is added.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    named = ", ".join(DATASETS)
    add("data", nargs="+", metavar="DATA", help=f"image files, folders of images, or downloaded photos: {named}")
    add("--methods", type=_list(str), required=True, metavar="NAME,...", help=f"of {', '.join(METHODS)}")
    add("-k", "--num-gaussians", type=_list(int), required=True, metavar="K,...", help="how many Gaussians")
    add("--iterations", type=_list(int), default=[], metavar="N,...", help="budgets as numbers of steps")
    add("--seconds", type=_list(float), default=[], metavar="S,...", help="budgets as seconds of the steps")
    sizes = parser.add_mutually_exclusive_group()
    shorter = "shorter side to N pixels, then centre crop (default: 512)"
    sizes.add_argument("--size", type=int, default=512, metavar="N", help=shorter)
    sizes.add_argument("--full-size", action="store_true", help="keep the size of the images")
    add("--seed", type=int, default=0, metavar="N", help="of everything random (default: 0)")
    add("--output", type=Path, required=True, metavar="FILE", help="JSON file of the records")
    add("--pictures", type=Path, metavar="DIR", help="folder for targets and reconstructions (default: none are kept)")
    add("--workers", type=int, default=1, metavar="N", help="processes; with more than 1, seconds are no measure of "
        "speed (default: 1)")  # fmt: skip
    parser.set_defaults(run=lambda arguments: _evaluate(parser, arguments))


def _evaluate(parser: Parser, arguments: argparse.Namespace) -> int:
    """Measure what can be and is not yet, say what could not, and keep the file up to date."""
    _check_usage(parser, arguments)
    failures: list[object] = []
    paths: list[Path] = []
    for given in arguments.data:
        with reporting(Path(given), failures):
            paths += find_images(_resolve(parser, given))
    records = _existing_records(parser, arguments.output)
    make_folder(parser, arguments.output.parent)
    if arguments.pictures is not None:
        make_folder(parser, arguments.pictures, "--pictures")

    tasks, pending = _plan(arguments, paths, records, failures)
    if records:
        with reporting(arguments.output, failures):
            save_records(arguments.output, _ordered(records, tasks))
    try:
        with batch_progress(len(pending)) as show:
            done = 0

            def watch(task: Task, entry: HistoryEntry) -> None:
                limit, now = task.budget.iterations, entry.iteration
                share = entry.seconds / (task.budget.seconds or math.inf) if limit is None else now / max(limit, 1)
                show(done + min(share, 1), f"{Path(task.image).name}: {task}: step {now:,}, {entry.psnr:.2f} dB")

            workers = min(arguments.workers, max(1, len(pending)))
            for task, outcome in evaluate(pending, arguments.pictures, workers, watch):
                with reporting(f"{task.image}: {task}", failures):
                    record = records[task] = outcome()
                    with reporting(arguments.output, failures):
                        save_records(arguments.output, _ordered(records, tasks))
                    with reporting("standard output", failures):
                        announce(_line(record))
                    show(done + 1, f"{Path(task.image).name}: {task}: {record.psnr:.2f} dB")
                done += 1
    except BrokenExecutor:
        say_error("a worker process was killed, perhaps for lack of memory; repeat with fewer --workers to go on")
        return FAILED
    return FAILED if failures else 0


def _check_usage(parser: Parser, arguments: argparse.Namespace) -> None:
    """End with one line about the first wrong option."""
    unknown = [name for name in arguments.methods if name not in METHODS]
    if unknown:
        parser.error(f"argument --methods: expected some of {', '.join(METHODS)}, got {unknown[0]!r}")
    if not arguments.iterations and not arguments.seconds:
        parser.error("one of the arguments --iterations and --seconds is required")
    if arguments.workers < 1:
        parser.error(f"argument --workers: must be at least 1, got {arguments.workers}")
    if arguments.full_size:
        arguments.size = None
    try:
        for count in arguments.num_gaussians:
            check_arguments(num_gaussians=count, seed=arguments.seed, size=arguments.size)
        for iterations in arguments.iterations:
            check_arguments(num_gaussians=1, iterations=iterations)
        for seconds in arguments.seconds:
            check_arguments(num_gaussians=1, seconds=seconds)
    except ValueError as error:
        wrong_argument(parser, error)


def _resolve(parser: Parser, given: str) -> str:
    """A path, which may be that of a dataset."""
    if given not in DATASETS:
        return given
    folder, arguments = DATASETS[given]
    if not Path(folder).is_dir():
        parser.error(f"argument DATA: {given} is not at {folder}; get it with `fastgs download {arguments}`")
    return folder


def _existing_records(parser: Parser, path: Path) -> dict[Task, Record]:
    """The records that a file has already; end with one line if it is no such file."""
    try:
        return {record.task: record for record in load_records(path)} if path.exists() else {}
    except ValueError as error:
        parser.error(f"argument --output: {error}")


def _plan(
    arguments: argparse.Namespace, paths: list[Path], records: dict[Task, Record], failures: list[object]
) -> tuple[list[Task], list[Task]]:
    """All tasks on the images that can be read, in order, and those of them that are still to be done."""
    budgets = [Budget(iterations, None) for iterations in arguments.iterations]
    budgets += [Budget(None, seconds) for seconds in arguments.seconds]
    tasks: list[Task] = []
    pending: set[Task] = set()
    for path in dict.fromkeys(paths):
        with reporting(path, failures):
            digest = _sha256(path)
            cells = product(
                arguments.methods, [str(path)], [digest], [arguments.size], arguments.num_gaussians, budgets
            )
            mine = [Task(*cell, arguments.seed) for cell in cells]
            new = {task for task in mine if task not in records or _lacks_picture(records[task], arguments.pictures)}
            if new:
                load_image(path, arguments.size)  # says now, and once, what would else be said of every task
            tasks += mine
            pending |= new
    tasks.sort(key=lambda task: arguments.methods.index(task.method))  # stable: images keep their order
    return tasks, [task for task in tasks if task in pending]


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        load_image(path)  # which says in one line what is wrong
        raise


def _lacks_picture(record: Record, folder: Path | None) -> bool:
    """Whether pictures are asked for now, but were not when the record was made."""
    if folder is None:
        return False
    picture = folder / record.picture_name()
    return record.picture != str(picture) or not picture.exists()


def _ordered(records: dict[Task, Record], tasks: list[Task]) -> list[Record]:
    """Those of other commands as they were, then those of this one in the order of its tasks."""
    mine = dict.fromkeys(tasks)
    others = [record for task, record in records.items() if task not in mine]
    return others + [records[task] for task in tasks if task in records]


def _line(record: Record) -> str:
    seconds = record.seconds
    return f"{record.image}: {record.task}  {record.psnr:.2f} dB  {seconds:.1f} s"


def _list(kind: Callable[[str], _T]) -> Callable[[str], list[_T]]:
    """For argparse: values between commas, each once."""

    def parse(text: str) -> list[_T]:
        try:
            return list(dict.fromkeys(kind(part.strip()) for part in text.split(",")))
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"expected numbers between commas, got {text!r}") from error

    return parse
