"""Precision that processors are fast in, and that they have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

# Types of devices that have no float64.
WITHOUT_FLOAT64 = {"mps"}


def widest(device: torch.device) -> torch.dtype:
    """Return the type for sums of many numbers on a device: float64 where there is one."""
    return torch.float32 if device.type in WITHOUT_FLOAT64 else torch.float64


def has_bfloat16() -> bool:
    """Return True if this CPU multiplies in bfloat16."""
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Let convolutions on a CUDA device repeat bit by bit, and multiply in float32, in this block.

    By default cuDNN may choose other algorithms from run to run, and rounds factors to the 10 bits of TF32.
    """
    if device.type != "cuda":
        yield
        return
    cudnn: Any = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark, cudnn.conv.fp32_precision
    cudnn.deterministic, cudnn.benchmark, cudnn.conv.fp32_precision = True, False, "ieee"
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark, cudnn.conv.fp32_precision = before
