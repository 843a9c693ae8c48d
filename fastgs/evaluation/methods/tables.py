"""Tables of methods: means by method, number of Gaussians and budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from fastgs.evaluation.methods.records import Budget, MethodRecord
from fastgs.evaluation.tables import IMAGE_MEASURES, Grid, Measure, Table, group_by

Cell = tuple[str, int, Budget]


@dataclass(frozen=True, kw_only=True)
class MethodGrid(Grid[Cell, MethodRecord]):
    """Records of methods by (method, number of Gaussians, budget).

    Attributes:
        methods: Names of the methods, in order of appearance.
        counts: Numbers of Gaussians, ascending.
        budgets: Budgets, ascending, iterations before seconds.
        seeds: Number of seeds.
    """

    methods: list[str]
    counts: list[int]
    budgets: list[Budget]
    seeds: int


def group(records: Sequence[MethodRecord]) -> MethodGrid:
    """Sort records of one size into cells."""
    cells = group_by(records, lambda record: (record.method, record.num_gaussians, record.budget))
    samples = {(record.image, record.sha256, record.seed) for record in records}
    return MethodGrid(
        images=len({(image, digest) for image, digest, _ in samples}),
        size=records[0].size,
        cells=cells,
        whole={cell for cell, members in cells.items() if len(members) == len(samples)},
        methods=list(dict.fromkeys(record.method for record in records)),
        counts=sorted({record.num_gaussians for record in records}),
        budgets=sorted({record.budget for record in records}, key=lambda budget: budget.order),
        seeds=len({record.seed for record in records}),
    )


def tables(records: Sequence[MethodRecord]) -> list[Table]:
    """Return a table for each measure: a row for each K and method, a column for each budget.

    The best of each K and budget is bold. Behind the PSNR stand the mean seconds of a fit with its initialization, if
    one process measured alone.

    Args:
        records: Records of one size, at least one.
    """
    grid = group(records)
    over = grid.over + (f" and {grid.seeds} seeds" if grid.seeds > 1 else "")
    return [_table(grid, measure, over, records) for measure in IMAGE_MEASURES if measure.is_known(records)]


def _table(grid: MethodGrid, measure: Measure, over: str, records: Sequence[MethodRecord]) -> Table:
    alone = [record for record in records if record.workers == 1]
    note = f"; in brackets the seconds of a fit, {_format_threads(alone)}" if alone and measure.field == "psnr" else ""
    rows: list[list[str]] = []
    for count in grid.counts:
        rows += [[f"{count:,}", *row] for row in _format_block(grid, measure, count)]
    headings = ["K", "method", *map(str, grid.budgets)]
    return Table(grid.table_title(measure, over, note), headings, rows, alignment="rl" + "r" * len(grid.budgets))


def _format_block(grid: MethodGrid, measure: Measure, count: int) -> list[list[str]]:
    """Return the rows of the methods with one number of Gaussians."""
    return grid.format_rows(
        measure,
        grid.methods,
        grid.budgets,
        key=lambda method, budget: (method, count, budget),
        note=_format_seconds if measure.field == "psnr" else None,
    )


def _format_seconds(members: Sequence[MethodRecord]) -> str:
    if any(record.workers != 1 for record in members):
        return ""
    return f" ({fmean(record.seconds for record in members):.2f} s)"


def _format_threads(records: Sequence[MethodRecord]) -> str:
    counts = sorted({record.threads for record in records})
    return f"on {' or '.join(map(str, counts))} thread{'s' if counts != [1] else ''}"
