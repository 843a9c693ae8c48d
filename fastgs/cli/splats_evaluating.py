"""The work of `fastgs splats evaluate`: records of autoencoders on a dataset of Gaussians, and a picture."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from fastgs.cli.console import (
    FAILED,
    Failures,
    Parser,
    check_outputs,
    identities,
    make_folder,
    reporting,
)
from fastgs.cli.measuring import ConsoleMonitor, existing_records
from fastgs.evaluation.autoencoders.coders import Coder, load_coder, pixel_coder, splat_coder
from fastgs.evaluation.autoencoders.measure import Dataset, measure
from fastgs.evaluation.autoencoders.pictures import draw_grid
from fastgs.evaluation.autoencoders.records import AutoencoderRecord, AutoencoderTask
from fastgs.evaluation.harness import Progress, RecordFile, measure_tasks
from fastgs.io.files import atomic_write
from fastgs.io.weights import without_suffix


def evaluate(parser: Parser, arguments: argparse.Namespace) -> int:
    """Measure what is not measured yet, draw the picture, and return the exit code."""
    dataset, coders = _read_inputs(parser, arguments)
    outputs = [arguments.output]
    if arguments.pictures is not None:
        outputs.append(arguments.pictures / f"{dataset.name}-{arguments.split}.png")
    _check_outputs(parser, arguments, outputs)
    records = existing_records(parser, arguments.output, AutoencoderRecord)

    failures = Failures(parser)
    members = _measure(arguments.output, dataset, coders, records, failures)
    for picture in outputs[1:]:
        with reporting(picture, failures), atomic_write(picture) as temporary:
            draw_grid(dataset, members, arguments.images).save(temporary)
    return FAILED if failures else 0


def _read_inputs(parser: Parser, arguments: argparse.Namespace) -> tuple[Dataset, list[Coder]]:
    """Return the dataset and all that is to code it; end with one line if something is missing or does not fit."""
    try:
        dataset = Dataset(arguments.dataset, arguments.split)
    except (FileNotFoundError, ValueError) as error:
        parser.error(f"argument DIR: {error}")
    height, width = dataset.height, dataset.width
    coders = [splat_coder(dataset.index, height, width)]
    if dataset.index.labels:
        coders.append(pixel_coder(height, width, dataset.index.settings.colors))
    for path in arguments.autoencoders:
        try:
            coders.append(load_coder(path, dataset.index, height, width))
        except (FileNotFoundError, ValueError) as error:
            parser.error(f"argument --autoencoders: {error}")
        if coders[-1].name in [each.name for each in coders[:-1]]:
            parser.error(f"argument --autoencoders: {path}: another one has this name, too; rename it")
    return dataset, coders


def _check_outputs(parser: Parser, arguments: argparse.Namespace, outputs: Sequence[Path]) -> None:
    """End with one line if an input would be overwritten, or nothing can be written."""
    stems = [without_suffix(path) for path in arguments.autoencoders]
    weights = [Path(f"{stem}{suffix}") for stem in stems for suffix in (".safetensors", ".json")]
    inputs = identities([*weights, *arguments.dataset.iterdir()])
    for output, option in zip(outputs, ("--output", "--pictures"), strict=False):
        try:
            check_outputs([output], inputs, option)
        except ValueError as error:
            parser.error(str(error))
    for output, option in zip(outputs, ("--output", "--pictures"), strict=False):
        make_folder(parser, output.parent, option)


def _measure(
    output: Path,
    dataset: Dataset,
    coders: Sequence[Coder],
    records: dict[AutoencoderTask, AutoencoderRecord],
    failures: Failures,
) -> list[tuple[Coder, AutoencoderRecord]]:
    """Measure the coders without a record, keep the file up to date, and return all coders that have a record."""
    tasks = {dataset.task(coder): coder for coder in coders}
    # Weights that were exported again replace what they were.
    slots = {task.slot for task in tasks}
    records = {task: record for task, record in records.items() if task in tasks or task.slot not in slots}
    file = RecordFile(output, records, list(tasks))

    def measure_coder(task: AutoencoderTask, *, progress: Progress | None = None) -> AutoencoderRecord:
        return measure(dataset, tasks[task], progress)

    monitor = ConsoleMonitor(lambda task: str(dataset.folder), failures)
    pending = [task for task in tasks if task not in records]
    with monitor.bar(len(pending)):
        measure_tasks(file, pending, measure_coder, monitor)
    return [(coder, records[task]) for task, coder in tasks.items() if task in records]
