"""Shards of a dataset: safetensors files of some images and the Gaussians that were fitted to them.

The tensors are means (n, K, 2), scales (n, K, 2), rotations (n, K) and colors (n, K, C) as in `Gaussians`, float32;
sizes (n, 2) int32, heights and widths; and pixels uint8, those of all images one after the other, each (C, height,
width). C and its meaning are those of `Settings.channels`; with alpha, colours are multiplied by it, in pixels, too.
The metadata hold the settings, a hash of the sources, and a checksum of everything, since a file can be damaged where
safetensors does not notice it.

Files of version 1 are RGB, and their settings do not name channels; files of version 2 have other channels.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fastgs.fitting.parametrization import Attributes
from fastgs.io.checked import DamagedError, read_checked, read_metadata, to_bytes
from fastgs.io.files import atomic_write, parse_json
from fastgs.splats.channels import COLORS, Channels

FORMAT = "fastgs.splats"
RGB_VERSION, VERSION = VERSIONS = ("1", "2")


@dataclass(frozen=True)
class Settings:
    """Settings that determine, together with the pixels, every byte of a dataset.

    Attributes:
        num_gaussians: Number of Gaussians of each image.
        initialization: Initialization of the fits, a name in `fastgs.splats.kinds.INITS`.
        iterations: Number of steps of a fit.
        seed: Random seed of everything random.
        size: Side of the images in pixels; None keeps their size.
        crops: Number of crops from each source; None for one image, which is resized or whole.
        shard_size: Number of images in a shard.
        sources: SHA-256 of the list of sources.
        channels: Channels of the images, a name in `fastgs.splats.channels.COLORS`.
    """

    num_gaussians: int
    initialization: str
    iterations: int
    seed: int
    size: int | None
    crops: int | None
    shard_size: int
    sources: str
    channels: Channels = "rgb"

    @property
    def colors(self) -> int:
        """Number C of channels of the images, alpha included."""
        return len(COLORS[self.channels])

    @property
    def alpha(self) -> bool:
        """True if the last channel of the images is alpha."""
        return COLORS[self.channels][-1] == "alpha"

    @property
    def version(self) -> str:
        """Version of files with these settings."""
        return RGB_VERSION if self.channels == "rgb" else VERSION

    def as_json(self) -> dict[str, Any]:
        """Return the settings by name, as files hold them."""
        item = asdict(self)
        if self.version == RGB_VERSION:
            del item["channels"]
        return item

    @classmethod
    def from_json(cls, item: Any, version: str) -> Settings:
        """Return the settings of a dictionary that `as_json` made.

        Args:
            item: Settings by name.
            version: Version of the file.

        Raises:
            ValueError: A setting is missing, has another type, or does not fit the version.
        """
        try:
            settings = cls(**item)
        except TypeError as error:
            raise ValueError("has no proper settings") from error
        optional = {"size", "crops"}
        for name, value in asdict(settings).items():
            kind = str if name in ("initialization", "sources", "channels") else int
            if not isinstance(value, kind) and not (value is None and name in optional):
                raise ValueError(f"has an improper {name}")
        if settings.channels not in COLORS or settings.version != version:
            raise ValueError(f"has channels {settings.channels!r}, which version {version!r} does not have")
        return settings


class Row(NamedTuple):
    """An image in a shard.

    Attributes:
        item: Position among the planned images of the shard, some of which may have been left out.
        top: First row of the image in the source, in pixels of the resized source if it was resized.
        left: First column of the image in the source, likewise.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        psnr: PSNR of the fit in dB.
    """

    item: int
    top: int
    left: int
    height: int
    width: int
    psnr: float


class Failure(NamedTuple):
    """An image that was left out.

    Attributes:
        item: Position among the planned images of the shard.
        reason: Reason in a few words.
    """

    item: int
    reason: str


class Header(NamedTuple):
    """The metadata of a shard.

    Attributes:
        settings: Settings of the dataset.
        contents: SHA-256 of the sources of this shard.
        rows: The images.
        failures: The images that were left out.
        sha256: SHA-256 of everything, the other fields included.
    """

    settings: Settings
    contents: str
    rows: list[Row]
    failures: list[Failure]
    sha256: str


class Content(NamedTuple):
    """The tensors of a shard.

    Attributes:
        attributes: Attributes of the Gaussians of n images, (n, K, ...).
        pixels: Pixels of all images, flat.
    """

    attributes: Attributes
    pixels: Tensor

    def images(self, rows: list[Row]) -> list[Tensor]:
        """Return the pixels as n images (C, h, w)."""
        colors = self.attributes.colors.shape[-1]
        parts = torch.split(self.pixels, [colors * row.height * row.width for row in rows])
        return [part.view(colors, row.height, row.width) for part, row in zip(parts, rows, strict=True)]


def write_shard(
    path: Path, settings: Settings, contents: str, rows: list[Row], failures: list[Failure], content: Content
) -> Header:
    """Write a shard completely or not at all; equal arguments give equal bytes.

    Raises:
        OSError: The folder is not writable, or the disk is full.
    """
    tensors = {
        **content.attributes._asdict(),
        "sizes": torch.tensor([row[3:5] for row in rows], dtype=torch.int32).view(-1, 2),
        "pixels": content.pixels,
    }
    metadata = {
        "format": FORMAT,
        "version": settings.version,
        "settings": json.dumps(settings.as_json()),
        "contents": contents,
        "rows": json.dumps(rows),
        "failures": json.dumps(failures),
    }
    data, sha256 = to_bytes(metadata, tensors)
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)
    return Header(settings, contents, rows, failures, sha256)


def read_header(path: Path) -> Header:
    """Read the metadata of a shard without a check of its checksum.

    All messages are one line that begins with the path.

    Raises:
        FileNotFoundError: The file does not exist.
        DamagedError: The file is not a readable safetensors file.
        ValueError: The file is no shard, or of another version.
    """
    return _parse_header(read_metadata(path), path)


def read_shard(path: Path) -> tuple[Header, Content]:
    """Read a shard and check all of it.

    All messages are one line that begins with the path.

    Raises:
        FileNotFoundError: The file does not exist.
        DamagedError: The file is not a readable safetensors file, or is damaged.
        ValueError: The file is no shard, or of another version.
    """
    header = read_header(path)  # first: a file of another kind is not damaged
    _, tensors = read_checked(path)
    _check_tensors(header, tensors, path)
    return header, Content(Attributes(*(tensors[name] for name in Attributes._fields)), tensors["pixels"])


def attribute_shapes(images: int, settings: Settings) -> list[tuple[int, ...]]:
    """Return the shapes of the four attributes of the Gaussians of some images, in the order of `Attributes`."""
    count = (images, settings.num_gaussians)
    return [(*count, 2), (*count, 2), count, (*count, settings.colors)]


def _check_tensors(header: Header, tensors: dict[str, Tensor], path: Path) -> None:
    """Check that the tensors have the types and the shapes that the header implies.

    Raises:
        DamagedError: A tensor has another shape or type, or is missing.
    """
    shapes = attribute_shapes(len(header.rows), header.settings)
    pixels = (header.settings.colors * sum(row.height * row.width for row in header.rows),)
    for name, shape in zip((*Attributes._fields, "pixels"), (*shapes, pixels), strict=True):
        dtype = torch.uint8 if name == "pixels" else torch.float32
        if name not in tensors or (tensors[name].shape, tensors[name].dtype) != (shape, dtype):
            raise DamagedError(f"{path}: is damaged (has no proper {name})")


def _parse_header(metadata: dict[str, str], path: Path) -> Header:
    """Return the header of the metadata of a file.

    Raises:
        DamagedError: A field is missing or improper.
        ValueError: The file is no shard, or of another version.
    """
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path}: is no shard of a dataset (not written by fastgs)")
    version = metadata.get("version")
    if version not in VERSIONS:
        raise ValueError(f"{path}: is of version {version!r}; this fastgs reads up to version {VERSION!r}")
    try:
        settings = Settings.from_json(parse_json(metadata["settings"]), version)
        rows = [Row(*row) for row in parse_json(metadata["rows"])]
        if not all(type(each) is int and each >= 0 for row in rows for each in row[:5]):
            raise ValueError("has improper rows")
        failures = [Failure(*failure) for failure in parse_json(metadata["failures"])]
        return Header(settings, metadata["contents"], rows, failures, metadata["sha256"])
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"{path}: is damaged ({error})") from error
