"""Images that were fitted, as `fastgs predict` and `fastgs encode` write them: as files, or many in one.

A shard is a safetensors file with the Gaussians of all its images, one after the other: means (N, 2), scales (N, 2),
rotations (N,), and colors flat, since images differ in channels. Its metadata have a checksum of everything and, for
each image, what `Entry` says. A tar archive holds the files of each image, as WebDataset has them.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, get_args

import safetensors
import torch
from torch import Tensor
from torch.utils.data import Dataset
from typing_extensions import override

from fastgs.gaussians import Blend, Gaussians
from fastgs.io.checked import DamagedError, read_checked, read_metadata, to_bytes
from fastgs.io.files import parse_json

FORMAT, VERSION = "fastgs.fitted", "1"
SUFFIX = ".safetensors"
_GEOMETRY = ("means", "scales", "rotations")


class FittedImage(NamedTuple):
    """A fitted image.

    Attributes:
        name: Name of the image, the stem of its file.
        gaussians: Its Gaussians.
    """

    name: str
    gaussians: Gaussians


class Entry(NamedTuple):
    """An image in a shard.

    Attributes:
        name: Name of the image.
        num_gaussians: Number K of its Gaussians.
        channels: Number of its channels, alpha included.
        height: Height of the canvas in pixels.
        width: Width of the canvas in pixels.
        blend: Blend rule.
        alpha: True if the last channel is alpha.
    """

    name: str
    num_gaussians: int
    channels: int
    height: int
    width: int
    blend: Blend
    alpha: bool


class _Row(NamedTuple):
    """Place of an image: a whole file, a member of an archive, or rows of a shard."""

    name: str
    path: Path
    entry: Entry | None = None
    first: int = 0  # Gaussian, or byte
    color: int = 0  # first number in the colours, or number of bytes


def pack(images: Iterable[FittedImage]) -> bytes:
    """Return the content of a shard of some images; equal images give equal bytes."""
    entries, columns = [], [torch.zeros(0, 2), torch.zeros(0, 2), torch.zeros(0), torch.zeros(0)]
    parts: list[list[Tensor]] = [[each] for each in columns]
    for name, each in images:
        columns = [each.means, each.scales, each.rotations, each.colors.flatten()]
        for part, tensor in zip(parts, columns, strict=True):
            part.append(tensor.detach().cpu().float())
        entries.append(Entry(name, len(each), each.channels, each.height, each.width, each.blend, each.alpha))
    tensors = dict(zip((*_GEOMETRY, "colors"), map(torch.cat, parts), strict=True))
    metadata = {"format": FORMAT, "version": VERSION, "entries": json.dumps(entries)}
    return to_bytes(metadata, tensors)[0]


def read_shard(path: str | Path) -> list[FittedImage]:
    """Read all images of a shard, and check the whole file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, is no shard of results, or of another version; one line that begins with the
            path.
    """
    path = Path(path)
    rows = _read_rows(path, read_metadata(path))
    _, tensors = read_checked(path)
    try:
        return [FittedImage(row.name, _cut(tensors.__getitem__, row)) for row in rows]
    except KeyError as error:
        raise DamagedError(f"{path}: is damaged (lacks {error.args[0]})") from error


class FittedDataset(Dataset[FittedImage]):
    """Fitted images of a folder, in the order of their files, without unpacking them.

    Shards (--shards of `fastgs predict`), tar archives and plain files are read; only the index is kept in memory, and
    an image is read when it is asked for. It is a usual dataset of PyTorch: `DataLoader(dataset, shuffle=True,
    collate_fn=list)` gives lists of images in random order, with any number of workers.

    Args:
        paths: Folder, or files of shards, archives or single images.
        decode: Callable from the bytes of a .fgs file to Gaussians, `fastgs.codec.decode`, for archives and folders
            that `fastgs encode` wrote.

    Attributes:
        names: Names of the images.

    Raises:
        FileNotFoundError: There is no such file or folder.
        ValueError: There is no fitted image, or a file is damaged; one line that begins with the path.

    Example:
        for name, gaussians in fastgs.data.FittedDataset("output"):
            image = fastgs.render(gaussians)
    """

    def __init__(
        self, paths: str | Path | Sequence[str | Path], decode: Callable[[bytes], Gaussians] | None = None
    ) -> None:
        self._decode = decode
        given = [Path(each) for each in ([paths] if isinstance(paths, str | Path) else paths)]
        suffixes = {SUFFIX} | ({".fgs"} if decode is not None else set())
        files = [file for each in given for file in (_list(each, {*suffixes, ".tar"}) if each.is_dir() else [each])]
        self._rows: list[_Row] = []
        for file in files:
            if file.suffix == ".tar":
                self._rows += _list_archive(file, suffixes)
            elif file.suffix == SUFFIX and (metadata := read_metadata(file)).get("format") == FORMAT:
                self._rows += _read_rows(file, metadata)
            else:
                self._rows.append(_Row(file.stem, file))
        if not self._rows:
            raise ValueError(f"{given[0] if given else 'paths'}: holds no fitted image; name the output of a job")
        self.names = [row.name for row in self._rows]
        self._open: dict[Path, Any] = {}

    def __len__(self) -> int:
        return len(self._rows)

    @override
    def __getitem__(self, key: tuple[int, int] | int) -> FittedImage:
        index = key if isinstance(key, int) else key[1]  # of (epoch, index), as samplers of fastgs.data give them
        row = self._rows[index]
        if row.entry is not None:
            return FittedImage(row.name, self._read_row(row))
        with row.path.open("rb") as file:
            file.seek(row.first)
            data = file.read(row.color or -1)
        if row.path.suffix == ".fgs" or not _is_safetensors(data):
            assert self._decode is not None
            return FittedImage(row.name, self._decode(data))
        return FittedImage(row.name, Gaussians.from_bytes(data, str(row.path)))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": {}}  # open files stay in their process

    def _read_row(self, row: _Row) -> Gaussians:
        """Read the rows of an image from its shard."""
        try:
            if row.path not in self._open:
                file: Any = safetensors.safe_open(row.path, framework="pt")
                self._open[row.path] = file.__enter__()
            return _cut(self._open[row.path].get_slice, row)
        except (OSError, safetensors.SafetensorError) as error:
            raise DamagedError(f"{row.path}: is damaged ({' '.join(str(error).split())})") from error


def _cut(column: Callable[[str], Any], row: _Row) -> Gaussians:
    """Return the Gaussians of rows of a shard, of whose columns only these rows are read."""
    entry = row.entry
    assert entry is not None
    means, scales, rotations = (column(name)[row.first : row.first + entry.num_gaussians].clone() for name in _GEOMETRY)
    colors = column("colors")[row.color : row.color + entry.num_gaussians * entry.channels].clone()
    return Gaussians(means, scales, rotations, colors.view(entry.num_gaussians, entry.channels), *entry[3:])


def _read_rows(path: Path, metadata: dict[str, str]) -> list[_Row]:
    """Return the places of the images of a shard, from its metadata."""
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path}: is no shard of results (not written by fastgs)")
    if metadata.get("version") != VERSION:
        raise ValueError(f"{path}: is of version {metadata.get('version')!r}; this fastgs reads version {VERSION!r}")
    rows, first, color = [], 0, 0
    try:
        for item in parse_json(metadata["entries"]):
            entry = Entry(*item)
            if min(entry.num_gaussians, entry.channels - 1, entry.height - 1, entry.width - 1) < 0:
                raise ValueError("has improper entries")
            if entry.blend not in get_args(Blend):
                raise ValueError(f"has the blend rule {entry.blend!r}")
            rows.append(_Row(entry.name, path, entry, first, color))
            first, color = first + entry.num_gaussians, color + entry.num_gaussians * entry.channels
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"{path}: is damaged ({error})") from error
    return rows


def _list(folder: Path, suffixes: set[str]) -> list[Path]:
    """Return the files of a folder that may hold fitted images, sorted by name."""
    return sorted(path for path in folder.iterdir() if path.suffix in suffixes and not path.name.startswith("."))


def _list_archive(path: Path, suffixes: set[str]) -> list[_Row]:
    """Return the places of the fitted images in an archive."""
    try:
        with tarfile.open(path, "r:") as archive:
            members = [(PurePosixPath(each.name), each) for each in archive if each.isreg()]
    except tarfile.TarError as error:
        raise DamagedError(f"{path}: is damaged or no tar archive ({error})") from error
    return [
        _Row(name.stem, path, None, member.offset_data, member.size)
        for name, member in members
        if name.suffix in suffixes
    ]


def _is_safetensors(data: bytes) -> bool:
    """Tell whether data is a safetensors file: the length of the header, and the JSON of the header."""
    return data[8:9] == b"{"
