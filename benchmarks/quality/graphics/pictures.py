"""Ten pictures that are no photos, each drawn by code from a seed: two have transparency."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from benchmarks.quality import alpha
from benchmarks.quality.counts import drawn
from benchmarks.quality.counts.drawn import Maker, Pixels

LARGER = 3  # factor of a drawing before it is reduced, for smooth edges
FIRST_SEED = 10_000_000  # no model was trained on pictures of these seeds, see counts/


def scan(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """Draw a page of text as a scanner sees it: slightly turned, blurred, on paper with noise and a shadow."""
    page = Image.new("RGB", (width, height), (247, 244, 236))
    margin = width // 16
    ink = drawn.draw_color(rng, 20, 60)
    # Lines are as long as suits the box: one that is wider than the page fills the page.
    drawn.write_lines(ImageDraw.Draw(page), rng, (margin, margin, width * 5 // 4, height - margin), ink, 11)
    angle = float(rng.uniform(0.5, 1.5))
    page = page.rotate(angle, Image.Resampling.BICUBIC, fillcolor=(247, 244, 236))
    sharp = drawn.to_pixels(page.filter(ImageFilter.GaussianBlur(0.5)))
    shadow = 1 - 0.25 * np.exp(-np.arange(width) / (width / 10))
    grain = 0.012 * drawn.colored_noise(rng, height, width, 0.3, channels=1)
    return np.clip(sharp * shadow[:, None] + grain, 0, 1)


def comic(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """Draw panels of black lines on white: a sun with hatching, hills, and balloons with text."""
    image = Image.new("L", (LARGER * width, LARGER * height), 255)
    pen, unit = ImageDraw.Draw(image), LARGER * min(height, width) / 256
    line = max(1, round(2 * unit))
    middle, floor = image.width // 2, image.height
    for left, right in ((0, middle), (middle, image.width)):
        box = (left + 6 * unit, 6 * unit, right - 6 * unit, floor - 6 * unit)
        x, y, radius = rng.uniform(left + 40 * unit, right - 40 * unit), floor * rng.uniform(0.5, 0.6), 25 * unit
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline=0, width=line)
        for angle in np.arange(0, 2 * np.pi, np.pi / 12):
            near, far = 1.2 * radius, radius * rng.uniform(1.4, 1.8)
            along = np.array([np.cos(angle), np.sin(angle)])
            pen.line([tuple((x, y) + near * along), tuple((x, y) + far * along)], 0, line)
        across = np.linspace(box[0], box[2], 60)
        for level in (0.72, 0.82):
            hill = floor * (level + 0.05 * np.sin(rng.uniform(1, 3) * across / middle * 6 + rng.uniform(0, 6)))
            ground = [*zip(across.tolist(), hill.tolist(), strict=True), (box[2], box[3]), (box[0], box[3])]
            pen.polygon(ground, fill=255, outline=0, width=line)
        for place in rng.uniform((box[0], 0.9 * floor), (box[2] - 8 * unit, floor - 14 * unit), (40, 2)):
            pen.line([tuple(place), tuple(place + 7 * unit)], 0, line)
        balloon = (left + 14 * unit, 14 * unit, right - 14 * unit, 66 * unit)
        pen.rounded_rectangle(balloon, 16 * unit, fill=255, outline=0, width=line)
        words = (int(balloon[0] + 12 * unit), int(22 * unit), int(balloon[2] - 8 * unit), int(62 * unit))
        text = Image.new("RGB", image.size, "white")
        drawn.write_lines(ImageDraw.Draw(text), rng, words, (0, 0, 0), round(11 * unit))
        image.paste(ImageChops.darker(image, text.convert("L")))
        pen.rectangle(box, outline=0, width=2 * line)
    return drawn.to_pixels(image.resize((width, height), Image.Resampling.BOX))


def pixel_art(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """Draw a scene of large square pixels of few colours: sky with stars, mirrored creatures, and ground of tiles."""
    side = max(height, width) // 64
    rows, columns = -(-height // side), -(-width // side)
    palette = rng.integers(40, 256, (8, 3))
    cells = np.zeros((rows, columns), np.int64)
    cells[rng.random(cells.shape) < 0.02] = 1
    ground = rows * 3 // 4
    tile = rng.integers(2, 5, (8, 8))
    cells[ground:] = np.tile(tile, (rows // 8 + 1, columns // 8 + 1))[: rows - ground, :columns]
    for top in range(4, ground - 10, 14):
        for left in range(int(rng.integers(2, 8)), columns - 12, 16):
            half = rng.random((10, 5)) < 0.55
            body = np.concatenate([half, half[:, ::-1]], axis=1)
            cells[top : top + 10, left : left + 10][body] = rng.integers(5, 8)
    palette[0] = (24, 20, 48)
    pixels: NDArray[np.int64] = np.kron(palette[cells], np.ones((side, side, 1), np.int64))[:height, :width]
    return pixels / 255


OPAQUE: dict[str, Maker] = {
    "screenshot": drawn.terminal,
    "scanned page": scan,
    "chart": drawn.chart,
    "flat drawing": drawn.drawing,
    "map": drawn.cells,
    "comic": comic,
    "gradient": drawn.gradient,
    "pixel art": pixel_art,
}
TRANSPARENT = {"transparent logo": alpha.draw_wordmark, "transparent icon": alpha.draw_globe}
NAMES = (*OPAQUE, *TRANSPARENT)


def draw(name: str, side: int, seed: int) -> Image.Image:
    """Return a picture of 8 bits: RGB, or RGBA with straight alpha.

    Args:
        name: Name in `NAMES`.
        side: Height and width in pixels, at least 64.
        seed: Number of the picture, from 0 on; the transparent ones are the same for each.
    """
    if name in TRANSPARENT:
        return TRANSPARENT[name](side).image()
    pixels = OPAQUE[name](np.random.default_rng(FIRST_SEED + seed), side, side)
    return Image.fromarray(np.round(255 * pixels).astype(np.uint8))
