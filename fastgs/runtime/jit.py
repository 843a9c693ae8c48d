"""numba's decorator for kernels: no interpreter lock, and compiled once for all processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def jit(function: Callable[..., None], flags: frozenset[str] = frozenset({"contract", "nsz"})) -> Any:
    """Compile on first use and keep the result on disk; where no folder can be written, compile in every process.

    NaN and infinity keep their meaning; contraction allows fused multiply-add.
    """
    options: dict[str, Any] = {"nogil": True, "fastmath": set(flags), "error_model": "numpy"}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # numba found neither the package's folder nor the user's writable
        return njit(**options)(function)


def fast_jit(function: Callable[..., None]) -> Any:
    """As `jit`, for kernels that meet no NaN: sums may be taken in any order, so that LLVM can vectorize them."""
    return jit(function, frozenset({"contract", "nsz", "nnan", "reassoc", "arcp"}))
