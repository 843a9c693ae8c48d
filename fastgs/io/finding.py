"""Image files in folders."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fastgs.io.pixels import ImageError

# Suffixes of the files that `find_images` takes from a folder; and those that `read_picture` reads besides, for high
# dynamic range, which `fastgs.io.images.load_image` refuses.
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".avif", ".jp2", ".j2k"})
PICTURE_SUFFIXES = SUFFIXES | {".hdr", ".exr"}


def find_images(paths: str | Path | Iterable[str | Path], suffixes: frozenset[str] = SUFFIXES) -> list[Path]:
    """List image files, in the order given.

    A folder gives the files in it that have one of the suffixes, in any case, sorted by name; hidden files and
    subfolders are left out. Any other path is kept as it is, even one that does not exist: `load_image` reports what
    is wrong with it, and the other images are still read.

    Args:
        paths: Path of a file or folder, or several of them.
        suffixes: Suffixes of the files to take from a folder, in lower case: `SUFFIXES`, or `PICTURE_SUFFIXES`.

    Raises:
        ImageError: A folder holds no image or cannot be listed.
    """
    found: list[Path] = []
    for path in [paths] if isinstance(paths, str | Path) else paths:
        path = Path(path)
        found += _list_folder(path, suffixes) if path.is_dir() else [path]
    return found


def _list_folder(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    """List the image files of a folder, sorted by name."""
    try:
        files = sorted(
            path
            for path in folder.iterdir()
            if path.suffix.lower() in suffixes and not path.name.startswith(".") and not path.is_dir()
        )
    except OSError as error:
        raise ImageError(f"{folder}: cannot be listed ({error.strerror}); check its permissions") from error
    if not files:
        raise ImageError(f"{folder}: holds no image; expected files that end in {', '.join(sorted(suffixes))}")
    return files
