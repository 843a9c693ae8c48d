"""`fastgs evaluate`: methods or codecs on photos, as records."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import TypeVar

from fastgs.cli.console import Parser, wrong_argument
from fastgs.cli.measuring import DATASETS, Work, measure_all
from fastgs.evaluation.codecs.measure import measure as measure_codec
from fastgs.evaluation.codecs.records import CodecRecord, CodecTask
from fastgs.evaluation.codecs.registry import CODECS, SCHEMES, check_codec
from fastgs.evaluation.methods.measure import measure
from fastgs.evaluation.methods.records import Budget, Record, Task
from fastgs.fitting.fit import HistoryEntry
from fastgs.methods import METHODS
from fastgs.predictor import check_arguments

_T = TypeVar("_T", str, int, float)


def declare(commands: argparse._SubParsersAction[Parser]) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "evaluate",
        help="measure methods or codecs on images",
        description="Fit every image by every method with every K and budget, on the CPU, or write it by every codec "
        "at every rate, and write one record for each fit or file. Records that the file has already are not made "
        "again, so that what was broken off continues where it stopped, and what is new is added.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    named = ", ".join(DATASETS)
    add("data", nargs="+", metavar="DATA", help=f"image files, folders of images, or downloaded photos: {named}")
    kinds = parser.add_mutually_exclusive_group(required=True)
    kinds.add_argument("--methods", type=_list(str), metavar="NAME,...", help=f"of {', '.join(METHODS)}")
    kinds.add_argument("--codec", type=_list(str), metavar="NAME,...", help=f"of {', '.join(CODECS)}")
    add("-k", "--num-gaussians", type=_list(int), metavar="K,...", help="how many Gaussians; of methods")
    add("--bpp", type=_list(float), metavar="R,...", help="bits per pixel that files may have at most; of codecs")
    add("--iterations", type=_list(int), metavar="N,...", help="budgets as numbers of steps; of codecs by Gaussians, "
        "of each fit (default: the codec's own)")  # fmt: skip
    add("--seconds", type=_list(float), metavar="S,...", help="budgets as seconds of the steps; of methods")
    sizes = parser.add_mutually_exclusive_group()
    shorter = "shorter side to N pixels, then centre crop (default: 512)"
    sizes.add_argument("--size", type=int, default=512, metavar="N", help=shorter)
    sizes.add_argument("--full-size", action="store_true", help="keep the size of the images")
    add("--seed", type=int, default=0, metavar="N", help="of everything random (default: 0)")
    add("--output", type=Path, required=True, metavar="FILE", help="JSON file of the records")
    add("--pictures", type=Path, metavar="DIR", help="folder for targets and reconstructions (default: none "
        "are kept)")  # fmt: skip
    add("--workers", type=int, default=1, metavar="N", help="processes; with more than 1, seconds are no measure of "
        "speed (default: 1)")  # fmt: skip
    parser.set_defaults(run=lambda arguments: _evaluate(parser, arguments))


def _evaluate(parser: Parser, arguments: argparse.Namespace) -> int:
    """Check the options, and measure."""
    _check_usage(parser, arguments)
    if arguments.codec is None:
        _check_methods(parser, arguments)
        return measure_all(parser, arguments, _methods(arguments))
    _check_codecs(parser, arguments)
    return measure_all(parser, arguments, _codecs(arguments))


def _methods(arguments: argparse.Namespace) -> Work[Task, Record]:
    """One fit for each method, K and budget."""
    budgets = [Budget(iterations, None) for iterations in arguments.iterations or []]
    budgets += [Budget(None, seconds) for seconds in arguments.seconds or []]

    def cells(image: str, digest: str) -> list[Task]:
        chosen = product(arguments.methods, arguments.num_gaussians, budgets)
        return [
            Task(method, image, digest, arguments.size, count, budget, arguments.seed)
            for method, count, budget in chosen
        ]

    def share(task: Task, entry: HistoryEntry) -> float:
        limit = task.budget.iterations
        return entry.seconds / (task.budget.seconds or math.inf) if limit is None else entry.iteration / max(limit, 1)

    return Work(cells, lambda task: int(arguments.methods.index(task.method)), measure, share, Record)


def _codecs(arguments: argparse.Namespace) -> Work[CodecTask, CodecRecord]:
    """One file for each codec, rate and, of codecs that fit, number of iterations."""
    budgets = {name: arguments.iterations or [None] if name in SCHEMES else [None] for name in arguments.codec}

    def cells(image: str, digest: str) -> list[CodecTask]:
        return [
            CodecTask(name, image, digest, arguments.size, rate, budget, arguments.seed if name in SCHEMES else None)
            for name, budget_list in budgets.items()
            for budget, rate in product(budget_list, arguments.bpp)
        ]

    def share(task: CodecTask, entry: HistoryEntry) -> float:
        return entry.iteration / task.iterations if task.iterations else 0

    return Work(cells, lambda task: int(arguments.codec.index(task.codec)), measure_codec, share, CodecRecord)


def _check_usage(parser: Parser, arguments: argparse.Namespace) -> None:
    """End with one line about the first wrong option of those that methods and codecs share."""
    if arguments.workers < 1:
        parser.error(f"argument --workers: must be at least 1, got {arguments.workers}")
    if arguments.full_size:
        arguments.size = None
    try:
        check_arguments(num_gaussians=1, seed=arguments.seed, size=arguments.size)
        for iterations in arguments.iterations or []:
            check_arguments(num_gaussians=1, iterations=iterations)
    except ValueError as error:
        wrong_argument(parser, error)


def _check_methods(parser: Parser, arguments: argparse.Namespace) -> None:
    """The same, of those of methods."""
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
            check_arguments(num_gaussians=1, seconds=seconds)
    except ValueError as error:
        wrong_argument(parser, error)


def _check_codecs(parser: Parser, arguments: argparse.Namespace) -> None:
    """The same, of those of codecs."""
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
    """For argparse: values between commas, each once."""

    def parse(text: str) -> list[_T]:
        try:
            return list(dict.fromkeys(kind(part.strip()) for part in text.split(",")))
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"expected numbers between commas, got {text!r}") from error

    return parse
