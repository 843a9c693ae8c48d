"""Helpers of the tests of evaluation: the command line, and files of records."""

import json
from pathlib import Path

from fastgs.cli import main as cli
from fastgs.evaluation.records import Record

METHOD_GRID = ("--methods", "fastgs-curvature,image-gs-gradient", "-k", "30,60", "--iterations", "0,5,10",
               "--size", "48")  # fmt: skip
CODEC_GRID = ("--codec", "webp,jpeg", "--bpp", "0.5,1.5,3", "--full-size")


def run(*arguments) -> int:
    return cli.main([str(argument) for argument in arguments])


def load(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))


def save(path: Path, records: list[dict]) -> Path:
    path.write_text(json.dumps(records), encoding="utf-8")
    return path


def repeatable(records: list[dict], kind: type[Record]) -> list[dict]:
    """Return the fields that must be the same in every run."""
    kept = [{name: value for name, value in record.items() if name not in kind.MEASURED} for record in records]
    for record in kept:
        if "history" in record:
            record["history"] = [(iteration, psnr) for iteration, _, psnr in record["history"]]
    return kept


def without_pictures(records: list[dict]) -> list[dict]:
    return [{**record, "picture": None} for record in records]


def tables(text: str) -> list[dict[str, list[str]]]:
    """Return the cells of every table in a text by the first of each row, its headings included."""
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    rows = [[line.strip("| ").split(" | ") for line in block if not line.startswith("|--")] for block in blocks]
    return [{row[0]: row[1:] for row in block} for block in rows]
