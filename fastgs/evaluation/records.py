"""Records as a JSON list: written by `fastgs evaluate` and `fastgs splats evaluate`, read by these and `fastgs table`.

There are several kinds of records: of methods in methods/records.py, of codecs in codecs/records.py, of autoencoders
in autoencoders/records.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar, get_origin, get_type_hints

from fastgs.io.files import atomic_write, parse_json


class Storable(Protocol):
    """What records of all kinds, which are dataclasses, can do."""

    def as_json(self) -> dict[str, Any]:
        """The fields, as numbers, strings, lists and dictionaries."""

    @staticmethod
    def from_json(item: dict[str, Any]) -> dict[str, Any]:
        """The fields from what `as_json` gave; TypeError or ValueError if they cannot be."""


_Record = TypeVar("_Record", bound=Storable)


def target_name(image: str, sha256: str, size: int | None) -> str:
    """Name of the file for an image that is measured on, where pictures are kept.

    Args:
        image: path.
        sha256: of the file, in hexadecimal.
        size: shorter side in pixels; None for the whole image.
    """
    return f"{Path(image).stem}-{sha256[:8]}-{'full' if size is None else size}.png"


def load_records(path: str | Path, *kinds: type[_Record]) -> list[_Record]:
    """Read what `save_records` wrote.

    Args:
        path: of the file.
        kinds: what the file can hold; all its records are of one of them.

    Raises:
        ValueError: the file is missing, unreadable, or holds anything else; one line that begins with the path.
    """
    try:
        items = parse_json(Path(path).read_bytes())
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except ValueError as error:
        raise ValueError(f"{path}: is damaged or no JSON ({error}); {_WAY_OUT}") from error
    if not isinstance(items, list):
        raise ValueError(f"{path}: holds no list of records; {_WAY_OUT}")
    found: list[_Record] = []
    for number, item in enumerate(items, start=1):
        found.append(_record(item, f"{path}: record {number}", kinds))
        kinds = (type(found[0]),)
    return found


def save_records(path: str | Path, records: Iterable[Storable]) -> None:
    """Write one record per line, so that long histories stay readable; whole or not at all.

    Raises:
        OSError: the folder does not exist or is not writable, or the disk is full.
    """
    lines = ",\n".join(json.dumps(record.as_json(), allow_nan=False) for record in records)
    with atomic_write(path) as temporary:
        temporary.write_bytes(f"[\n{lines}\n]\n".encode())


_WAY_OUT = "name a file that `fastgs evaluate` or `fastgs splats evaluate` wrote, or that does not exist yet"


def _record(item: Any, place: str, kinds: tuple[type[_Record], ...]) -> _Record:
    """A record from JSON, its fields and their types checked."""
    kind = next((kind for kind in kinds if isinstance(item, dict) and item.keys() == _types(kind).keys()), None)
    if kind is None:
        raise ValueError(f"{place} has other fields than this version writes; {_WAY_OUT}")
    try:
        fields = kind.from_json(item)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{place} has no proper budget or history; {_WAY_OUT}") from error
    for name, hint in _types(kind).items():
        if not isinstance(fields[name], list if get_origin(hint) is list else hint):
            raise ValueError(f"{place} has an improper {name}; {_WAY_OUT}")
    return kind(**fields)


@cache
def _types(kind: type[Storable]) -> dict[str, Any]:
    """The fields of a kind of records."""
    return get_type_hints(kind)
