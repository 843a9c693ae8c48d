"""Decorators that compile kernels with numba, without the interpreter lock and once for all processes.

Compiled kernels are cached on disk, see kernel_cache.py. The first one that is not makes the logger of this module say
so, at level INFO.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from numba import njit
from numba.core import event
from typing_extensions import override

from fastgs.runtime.kernel_cache import KernelCache

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
    kernel = njit(**options)(function)
    with suppress(RuntimeError):  # no folder can be written to
        kernel._cache = KernelCache(function)  # type: ignore[no-untyped-call]
    return kernel


def fast_jit(function: Callable[..., None]) -> Any:
    """Compile like `jit`, for kernels without NaN: LLVM may reorder sums, and so vectorize them."""
    return jit(function, frozenset({"contract", "nsz", "nnan", "reassoc", "arcp"}))


def inlined(function: Callable[..., None]) -> Any:
    """Compile like `jit`, as a part of the kernels that call it."""
    return jit(function, inline=True)


class _Listener(event.Listener):
    """Listener to compilations, which tells of the first one of a process, since it takes seconds.

    Compiling makes many small objects that stay: looking for garbage among them would take a tenth of the time.
    """

    def __init__(self) -> None:
        self.is_silent = False  # once it has told
        self._depth, self._collects = 0, False

    @override
    def on_start(self, event: event.Event) -> None:
        if self._depth == 0:
            self._collects = gc.isenabled()
            gc.disable()
        self._depth += 1
        kernel = event.data["dispatcher"].py_func
        if not self.is_silent and kernel.__module__.startswith("fastgs."):
            self.is_silent = True
            _logger.info("compiling kernels, once for this machine and number of channels; this takes some seconds")

    @override
    def on_end(self, event: event.Event) -> None:
        self._depth -= 1
        if self._depth == 0 and self._collects:
            gc.enable()


listener = _Listener()
event.register("numba:compile", listener)  # type: ignore[no-untyped-call]
