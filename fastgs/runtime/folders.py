"""Folders of this package and of its user, found without numba."""

from __future__ import annotations

import os
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def cache_folder() -> Path:
    """Return the user's folder for the kernels of all versions of this package."""
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "fastgs" / "Cache"
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches" / "fastgs"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "fastgs"
    return base / "kernels"
