"""`fastgs download`: datasets of photos to train or compare on."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Iterable
from pathlib import Path

from fastgs.cli.console import FAILED, Parser, local, say_error
from fastgs.cli.progress import download_progress
from fastgs.data.dataset import DATA_FOLDER, Dataset, Part
from fastgs.data.datasets import DATASETS
from fastgs.data.fetch import DownloadError

ALL = "all"  # value of --split that chooses every part


def declare(parser: Parser) -> None:
    """Declare the options of the subcommand."""
    summaries = ". ".join(f"{name}: {dataset.summary}" for name, dataset in DATASETS.items())
    parser.description = f"Fetch photos. {summaries}. A download that was broken off continues where it stopped."
    splits = {split: None for dataset in DATASETS.values() for split in dataset.parts if split != ALL}
    add = parser.add_argument
    add("dataset", choices=list(DATASETS), metavar="DATASET", help=f"one of {', '.join(DATASETS)}")
    add("--split", choices=[*splits, ALL], default=ALL, help=f"part to fetch, for {_having(splits)} (default: {ALL})")
    output = f"folder to write to (default: {DATA_FOLDER})"
    add("--output", type=local, default=DATA_FOLDER, metavar="DIR", help=output)
    add("--url", metavar="URL", help="folder of a mirror that has the files (default: the official one)")
    add("--keep-archive", action="store_true", help="keep archives once their images are extracted")
    parser.set_defaults(run=lambda arguments: _download(parser, arguments))


def _having(splits: Iterable[str]) -> str:
    """Return the names of the datasets that have splits, for the help."""
    return ", ".join(name for name, dataset in DATASETS.items() if not dataset.parts.keys().isdisjoint(splits))


def locate(parser: Parser, given: str, names: Collection[str] = DATASETS) -> Path:
    """Return the path that an argument DATA stands for: the folder of a dataset, or the path itself.

    Args:
        parser: Parser of the command; it ends with one line if the dataset is not downloaded.
        given: Name of a dataset, or a path.
        names: Names in `DATASETS` that the command can read; others are taken for paths.
    """
    if given not in names:
        return Path(given)
    dataset = DATASETS[given]
    if not dataset.folder.is_dir():
        arguments = given if dataset.default == ALL else f"{given} --split {dataset.default}"
        parser.error(f"argument DATA: {given} is not at {dataset.folder}; get it with `fastgs download {arguments}`")
    return dataset.folder


def _download(parser: Parser, arguments: argparse.Namespace) -> int:
    """Fetch the parts that were asked for, one after the other."""
    dataset = DATASETS[arguments.dataset]
    parts = _select_parts(parser, arguments, dataset)
    print(dataset.license, file=sys.stderr)
    mirror = {} if arguments.url is None else {"url": arguments.url}
    for part in parts:
        try:
            with download_progress(part.name) as progress:
                folder = part.download(
                    arguments.output, keep_archive=arguments.keep_archive, progress=progress, **mirror
                )
        except (DownloadError, OSError) as error:
            reason = str(error)
            if isinstance(error, OSError):
                reason = f"{error.filename or arguments.output}: cannot be written ({error.strerror or error})"
            say_error(reason)
            return FAILED
        print(f"{folder}  {part.count} images", flush=True)
    return 0


def _select_parts(parser: Parser, arguments: argparse.Namespace, dataset: Dataset) -> list[Part]:
    """Return the parts that --split chooses; a dataset without splits is always fetched whole."""
    parts, split = dataset.parts, arguments.split
    if split == ALL or ALL in parts:
        return list(parts.values())
    if split not in parts:
        parser.error(f"argument --split: {arguments.dataset} has the splits {', '.join(parts)}, got {split!r}")
    return [parts[split]]
