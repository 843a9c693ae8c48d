"""Imports that wait until a name is used, so that commands start without the libraries that they do not need."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def load(place: str) -> Any:
    """Return what a place such as "fastgs.codec.fastgs:SCHEME" stands for; its module is imported."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def lazy_names(package: str, modules: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` (PEP 562) for a package whose names are imported when they are first used.

    Type checkers do not see such names, so a package imports them under `TYPE_CHECKING`, too.

    Args:
        package: `__name__` of the package.
        modules: Modules by the names that come from them.

    Example:
        __getattr__, __dir__ = lazy_names(__name__, {"Gaussians": "fastgs.gaussians"})
    """

    def find(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = load(f"{modules[name]}:{name}")
        setattr(sys.modules[package], name, value)
        return value

    def list_names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *modules})

    return find, list_names
