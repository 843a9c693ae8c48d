"""Answers whether the kernels of Triton run on this machine, by running one."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import shutil
import sysconfig
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from fastgs.render import reference

_logger = logging.getLogger(__name__)

TOLERANCE = 1e-4  # largest difference of a probe from the reference, in the range of colours


@lru_cache(maxsize=1)
def has_triton() -> bool:
    """Tell whether the kernels of Triton can be used; where they cannot, a warning in the log says once why.

    This imports Triton, which takes time, so it is called only where there is a CUDA device.
    """
    obstacle = triton_obstacle()
    if obstacle is not None:
        _logger.warning("%s; its kernels are not used, and the work is done on the CPU", obstacle)
    return obstacle is None


@lru_cache(maxsize=1)
def triton_obstacle() -> str | None:
    """Return what keeps the kernels of Triton from use, in a few words; None if nothing does.

    Triton can be installed and of no use: it compiles a part of each kernel when that is first launched, with the C
    compiler of the machine and the headers of Python. So a kernel is launched, once in a process, where there is a
    CUDA device, and its image compared with the reference: ROCm has such devices too.
    """
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    try:
        importlib.import_module("triton")
    except Exception as error:  # a broken installation may raise anything
        return f"Triton cannot be imported ({error!r})"
    if not torch.cuda.is_available():
        return None
    try:
        difference = _render_probe()
    except Exception as error:  # of compilers, drivers and Triton
        return _explain(error)
    return None if difference <= TOLERANCE else f"Triton draws wrong images on {torch.cuda.get_device_name()}"


def _render_probe() -> float:
    """Render two Gaussians by a kernel, and return the largest difference from the reference."""
    from fastgs.render import cuda

    means, scales = torch.tensor([[3.0, 4.0], [9.5, 8.0]]), torch.tensor([[1.0, 2.0], [3.0, 1.5]])
    tensors = (means, scales, torch.tensor([0.3, 1.0]), torch.tensor([[0.2, 0.5, 1.0], [0.9, 0.4, 0.0]]))
    draw: Callable[..., Tensor] = cuda.rasterize
    define: Callable[..., Tensor] = reference.rasterize
    batch = {"counts": [2], "pitches": [(1.0, 1.0)], "height": 12, "width": 13, "normalized": True}
    drawn = draw(*(each.cuda() for each in tensors), **batch)
    wanted = define(*tensors, **batch)
    return (drawn.cpu() - wanted).abs().max().item()


def _explain(error: Exception) -> str:
    """Return what is missing for a kernel that could not be launched, as far as that can be seen."""
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return "Triton finds no C compiler (install gcc, or set CC)"
    headers = Path(sysconfig.get_path("include"), "Python.h")
    if not headers.is_file():
        return f"Triton finds no headers of Python (install python3-dev; there is no {headers})"
    return f"Triton cannot launch a kernel ({' '.join(repr(error).split())[:160]})"
