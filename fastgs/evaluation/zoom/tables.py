"""Tables of enlarging: means by way and factor."""

from __future__ import annotations

from collections.abc import Sequence

from fastgs.evaluation.tables import IMAGE_MEASURES, Grid, Measure, Table, group_by
from fastgs.evaluation.zoom.records import ZoomRecord

Cell = tuple[str, float]

MEASURES = (
    IMAGE_MEASURES[0],
    Measure("SSIM", "ssim", ".4f"),
    IMAGE_MEASURES[2],
    Measure("PSNR in dB of the enlarged images, reduced again", "psnr_small", ".2f"),
)


def tables(records: Sequence[ZoomRecord]) -> list[Table]:
    """Return a table for each measure: a row for each way, a column for each factor.

    Args:
        records: Records of one size, at least one.
    """
    cells = group_by(records, lambda record: (name_of(record), record.zoom))
    samples = {(record.image, record.sha256) for record in records}
    grid: Grid[Cell, ZoomRecord] = Grid(
        images=len(samples),
        size=records[0].size,
        cells=cells,
        whole={cell for cell, members in cells.items() if len({each.image for each in members}) == len(samples)},
    )
    names = list(dict.fromkeys(name_of(record) for record in records))
    zooms = sorted({record.zoom for record in records})
    return [
        Table(
            grid.table_title(measure, grid.over),
            ["enlarged by", *(f"x{zoom:g}" for zoom in zooms)],
            grid.format_rows(measure, names, zooms, key=lambda name, zoom: (name, zoom)),
            alignment="l" + "r" * len(zooms),
        )
        for measure in MEASURES
        if measure.is_known(records)
    ]


def name_of(record: ZoomRecord) -> str:
    """Return the name of a way in tables: with K and iterations, if Gaussians are fitted."""
    if record.num_gaussians is None:
        return record.enlarger
    return f"{record.enlarger}, K = {record.num_gaussians:,}, {record.iterations:,} iterations"
