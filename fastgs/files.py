"""Files that are either whole or absent, and the same for the same content."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; move it there if the block succeeds, delete it if it fails.

    The temporary name keeps the suffix of `path`, so that writers which choose a format by suffix still can.

    Raises:
        OSError: the folder does not exist or is not writable, or the disk is full.
    """
    path = Path(path)
    # Not tempfile's, whose files are private: this one becomes the result, with the permissions of any new file.
    temporary = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    temporary.touch(exist_ok=False)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def sorted_header(file: bytes) -> bytes:
    """A safetensors file with its header in order, so that equal content gives equal bytes: safetensors shuffles it.

    The format: the header's length in 8 bytes, the header in JSON padded with spaces to a multiple of 8, the tensors.
    """
    end = 8 + int.from_bytes(file[:8], "little")
    header = json.dumps(json.loads(file[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + file[end:]
