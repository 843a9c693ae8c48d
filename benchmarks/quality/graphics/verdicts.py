"""Verdicts on a Gaussian file for a picture, derived from the records alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

OURS = "fastgs"
NEAR = 0.5  # dB; files that differ by less are called level
SAME = 60.0  # dB; above it, errors are below half a step of 8 bits nearly everywhere, and a difference shows to nobody
TITLES = {"avif": "AVIF", "jpegxl": "JPEG XL", "webp": "WebP", "jpeg": "JPEG", "png": "PNG"}  # of formats

Record = dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """Files of one picture at one rate.

    Attributes:
        bpp: Most bits per pixel that the lossy files may have.
        ours: Record of the Gaussian file; its PSNR is None if there is none of this size.
        other: Record of the best image format; None if there is none of this size.
        lossless: Record of the smallest lossless file.
    """

    bpp: float
    ours: Record
    other: Record | None
    lossless: Record

    @property
    def lossless_fits(self) -> bool:
        """True if the lossless file is no larger than the rate."""
        return bool(self.lossless["bpp"] <= self.bpp)

    @property
    def margin(self) -> float:
        """PSNR of the Gaussian file minus that of the best image format, in dB, both taken as at most `SAME`."""
        ours, other = (
            -1.0 if record is None or record["psnr"] is None else min(record["psnr"], SAME)
            for record in (self.ours, self.other)
        )
        return ours - other

    @property
    def is_lost(self) -> bool:
        """True if another file of this size is clearly better."""
        return self.lossless_fits or self.margin < -NEAR

    def describe(self) -> str:
        """Return which file is better at this rate, in a few words."""
        rate = f"at {self.bpp:g} bpp"
        if self.ours["psnr"] is None:
            return f"no .fgs file {rate}"
        if self.other is None:
            return f"only .fgs {rate}"
        title = TITLES[self.other["codec"]]
        if abs(self.margin) <= NEAR:
            return f"level with {title} {rate}"
        if self.margin > 0:
            return f".fgs {self.margin:.1f} dB better than {title} {rate}"
        return f"{title} {-self.margin:.1f} dB better {rate}"


def compare(records: Iterable[Record]) -> list[Comparison]:
    """Return a comparison for each rate, the lowest first.

    Args:
        records: Records of one picture, of lossy and of lossless files.
    """
    records = list(records)
    lossless = min((record for record in records if record["lossless"]), key=lambda record: record["bytes"])
    lossy = [record for record in records if not record["lossless"]]
    comparisons = []
    for bpp in sorted({record["bpp_target"] for record in lossy}):
        here = [record for record in lossy if record["bpp_target"] == bpp]
        (ours,) = (record for record in here if record["codec"] == OURS)
        others = [record for record in here if record["codec"] != OURS and record["psnr"] is not None]
        other = max(others, key=lambda record: record["psnr"], default=None)
        comparisons.append(Comparison(bpp, ours, other, lossless))
    return comparisons


def describe(comparisons: Sequence[Comparison]) -> str:
    """Return the verdict on one picture in words: lossy files up to the rate from which lossless ones are smaller."""
    lossless = comparisons[0].lossless
    words = [each.describe() for each in comparisons if not each.lossless_fits]
    if any(each.lossless_fits for each in comparisons):
        words.append(f"lossless {TITLES[lossless['codec']]} from {lossless['bpp']:.2f} bpp on")
    return "; ".join(words)


def summarize(pictures: Mapping[str, Sequence[Comparison]]) -> str:
    """Return for which pictures a Gaussian file is the wrong tool at all rates, at some, and at none."""
    groups: dict[str, list[str]] = {"all": [], "some": [], "none": []}
    for name, comparisons in pictures.items():
        lost = [each.is_lost for each in comparisons]
        groups["all" if all(lost) else "some" if any(lost) else "none"].append(name)
    lines = {
        "all": "A Gaussian file is the wrong tool at every rate here for {}.",
        "some": "It is the wrong tool at some of the rates for {}.",
        "none": "No other file is clearly better at these rates for {}.",
    }
    return " ".join(lines[key].format(_join(names)) for key, names in groups.items() if names)


def _join(names: Sequence[str]) -> str:
    """Return names as a list in words, with an article each."""
    items = [f"the {name}" for name in names]
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
