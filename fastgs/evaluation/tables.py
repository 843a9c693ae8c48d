"""Tables in Markdown, and the means of records of images that stand in them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Generic, NamedTuple, TypeVar

from fastgs.evaluation.records import ImageRecord

_T = TypeVar("_T")
_KeyT = TypeVar("_KeyT", bound=Hashable)
_ColumnT = TypeVar("_ColumnT")
_RecordT = TypeVar("_RecordT", bound=ImageRecord)

MISSING = "–"


@dataclass(frozen=True)
class Table:
    """Table with its title.

    Attributes:
        title: Line above the table, without the colon at its end.
        headings: Heading of each column.
        rows: Texts of each row, one for each column.
        alignment: Letter for each column: "r" aligns right; with "l", or no letter, the alignment is left open.
        notes: Lines below the table.
    """

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    alignment: str = ""
    notes: Sequence[str] = field(default_factory=list)

    def markdown(self) -> str:
        """Return title, table and notes, with a line break at the end."""
        signs = ["---:" if letter == "r" else "---" for letter in self.alignment.ljust(len(self.headings), "l")]
        rows = [f"| {' | '.join(row)} |" for row in (self.headings, *self.rows)]
        notes = ["", *self.notes] if self.notes else []
        return "\n".join([f"{self.title}:", "", rows[0], f"|{'|'.join(signs)}|", *rows[1:], *notes]) + "\n"


class Measure(NamedTuple):
    """Quantity by which records are compared.

    Attributes:
        title: Name in headings.
        field: Field of a record.
        form: Format specification of a number.
        more_is_better: True if the largest number is the best.
    """

    title: str
    field: str
    form: str
    more_is_better: bool = True

    def is_known(self, records: Iterable[Any]) -> bool:
        """Return True if any record has this quantity."""
        return any(getattr(record, self.field) is not None for record in records)

    def mean(self, records: Sequence[Any]) -> float | None:
        """Return the mean over records; None if there are no records, or one lacks the quantity."""
        values = [getattr(record, self.field) for record in records]
        return None if not values or None in values else fmean(values)

    def format_values(self, values: Sequence[float | None]) -> list[str]:
        """Return the texts of numbers, and a dash for None."""
        return [MISSING if value is None else format(value, self.form) for value in values]

    def format_rivals(self, values: Sequence[float | None]) -> list[str]:
        """Return the texts of numbers that compete: the best is bold, and so are those that look equal to it."""
        known = [value for value in values if value is not None]
        best = format((max if self.more_is_better else min)(known), self.form) if known else None
        texts = self.format_values(values)
        return [f"**{text}**" if text == best else text for text in texts]


# Measures of methods and codecs, each of which has a table.
IMAGE_MEASURES = (
    Measure("PSNR in dB", "psnr", ".2f"),
    Measure("MS-SSIM", "ms_ssim", ".4f"),
    Measure("LPIPS (less is better)", "lpips", ".4f", more_is_better=False),
)


@dataclass(frozen=True, kw_only=True)
class Grid(Generic[_KeyT, _RecordT]):
    """Records of images, each in the cell of a table to which it belongs.

    Attributes:
        images: Number of images that there are records of.
        size: Size to which they were resized in pixels; None for full size.
        cells: Records of each cell that has any.
        whole: Cells with a record for every image and seed. The others have records of fewer images, whose means cannot
            be compared; so tables and figures do not show them.
    """

    images: int
    size: int | None
    cells: dict[_KeyT, list[_RecordT]]
    whole: set[_KeyT]

    @property
    def over(self) -> str:
        """Description of what means are over."""
        side = "of full size" if self.size is None else f"at {self.size} × {self.size}"
        return f"mean of {count_images(self.images)} {side}"

    def table_title(self, measure: Measure, over: str, note: str = "") -> str:
        """Return the title of a table of means."""
        partial = "" if len(self.whole) == len(self.cells) else f"; no mean ({MISSING}) where images are missing"
        return f"{measure.title}, {over}; best in bold{note}{partial}"

    def format_rows(
        self,
        measure: Measure,
        names: Sequence[str],
        columns: Sequence[_ColumnT],
        key: Callable[[str, _ColumnT], _KeyT],
        note: Callable[[Sequence[_RecordT]], str] | None = None,
    ) -> list[list[str]]:
        """Return rows of means, the best of each column in bold.

        Args:
            measure: Quantity to average.
            names: First text of each row.
            columns: Columns of the table.
            key: Function that returns the cell of a name and a column.
            note: Function that returns the text behind the mean of some records; None for none.
        """
        texts = [self._format_rivals(measure, [key(name, column) for name in names], note) for column in columns]
        return [[name, *(column[row] for column in texts)] for row, name in enumerate(names)]

    def _format_rivals(
        self, measure: Measure, cells: Sequence[_KeyT], note: Callable[[Sequence[_RecordT]], str] | None
    ) -> list[str]:
        members = [self.cells[cell] if cell in self.whole else [] for cell in cells]
        means = [measure.mean(records) for records in members]
        texts = []
        for cell, records, mean, text in zip(cells, members, means, measure.format_rivals(means), strict=True):
            if mean is None:
                text = self._explain_missing(cell)
            elif note is not None:
                text += note(records)
            texts.append(text)
        return texts

    def _explain_missing(self, cell: _KeyT) -> str:
        """Return the text of a cell without a mean."""
        if cell in self.whole or cell not in self.cells:
            return MISSING
        found = len({(record.image, record.sha256) for record in self.cells[cell]})
        return f"{MISSING} ({f'{found} of {count_images(self.images)}' if found < self.images else 'not every seed'})"


def group_by(items: Iterable[_T], key: Callable[[_T], _KeyT]) -> dict[_KeyT, list[_T]]:
    """Return lists of the items that have the same key, in order of appearance."""
    groups: dict[_KeyT, list[_T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def count_images(count: int) -> str:
    """Return a number of images in words."""
    return "1 image" if count == 1 else f"{count:,} images"
