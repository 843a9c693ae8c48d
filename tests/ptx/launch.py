"""Kernels of fastgs, compiled for a GPU and run by machine.py on tensors of the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import triton
from machine import Memory, Program, Run
from triton.backends.compiler import GPUTarget

TYPES = {torch.float32: "*fp32", torch.int32: "*i32"}


class Emulated:
    """Stand-in for a kernel.

    Args:
        kernel: Kernel, not interpreted.
        capability: Compute capability that it is compiled for, times 10.
        seed: Seed of the order in which atomic operations arrive; changed with each launch. None for that of threads.
    """

    def __init__(self, kernel: Any, capability: int, seed: int | None = None) -> None:
        self._kernel = kernel
        self._target = GPUTarget("cuda", capability, 32)
        self._random = None if seed is None else np.random.default_rng(seed)
        self._programs: dict[Any, Program] = {}
        self.launches = 0

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        """Return the function that launches it."""

        def launch(*arguments: Any, num_warps: int = 4, **constants: Any) -> None:
            names = self._kernel.arg_names
            given = dict(zip(names, arguments, strict=False)) | constants
            program = self._compile(given, constants, num_warps)
            memory, places = Memory(), {}
            for value in given.values():
                if isinstance(value, torch.Tensor):
                    assert value.is_contiguous()
                    where = value.data_ptr(), value.nbytes
                    if where not in places:
                        places[where] = memory.add(value.detach().numpy())
            numbers = [
                places[each.data_ptr(), each.nbytes] if isinstance(each, torch.Tensor) else each
                for each in (given[name] for name in names if name not in constants)
            ]
            numbers += [0] * (len(program.parameters) - len(numbers))  # scratch memory, which no kernel has
            threads = int(np.prod(grid)) * program.threads
            order = None if self._random is None else self._random.permutation(threads)
            Run(program, memory, numbers, grid, order)()
            memory.copy_back()
            self.launches += 1

        return launch

    def _compile(self, given: dict[str, Any], constants: dict[str, Any], warps: int) -> Program:
        kinds, attributes = {}, {}
        for place, name in enumerate(self._kernel.arg_names):
            value = given[name]
            if name in constants:
                kinds[name] = "constexpr"
            elif isinstance(value, torch.Tensor):
                kinds[name] = TYPES[value.dtype]
                if value.data_ptr() % 16 == 0:
                    attributes[(place,)] = [["tt.divisibility", 16]]
            else:
                kinds[name] = "fp32" if isinstance(value, float) else "i32"
        key = (*kinds.items(), *constants.items(), *attributes, warps)
        if key not in self._programs:
            source = triton.compiler.ASTSource(fn=self._kernel, signature=kinds, constexprs=constants, attrs=attributes)
            compiled = triton.compile(source, target=self._target, options={"num_warps": warps})
            self._programs[key] = Program(compiled.asm["ptx"])
        return self._programs[key]
