"""Arguments and damaged images for the tests of the command line."""

import json
from pathlib import Path

import numpy as np
from image_files import png
from PIL import Image
from skimage import data

ROOT = Path(__file__).resolve().parents[2]
HEIGHT, WIDTH = 48, 64  # of `photo_file`
QUICK = ("--num-gaussians", "120", "--iterations", "3")
QUICK_ENCODE = ("-k", 60, "--iterations", 5)


def read_report(folder: Path) -> list[dict]:
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def make_bad_files() -> dict[str, bytes]:
    """Make files that are no images, by name."""
    photo = (ROOT / "assets" / "coffee.png").read_bytes()
    return {
        "bomb.png": png(60_000, 60_000, 8, 2, b""),
        "cut.png": photo[: len(photo) // 2],
        "empty.png": b"",
        "text.png": b"this is no image\n",
    }


def make_photos(folder: Path, count: int, side: int = 24) -> Path:
    """Write crops of a photo, all different, as PNG."""
    folder.mkdir(exist_ok=True)
    photo = data.coffee()
    for number in range(count):
        top, left = 7 * (number % 40), 9 * (number // 40)
        crop = np.ascontiguousarray(photo[top : top + side, left : left + side])
        Image.fromarray(crop).save(folder / f"photo{number:03d}.png")
    return folder


def read_files(folder: Path) -> dict[str, bytes]:
    """Return all files by name, but for those that hold times."""
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.is_file() and not path.suffix.startswith(".json")
    }
