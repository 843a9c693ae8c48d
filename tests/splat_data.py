"""Small datasets of Gaussians for tests."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from fastgs.splats.making import make
from fastgs.splats.shards import Settings
from fastgs.splats.sources import find_sources, listing


def make_splats(folder: Path, count=12, size=16, num_gaussians=64, initialization="grid") -> Path:
    """Make a dataset of discs in different places and colours, of two classes."""
    for i in range(count):
        image = Image.new("RGB", (size, size), (20 * i % 255, 90, 60))
        x, y = np.random.default_rng(i).uniform(0, size / 2, 2)
        ImageDraw.Draw(image).ellipse((x, y, x + size / 2, y + size / 3), fill=(250 - 20 * i % 255, 40, 200))
        place = folder / "images" / ("even", "odd")[i % 2] / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        image.save(place)
    sources = find_sources(folder / "images")
    settings = Settings(num_gaussians, initialization, 5, 0, size, None, 1024, listing(sources))
    (folder / "splats").mkdir()
    make(sources, settings, folder / "splats")
    return folder / "splats"
