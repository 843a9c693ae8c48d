"""Tables of codecs: means by codec and rate, and differences of rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from fastgs.evaluation.codecs.records import CodecRecord
from fastgs.evaluation.tables import IMAGE_MEASURES, MISSING, Grid, Measure, Table, count_images, group_by
from fastgs.metrics.bd_rate import Point, RateDifference, rate_difference

Cell = tuple[str, float]
Sample = tuple[str, str, int | None]

# Intervals of the reference's rates in bpp, for the differences of rate.
INTERVALS = ((0.1, 0.5), (0.1, 0.4), (0.15, 1.0))
# Share of an interval of PSNR from which on it counts as covered.
_WHOLE = 0.99


@dataclass(frozen=True, kw_only=True)
class CodecGrid(Grid[Cell, CodecRecord]):
    """Records of codecs by (curve, target rate); rates that were not reached are left out.

    Attributes:
        curves: Codecs, with their numbers of iterations if given, in order of appearance.
        targets: Target rates in bpp, ascending.
        curve_records: All records of each curve.
    """

    curves: list[str]
    targets: list[float]
    curve_records: dict[str, list[CodecRecord]]


def group(records: Sequence[CodecRecord]) -> CodecGrid:
    """Sort records of one size into cells."""
    reached = [record for record in records if record.psnr is not None]
    cells = group_by(reached, lambda record: (record.curve, record.bpp_target))
    curve_records = group_by(records, lambda record: record.curve)
    images = len({(record.image, record.sha256) for record in records})
    # Codecs that fit may have been run with several seeds, the others have none.
    samples = {curve: images * len({each.seed for each in members}) for curve, members in curve_records.items()}
    return CodecGrid(
        images=images,
        size=records[0].size,
        cells=cells,
        whole={cell for cell, members in cells.items() if len(members) == samples[cell[0]]},
        curves=list(curve_records),
        targets=sorted({record.bpp_target for record in records}),
        curve_records=curve_records,
    )


def tables(records: Sequence[CodecRecord]) -> list[Table]:
    """Return a table for each measure, a row for each codec and a column for each rate; and one of BD-rates.

    The best at each rate is bold. Behind the PSNR stands the mean rate of the files, and below the first table, which
    encoders wrote them of which images. If the first codec was measured at several efforts, each has its BD-rates.

    Args:
        records: Records of one size, at least one.

    Returns:
        The tables; none if there is one codec only, and it had no file that was small enough.
    """
    grid = group(records)
    found = [_means_table(grid, measure) for measure in IMAGE_MEASURES if measure.is_known(records)]
    if found:
        found[0] = replace(found[0], notes=describe(grid))
    return [*found, *differences_tables(grid)]


def differences_tables(grid: CodecGrid) -> list[Table]:
    """Return the BD-rates of the first curve, and of the other efforts of its codec; none if there is one curve."""
    if len(grid.curves) == 1:
        return []
    codecs = {curve: records[0] for curve, records in grid.curve_records.items()}
    first = codecs[grid.curves[0]].codec
    others = [curve for curve in grid.curves[1:] if codecs[curve].codec == first and codecs[curve].effort is not None]
    return [_differences_table(grid, curve) for curve in (grid.curves[0], *others)]


def differences(
    grid: CodecGrid, first: str, reference: str, interval: tuple[float, float]
) -> tuple[list[RateDifference], list[str]]:
    """Compare the rates of two curves, image by image.

    Args:
        grid: Records by cell.
        first: Name of the curve.
        reference: Name of the other curve.
        interval: Lowest and highest rate of the reference, in bpp.

    Returns:
        The differences of the images (and seeds) that have one, and for each of the others the reason why it has none.
    """
    points, reference_points = (_points(grid.curve_records[curve]) for curve in (first, reference))
    found: list[RateDifference] = []
    reasons: list[str] = []
    for sample, curve in points.items():
        image, digest, _ = sample
        # A reference that is not random has no seed.
        other = reference_points.get(sample) or reference_points.get((image, digest, None)) or []
        try:
            found.append(rate_difference(curve, other, interval))
        except ValueError as error:
            reasons.append(str(error))
    return found, reasons


def describe(grid: CodecGrid) -> list[str]:
    """Return lines that say which encoder wrote the files of each curve, with its settings, and of which images."""
    lines = []
    for curve, records in grid.curve_records.items():
        by_encoder = group_by(records, lambda record: record.encoder or "not recorded")
        counts = {encoder: len(members) for encoder, members in by_encoder.items()}
        several = len(counts) > 1
        names = [
            f"{encoder} ({count} of {len(records)} files)" if several else encoder for encoder, count in counts.items()
        ]
        lines.append(f"- Encoder of {curve}: {'; '.join(names)}")
    names = sorted({Path(record.image).stem for records in grid.curve_records.values() for record in records})
    return [*lines, f"- Images: {', '.join(names)}"]


def _points(records: Sequence[CodecRecord]) -> dict[Sample, list[Point]]:
    """Return (bpp, PSNR) of the files of each image and seed."""
    return {
        sample: [(each.bpp, each.psnr) for each in members if each.bpp is not None and each.psnr is not None]
        for sample, members in group_by(records, lambda record: (record.image, record.sha256, record.seed)).items()
    }


def _means_table(grid: CodecGrid, measure: Measure) -> Table:
    rated = measure.field == "psnr"
    note = "; in brackets the bits per pixel of the files, headers and all" if rated else ""
    rows = grid.format_rows(
        measure,
        grid.curves,
        grid.targets,
        key=lambda curve, target: (curve, target),
        note=_format_rate if rated else None,
    )
    headings = ["codec", *(f"{target:g} bpp" for target in grid.targets)]
    return Table(grid.table_title(measure, grid.over, note), headings, rows, alignment="l" + "r" * len(grid.targets))


def _format_rate(members: Sequence[CodecRecord]) -> str:
    return f" ({fmean(record.bpp or 0 for record in members):.3f})"


def _differences_table(grid: CodecGrid, first: str) -> Table:
    """Return the table of differences of rate of a curve, and in notes below it which images are left out and why."""
    columns = [f"{low:g} to {high:g} bpp" for low, high in INTERVALS]
    title = (
        f"BD-rate of {first}, {grid.over}: bits that it needs more, or fewer, for the PSNR that the other codec has in "
        "an interval of rates; in brackets the share of that PSNR which both have, where it is not all"
    )
    rows: list[list[str]] = []
    notes: list[str] = []
    for reference in grid.curves:
        if reference == first:
            continue
        rows.append([reference])
        for interval, column in zip(INTERVALS, columns, strict=True):
            found, reasons = differences(grid, first, reference, interval)
            rows[-1].append(_format_difference(found, len(reasons)))
            for reason, members in group_by(reasons, str).items():
                told = reason.replace("the codec", first).replace("the reference", reference)
                notes.append(f"- {reference}, {column}, {count_images(len(members))} left out: {told}")
    return Table(title, ["against", *columns], rows, alignment="l" + "r" * len(columns), notes=notes)


def _format_difference(found: Sequence[RateDifference], missing: int) -> str:
    """Return the text of a cell: mean difference, share of PSNR in common, and number of images if some are missing."""
    if not found:
        return MISSING
    text = f"{fmean(each.percent for each in found):+.1f}%".replace("-", "−")
    share = fmean(each.share for each in found)
    text += f" ({100 * share:.0f}%)" if share < _WHOLE else ""
    return text + (f", {len(found)} of {count_images(len(found) + missing)}" if missing else "")
