"""Windows of pictures, and pictures that are read in windows."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from fastgs.io.pixels import FLIPS, Pixels


class Window(NamedTuple):
    """Part of a picture, in pixels.

    Attributes:
        top: First row.
        left: First column.
        height: Number of rows, at least 1.
        width: Number of columns, at least 1.
    """

    top: int
    left: int
    height: int
    width: int


class Windows(Protocol):
    """Picture on disk that is read in windows.

    Attributes:
        height: Height in pixels, after the turn by the EXIF orientation, as all windows are.
        width: Width in pixels.
    """

    height: int
    width: int

    def read(self, window: Window) -> Pixels:
        """Read a window within the picture; its colour profile was checked.

        Raises:
            ImageError: The file cannot be read, is damaged or cut short. The message begins with its path.
        """

    def close(self) -> None:
        """Close the file."""


def turn_back(window: Window, height: int, width: int, orientation: int) -> Window:
    """Return where the pixels of a window lie in the file.

    Args:
        window: Window of the turned picture.
        height: Height of the turned picture.
        width: Width of the turned picture.
        orientation: EXIF orientation; 1 turns nothing.
    """
    if orientation == 1:
        return window
    down, right = FLIPS[orientation]
    top = window.top if down == 1 else height - window.top - window.height
    left = window.left if right == 1 else width - window.left - window.width
    turned = Window(top, left, window.height, window.width)
    return Window(left, top, window.width, window.height) if orientation >= 5 else turned
