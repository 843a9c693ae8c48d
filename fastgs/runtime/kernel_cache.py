"""Cache of compiled kernels that all environments of a user share, in the user's folder for caches.

numba's own cache lies beside the package, so each environment would compile anew, and it notices changes of a kernel's
own file only. Here the folder is named by the text of all files that a kernel is made of: its own, and those that it
imports from.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from numba.core.caching import CompileResultCacheImpl, FunctionCache, UserProvidedCacheLocator, _CacheLocator
from numba.core.runtime.nrt import rtsys
from typing_extensions import override

from fastgs.runtime import division
from fastgs.runtime.folders import PACKAGE, cache_folder

# Folders of other versions are removed when none of their kernels was compiled for so long.
DAYS_KEPT = 60

# Lines such as `from fastgs.render.cpu_kernels import (` and `from fastgs.fitting import adam`.
_IMPORT = re.compile(r"^from (fastgs[\w.]*) import ([\w, ]*)", re.MULTILINE)


class _SharedLocator(_CacheLocator):
    """Place of the compiled versions of a function in the user's folder, for functions of this package."""

    def __init__(self, function: Callable[..., Any], file: str) -> None:
        self._line = function.__code__.co_firstlineno
        self._stamp = digest(Path(file))

    @override
    def get_cache_path(self) -> str:
        return str(cache_folder() / self._stamp)

    @override
    def get_source_stamp(self) -> str:
        return self._stamp

    @override
    def get_disambiguator(self) -> str:
        return str(self._line)

    @classmethod
    @override
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> _SharedLocator | None:
        if PACKAGE not in Path(py_file).parents:
            return None
        locator = cls(py_func, py_file)
        is_new = not Path(locator.get_cache_path()).exists()
        try:
            locator.ensure_cache_path()  # type: ignore[no-untyped-call]
        except OSError:
            return None
        if is_new:
            remove_old(cache_folder())
        return locator


class _Implementation(CompileResultCacheImpl):
    # A folder that the user gave by NUMBA_CACHE_DIR comes first, numba's own places last.
    _locator_classes = [  # noqa: RUF012
        UserProvidedCacheLocator,
        _SharedLocator,
        *CompileResultCacheImpl._locator_classes,
    ]


class KernelCache(FunctionCache):
    """Cache of the compiled versions of one function.

    Args:
        py_func: Function.

    Raises:
        RuntimeError: No folder can be written to.
    """

    _impl_class = _Implementation
    _py_func: Any

    @override
    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the version for some types of arguments; None if this process has to compile it."""
        # numba prepares for compiling here, which imports two hundred modules. Machine code needs the functions that
        # manage memory alone, and the compiler prepares itself.
        rtsys.initialize(target_context)
        found = self._find(sig, target_context)
        if found is None and division.current is not None and not division.current.take(self._describe(sig)):
            found = self._find(sig, target_context)
        return found

    def _find(self, sig: Any, target_context: Any) -> Any:
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        return None

    @override
    def save_overload(self, sig: Any, data: Any) -> None:
        super().save_overload(sig, data)  # type: ignore[no-untyped-call]
        if division.current is not None:
            division.current.finish(self._describe(sig))

    def _describe(self, sig: Any) -> str:
        return f"{self._py_func.__module__}.{self._py_func.__qualname__} {sig}"


@cache
def digest(file: Path) -> str:
    """Return a name for the text of a kernel's file and of all files that it is made of."""
    texts = sorted((str(each.relative_to(PACKAGE)), each.read_bytes()) for each in _sources(file, set()))
    return hashlib.sha256(repr(texts).encode()).hexdigest()[:16]


def _sources(file: Path, seen: set[Path]) -> Iterator[Path]:
    """Yield a file of this package, the files that it imports from, and of those that are kernels, too, theirs."""
    if file in seen:
        return
    seen.add(file)
    yield file
    for module, names in _IMPORT.findall(file.read_text(encoding="utf-8")):
        place = PACKAGE.joinpath(*module.split(".")[1:])
        for candidate in (place, *(place / name.strip() for name in names.split(","))):
            source = candidate.with_suffix(".py")
            if source.is_file() and ("kernels" in source.stem or "simd" in source.stem):
                yield from _sources(source, seen)
            elif source.is_file() and source not in seen:
                seen.add(source)
                yield source


def remove_old(folder: Path) -> None:
    """Remove the folders of versions that nothing was compiled for in DAYS_KEPT days."""
    oldest = time.time() - DAYS_KEPT * 86400
    for each in folder.iterdir():
        if each.is_dir() and each.stat().st_mtime < oldest:
            shutil.rmtree(each, ignore_errors=True)
