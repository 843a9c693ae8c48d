"""Pictures made by code, each from a seed: those to train on and, by other generators, those to measure on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Pixels = NDArray[np.float64]  # (H, W, 3) in [0, 1]
Color = tuple[int, int, int]
Maker = Callable[[np.random.Generator, int, int], Pixels]

# fmt: off
WORDS = [
    "file", "edit", "view", "insert", "window", "help", "the", "of", "and", "to", "in", "is", "that", "for", "it",
    "as", "was", "with", "be", "by", "on", "not", "he", "his", "but", "at", "are", "this", "have", "from", "or",
    "had", "an", "they", "which", "one", "you", "were", "all", "her", "she", "there", "would", "their", "we",
    "him", "been", "has", "when", "who", "will", "no", "more", "if", "out", "so", "said", "what", "up", "its",
    "about", "into", "than", "them", "can", "only", "other", "time", "new", "some", "could", "these", "two",
    "may", "first", "then", "do", "any",
]
# fmt: on


def draw_color(rng: np.random.Generator, low: int = 0, high: int = 256) -> Color:
    """Return a random colour, each of its values from `low` on and below `high`."""
    red, green, blue = (int(each) for each in rng.integers(low, high, 3))
    return red, green, blue


def to_pixels(image: Image.Image) -> Pixels:
    """Return the colours of an image."""
    return np.asarray(image.convert("RGB"), dtype=np.float64) / 255


def _lines(rng: np.random.Generator, count: int, most: int) -> Iterator[str]:
    for _ in range(count):
        yield " ".join(WORDS[index] for index in rng.integers(0, len(WORDS), int(rng.integers(1, most))))


def write_lines(
    draw: ImageDraw.ImageDraw, rng: np.random.Generator, box: tuple[int, int, int, int], color: Color, size: int
) -> None:
    """Fill a box with lines of text."""
    font = ImageFont.load_default(size)
    left, top, right, bottom = box
    step = round(size * float(rng.uniform(1.2, 1.8)))
    most = max(2, round((right - left) / (3.2 * size)))
    for row, line in zip(range(top, bottom - size, max(step, 4)), _lines(rng, 400, most), strict=False):
        draw.text((left, row), line, fill=color, font=font)


def screenshot(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """Draw windows with bars, buttons and text."""
    dark = rng.random() < 0.4
    paper = draw_color(rng, 10, 50) if dark else draw_color(rng, 225, 256)
    image = Image.new("RGB", (width, height), draw_color(rng) if rng.random() < 0.5 else paper)
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(1, 4))):
        left, top = int(rng.integers(-20, width // 2)), int(rng.integers(-20, height // 2))
        right, bottom = left + int(rng.integers(width // 3, width)), top + int(rng.integers(height // 3, height))
        paper = draw_color(rng, 10, 60) if dark else draw_color(rng, 220, 256)
        ink = draw_color(rng, 170, 256) if dark else draw_color(rng, 0, 90)
        draw.rectangle((left, top, right, bottom), fill=paper, outline=draw_color(rng) if rng.random() < 0.5 else None)
        bar = int(rng.integers(12, 30))
        draw.rectangle((left, top, right, top + bar), fill=draw_color(rng))
        for number in range(int(rng.integers(0, 6))):
            at = left + 6 + number * int(1.5 * bar)
            draw.ellipse((at, top + 3, at + bar - 6, top + bar - 3), fill=draw_color(rng))
        size = int(rng.integers(8, 22))
        side = int(rng.integers(0, width // 4)) if rng.random() < 0.5 else 0
        if side:
            draw.rectangle((left, top + bar, left + side, bottom), fill=draw_color(rng, 60, 220))
        if rng.random() < 0.85:
            write_lines(draw, rng, (left + side + 8, top + bar + 6, min(right, width), min(bottom, height)), ink, size)
        for _ in range(int(rng.integers(0, 4))):
            x, y = int(rng.integers(left, right)), int(rng.integers(top, bottom))
            draw.rounded_rectangle((x, y, x + 40, y + 16), 4, fill=draw_color(rng))
    return to_pixels(image)


def drawing(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """Draw flat shapes, with soft edges or hard ones."""
    factor = 4 if rng.random() < 0.7 else 1
    image = Image.new("RGB", (width * factor, height * factor), draw_color(rng))
    draw = ImageDraw.Draw(image)
    palette = [draw_color(rng) for _ in range(int(rng.integers(2, 9)))]
    extent = np.array([width, height]) * factor
    for _ in range(int(2 ** rng.uniform(0, 6))):
        fill = palette[int(rng.integers(len(palette)))]
        middle, radius = rng.uniform(0, 1, 2) * extent, extent.max() * 2 ** rng.uniform(-5, -1.3)
        kind = int(rng.integers(4))
        x, y = (float(each) for each in middle)
        if kind == 0:
            draw.ellipse((x - radius, y - radius * rng.uniform(0.3, 1), x + radius, y + radius), fill=fill)
        elif kind == 1:
            draw.rectangle((x - radius, y - radius * rng.uniform(0.1, 1), x + radius, y + radius), fill=fill)
        elif kind == 2:
            points = [tuple(middle + radius * rng.normal(size=2)) for _ in range(int(rng.integers(3, 8)))]
            draw.polygon(points, fill=fill)
        else:
            points = [tuple(middle + radius * rng.normal(size=2)) for _ in range(int(rng.integers(2, 6)))]
            draw.line(points, fill=fill, width=int(factor * rng.integers(1, 8)))
    return to_pixels(image.resize((width, height), Image.Resampling.BOX) if factor > 1 else image)


def icon(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """Draw a badge with a gradient, a ring and a letter."""
    image = Image.new("RGB", (width * 2, height * 2), draw_color(rng) if rng.random() < 0.5 else (255, 255, 255))
    draw = ImageDraw.Draw(image)
    inset = int(rng.integers(2, max(4, width // 3)))
    box = (inset, inset, 2 * width - inset, 2 * height - inset)
    shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
    shape(box, fill=draw_color(rng), outline=draw_color(rng), width=int(rng.integers(1, 12)))
    font = ImageFont.load_default(int(rng.uniform(0.4, 1.3) * height))
    draw.text((width, height), "ABCDEFGRSQ&?%#@"[int(rng.integers(15))], fill=draw_color(rng), font=font, anchor="mm")
    pixels = to_pixels(image.resize((width, height), Image.Resampling.BOX))
    if rng.random() < 0.5:
        pixels = np.clip(pixels * (1 - 0.5 * rng.random() * gradient(rng, height, width)), 0, 1)
    return pixels


def gradient(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """Return sums of a few smooth waves and slopes."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    image = np.ones((height, width, 1)) * rng.random(3)
    for _ in range(int(rng.integers(1, 6))):
        angle, frequency, phase = rng.uniform(0, 2 * math.pi), 2 ** rng.uniform(-2, 3), rng.uniform(0, 6)
        along = np.cos(angle) * x + np.sin(angle) * y
        image = image + (np.sin(frequency * 2 * along + phase))[..., None] * rng.normal(0, 0.3, 3)
    return np.clip(image, 0, 1)


def colored_noise(rng: np.random.Generator, height: int, width: int, power: float, channels: int = 3) -> Pixels:
    """Return noise of mean 0 and deviation 1 whose amplitude falls with frequency to a power."""
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    scale = np.maximum(np.hypot(fx, fy), 1 / max(height, width)) ** -power
    planes = [np.fft.irfft2(np.fft.rfft2(rng.normal(size=(height, width))) * scale, (height, width)) for _ in range(3)]
    planes = [plane / plane.std() for plane in planes]
    return np.stack([planes[min(channel, channels - 1)] for channel in range(3)], axis=2)


def noise(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """Return noise of one kind: white, coloured, gray, in blocks, or impulses."""
    strength, channels = 2 ** rng.uniform(-6, -1.7), 3 if rng.random() < 0.6 else 1
    kind = int(rng.integers(5))
    base = rng.uniform(0.3, 0.7, 3) if rng.random() < 0.6 else gradient(rng, height, width)
    if kind <= 1:
        return np.clip(base + strength * colored_noise(rng, height, width, 0.0, channels), 0, 1)
    if kind == 2:
        power = float(rng.uniform(0.3, 2))
        return np.clip(base + strength * colored_noise(rng, height, width, power, channels), 0, 1)
    if kind == 3:
        side = int(rng.integers(2, 12))
        blocks = rng.uniform(-1.7, 1.7, (height // side + 1, width // side + 1, 3))
        tiles: Pixels = np.kron(blocks, np.ones((side, side, 1)))[:height, :width].astype(np.float64)
        return np.clip(base + strength * tiles, 0, 1)
    hit = rng.random((height, width)) < 2 ** rng.uniform(-9, -3)
    image = np.ones((height, width, 1)) * base
    image[hit] = rng.integers(0, 2, (int(hit.sum()), 1)) * np.ones(3)
    return np.clip(image, 0, 1)


TRAINING: dict[str, Maker] = {
    "screenshot": screenshot,
    "drawing": drawing,
    "icon": icon,
    "gradient": gradient,
    "noise": noise,
}


def terminal(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """Draw lines of code in several colours, a line of status and a cursor."""
    image = Image.new("RGB", (width, height), draw_color(rng, 0, 45) if rng.random() < 0.6 else (253, 246, 227))
    draw, size = ImageDraw.Draw(image), int(rng.integers(9, 17))
    font = _other_font(size, "DejaVuSansMono.ttf")
    inks = [draw_color(rng, 90, 230) for _ in range(5)]
    for row in range(4, height - 2 * size, round(1.35 * size)):
        x = 4 + int(rng.integers(0, 5)) * 2 * size
        for word in next(_lines(rng, 1, 9)).split():
            draw.text((x, row), word + "(", fill=inks[int(rng.integers(5))], font=font)
            x += round(0.62 * size * (len(word) + 2))
    draw.rectangle((0, height - size - 6, width, height), fill=inks[0])
    draw.text((6, height - size - 5), "main.py  12:4", fill=(0, 0, 0), font=font)
    return to_pixels(image)


def chart(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """Draw bars or curves with axes and labels."""
    image = Image.new("RGB", (width, height), (255, 255, 255))
    draw, size = ImageDraw.Draw(image), int(rng.integers(9, 14))
    font, left, floor = _other_font(size, "DejaVuSans.ttf"), 30, height - 24
    for row in range(10, floor, (floor - 10) // 5):
        draw.line((left, row, width, row), fill=(225, 225, 225))
        draw.text((2, row - 6), f"{(floor - row) / 10:.0f}", fill=(60, 60, 60), font=font)
    if rng.random() < 0.5:
        count = int(rng.integers(5, 14))
        step = (width - left) / count
        for number in range(count):
            x = left + number * step
            draw.rectangle((x + 3, floor - rng.uniform(0.1, 0.95) * floor, x + step - 3, floor), fill=draw_color(rng))
            draw.text((x + 3, floor + 4), "ABCDEFGHIJKLMN"[number], fill=(0, 0, 0), font=font)
    else:
        for _ in range(int(rng.integers(2, 6))):
            walk = floor * (0.5 + 0.06 * np.cumsum(rng.normal(size=60)))
            points = [(left + (width - left) * at / 59, float(value)) for at, value in enumerate(walk)]
            draw.line(points, fill=draw_color(rng, 0, 200), width=int(rng.integers(1, 4)))
    draw.line((left, 0, left, floor, width, floor), fill=(0, 0, 0), width=2)
    return to_pixels(image)


def cells(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """Draw a map: flat regions around random places, with borders or without."""
    count = int(2 ** rng.uniform(2.5, 7))
    places, colors = rng.uniform(0, 1, (count, 2)) * (2 * height, 2 * width), rng.random((count, 3))
    y, x = np.mgrid[0 : 2 * height, 0 : 2 * width]
    distance = np.stack([(y - row) ** 2 + (x - column) ** 2 for row, column in places])
    nearest = distance.argmin(0)
    image = colors[nearest]
    if rng.random() < 0.5:
        edge = (np.diff(nearest, axis=0, append=nearest[-1:]) != 0) | (
            np.diff(nearest, axis=1, append=nearest[:, -1:]) != 0
        )
        image[edge] = 0
    return np.asarray(image.reshape(height, 2, width, 2, 3).mean((1, 3)), dtype=np.float64)


def cartoon(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """Draw blobs with outlines over a sky."""
    image = Image.new("RGB", (3 * width, 3 * height))
    for row in range(3 * height):
        ImageDraw.Draw(image).line((0, row, 3 * width, row), fill=(120 + 40 * row // (3 * height), 180, 235))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(3, 16))):
        angle = np.linspace(0, 2 * math.pi, 90)
        radius = (
            3 * width * 2 ** rng.uniform(-4, -1.8) * (1 + 0.2 * np.sin(rng.integers(2, 7) * angle + rng.uniform(0, 6)))
        )
        x, y = rng.uniform(0, 3, 2) * (width, height)
        points = list(zip((x + radius * np.cos(angle)).tolist(), (y + radius * np.sin(angle)).tolist(), strict=True))
        draw.polygon(points, fill=draw_color(rng, 40))
        draw.line([*points, points[0]], fill=(20, 20, 20), width=int(rng.integers(3, 12)))
    return to_pixels(image.resize((width, height), Image.Resampling.LANCZOS))


def speckle(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """Return multiplicative noise of a few pixels on a smooth ground."""
    plane = rng.exponential(size=(height, width))
    blurred = np.stack([np.roll(plane, shift, axis) for axis in (0, 1) for shift in (0, 1)]).mean(0)
    ground = 0.25 + 0.3 * gradient(rng, height, width)
    speckled: Pixels = np.clip(ground * (1 + rng.uniform(0.1, 0.7) * (blurred[..., None] - 1)), 0, 1)
    return speckled


def uniform_noise(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """Return uniform noise, sharp or blurred."""
    image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    pixels = to_pixels(image.filter(ImageFilter.GaussianBlur(float(rng.choice([0, 0.7, 1.5])))))
    return 0.5 + float(rng.uniform(0.1, 1)) * (pixels - 0.5)


def value_noise(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """Return octaves of interpolated random grids, such as clouds."""
    total = np.zeros((height, width, 3))
    for octave in range(1, 8):
        grid = Image.fromarray(rng.integers(0, 256, (2**octave, 2**octave, 3), dtype=np.uint8))
        total += to_pixels(grid.resize((width, height), Image.Resampling.BICUBIC)) * rng.uniform(0.45, 0.8) ** octave
    total -= total.min()
    return np.asarray(total / total.max(), dtype=np.float64)


HELD_OUT: dict[str, dict[str, Maker]] = {
    "screenshots": {"terminal": terminal, "chart": chart, "screenshot": screenshot},
    "drawings": {"cells": cells, "cartoon": cartoon, "drawing": drawing},
    "noise": {"speckle": speckle, "uniform": uniform_noise, "clouds": value_noise, "noise": noise},
}


def _other_font(size: int, name: str) -> ImageFont.FreeTypeFont:
    """Return a font that the pictures to train on do not have."""
    import matplotlib

    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/{name}", size)
