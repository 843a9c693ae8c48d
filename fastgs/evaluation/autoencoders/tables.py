"""Tables of autoencoders: a row for each, by the size of the code."""

from __future__ import annotations

from collections.abc import Sequence

from fastgs.evaluation.autoencoders.records import AutoencoderRecord
from fastgs.evaluation.tables import MISSING, Measure, Table, count_images, group_by

_MEASURES = (
    Measure("PSNR in dB", "psnr", ".2f"),
    Measure("SSIM", "ssim", ".4f"),
    Measure("probe", "probe_accuracy", ".1%"),
)
_HEADINGS = ("latent", "autoencoder", "model", "losses", *(measure.title for measure in _MEASURES), "bytes", "ratio")


def sections(records: Sequence[AutoencoderRecord]) -> list[list[AutoencoderRecord]]:
    """Return the records of each dataset and split: first those without a code, then by the size of the code."""
    found = group_by(records, lambda record: (record.dataset, record.dataset_sha256, record.split, record.images))
    return [sorted(members, key=lambda record: record.latent or 0) for members in found.values()]


def tables(records: Sequence[AutoencoderRecord]) -> list[Table]:
    """Return a table for each dataset and split; the best of each size of the code is bold.

    Args:
        records: Records, at least one.
    """
    return [_table(section) for section in sections(records)]


def _table(records: Sequence[AutoencoderRecord]) -> Table:
    first = records[0]
    title = (
        f"{first.dataset}, {first.split} split, mean of {count_images(first.images)}; best of each latent size in "
        f"bold; bytes that keep an image, and the ratio of its {first.bytes_image:,} bytes of pixels to them"
    )
    chances = [record.chance for record in records if record.chance is not None]
    if chances:
        title += f"; linear probe of the class, where {chances[0]:.1%} is chance"
    rows = [
        row for members in group_by(records, lambda record: record.latent).values() for row in _format_rivals(members)
    ]
    return Table(title, _HEADINGS, rows, alignment="rlllrrrrr")


def _format_rivals(records: Sequence[AutoencoderRecord]) -> list[list[str]]:
    """Return the rows of records whose codes have one size."""
    columns = []
    for measure in _MEASURES:
        # Records without a code do not compete.
        form = measure.format_values if records[0].latent is None else measure.format_rivals
        columns.append(form([getattr(record, measure.field) for record in records]))
    rows = []
    for record, texts in zip(records, zip(*columns, strict=True), strict=True):
        latent = MISSING if record.latent is None else f"{record.latent:,}"
        ratio = f"{record.bytes_image / record.bytes:.2f}"
        rows.append([latent, record.autoencoder, record.kind, record.losses or MISSING, *texts])
        rows[-1] += [f"{record.bytes:,}", ratio]
    return rows
