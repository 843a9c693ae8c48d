"""Moves of small tensors to the device that works with them."""

from __future__ import annotations

import torch
from torch import Tensor

# Types of devices that take a copy of pageable memory before the call returns, so that nobody needs to wait for it.
WITHOUT_WAIT = {"cuda"}


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the CPU on a device; on a GPU this does not wait until the work before is done."""
    return tensor.to(device, non_blocking=device.type in WITHOUT_WAIT)
