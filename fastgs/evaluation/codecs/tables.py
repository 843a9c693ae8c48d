"""Records of codecs as Markdown: means by codec and rate, and differences of rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from fastgs.evaluation.codecs.records import CodecRecord
from fastgs.metrics.bd_rate import Point, RateDifference, rate_difference

Cell = tuple[str, float]
Sample = tuple[str, str, int | None]

INTERVALS = ((0.1, 0.5), (0.1, 0.4), (0.15, 1.0))  # bpp of the rival, for the differences of rate

# Title, field, format, and whether more is better.
_MEASURES = (
    ("PSNR in dB", "psnr", ".2f", True),
    ("MS-SSIM", "ms_ssim", ".4f", True),
    ("LPIPS (less is better)", "lpips", ".4f", False),
)
_WHOLE = 0.99  # share of an interval; what is missing is not worth saying


@dataclass(frozen=True)
class Rates:
    """Records by cell.

    Attributes:
        curves: codecs, with their numbers of iterations where given, in order of appearance.
        targets: bpp, ascending.
        images: number of images that there are records of.
        cells: the files of each (curve, target) that has any; rates that were not reached are left out.
        whole: the cells with a file for every image and seed of the curve; means of others would not compare.
        members: all records of each curve.
    """

    curves: list[str]
    targets: list[float]
    images: int
    cells: dict[Cell, list[CodecRecord]]
    whole: set[Cell]
    members: dict[str, list[CodecRecord]]


def group(records: Sequence[CodecRecord]) -> Rates:
    """Sort records of one size into cells."""
    cells: dict[Cell, list[CodecRecord]] = {}
    members: dict[str, list[CodecRecord]] = {}
    for record in records:
        members.setdefault(record.curve, []).append(record)
        if record.psnr is not None:
            cells.setdefault((record.curve, record.bpp_target), []).append(record)
    images = len({(record.image, record.sha256) for record in records})
    samples = {curve: images * len({record.seed for record in each}) for curve, each in members.items()}
    return Rates(
        curves=list(members),
        targets=sorted({record.bpp_target for record in records}),
        images=images,
        cells=cells,
        whole={cell for cell, each in cells.items() if len(each) == samples[cell[0]]},
        members=members,
    )


def markdown(records: Sequence[CodecRecord]) -> str:
    """A table for each measure, a row for each codec and a column for each rate; and one of differences of rate.

    The best at each rate is bold. Behind the PSNR stands the mean rate of the files. A mean over fewer images than
    there are is marked as such, and never bold.

    Args:
        records: of one size, at least one.
    """
    rates = group(records)
    side = records[0].size
    over = f"mean of {_images(rates.images)} {'of full size' if side is None else f'at {side} × {side}'}"
    lines: list[str] = []
    for title, field, form, more in _MEASURES:
        if any(getattr(record, field) is not None for record in records):
            note = "; in brackets the bits per pixel of the files, headers and all" if field == "psnr" else ""
            lines += [f"{title}, {over}; best in bold{note}:", "", *_rows(rates, field, form, more), ""]
    if len(rates.curves) > 1:
        lines += [*_difference_lines(rates, over), ""]
    return "\n".join(lines[:-1]) + "\n" if lines else f"No file was small enough, {over}.\n"


def differences(rates: Rates, rival: str, interval: tuple[float, float]) -> tuple[list[RateDifference], dict[str, int]]:
    """The difference of rate of the first codec against another one, for each image.

    Args:
        rates: from `group`.
        rival: a curve of `rates`.
        interval: of its rates in bpp.

    Returns:
        The differences of the images (and seeds) that have one; and for how many others there is none, by reason.
    """
    ours, theirs = (_points(rates.members[curve]) for curve in (rates.curves[0], rival))
    found: list[RateDifference] = []
    reasons: dict[str, int] = {}
    for sample, points in ours.items():
        image, digest, _ = sample
        # What is not random has no seed.
        reference = theirs.get(sample) or theirs.get((image, digest, None)) or []
        try:
            found.append(rate_difference(points, reference, interval))
        except ValueError as error:
            reasons[str(error)] = reasons.get(str(error), 0) + 1
    return found, reasons


def _points(records: Sequence[CodecRecord]) -> dict[Sample, list[Point]]:
    """(bpp, PSNR) of the files of each image and seed."""
    points: dict[Sample, list[Point]] = {}
    for record in records:
        mine = points.setdefault((record.image, record.sha256, record.seed), [])
        if record.bpp is not None and record.psnr is not None:
            mine.append((record.bpp, record.psnr))
    return points


def _difference_lines(rates: Rates, over: str) -> list[str]:
    """The table of differences of rate, and below it what it lacks."""
    first = rates.curves[0]
    columns = [f"{low:g} to {high:g} bpp" for low, high in INTERVALS]
    title = f"BD-rate of {first}, {over}: bits that it needs more, or fewer, for the PSNR that the other codec has in "
    title += "an interval of rates; in brackets the share of that PSNR which both have, where it is not all:"
    lines = [title, "", f"| against | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
    notes: list[str] = []
    for rival in rates.curves[1:]:
        texts = []
        for interval, column in zip(INTERVALS, columns, strict=True):
            found, reasons = differences(rates, rival, interval)
            texts.append(_difference_text(found, reasons))
            for reason, count in reasons.items():
                told = reason.replace("the codec", first).replace("the reference", rival)
                notes.append(f"- {rival}, {column}, {_images(count)} left out: {told}")
        lines.append(f"| {rival} | {' | '.join(texts)} |")
    return [*lines, "", *notes] if notes else lines


def _difference_text(found: Sequence[RateDifference], reasons: dict[str, int]) -> str:
    """What stands in a cell."""
    if not found:
        return "–"
    text = f"{fmean(each.percent for each in found):+.1f}%".replace("-", "−")
    share = fmean(each.share for each in found)
    text += f" ({100 * share:.0f}%)" if share < _WHOLE else ""
    total = len(found) + sum(reasons.values())
    return text + (f", {len(found)} of {_images(total)}" if reasons else "")


def _rows(rates: Rates, field: str, form: str, more: bool) -> list[str]:
    """The lines of a table of means."""
    columns = [f"{target:g} bpp" for target in rates.targets]
    lines = [f"| codec | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
    best: dict[float, str] = {}
    for target in rates.targets:
        rivals = [cell for curve in rates.curves if (cell := (curve, target)) in rates.whole]
        means = [mean for cell in rivals if (mean := _mean(rates.cells[cell], field)) is not None]
        if means:
            best[target] = format(max(means) if more else min(means), form)  # what looks equal is as good
    for curve in rates.curves:
        texts = [_text(rates, (curve, target), field, form, best.get(target)) for target in rates.targets]
        lines.append(f"| {curve} | {' | '.join(texts)} |")
    return lines


def _text(rates: Rates, cell: Cell, field: str, form: str, best: str | None) -> str:
    """What stands in a cell."""
    members = rates.cells.get(cell, [])
    mean = _mean(members, field)
    if mean is None:
        return "–"
    text = format(mean, form)
    if cell in rates.whole and text == best:
        text = f"**{text}**"
    if field == "psnr":
        text += f" ({fmean(each.bpp or 0 for each in members):.3f})"
    if cell not in rates.whole:
        text += f", {len({(each.image, each.sha256) for each in members})} of {_images(rates.images)}"
    return text


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


def _mean(members: Sequence[CodecRecord], field: str) -> float | None:
    """The mean of a field; None if there is nothing, or not everywhere."""
    values = [getattr(each, field) for each in members]
    return None if not values or None in values else fmean(values)
