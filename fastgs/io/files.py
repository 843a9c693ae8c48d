"""Atomic writes, reproducible safetensors files, and strict parsing of JSON from untrusted files."""

from __future__ import annotations

import json
import math
import os
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Bound of the integers in JSON, exclusive: the largest that fastgs writes are seeds of 64 bits.
MAX_INTEGER = 2**64


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; replace `path` with it if the block succeeds, else delete it.

    The temporary name has the suffix of `path`, since some writers choose the format by suffix.

    Args:
        path: File to write; an existing one is replaced.

    Yields:
        Path of an empty file to write to.

    Raises:
        OSError: The folder does not exist or is not writable, or the disk is full.

    Example:
        with atomic_write("result.json") as temporary:
            temporary.write_text(text)
    """
    path = Path(path)
    # The tempfile module makes private files; this one becomes the result and needs the permissions of any new file.
    temporary = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:  # before the file is there: an interruption can come between any two steps
        temporary.touch(exist_ok=False)
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def exclusive(folder: Path) -> Iterator[bool]:
    """Yield True if no other process is in this context with the same folder; it ends with the process at the latest.

    Where a system or a disk has no such locks, it is True always.

    Args:
        folder: Existing folder.
    """
    try:
        import fcntl  # not on Windows
    except ImportError:
        yield True
        return
    descriptor = os.open(folder, os.O_RDONLY)
    is_free = True
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            is_free = False
        except OSError:  # some network disks
            pass
        yield is_free
    finally:
        os.close(descriptor)


def make_folders(folder: Path) -> list[Path]:
    """Make a folder, and those above it that are missing; return what was made, the folder itself first.

    Raises:
        OSError: It cannot be made.
    """
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def sorted_header(file: bytes) -> bytes:
    """Return a safetensors file with a sorted header, so that equal content gives equal bytes.

    safetensors writes the entries of the header in random order. The format: the length of the header in 8 bytes, the
    header in JSON padded with spaces to a multiple of 8, the tensors.

    Args:
        file: Content of a safetensors file.
    """
    end = 8 + int.from_bytes(file[:8], "little")
    header = json.dumps(json.loads(file[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + file[end:]


def parse_json(content: str | bytes) -> Any:
    """Parse JSON from an untrusted file, and refuse what Python accepts but later steps cannot handle.

    Args:
        content: JSON, in UTF-8 if bytes; a byte order mark is allowed.

    Raises:
        ValueError: The content is not JSON, is nested too deeply, repeats a key, or holds NaN, infinity, an integer of
            more than 64 bits, or half a character (a lone surrogate). The message is one line without the name of the
            file, which only the caller knows.
    """
    try:
        text = content.decode("utf-8-sig") if isinstance(content, bytes) else content
        value = json.loads(
            text,
            parse_constant=_parse_number,
            parse_float=_parse_number,
            parse_int=_parse_integer,
            object_pairs_hook=_make_object,
        )
        if "\\u" in text:  # surrogate escapes are allowed: names of files that are not UTF-8 have them
            json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogateescape")
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("holds half a character") from None
    return value


def _parse_number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"holds the number {text[:20]}")
    return number


def _parse_integer(text: str) -> int:
    if len(text) > len(str(-MAX_INTEGER)) or abs(number := int(text)) >= MAX_INTEGER:
        raise ValueError(f"holds an integer of {len(text)} digits")
    return number


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"names {twice[:40]!r} twice")
    return found
