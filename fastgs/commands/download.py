"""`fastgs download`: photos to train on."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fastgs.commands.console import FAILED, Parser, download_progress, say_error


def declare(commands: argparse._SubParsersAction[Parser]) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "download",
        help="fetch images to train on",
        description="Fetch images to train on: div2k (800 photos for training, 3.5 GB; 100 for validation, 0.4 GB; for "
        "academic research only). What was broken off continues where it stopped.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("dataset", choices=["div2k"], metavar="DATASET", help="div2k")
    add("--split", choices=["train", "valid", "all"], default="all", help="which of the photos (default: all)")
    add("--output", type=Path, default=Path("data"), metavar="DIR", help="folder to write to (default: data)")
    add("--url", metavar="URL", help="folder of a mirror that has the archives (default: the official one)")
    add("--keep-archive", action="store_true", help="keep the zip files")
    parser.set_defaults(run=_download)


def _download(arguments: argparse.Namespace) -> int:
    """Fetch the archives that were asked for, one after the other."""
    from fastgs.data import div2k

    print(div2k.LICENSE, file=sys.stderr)
    for split in div2k.ARCHIVES if arguments.split == "all" else [arguments.split]:
        archive = div2k.ARCHIVES[split]
        try:
            with download_progress(archive.name) as progress:
                folder = div2k.download(
                    archive, arguments.output, arguments.url or div2k.URL, arguments.keep_archive, progress
                )
        except (div2k.DownloadError, OSError) as error:
            reason = str(error)
            if isinstance(error, OSError):
                reason = f"{error.filename or arguments.output}: cannot be written ({error.strerror or error})"
            say_error(reason)
            return FAILED
        print(f"{folder}  {archive.count} images", flush=True)
    return 0
