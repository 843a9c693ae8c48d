"""Decorators that compile kernels with numba, without the interpreter lock and once for all processes.

Compiled kernels are cached on disk. The first one that is not makes the logger of this module say so, at level INFO.
numba notices changes of a kernel's own file only, so after a change of a constant that a kernel imports from another
file, the caches (`*.nbi`, `*.nbc` in `__pycache__`) must be deleted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from numba import njit
from numba.core import event
from typing_extensions import override

_logger = logging.getLogger(__name__)


STRICT = frozenset({"contract", "nsz"})


def jit(function: Callable[..., None], flags: frozenset[str] = STRICT, inline: bool = False) -> Any:
    """Compile a kernel on first use, and cache it on disk if a folder for that is writable.

    Args:
        function: Kernel.
        flags: Relaxations of IEEE 754 that LLVM may use. By default NaN and infinity keep their meaning, and
            contraction allows fused multiply-add.
        inline: If true, every call is replaced by the body, however long: vectors stay in registers.

    Returns:
        The compiled function.
    """
    options: dict[str, Any] = {"nogil": True, "fastmath": set(flags), "error_model": "numpy", "forceinline": inline}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # numba could write neither to the package's folder nor to the user's
        return njit(**options)(function)


def fast_jit(function: Callable[..., None]) -> Any:
    """Compile like `jit`, for kernels without NaN: LLVM may reorder sums, and so vectorize them."""
    return jit(function, frozenset({"contract", "nsz", "nnan", "reassoc", "arcp"}))


def inlined(function: Callable[..., None]) -> Any:
    """Compile like `jit`, as a part of the kernels that call it."""
    return jit(function, inline=True)


class _Announcer(event.Listener):
    """Listener that tells of the first kernel that a process compiles, since that takes seconds."""

    def __init__(self) -> None:
        self._is_done = False

    @override
    def on_start(self, event: event.Event) -> None:
        kernel = event.data["dispatcher"].py_func
        if not self._is_done and kernel.__module__.startswith("fastgs."):
            self._is_done = True
            _logger.info("compiling kernels, once for this machine and number of channels; this takes some seconds")

    @override
    def on_end(self, event: event.Event) -> None:
        pass


_announcer = _Announcer()
event.register("numba:compile", _announcer)  # type: ignore[no-untyped-call]
