"""Files that are either whole or absent, and the same for the same content; and JSON of strangers."""

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

# A number in JSON of a stranger may be as large as a seed.
MAX_INTEGER = 2**64


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


def parse_json(content: str | bytes) -> Any:
    """Parse JSON of strangers, and refuse what Python takes but later steps would stumble over.

    Args:
        content: in UTF-8, if bytes.

    Raises:
        ValueError: it is none, or is nested too deeply, names something twice, or holds NaN, infinity, an integer of
            more than 64 bits, or half a character. One line, without the name of the file, which only callers know.
    """
    try:
        text = content.decode("utf-8-sig") if isinstance(content, bytes) else content
        value = json.loads(
            text, parse_constant=_number, parse_float=_number, parse_int=_integer, object_pairs_hook=_object
        )
        if "\\u" in text:  # names of files that are not UTF-8 are among what is allowed
            json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogateescape")
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("holds half a character") from None
    return value


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"holds the number {text[:20]}")
    return number


def _integer(text: str) -> int:
    if len(text) > len(str(-MAX_INTEGER)) or abs(number := int(text)) >= MAX_INTEGER:
        raise ValueError(f"holds an integer of {len(text)} digits")
    return number


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"names {twice[:40]!r} twice")
    return found
