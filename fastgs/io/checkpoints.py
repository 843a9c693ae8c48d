"""Trained weights on disk without torch: where they lie, and their description; weights.py has the rest."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray

from fastgs.io.files import parse_json

# The folder lies in the package where a wheel is installed, and beside the package in the source tree.
CHECKPOINTS = Path(__file__).resolve().parents[1] / "checkpoints"
if not CHECKPOINTS.is_dir():
    CHECKPOINTS = CHECKPOINTS.parents[1] / "checkpoints"


def read_arrays(path: Path, form: str, version: str, holds: str) -> dict[str, NDArray[np.generic]]:
    """Read the arrays of a pair of files by name; see `fastgs.io.weights.read_pair` for arguments and errors."""
    info, content = read_info(path.with_suffix(".json"), path, form, version, holds), read_content(path)
    check_digest(path, content, info)
    from safetensors.numpy import load  # deferred: few files need it

    try:
        return load(content)
    except (safetensors.SafetensorError, KeyError) as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error})") from error


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal; see `read_content` for errors."""
    return hashlib.sha256(read_content(path)).hexdigest()


def check_digest(path: Path, content: bytes, info: dict[str, Any]) -> None:
    """Raise ValueError if the bytes of a safetensors file are not those that its description has the SHA-256 of."""
    if hashlib.sha256(content).hexdigest() != info.get("sha256"):
        raise ValueError(
            f"{path}: is not the file that {path.stem}.json describes; the two are written together, so export or copy "
            "both again"
        )


def read_content(path: Path) -> bytes:
    """Return the bytes of a file; raise ValueError with one line if it cannot be read, and is not just missing."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror or error})") from error


def read_info(path: Path, tensors: Path, form: str, version: str, holds: str) -> dict[str, Any]:
    """Read the JSON that describes the networks."""
    try:
        content = read_content(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such file; it belongs to {tensors.name}, so copy both") from error
    try:
        info = parse_json(content)
    except ValueError as error:
        raise ValueError(f"{path}: not a readable JSON file ({error})") from error
    if not isinstance(info, dict) or info.get("format") != form:
        found = info.get("format") if isinstance(info, dict) else None
        kind = f"is of the format {found!r}" if isinstance(found, str) else "was not written by fastgs"
        raise ValueError(f"{path}: describes no {holds} ({kind[:60]})")
    if info.get("version") != version:
        raise ValueError(f"{path}: is of version {info.get('version')!r}; this fastgs reads version {version!r}")
    return info
