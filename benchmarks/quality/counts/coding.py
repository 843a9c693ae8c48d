"""Fits and processor time that encoding to a PSNR or to a size takes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastgs.codec import encode, fastgs_encoder
from fastgs.io.images import load_image
from fastgs.methods import Result
from fastgs.metrics.quality import psnr
from fastgs.render import render


@dataclass
class _Fits:
    """Number of fits of the encoder."""

    count: int = 0


@contextmanager
def _counting() -> Iterator[_Fits]:
    """Count the fits that the encoder makes meanwhile."""
    fits, usual = _Fits(), fastgs_encoder.fit

    def counted(*arguments: Any, **options: Any) -> Result:
        fits.count += 1
        return usual(*arguments, **options)

    fastgs_encoder.fit = counted
    try:
        yield fits
    finally:
        fastgs_encoder.fit = usual


def measure_coding(
    photos: Sequence[Path], targets: Sequence[float], rates: Sequence[float], size: int | None
) -> Iterator[dict[str, Any]]:
    """Encode photos to PSNRs in dB and to rates in bits per pixel."""
    for path in photos:
        image = load_image(path, size)
        for name, value in [*(("target_psnr", each) for each in targets), *(("bpp", each) for each in rates)]:
            begin = time.process_time()
            with _counting() as fits:
                encoded = encode(image, **{name: value})  # type: ignore[arg-type]
            yield {
                "image": path.name,
                name: value,
                "fits": fits.count,
                "seconds": round(time.process_time() - begin, 2),
                "bytes": len(encoded.data),
                "bpp_file": round(8 * len(encoded.data) / image[0].numel(), 4),
                "psnr": round(psnr(render(encoded.gaussians), image), 3),
                "num_gaussians": len(encoded.gaussians),
            }
