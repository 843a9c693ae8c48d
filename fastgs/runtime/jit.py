"""Decorators that compile kernels with numba, without the interpreter lock and once for all processes.

Compiled kernels are cached on disk, see kernel_cache.py. The first one that is not makes the logger of this module say
so, at level INFO.

A kernel that another one calls is compiled into that one, without machine code and a cache of its own. So what a kernel
computes, to the bit, does not depend on whether it comes from the cache, nor on what else a process has compiled: numba
would let it call the first machine code of that name in the process.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from typing import Any

from numba.core import event, sigutils
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import CPUDispatcher
from numba.core.typing.templates import make_concrete_template
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
    kernel = Kernel(
        function,
        targetoptions={
            "nopython": True,
            "nogil": True,
            "fastmath": set(flags),
            "error_model": "numpy",
            "forceinline": inline,
            "boundscheck": None,  # as NUMBA_BOUNDSCHECK says
            "no_cfunc_wrapper": True,  # nothing in C calls kernels
        },
    )
    with suppress(RuntimeError):  # no folder can be written to
        kernel._cache = KernelCache(function)  # type: ignore[no-untyped-call]
    return kernel


def fast_jit(function: Callable[..., None]) -> Any:
    """Compile like `jit`, for kernels without NaN: LLVM may reorder sums, and so vectorize them."""
    return jit(function, frozenset({"contract", "nsz", "nnan", "reassoc", "arcp"}))


def inlined(function: Callable[..., None]) -> Any:
    """Compile like `jit`, as a part of the kernels that call it."""
    return jit(function, inline=True)


class Kernel(CPUDispatcher):
    """A compiled function, in two forms: machine code for calls from Python, and parts of the kernels that call it.

    Args:
        py_func: Function.
        locals: Types of its variables.
        targetoptions: Options of numba.
        pipeline_class: Compiler of the machine code.
    """

    _compiler: Any
    _cache: Any

    def __init__(
        self, py_func: Any, locals: Any = None, targetoptions: Any = None, pipeline_class: Any = Compiler
    ) -> None:
        super().__init__(py_func, locals, targetoptions, pipeline_class)
        self._part_compiler = copy(self._compiler)
        self._part_compiler.pipeline_class = _PartCompiler
        self._parts: dict[Any, Any] = {}

    @override
    def get_call_template(self, args: Any, kws: Any) -> Any:
        """Return what numba has to know of a call from another kernel with some types of arguments."""
        signature, args = self._compiler.fold_argument_types(args, kws)
        self._compile_part(tuple(args))
        name = self.py_func.__name__
        signatures = [part.signature for part in self._parts.values()]
        template = make_concrete_template(f"CallTemplate({name})", key=name, signatures=signatures)  # type: ignore[no-untyped-call]
        return template, signature, args, {}

    @override
    def get_overload(self, sig: Any) -> Any:
        """Return the key under which the calling kernel finds the part."""
        args, _ = sigutils.normalize_signature(sig)  # type: ignore[no-untyped-call]
        return self._parts[tuple(args)].entry_point

    def _compile_part(self, args: tuple[Any, ...]) -> None:
        with global_compiler_lock:
            if args in self._parts:
                return
            details = {"dispatcher": self, "args": args, "return_type": None}
            with event.trigger_event("numba:compile", data=details):
                result = self._part_compiler.compile(args, None)
            result = result._replace(entry_point=object())  # any key
            context: Any = self.targetctx
            context.insert_user_function(result.entry_point, result.fndesc, [result.library])
            self._parts[args] = result


class _PartLibrary(JITCodeLibrary):
    """Code to be linked into that of other kernels, which is not turned into machine code by itself."""

    @override
    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()  # type: ignore[no-untyped-call]
        self._verify_declare_only_symbols()  # type: ignore[no-untyped-call]
        self._finalized = True


class _PartCompiler(Compiler):
    """Compiler of parts of other kernels."""

    def __init__(self, typingctx: Any, targetctx: Any, library: Any, args: Any, *options: Any) -> None:
        library = _PartLibrary(targetctx.codegen(), "part")  # type: ignore[no-untyped-call]
        super().__init__(typingctx, targetctx, library, args, *options)  # type: ignore[no-untyped-call]
        flags = self.state.flags
        flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True


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
