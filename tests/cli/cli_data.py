"""Arguments and damaged images for the tests of the command line."""

import json
from pathlib import Path

from image_files import png

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
