"""Losses of a fit, by name; loss_functions.py has the functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fastgs.runtime.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    # (image, target), both (C, H, W) in [0, 1] but for overshoots of the image, -> scalar.
    Loss = Callable[[Tensor, Tensor], Tensor]
else:
    Loss = Callable  # names of losses are known without torch

LOSSES: Registry[Loss] = Registry("loss")
LOSSES.declare("mse", "fastgs.fitting.loss_functions:MSE")
LOSSES.declare("l1", "fastgs.fitting.loss_functions:absolute_error")
LOSSES.declare("mse+ssim", "fastgs.fitting.loss_functions:squared_error_and_ssim")
LOSSES.declare("l1+ssim", "fastgs.fitting.loss_functions:absolute_error_and_ssim")
