"""Decoded images on disk: to read a crop of one takes less time than to decode the whole PNG anew in every epoch."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastgs.io.files import atomic_write

_logger = logging.getLogger(__name__)


class DiskCache:
    """Folder of decoded images, which all processes of a machine share; each is decoded once.

    An image is found by its path, size, time of change, the size that it was scaled to, and whether it was rounded.
    Pixels are kept as they are, so that a cache changes no sample. A folder can be deleted at any time between runs.

    Args:
        folder: Folder, made when the first image is kept.
        rounded: True if scaled images are rounded to 8 bits.
    """

    def __init__(self, folder: str | Path, rounded: bool = False) -> None:
        self.folder = Path(folder).expanduser()
        self.rounded = rounded
        self._is_full = False

    def read(self, path: Path, size: int | None) -> NDArray[np.uint8] | Tensor | None:
        """Return the pixels of an image, of which only what is used is read from the disk; None if it is not kept.

        Args:
            path: File of the image.
            size: Shorter side that it is scaled to; None if it keeps its size.
        """
        try:
            pixels: NDArray[np.generic] = np.load(self._place(path, size), mmap_mode="c")
        except (OSError, ValueError, EOFError):  # not there, or damaged
            return None
        return torch.from_numpy(pixels) if pixels.dtype == np.float32 else np.asarray(pixels)

    def write(self, path: Path, size: int | None, pixels: NDArray[np.uint8] | Tensor) -> None:
        """Keep the pixels of an image; a disk that is full, or may not be written to, is named once in the log."""
        if self._is_full:
            return
        try:
            place = self._place(path, size)
            place.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(place) as temporary:
                np.save(temporary, pixels.numpy() if isinstance(pixels, Tensor) else pixels)
        except OSError as error:
            self._is_full = True
            _logger.warning("%s: cannot keep decoded images (%s); they are decoded anew", self.folder, error.strerror)

    def _place(self, path: Path, size: int | None) -> Path:
        status = path.stat()
        scaled = f"{size}{' rounded' if self.rounded and size is not None else ''}"
        facts = f"{path.resolve()}\n{status.st_size}\n{status.st_mtime_ns}\n{scaled}"
        name = hashlib.sha256(facts.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        return self.folder / name[:2] / f"{name}.npy"
