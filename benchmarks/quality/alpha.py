"""Icons with transparency as files: .fgs against lossy WebP with alpha, at equal sizes.

    python -m benchmarks.quality.alpha

The icons are drawn here, four times as large, and reduced, so that their edges are smooth. Both files are decoded to
RGBA of 8 bits, whose premultiplied colours and alpha give the PSNR. WebP is the best of several qualities of alpha,
each with the best quality of colours, that gives no larger file.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from torch import Tensor

from benchmarks.environment import run, write_results
from fastgs.codec import decode_image, encode
from fastgs.metrics.quality import psnr

LARGER = 4  # factor of the drawing before it is reduced
UNITS = 256  # coordinates of the drawings are in these parts of a side
ALPHA_QUALITIES = (*range(0, 100, 10), 95, 100)  # of WebP

Plane = NDArray[np.float64]


class Drawing:
    """Icon on transparent ground, to which shapes are added one over the other.

    Args:
        side: Height and width in pixels.

    Attributes:
        pixels: (4, side, side) premultiplied RGBA in [0, 1].
        x, y: (side, side) coordinates of the pixels in [0, 1], for gradients.
    """

    def __init__(self, side: int) -> None:
        self.side = side
        self.pixels = np.zeros((4, side, side))
        self.y, self.x = (np.mgrid[:side, :side] + 0.5) / side

    def mask(self, draw: Callable[[ImageDraw.ImageDraw, float], None], blur: float = 0) -> Plane:
        """Return the coverage of a shape, in [0, 1].

        Args:
            draw: Function that draws it, given the size of a unit in pixels of the large drawing.
            blur: Standard deviation of a blur in units.
        """
        unit = LARGER * self.side / UNITS
        image = Image.new("L", (LARGER * self.side,) * 2)
        draw(ImageDraw.Draw(image), unit)
        image = image.filter(ImageFilter.GaussianBlur(blur * unit))
        return np.asarray(image.resize((self.side,) * 2, Image.Resampling.BOX), np.float64) / 255

    def add(self, mask: Plane, *color: Plane | float) -> None:
        """Lay a colour (R, G, B), constant or a gradient, over what there is, where a mask covers it."""
        colors = np.stack([np.broadcast_to(each, mask.shape) for each in color]).clip(0, 1)
        self.pixels = np.concatenate([colors * mask, mask[None]]) + self.pixels * (1 - mask)

    def image(self) -> Image.Image:
        """Return the icon with straight alpha."""
        return to_image(torch.from_numpy(self.pixels))


def draw_text(text: str, size: float, y: float, stroke: float = 0) -> Callable[[ImageDraw.ImageDraw, float], None]:
    """Return a function that draws a centred line of text in the font that comes with Pillow."""

    def draw(pen: ImageDraw.ImageDraw, unit: float) -> None:
        font = ImageFont.load_default(round(size * unit))
        pen.text((128 * unit, y * unit), text, 255, font, anchor="mm", stroke_width=round(stroke * unit))

    return draw


def draw_badge(side: int) -> Drawing:
    """Draw letters on a rounded square with a gradient and a soft shadow."""
    icon = Drawing(side)
    square = [(20, 16), (236, 232)]

    def draw(shift: float) -> Callable[[ImageDraw.ImageDraw, float], None]:
        return lambda pen, unit: pen.rounded_rectangle(
            [(x * unit, (y + shift) * unit) for x, y in square], 44 * unit, 255
        )

    icon.add(0.4 * icon.mask(draw(10), blur=7), 0, 0, 0)
    ramp = (icon.x + icon.y) / 2
    icon.add(icon.mask(draw(0)), 0.95 - 0.75 * ramp, 0.35 + 0.1 * ramp, 0.3 + 0.6 * ramp)
    icon.add(icon.mask(draw_text("Fg", 140, 118, 3)), 1, 1, 1)
    return icon


def draw_wordmark(side: int) -> Drawing:
    """Draw an open ring with a gradient over two lines of text."""
    icon = Drawing(side)

    def draw_ring(pen: ImageDraw.ImageDraw, unit: float) -> None:
        pen.ellipse([78 * unit, 20 * unit, 178 * unit, 120 * unit], 255)
        pen.ellipse([100 * unit, 42 * unit, 156 * unit, 98 * unit], 0)
        pen.polygon([128 * unit, 70 * unit, 200 * unit, 30 * unit, 200 * unit, 110 * unit], 0)

    icon.add(icon.mask(draw_ring), 0.1 + 0.8 * icon.x, 0.6 - 0.3 * icon.x, 0.9 - 0.7 * icon.x)
    icon.add(icon.mask(draw_text("gaussian", 52, 165, 1)), 0.15, 0.17, 0.25)
    icon.add(icon.mask(draw_text("two dimensions", 26, 212)), 0.4, 0.42, 0.5)
    return icon


def draw_globe(side: int) -> Drawing:
    """Draw a globe with a highlight, half transparent lines and letters, over a soft shadow."""
    icon = Drawing(side)

    def draw_disc(pen: ImageDraw.ImageDraw, unit: float) -> None:
        pen.ellipse([28 * unit, 16 * unit, 228 * unit, 216 * unit], 255)

    def draw_shadow(pen: ImageDraw.ImageDraw, unit: float) -> None:
        pen.ellipse([40 * unit, 206 * unit, 216 * unit, 240 * unit], 255)

    def draw_lines(pen: ImageDraw.ImageDraw, unit: float) -> None:
        for half in (20, 50):
            box = [(128 - half) * unit, 16 * unit, (128 + half) * unit, 216 * unit]
            pen.ellipse(box, outline=255, width=round(3 * unit))
        for y in (66, 116, 166):
            pen.line([28 * unit, y * unit, 228 * unit, y * unit], 255, round(3 * unit))

    icon.add(0.5 * icon.mask(draw_shadow, blur=8), 0, 0, 0)
    disc = icon.mask(draw_disc)
    radius = np.hypot(icon.x - 0.38, icon.y - 0.32)
    light = np.exp(-((radius / 0.28) ** 2))
    icon.add(disc, 0.2 + 0.6 * light, 0.55 + 0.4 * light - 0.3 * radius, 0.95 - 0.5 * radius)
    icon.add(0.55 * np.minimum(icon.mask(draw_lines), disc), 1, 1, 1)
    icon.add(icon.mask(draw_text("2D", 84, 116, 4)), 1, 0.8, 0.2)
    return icon


ICONS = {"badge": draw_badge, "wordmark": draw_wordmark, "globe": draw_globe}


def to_image(pixels: Tensor) -> Image.Image:
    """Return premultiplied (4, H, W) pixels as an RGBA image of 8 bits, with straight alpha."""
    pixels = pixels.clamp(0, 1)
    colors = torch.where(pixels[3:] > 0, pixels[:3] / pixels[3:].clamp(min=1e-6), 0).clamp(0, 1)
    straight = (255 * torch.cat([colors, pixels[3:]])).round().to(torch.uint8)
    return Image.fromarray(straight.permute(1, 2, 0).contiguous().numpy())


def to_pixels(image: Image.Image) -> Tensor:
    """Return the premultiplied (4, H, W) pixels of an RGBA image."""
    straight = torch.from_numpy(np.array(image.convert("RGBA"))).permute(2, 0, 1).float() / 255
    return torch.cat([straight[:3] * straight[3:], straight[3:]])


def encode_webp(image: Image.Image, size: int) -> bytes | None:
    """Return the best lossy WebP file with alpha of at most so many bytes; None if there is none.

    For each quality of alpha, the largest quality of colours is found by bisection.
    """
    target, best, highest = to_pixels(image), None, 0.0
    for alpha_quality in ALPHA_QUALITIES:
        low, high, found = -1, 101, b""
        while high - low > 1:
            middle = (low + high) // 2
            stream = io.BytesIO()
            image.save(stream, "WEBP", quality=middle, alpha_quality=alpha_quality, method=6)
            if stream.tell() > size:
                high = middle
            else:
                low, found = middle, stream.getvalue()
        if found:
            score = psnr(open_pixels(found), target)
            if best is None or score > highest:
                best, highest = found, score
    return best


def open_pixels(data: bytes) -> Tensor:
    """Return the premultiplied (4, H, W) pixels of a file."""
    return to_pixels(Image.open(io.BytesIO(data)))


def measure(image: Image.Image, bpp: float, iterations: int | None, seed: int) -> dict[str, Any]:
    """Return bytes and PSNR of both codecs at a rate."""
    target = to_pixels(image)
    encoded = encode(target, alpha=True, bpp=bpp, iterations=iterations, seed=seed)
    data = encoded.data
    decoded = to_pixels(to_image(decode_image(data)))
    webp = encode_webp(image, len(data))
    return {
        "fgs": {
            "bytes": len(data),
            "psnr": round(psnr(decoded, target), 3),
            "num_gaussians": len(encoded.gaussians),
        },
        "webp": None if webp is None else {"bytes": len(webp), "psnr": round(psnr(open_pixels(webp), target), 3)},
    }


def main() -> None:
    """Measure, print, and write benchmarks/results/alpha.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bpp", type=float, nargs="+", default=[0.25, 0.5], help="bits per pixel")
    parser.add_argument("--side", type=int, nargs="+", default=[256, 512], help="side of the icons in pixels")
    parser.add_argument("--iterations", type=int, help="number of steps of each fit, by default that of the scheme")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="alpha", help="name of the JSON file in benchmarks/results")
    arguments = parser.parse_args()
    records: list[dict[str, Any]] = []
    for side in arguments.side:
        for name, draw in ICONS.items():
            image = draw(side).image()
            for bpp in arguments.bpp:
                record = {"icon": name, "side": side, "bpp": bpp}
                record |= measure(image, bpp, arguments.iterations, arguments.seed)
                records.append(record)
                print(record, flush=True)
    settings = {key: value for key, value in vars(arguments).items() if key != "name"}
    print(write_results(arguments.name, settings, records))


if __name__ == "__main__":
    run(main)
