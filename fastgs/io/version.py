"""Version of the installed package."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def installed_version() -> str:
    """Return the version of the installed package, as results and `fastgs --version` state it."""
    try:
        return version("fastgs")
    except PackageNotFoundError:
        return "unknown (not installed)"
