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
        temporary.write_bytes(format_records(records))


def format_records(records: Iterable[Mapping[str, Any]]) -> bytes:
    """Return records as the content of a file; ValueError as `write_records` raises it."""
    lines = ",\n".join(json.dumps(record, allow_nan=False) for record in records)
    return f"[\n{lines}\n]\n".encode()
