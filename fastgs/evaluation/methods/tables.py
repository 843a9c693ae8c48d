"""Records as Markdown: means by method, K and budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from fastgs.evaluation.methods.records import Budget, Record

Cell = tuple[str, int, Budget]

# Title, field, format, and whether more is better.
_MEASURES = (
    ("PSNR in dB", "psnr", ".2f", True),
    ("MS-SSIM", "ms_ssim", ".4f", True),
    ("LPIPS (less is better)", "lpips", ".4f", False),
)


@dataclass(frozen=True)
class Grid:
    """Records by cell.

    Attributes:
        methods: in order of appearance.
        counts: K, ascending.
        budgets: ascending, steps before seconds.
        images: number of images that there are records of.
        cells: the records of each (method, K, budget) that has any.
        whole: the cells with a record for every image and seed; means of others would not compare.
    """

    methods: list[str]
    counts: list[int]
    budgets: list[Budget]
    images: int
    cells: dict[Cell, list[Record]]
    whole: set[Cell]


def group(records: Sequence[Record]) -> Grid:
    """Sort records of one size into cells."""
    cells: dict[Cell, list[Record]] = {}
    for record in records:
        cells.setdefault((record.method, record.num_gaussians, record.budget), []).append(record)
    samples = {(record.image, record.sha256, record.seed) for record in records}
    return Grid(
        methods=list(dict.fromkeys(record.method for record in records)),
        counts=sorted({record.num_gaussians for record in records}),
        budgets=sorted(
            {record.budget for record in records},
            key=lambda budget: (budget.iterations is None, budget.iterations or 0, budget.seconds or 0),
        ),
        images=len({(image, digest) for image, digest, _ in samples}),
        cells=cells,
        whole={cell for cell, members in cells.items() if len(members) == len(samples)},
    )


def markdown(records: Sequence[Record]) -> str:
    """A table for each measure: a row for each K and method, a column for each budget.

    The best of each K and budget is bold. Behind the PSNR stand the mean seconds of a fit with its start, where one
    process measured alone. A mean over fewer images than there are is marked as such, and never bold.

    Args:
        records: of one size, at least one.
    """
    grid = group(records)
    side = records[0].size
    images = "1 image" if grid.images == 1 else f"{grid.images} images"
    shape = "of full size" if side is None else f"at {side} × {side}"
    seeds = len({record.seed for record in records})
    over = f"mean of {images} {shape}" + (f" and {seeds} seeds" if seeds > 1 else "")
    lines: list[str] = []
    for title, field, form, more in _MEASURES:
        if any(getattr(record, field) is not None for record in records):
            alone = [record for record in records if record.workers == 1]
            note = f"; in brackets the seconds of a fit, {_threads(alone)}" if field == "psnr" and alone else ""
            lines += [f"{title}, {over}; best in bold{note}:", "", *_rows(grid, field, form, more), ""]
    return "\n".join(lines[:-1]) + "\n"


def _threads(records: Sequence[Record]) -> str:
    counts = sorted({record.threads for record in records})
    return f"on {' or '.join(map(str, counts))} thread{'s' if counts != [1] else ''}"


def _rows(grid: Grid, field: str, form: str, more: bool) -> list[str]:
    """The lines of a table."""
    lines = [f"| K | method | {' | '.join(map(str, grid.budgets))} |", f"|---:|---|{'---:|' * len(grid.budgets)}"]
    for count in grid.counts:
        best: dict[Budget, str] = {}
        for budget in grid.budgets:
            rivals = [cell for method in grid.methods if (cell := (method, count, budget)) in grid.whole]
            means = [mean for cell in rivals if (mean := _mean(grid.cells[cell], field)) is not None]
            if means:
                best[budget] = format(max(means) if more else min(means), form)  # what looks equal is as good
        for method in grid.methods:
            texts = [_text(grid, (method, count, budget), field, form, best.get(budget)) for budget in grid.budgets]
            lines.append(f"| {count:,} | {method} | {' | '.join(texts)} |")
    return lines


def _text(grid: Grid, cell: Cell, field: str, form: str, best: str | None) -> str:
    """What stands in a cell."""
    members = grid.cells.get(cell, [])
    mean = _mean(members, field)
    if mean is None:
        return "–"
    text = format(mean, form)
    if cell not in grid.whole:
        text += f", {len({(each.image, each.sha256) for each in members})} of {grid.images} images"
    elif text == best:
        text = f"**{text}**"
    if field == "psnr" and all(each.workers == 1 for each in members):
        text += f" ({fmean(each.seconds for each in members):.2f} s)"
    return text


def _mean(members: Sequence[Record], field: str) -> float | None:
    """The mean of a field; None if there is nothing, or not everywhere."""
    values = [getattr(each, field) for each in members]
    return None if not values or None in values else fmean(values)
