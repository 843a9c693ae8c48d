"""Tables of methods: means by method, number of Gaussians and budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from fastgs.evaluation.methods.published import (
    OURS,
    Cells,
    Configuration,
    by_configuration,
    estimate_configuration,
    published_results,
    reference_of,
)
from fastgs.evaluation.methods.records import Budget, MethodRecord
from fastgs.evaluation.tables import IMAGE_MEASURES, MISSING, Grid, Measure, Table, group_by
from fastgs.methods.published import Published

Cell = tuple[str, int, Budget]

MEASURES = (
    IMAGE_MEASURES[0],
    Measure("PSNR in dB of the images rounded to 8 bits", "psnr_8bit", ".2f"),
    Measure("SSIM", "ssim", ".4f"),
    *IMAGE_MEASURES[1:],
)
# Their names in the table of published results.
SHORT = {"psnr": "PSNR", "psnr_8bit": "8 bits", "ssim": "SSIM", "ms_ssim": "MS-SSIM", "lpips": "LPIPS"}


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
    one process measured alone. The last table is `published_table`, if there is any.

    Args:
        records: Records of one size, at least one.
    """
    grid = group(records)
    over = grid.over + (f" and {grid.seeds} seeds" if grid.seeds > 1 else "")
    known = [_table(grid, measure, over, records) for measure in MEASURES if measure.is_known(records)]
    published = published_table(records)
    return known if published is None else [*known, published]


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


def published_table(records: Sequence[MethodRecord]) -> Table | None:
    """Return the results of papers beside what was measured at their length; None if nothing was.

    Args:
        records: Records of one size.
    """
    cells = by_configuration(records)
    reported = published_results()
    found = [each for each in reported if each in cells]
    if not found:
        return None
    measures = [measure for measure in MEASURES if measure.is_known(records)]
    rows: list[list[str]] = []
    for count in sorted({each.num_gaussians for each in found}):
        rivals = [each for each in found if each.num_gaussians == count]
        ours = reference_of(rivals[0])
        for each in [*([ours] if ours in cells else []), *rivals]:
            rows.append(_format_row(cells, each, measures, reported.get(each)))
    headings = ["K", "method", "iterations", "images", *(SHORT[measure.field] for measure in measures)]
    headings += ["mean of all", "published", "in", "paper", "parameters", "MB"]
    side = "of full size" if records[0].size is None else f"at {records[0].size} × {records[0].size}"
    title = f"Published results, photos {side}; PSNR in dB; the mean of all is estimated from those that were fitted"
    notes = [
        f"The mean of all images is that of {OURS} over all that it has fitted, plus the mean difference from it over "
        "the images that both have fitted, with its standard error. Published means are over the 24 photos of Kodak."
    ]
    return Table(title, headings, rows, "rlrr" + "r" * (len(measures) + 2) + "llrr", notes)


def _format_row(
    cells: Cells,
    cell: Configuration,
    measures: Sequence[Measure],
    reported: Published | None,
) -> list[str]:
    """Return the texts of one configuration."""
    members, estimate = cells[cell], estimate_configuration(cells, cell)
    published = [MISSING, "", ""] if reported is None else [f"{reported.psnr:.2f}", reported.time, reported.source]
    return [
        f"{cell.num_gaussians:,}",
        cell.method,
        f"{cell.iterations:,}",
        str(estimate.measured),
        *(measure.format_values([measure.mean(members)])[0] for measure in measures),
        str(estimate),
        *published,
        f"{8 * cell.num_gaussians:,}",
        f"{fmean(record.bytes for record in members) / 1e6:.2f}",
    ]
