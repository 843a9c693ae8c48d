"""Start of a backward pass at an image whose gradient is known."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _Start(torch.autograd.Function):
    """Scalar of no meaning, whose gradient in an image is a given one."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, gradient: Tensor) -> Tensor:
        ctx.gradient = gradient
        return image.new_zeros(())

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> tuple[Tensor, None]:
        return ctx.gradient, None


def backpropagate(image: Tensor, gradient: Tensor) -> None:
    """Add the gradients of all leaves that an image depends on, given its own gradient.

    It does what `image.backward(gradient)` does, which imports torch's symbolic shapes and with them sympy on first
    use, in 0.4 s.
    """
    _Start.apply(image, gradient).backward()
