"""Records of what was measured, and the JSON files that hold them.

Each kind of measurement has a task, which says what is to be measured, and a record, which adds what came out: of
methods in methods/records.py, of codecs in codecs/records.py, of autoencoders in autoencoders/records.py. All of them
are frozen dataclasses on the bases below. `fastgs evaluate` and `fastgs splats evaluate` write the files; these two and
`fastgs table` read them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_origin, get_type_hints

from typing_extensions import Self

from fastgs.io.files import parse_json
from fastgs.io.records import write_records

_T = TypeVar("_T")
_RecordT = TypeVar("_RecordT", bound="Record")

_WAY_OUT = "name a file that `fastgs evaluate` or `fastgs splats evaluate` wrote, or that does not exist yet"


@dataclass(frozen=True, kw_only=True)
class ImageTask(ABC):
    """Task on one image; its fields distinguish its record from all others in a file.

    Attributes:
        image: Path of the image file.
        sha256: SHA-256 of that file, in hexadecimal.
        size: Shorter side in pixels to which the image is resized before it is cropped to a square around its centre;
            None keeps the size of the image.
        seed: Random seed; None if nothing is random.
    """

    image: str
    sha256: str
    size: int | None
    seed: int | None

    @property
    def place(self) -> str:
        """Path that lines about the task begin with."""
        return self.image

    def target_name(self) -> str:
        """Return the name of the file for the image that is measured on, where pictures are kept."""
        return f"{Path(self.image).stem}-{self.sha256[:8]}-{'full' if self.size is None else self.size}.png"

    def picture_name(self) -> str:
        """Return the name of the file for the image that comes out, where pictures are kept."""
        seed = [] if self.seed is None else [f"seed{self.seed}"]
        return "-".join([self.target_name().removesuffix(".png"), *self._name_parts(), *seed]) + ".png"

    @abstractmethod
    def _name_parts(self) -> list[str]:
        """Return what the name of the picture says about the task, image and seed aside."""


@dataclass(frozen=True, kw_only=True)
class Record(ABC):
    """Task together with what was measured.

    Attributes:
        FIELDS: Names of all fields, in the order in which JSON files have them.
        LATER: Names of the fields that files of earlier versions lack; they are None then.
        MEASURED: Names of the fields that differ from run to run; on one machine all others repeat exactly, as far as
            the number of iterations is fixed.
        psnr: Peak signal-to-noise ratio in dB, as in metrics/.
        ssim: Structural similarity, as in metrics/; None if the image is too small.
        threads: Number of threads that kernels ran on.
        fastgs: Version of this package.
    """

    FIELDS: ClassVar[tuple[str, ...]]
    LATER: ClassVar[tuple[str, ...]] = ()
    MEASURED: ClassVar[tuple[str, ...]]

    psnr: float | None
    ssim: float | None
    threads: int
    fastgs: str

    @property
    @abstractmethod
    def task(self) -> Any:
        """Task that was measured."""

    @property
    @abstractmethod
    def result(self) -> str:
        """Result in a few words."""

    def as_json(self) -> dict[str, Any]:
        """Return the fields as numbers, strings, lists and dictionaries."""
        values = {name: getattr(self, name) for name in self.FIELDS}
        return {name: vars(value) if is_dataclass(value) else value for name, value in values.items()}

    @classmethod
    def from_json(cls, item: dict[str, Any]) -> Self:
        """Return the record that `as_json` described.

        Raises:
            ValueError: A field has the wrong type; the message begins with "has ".
        """
        values = cls._parse(dict.fromkeys(cls.LATER) | item)
        for name, hint in _field_types(cls).items():
            if not isinstance(values[name], list if get_origin(hint) is list else hint):
                raise ValueError(f"has an improper {name}")
        return cls(**values)

    @classmethod
    def _parse(cls, item: dict[str, Any]) -> dict[str, Any]:
        """Return the values of the fields from their JSON.

        Raises:
            ValueError: They cannot be parsed; the message begins with "has ".
        """
        return item

    def _project(self, kind: type[_T]) -> _T:
        """Return the fields that a dataclass has as an instance of it."""
        return kind(**{field.name: getattr(self, field.name) for field in fields(kind)})  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class ImageRecord(ImageTask, Record):
    """Record of a task on one image.

    Attributes:
        height: Height of the image that was measured on, in pixels.
        width: Width of that image, in pixels.
        ms_ssim: Multi-scale structural similarity, as in metrics/; None if the image is too small.
        lpips: Learned perceptual distance, as in metrics/; None if the image is too small or there are no weights.
        workers: Number of processes that measured side by side; with more than one, seconds do not measure speed.
        picture: Path of the image that came out; None if it was not kept.
    """

    height: int
    width: int
    ms_ssim: float | None
    lpips: float | None
    workers: int
    picture: str | None

    @property
    def has_picture(self) -> bool:
        """True if an image came out that can be kept."""
        return self.psnr is not None


def load_records(path: str | Path, *kinds: type[_RecordT]) -> list[_RecordT]:
    """Read what `save_records` wrote.

    Args:
        path: Path of the file.
        kinds: Classes of records that the file may hold; all its records are of one of them.

    Raises:
        ValueError: The file is missing or unreadable, or holds anything else; one line that begins with the path.
    """
    try:
        items = parse_json(Path(path).read_bytes())
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except ValueError as error:
        raise ValueError(f"{path}: is damaged or no JSON ({error}); {_WAY_OUT}") from error
    if not isinstance(items, list):
        raise ValueError(f"{path}: holds no list of records; {_WAY_OUT}")
    found: list[_RecordT] = []
    for number, item in enumerate(items, start=1):
        try:
            found.append(_kind_of(item, kinds).from_json(item))
        except ValueError as error:
            raise ValueError(f"{path}: record {number} {error}; {_WAY_OUT}") from error
        kinds = (type(found[0]),)
    return found


def save_records(path: str | Path, records: Iterable[Record]) -> None:
    """Write one record per line, so that long histories stay readable; the file is whole or is left as it was.

    Raises:
        OSError: The folder does not exist or is not writable, or the disk is full.
    """
    write_records(path, (record.as_json() for record in records))


def _kind_of(item: Any, kinds: tuple[type[_RecordT], ...]) -> type[_RecordT]:
    """Return the class whose fields an item of a JSON file has.

    Raises:
        ValueError: There is none; the message begins with "has ".
    """
    for kind in kinds:
        if isinstance(item, dict) and item.keys() | kind.LATER == set(kind.FIELDS):
            return kind
    raise ValueError("has other fields than this version writes")


@cache
def _field_types(kind: type[Record]) -> dict[str, Any]:
    """Return the types of the fields by name."""
    hints = get_type_hints(kind)
    return {name: hints[name] for name in kind.FIELDS}
