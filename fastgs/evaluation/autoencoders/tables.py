"""Records of autoencoders as Markdown: a row for each, by the size of the code."""

from __future__ import annotations

from collections.abc import Sequence

from fastgs.evaluation.autoencoders.records import AutoencoderRecord

# Title, field and format of what is compared; more is better.
_MEASURES = (("PSNR in dB", "psnr", ".2f"), ("SSIM", "ssim", ".4f"), ("probe", "probe_accuracy", ".1%"))
_HEADINGS = ("latent", "autoencoder", "model", "losses", *(title for title, _, _ in _MEASURES), "bytes", "ratio")


def sections(records: Sequence[AutoencoderRecord]) -> list[list[AutoencoderRecord]]:
    """Records by dataset and split; in each what has no code first, then by the size of the code."""
    found: dict[tuple[str, str, str, int], list[AutoencoderRecord]] = {}
    for record in records:
        found.setdefault((record.dataset, record.dataset_sha256, record.split, record.images), []).append(record)
    return [sorted(members, key=lambda record: record.latent or 0) for members in found.values()]


def markdown(records: Sequence[AutoencoderRecord]) -> str:
    """A table for each dataset and split; the best of each size of the code is bold.

    Args:
        records: at least one.
    """
    return "\n".join("\n".join(_lines(section)) + "\n" for section in sections(records))


def _lines(records: Sequence[AutoencoderRecord]) -> list[str]:
    """Title and table of a section."""
    first = records[0]
    over = "1 image" if first.images == 1 else f"{first.images:,} images"
    title = (
        f"{first.dataset}, {first.split} split, mean of {over}; best of each latent size in bold; bytes that keep an "
    )
    title += f"image, and the ratio of its {first.bytes_image:,} bytes of pixels to them"
    chances = [record.chance for record in records if record.chance is not None]
    if chances:
        title += f"; linear probe of the class, where {chances[0]:.1%} is chance"
    lines = [f"{title}:", "", f"| {' | '.join(_HEADINGS)} |", "|---:|---|---|---|---:|---:|---:|---:|---:|"]
    return lines + [_row(record, [each for each in records if each.latent == record.latent]) for record in records]


def _row(record: AutoencoderRecord, rivals: Sequence[AutoencoderRecord]) -> str:
    """The line of a record among those of its size, itself included."""
    latent = "–" if record.latent is None else f"{record.latent:,}"
    texts = [latent, record.autoencoder, record.kind, record.losses or "–"]
    for _, field, form in _MEASURES:
        value = getattr(record, field)
        text = "–" if value is None else format(value, form)
        scores = [score for each in rivals if (score := getattr(each, field)) is not None]
        # What looks equal is as good; what has no code has no rival.
        best = value is not None and record.latent is not None and text == format(max(scores), form)
        texts.append(f"**{text}**" if best else text)
    return f"| {' | '.join([*texts, f'{record.bytes:,}', f'{record.bytes_image / record.bytes:.2f}'])} |"
