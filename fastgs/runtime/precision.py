"""Precision that processors are fast in."""

from __future__ import annotations

import torch


def has_bfloat16() -> bool:
    """Return True if this CPU multiplies in bfloat16."""
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
