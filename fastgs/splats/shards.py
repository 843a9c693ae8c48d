"""A shard of a dataset: a safetensors file of some images and the Gaussians that were fitted to them.

Tensors: means (n, K, 2), scales (n, K, 2), rotations (n, K) and colors (n, K, 3) as in `Gaussians`, float32; sizes
(n, 2) int32, heights and widths; pixels uint8, those of all images one after the other, each (3, height, width). The
metadata say by what settings and of what sources it was made, and have a checksum of everything: a file may be damaged
where safetensors does not see it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from fastgs.fitting.parametrization import Attributes
from fastgs.io.files import atomic_write, parse_json, sorted_header

FORMAT = "fastgs.splats"
VERSION = "1"


class DamagedError(ValueError):
    """A shard that is cut short or changed; one line that begins with its path."""


@dataclass(frozen=True)
class Settings:
    """What decides, with the pixels, about every byte of a dataset.

    Attributes:
        num_gaussians: of each image.
        initialization: where fits start, a name in `fastgs.splats.making.INITIALIZERS`.
        iterations: number of steps.
        seed: of everything random.
        size: side of the images in pixels; None where they keep their size.
        crops: how many are cut from each source; None for one that is resized, or whole.
        shard_size: number of images of a shard.
        sources: SHA-256 of the list of sources.
    """

    num_gaussians: int
    initialization: str
    iterations: int
    seed: int
    size: int | None
    crops: int | None
    shard_size: int
    sources: str

    @classmethod
    def from_json(cls, item: Any) -> Settings:
        """From what `asdict` gave.

        Raises:
            ValueError: a setting is missing or has another type.
        """
        try:
            settings = cls(**item)
        except TypeError as error:
            raise ValueError("has no proper settings") from error
        optional = {"size", "crops"}
        for name, value in asdict(settings).items():
            kind = str if name in ("initialization", "sources") else int
            if not isinstance(value, kind) and not (value is None and name in optional):
                raise ValueError(f"has an improper {name}")
        return settings


class Row(NamedTuple):
    """An image in a shard.

    Attributes:
        item: which of those that the shard was to have; some may have been left out.
        top, left, height, width: the part of the source, in pixels.
        psnr: of the fit, in dB.
    """

    item: int
    top: int
    left: int
    height: int
    width: int
    psnr: float


class Failure(NamedTuple):
    """An image that was left out: which of those that the shard was to have, and why."""

    item: int
    reason: str


class Header(NamedTuple):
    """What the metadata of a shard say.

    Attributes:
        settings: of the dataset.
        contents: SHA-256 of the sources of this shard.
        rows: the images.
        failures: those that are not there.
        sha256: of everything, the other fields included.
    """

    settings: Settings
    contents: str
    rows: list[Row]
    failures: list[Failure]
    sha256: str


class Content(NamedTuple):
    """What the tensors of a shard are: n images' Gaussians, (n, K, ...), and pixels, flat."""

    attributes: Attributes
    pixels: Tensor

    def images(self, rows: list[Row]) -> list[Tensor]:
        """The pixels as n images (3, h, w)."""
        parts = torch.split(self.pixels, [3 * row.height * row.width for row in rows])
        return [part.view(3, row.height, row.width) for part, row in zip(parts, rows, strict=True)]


def write_shard(
    path: Path, settings: Settings, contents: str, rows: list[Row], failures: list[Failure], content: Content
) -> Header:
    """Write a shard, whole or not at all; equal arguments give equal bytes.

    Raises:
        OSError: the folder is not writable, or the disk is full.
    """
    tensors = {
        **content.attributes._asdict(),
        "sizes": torch.tensor([row[3:5] for row in rows], dtype=torch.int32).view(-1, 2),
        "pixels": content.pixels,
    }
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "settings": json.dumps(asdict(settings)),
        "contents": contents,
        "rows": json.dumps(rows),
        "failures": json.dumps(failures),
    }
    sha256 = _checksum(metadata, tensors)
    data = safetensors.torch.save(tensors, metadata | {"sha256": sha256})
    with atomic_write(path) as temporary:
        temporary.write_bytes(sorted_header(data))
    return Header(settings, contents, rows, failures, sha256)


def read_header(path: Path) -> Header:
    """The metadata of a shard, not checked against its checksum.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedError: it is no readable safetensors file.
        ValueError: it is no shard, or of another version. All messages are one line that begins with the path.
    """
    return _header(_open(path)[0], path)


def read_shard(path: Path) -> tuple[Header, Content]:
    """A shard, all of it checked.

    Raises:
        FileNotFoundError, DamagedError, ValueError: as `read_header`.
    """
    metadata, tensors = _open(path, tensors=True)
    header = _header(metadata, path)
    if _checksum({name: text for name, text in metadata.items() if name != "sha256"}, tensors) != header.sha256:
        raise DamagedError(f"{path}: is damaged (wrong checksum)")
    _check(header, tensors, path)
    return header, Content(Attributes(*(tensors[name] for name in Attributes._fields)), tensors["pixels"])


def _check(header: Header, tensors: dict[str, Tensor], path: Path) -> None:
    """Refuse tensors of other shapes or types than the header says."""
    count = (len(header.rows), header.settings.num_gaussians)
    pixels = 3 * sum(row.height * row.width for row in header.rows)
    shapes = {
        "means": (*count, 2),
        "scales": (*count, 2),
        "rotations": count,
        "colors": (*count, 3),
        "pixels": (pixels,),
    }
    for name, shape in shapes.items():
        dtype = torch.uint8 if name == "pixels" else torch.float32
        if name not in tensors or (tensors[name].shape, tensors[name].dtype) != (shape, dtype):
            raise DamagedError(f"{path}: is damaged (has no proper {name})")


def _open(path: Path, tensors: bool = False) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The metadata of a safetensors file, and all its tensors if asked for."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            names = file.keys() if tensors else []
            return file.metadata() or {}, {name: file.get_tensor(name) for name in names}
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such file") from error
    except (OSError, safetensors.SafetensorError, KeyError) as error:  # a KeyError is of a type that torch lacks
        raise DamagedError(f"{path}: is damaged ({' '.join(str(error).split())})") from error


def _header(metadata: dict[str, str], path: Path) -> Header:
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path}: is no shard of a dataset (not written by fastgs)")
    if metadata.get("version") != VERSION:
        raise ValueError(f"{path}: is of version {metadata.get('version')!r}; this fastgs reads version {VERSION!r}")
    try:
        settings = Settings.from_json(parse_json(metadata["settings"]))
        rows = [Row(*row) for row in parse_json(metadata["rows"])]
        if not all(type(each) is int and each >= 0 for row in rows for each in row[:5]):
            raise ValueError("has improper rows")
        failures = [Failure(*failure) for failure in parse_json(metadata["failures"])]
        return Header(settings, metadata["contents"], rows, failures, metadata["sha256"])
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"{path}: is damaged ({error})") from error


def _checksum(metadata: dict[str, str], tensors: dict[str, Tensor]) -> str:
    """SHA-256 of metadata and tensors, in hexadecimal."""
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
