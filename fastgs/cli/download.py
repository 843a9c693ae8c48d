"""`fastgs download`: photos to train or compare on."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from fastgs.cli.console import FAILED, Parser, download_progress, say_error

SPLITS = ("train", "valid")


def declare(commands: argparse._SubParsersAction[Parser]) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "download",
        help="fetch photos to train or compare on",
        description="Fetch photos: div2k to train on (800 for training, 3.5 GB; 100 for validation, 0.4 GB; for "
        "academic research only), kodak to compare on (24, 15 MB), or cifar10 to make splats of (60,000 small ones in "
        "ten classes, 170 MB). What was broken off continues where it stopped.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("dataset", choices=["div2k", "kodak", "cifar10"], metavar="DATASET", help="div2k, kodak or cifar10")
    add("--split", choices=[*SPLITS, "all"], default="all", help="which photos of div2k (default: all)")
    add("--output", type=Path, default=Path("data"), metavar="DIR", help="folder to write to (default: data)")
    add("--url", metavar="URL", help="folder of a mirror that has the files (default: the official one)")
    add("--keep-archive", action="store_true", help="keep the archives of div2k and cifar10")
    parser.set_defaults(run=_download)


def _download(arguments: argparse.Namespace) -> int:
    """Fetch the folders that were asked for, one after the other."""
    from fastgs.data import cifar10, div2k, kodak
    from fastgs.data.fetch import DownloadError

    output, url = arguments.output, arguments.url
    if arguments.dataset == "kodak":
        notice, jobs = kodak.LICENSE, [("kodak", len(kodak.FILES), partial(kodak.download, output, url or kodak.URL))]
    elif arguments.dataset == "cifar10":
        fetch_cifar10 = partial(cifar10.download, output, url or cifar10.URL, arguments.keep_archive)
        notice, jobs = cifar10.LICENSE, [("cifar10", cifar10.COUNT, fetch_cifar10)]
    else:
        archives = [div2k.ARCHIVES[split] for split in SPLITS if arguments.split in (split, "all")]
        fetch = partial(div2k.download, folder=output, url=url or div2k.URL, keep_archive=arguments.keep_archive)
        notice, jobs = div2k.LICENSE, [(each.name, each.count, partial(fetch, each)) for each in archives]
    print(notice, file=sys.stderr)
    for name, count, download in jobs:
        try:
            with download_progress(name) as progress:
                folder = download(progress=progress)
        except (DownloadError, OSError) as error:
            reason = str(error)
            if isinstance(error, OSError):
                reason = f"{error.filename or output}: cannot be written ({error.strerror or error})"
            say_error(reason)
            return FAILED
        print(f"{folder}  {count} images", flush=True)
    return 0
