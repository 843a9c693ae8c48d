"""Shards of datasets and of results: safetensors files with a checksum of everything, as damage need not show."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from fastgs.io.files import sorted_header


class DamagedError(ValueError):
    """An error about a file that is cut short or changed; the message is one line that begins with its path."""


def to_bytes(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> tuple[bytes, str]:
    """Return the content of a file, and the SHA-256 in its metadata; equal arguments give equal bytes."""
    sha256 = _checksum(metadata, tensors)
    return sorted_header(safetensors.torch.save(dict(tensors), {**metadata, "sha256": sha256})), sha256


def check(metadata: Mapping[str, str], tensors: Mapping[str, Tensor], where: object) -> None:
    """Check the checksum of the parts of a file.

    Args:
        metadata: Metadata, with the checksum.
        tensors: All tensors.
        where: Name of the file, to begin the message with.

    Raises:
        DamagedError: It is another one.
    """
    if _checksum({name: text for name, text in metadata.items() if name != "sha256"}, tensors) != metadata.get(
        "sha256"
    ):
        raise DamagedError(f"{where}: is damaged (wrong checksum)")


def read_metadata(path: Path) -> dict[str, str]:
    """Read the metadata of a file without a check of its checksum.

    Raises:
        FileNotFoundError: The file does not exist.
        DamagedError: The file is not a readable safetensors file.
    """
    return _read(path, tensors=False)[0]


def read_checked(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Read a file and check all of it.

    Raises:
        FileNotFoundError: The file does not exist.
        DamagedError: The file is not a readable safetensors file, or is damaged.
    """
    metadata, tensors = _read(path, tensors=True)
    check(metadata, tensors, path)
    return metadata, tensors


def _read(path: Path, tensors: bool) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            names = file.keys() if tensors else []
            return file.metadata() or {}, {name: file.get_tensor(name) for name in names}
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such file") from error
    except (OSError, safetensors.SafetensorError, KeyError) as error:  # KeyError: a type that torch lacks
        raise DamagedError(f"{path}: is damaged ({' '.join(str(error).split())})") from error


def _checksum(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of metadata and tensors in hexadecimal."""
    digest = hashlib.sha256(json.dumps(dict(metadata), sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
