"""Description of the machine and the versions behind a result, and writing of results."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from fastgs.io.files import atomic_write
from fastgs.io.images import ImageError

RESULTS = Path(__file__).parent / "results"
# Packages whose versions are recorded.
PACKAGES = (
    *("fastgs", "torch", "numba", "llvmlite", "numpy", "pillow"),
    *("lightning", "segmentation-models-pytorch", "timm"),
)


class UnavailableError(Exception):
    """Something that a benchmark needs is not there; one line says what, and what to do."""


def describe() -> dict[str, Any]:
    """Return machine, versions, time, commit, and whether the package was modified since the commit."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "commit": _git("rev-parse", "--short", "HEAD"),
        "modified": bool(_git("status", "--porcelain", "fastgs")),
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def write_results(
    name: str, settings: dict[str, Any], records: list[dict[str, Any]], output: Path | None = None
) -> Path:
    """Write the results of a benchmark, whole or not at all.

    Args:
        name: Name of the file in benchmarks/results/, without its suffix.
        settings: Settings of the benchmark.
        records: Results.
        output: File to write instead.

    Returns:
        Path of the file.
    """
    path = RESULTS / f"{name}.json" if output is None else output
    path.parent.mkdir(exist_ok=True)
    with atomic_write(path) as temporary:
        content = {"environment": describe(), "settings": settings, "records": records}
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path


def run(main: Callable[[], None]) -> None:
    """Run a program; if photos, weights or anything else is missing, exit with a message of one line."""
    try:
        main()
    except (ImageError, FileNotFoundError, UnavailableError) as error:
        sys.exit(f"{Path(sys.argv[0]).name}: error: {error}")


def _processor() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _git(*arguments: str) -> str:
    run = subprocess.run(["git", *arguments], cwd=RESULTS.parent.parent, capture_output=True, text=True, check=False)
    return run.stdout.strip()
