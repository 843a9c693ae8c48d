"""`fastgs splats evaluate`: autoencoders on a dataset of Gaussians, as records."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from fastgs.cli.console import (
    FAILED,
    Failures,
    Parser,
    announce,
    batch_progress,
    check_outputs,
    identities,
    make_folder,
    reporting,
    wrong_argument,
)
from fastgs.cli.measuring import ordered
from fastgs.evaluation.autoencoders.coders import Coder, of_file, of_pixels, of_splats
from fastgs.evaluation.autoencoders.measure import Dataset, measure
from fastgs.evaluation.autoencoders.pictures import grid
from fastgs.evaluation.autoencoders.records import AutoencoderRecord, AutoencoderTask
from fastgs.evaluation.records import load_records, save_records
from fastgs.io.files import atomic_write
from fastgs.io.weights import without_suffix
from fastgs.splats.index import Split


def declare(commands: argparse._SubParsersAction[Parser]) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "evaluate",
        help="measure autoencoders on a dataset of Gaussians",
        description="Code the images of a dataset by every autoencoder, and write a record for each, and one for the "
        "fitted Gaussians themselves. Where images have classes, a record also says how well a linear classifier tells "
        "them from the codes, and there is one for the pixels. Records that the file has already are not made again.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("dataset", type=Path, metavar="DIR", help="written by `fastgs splats make`")
    add("--autoencoders", nargs="+", type=Path, default=[], metavar="WEIGHTS", help="exported by train.py, named by "
        "file, or by folder where that is called weights (default: none)")  # fmt: skip
    add("--split", choices=get_args(Split), default="test", help="images to measure on (default: test)")
    add("--output", type=Path, required=True, metavar="FILE", help="JSON file of the records")
    add("--pictures", type=Path, metavar="DIR", help="folder for DATASET-SPLIT.png: originals, fits, and what each "
        "autoencoder makes of them (default: none)")  # fmt: skip
    add("--images", type=int, default=8, metavar="N", help="rows of that picture (default: 8)")
    parser.set_defaults(run=lambda arguments: _evaluate(parser, arguments))


def _evaluate(parser: Parser, arguments: argparse.Namespace) -> int:
    """Check the options, measure what is not measured yet, and draw."""
    if arguments.images < 1:
        wrong_argument(parser, ValueError(f"images: must be at least 1, got {arguments.images}"))
    dataset, coders = _read(parser, arguments)
    outputs = [arguments.output]
    if arguments.pictures is not None:
        outputs.append(arguments.pictures / f"{dataset.name}-{arguments.split}.png")
    _check_outputs(parser, arguments, outputs)
    records = _existing_records(parser, arguments.output)

    failures = Failures(parser)
    members = _measured(arguments.output, dataset, coders, records, failures)
    for picture in outputs[1:]:
        with reporting(picture, failures), atomic_write(picture) as temporary:
            grid(dataset, members, arguments.images).save(temporary)
    return FAILED if failures else 0


def _read(parser: Parser, arguments: argparse.Namespace) -> tuple[Dataset, list[Coder]]:
    """The dataset and all that is to code it; end with one line if something is not there or does not fit."""
    try:
        dataset = Dataset(arguments.dataset, arguments.split)
    except (FileNotFoundError, ValueError) as error:
        parser.error(f"argument DIR: {error}")
    images = (dataset.index, dataset.height, dataset.width)
    coders = [of_splats(*images)] + ([of_pixels(*images[1:])] if dataset.index.labels else [])
    for path in arguments.autoencoders:
        try:
            coders.append(of_file(path, *images))
        except (FileNotFoundError, ValueError) as error:
            parser.error(f"argument --autoencoders: {error}")
        if coders[-1].name in [each.name for each in coders[:-1]]:
            parser.error(f"argument --autoencoders: {path}: another one has this name, too; rename it")
    return dataset, coders


def _existing_records(parser: Parser, path: Path) -> dict[AutoencoderTask, AutoencoderRecord]:
    """The records that a file has already; end with one line if it is no such file."""
    if not path.exists():
        return {}
    try:
        return {record.task: record for record in load_records(path, AutoencoderRecord)}
    except ValueError as error:
        parser.error(f"argument --output: {error}")


def _check_outputs(parser: Parser, arguments: argparse.Namespace, outputs: Sequence[Path]) -> None:
    """End with one line if what was read would be overwritten, or nothing can be written."""
    stems = [without_suffix(path) for path in arguments.autoencoders]
    weights = [Path(f"{stem}{suffix}") for stem in stems for suffix in (".safetensors", ".json")]
    inputs = identities([*weights, *arguments.dataset.iterdir()])
    for output, option in zip(outputs, ("--output", "--pictures"), strict=False):
        try:
            check_outputs([output], inputs, {}, option)
        except ValueError as error:
            parser.error(str(error))
    for output, option in zip(outputs, ("--output", "--pictures"), strict=False):
        make_folder(parser, output.parent, option)


def _measured(
    output: Path,
    dataset: Dataset,
    coders: Sequence[Coder],
    records: dict[AutoencoderTask, AutoencoderRecord],
    failures: Failures,
) -> list[tuple[Coder, AutoencoderRecord]]:
    """Coders with their records, those that were made now and those that were there; the file is kept up to date."""
    tasks = {dataset.task(coder): coder for coder in coders}
    # Weights that were exported again have taken the place of what they were.
    places = {task.place for task in tasks}
    records = {task: record for task, record in records.items() if task in tasks or task.place not in places}
    pending = [task for task in tasks if task not in records]
    with batch_progress(len(pending)) as show:
        for done, task in enumerate(pending):
            with reporting(task, failures):

                def advance(share: float, done: int = done, task: AutoencoderTask = task) -> None:
                    show(done + share, str(task))

                records[task] = measure(dataset, tasks[task], advance)
                with reporting(output, failures):
                    save_records(output, ordered(records, list(tasks)))
                with reporting("standard output", failures):
                    announce(f"{dataset.folder}: {task}  {records[task].result}")
    return [(coder, records[task]) for task, coder in tasks.items() if task in records]
