"""Imports that wait until a name is used, so that commands start without the libraries that they do not need."""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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


def call(place: str, *arguments: Any) -> Any:
    """Call what a place stands for; as a `functools.partial` it goes to another process without its module."""
    with importing():
        function = load(place)
    return function(*arguments)


@contextmanager
def importing() -> Iterator[None]:
    """Import large libraries in less time: within this context, nothing is collected as garbage.

    What they make is there to stay, so the collector would look through it again and again for nothing, now and later.
    """
    was_enabled, before = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > before:
            gc.freeze()
        if was_enabled:
            gc.enable()
