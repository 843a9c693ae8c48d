"""Version of the installed package."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache  # to look it up takes milliseconds, as long as a small fit
def installed_version() -> str:
    """Return the version of the installed package, as results and `fastgs --version` state it."""
    try:
        return version("fastgs")
    except PackageNotFoundError:
        return "unknown (not installed)"
