"""Icons with transparency as files: .fgs against lossy WebP with alpha, at equal sizes.

    python -m benchmarks.quality.alpha

The icons are drawn here, four times as large, and reduced. PSNR is that of premultiplied colours and alpha, of 8 bits.
"""

from __future__ import annotations

import argparse
import io
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from benchmarks.environment import run, write_results
from fastgs import render
from fastgs.codec import decode, encode
from fastgs.io.picture import read_picture
from fastgs.metrics.quality import psnr

LARGER = 4  # factor of the drawing before it is reduced, which makes its edges smooth


def draw_icons(side: int) -> dict[str, Image.Image]:
    """Return icons of side x side pixels on transparent ground: a badge, letters, and a soft shadow."""
    size = LARGER * side
    unit = size / 64

    def box(*numbers: float) -> list[float]:
        return [unit * number for number in numbers]

    badge = Image.new("RGBA", (size, size), (0, 0, 0, 0))
    draw = ImageDraw.Draw(badge)
    draw.ellipse(box(4, 4, 60, 60), fill=(32, 84, 160, 255))
    draw.ellipse(box(9, 9, 55, 55), fill=(240, 244, 250, 255))
    draw.polygon(
        box(32, 13, 37, 27, 51, 27, 40, 36, 44, 50, 32, 41, 20, 50, 24, 36, 13, 27, 27, 27), fill=(214, 60, 40, 255)
    )
    letters = Image.new("RGBA", (size, size), (0, 0, 0, 0))
    draw = ImageDraw.Draw(letters)
    for row in range(3):
        for column in range(4):
            x, y = 5 + 14.5 * column, 6 + 19 * row
            fill = (30 + 50 * column, 40 + 60 * row, 120, 255)
            draw.rectangle(box(x, y, x + 3, y + 13), fill=fill)
            draw.rectangle(box(x, y + 5 * (row % 3), x + 9, y + 5 * (row % 3) + 3), fill=fill)
            draw.line(box(x + 1, y + 12, x + 10, y + 2 + column), fill=fill, width=round(1.5 * unit))
    y, x = np.mgrid[:size, :size] / size - 0.5
    shadow = np.exp(-((x / 0.25) ** 2 + ((y - 0.3) / 0.08) ** 2))
    ramp = np.dstack([60 + 180 * (x + 0.5), 90 + 120 * (y + 0.5), 200 - 100 * x, 110 * shadow]).clip(0, 255)
    soft = Image.fromarray(ramp.round().astype(np.uint8))
    ImageDraw.Draw(soft).rounded_rectangle(box(14, 8, 50, 46), radius=8 * unit, fill=(250, 170, 40, 255))
    drawn = {"badge": badge, "letters": letters, "soft": soft}
    return {name: image.resize((side, side), Image.Resampling.LANCZOS) for name, image in drawn.items()}


def encode_webp(image: Image.Image, size: int) -> tuple[bytes, NDArray[np.uint8]] | None:
    """Return the best lossy WebP file with alpha of at most so many bytes, and its pixels; None if there is none."""
    best: tuple[bytes, NDArray[np.uint8]] | None = None
    for quality in range(0, 101, 2):
        for alpha_quality in (10, 30, 50, 70, 90, 100):
            buffer = io.BytesIO()
            image.save(buffer, "WEBP", quality=quality, alpha_quality=alpha_quality, method=6)
            data = buffer.getvalue()
            if len(data) > size:
                continue
            pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))
            if best is None or score(pixels, image) > score(best[1], image):
                best = data, pixels
    return best


def score(pixels: NDArray[np.uint8], image: Image.Image) -> float:
    """Return the PSNR of premultiplied colours and alpha in dB."""
    values = [_premultiply(np.asarray(each)) for each in (pixels, image)]
    return psnr(*values)


def _premultiply(pixels: NDArray[np.uint8]) -> torch.Tensor:
    values = torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)
    return torch.cat([values[:3] * values[3:], values[3:]])


def main() -> None:
    """Measure, print, and write benchmarks/results/alpha.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bpp", type=float, nargs="+", default=[0.5])
    parser.add_argument("--side", type=int, default=256, help="side of the icons in pixels")
    parser.add_argument("--iterations", type=int, default=None, help="number of steps of each fit")
    arguments = parser.parse_args()
    records: list[dict[str, Any]] = []
    for name, image in draw_icons(arguments.side).items():
        picture = read_picture(image)
        for bpp in arguments.bpp:
            result = encode(picture.values, alpha=picture.alpha, bpp=bpp, iterations=arguments.iterations)
            rendered = render(decode(result.data)).clamp(0, 1)
            webp = encode_webp(image, len(result.data))
            record = {
                "icon": name,
                "bpp": bpp,
                "fgs": {
                    "bytes": len(result.data),
                    "psnr": round(psnr((255 * rendered).round() / 255, picture.values), 3),
                },
                "webp": None if webp is None else {"bytes": len(webp[0]), "psnr": round(score(webp[1], image), 3)},
            }
            records.append(record)
            print(record, flush=True)
    print(write_results("alpha", vars(arguments), records))


if __name__ == "__main__":
    run(main)
