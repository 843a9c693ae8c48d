"""Records on disk: a JSON list with one record per line, so that long histories stay readable."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fastgs.io.files import atomic_write


def write_records(path: str | Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write records, whole or not at all.

    Args:
        path: File to write.
        records: Mappings that JSON can hold, without NaN or infinity.

    Raises:
        OSError: The folder does not exist or is not writable, or the disk is full.
        ValueError: A record holds NaN or infinity.
    """
    with atomic_write(path) as temporary:
        temporary.write_bytes(join_records(map(format_record, records)))


def format_record(record: Mapping[str, Any]) -> str:
    """Return a record as JSON; ValueError as `write_records` raises it."""
    return json.dumps(record, allow_nan=False)


def join_records(texts: Iterable[str]) -> bytes:
    """Return records, each as JSON, as the content of a file."""
    return ("[\n" + ",\n".join(texts) + "\n]\n").encode()
