"""Quantizers that are learned while Gaussians are fitted: from numbers to few integers, and back.

Gradients pass straight through the rounding, as if it were not there (Bengio et al., arXiv 1308.3432).
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import override

from fastgs.codec.frame import FormatError

SMALLEST_STEP = 1e-6  # smallest step of a quantizer; smaller and negative ones count as this
LARGEST_HALF = 65504.0  # the largest finite 16-bit floating-point number


class Quantizer(nn.Module):
    """Base class of quantizers, which turn a tensor of N rows into integers.

    The parameters and buffers of a quantizer go into the file, in their order, except for those named in `LOCAL`.

    Attributes:
        KIND: NumPy dtype of the numbers in the file.
        LOCAL: Names of the parameters and buffers that only the encoder needs.
        alphabets: Number of symbols of each column of integers; these need not correspond to columns of the tensor.
    """

    KIND: ClassVar[str] = "<f4"
    LOCAL: ClassVar[tuple[str, ...]] = ()

    alphabets: tuple[int, ...]

    def start(self, values: Tensor) -> None:
        """Initialize the parameters for (N, columns) data that will be quantized."""

    def forward(self, values: Tensor) -> Tensor:
        """Return exactly `dequantize(symbols(values))`, (N, columns), in a differentiable way."""
        raise NotImplementedError

    def symbols(self, values: Tensor) -> Tensor:
        """Return the symbols of (N, columns) values: (N, len(alphabets)) int32, from 0 to below the alphabets."""
        raise NotImplementedError

    def dequantize(self, symbols: Tensor) -> Tensor:
        """Return the values that symbols stand for, (N, columns) float32."""
        raise NotImplementedError

    def learn(self, values: Tensor) -> Tensor:
        """Return what is added to the loss of this step, a scalar; called once for each step of a fit."""
        return values.new_zeros(())

    def _list_stored(self) -> list[Tensor]:
        """Return the tensors that go into the file and come from it."""
        named = [*self.named_parameters(), *self.named_buffers()]
        return [each for name, each in named if name.rpartition(".")[2] not in self.LOCAL]

    def _list_written(self) -> list[Tensor]:
        """Return the values with which these tensors go into the file."""
        return self._list_stored()

    def parameter_bytes(self) -> int:
        """Return the length of `to_bytes()`."""
        return sum(each.numel() for each in self._list_stored()) * np.dtype(self.KIND).itemsize

    def to_bytes(self) -> bytes:
        """Return the parameters and buffers that go into the file, little-endian."""
        return b"".join(each.detach().cpu().numpy().astype(self.KIND).tobytes() for each in self._list_written())

    @torch.no_grad()
    def load(self, data: bytes) -> None:
        """Restore what `to_bytes` returned.

        Raises:
            FormatError: The bytes have the wrong length, or hold a value that no parameter can have.
        """
        if len(data) != self.parameter_bytes():
            raise FormatError(f"is damaged (a quantizer has {len(data)} bytes instead of {self.parameter_bytes()})")
        numbers = torch.from_numpy(np.frombuffer(data, self.KIND).astype(np.float32))
        if not torch.isfinite(numbers).all():
            raise FormatError("is damaged (a quantizer holds NaN or infinity)")
        for each in self._list_stored():
            part, numbers = numbers[: each.numel()], numbers[each.numel() :]
            each.copy_(part.reshape(each.shape))


class LearnedScalar(Quantizer):
    """Quantizes to `round((x - offset) / step) step + offset`, with offset and step learned for each column.

    This is LSQ+ (Bhalgat et al., arXiv 2004.09576), asymmetric and unsigned. It starts with the range of the data.

    Args:
        bits: Bits of a symbol.
        columns: Number of columns of the tensor.
    """

    def __init__(self, bits: int, columns: int) -> None:
        super().__init__()
        self.top = 2**bits - 1
        self.alphabets = (self.top + 1,) * columns
        self.step = nn.Parameter(torch.ones(columns))
        self.offset = nn.Parameter(torch.zeros(columns))

    @override
    @torch.no_grad()
    def start(self, values: Tensor) -> None:
        low, high = values.aminmax(dim=0)
        self.step.copy_((high - low) / self.top)
        self.offset.copy_(low)

    @override
    def forward(self, values: Tensor) -> Tensor:
        share = 1 / max(1, values.numel() * self.top) ** 0.5
        step, offset = _ScaleGradient.apply(self._clamp_step(), share), _ScaleGradient.apply(self.offset, share)
        symbols: Tensor = _Round.apply(((values - offset) / step).clamp(0, self.top))
        value: Tensor = symbols * step + offset
        return value

    @override
    @torch.no_grad()
    def symbols(self, values: Tensor) -> Tensor:
        return ((values - self.offset) / self._clamp_step()).clamp(0, self.top).round().int()

    @override
    @torch.no_grad()
    def dequantize(self, symbols: Tensor) -> Tensor:
        return symbols.float() * self._clamp_step() + self.offset

    @override
    def load(self, data: bytes) -> None:
        super().load(data)
        if not (self.step >= np.float32(SMALLEST_STEP)).all():
            raise FormatError("is damaged (a quantizer has a step that is not positive)")

    @override
    def _list_written(self) -> list[Tensor]:
        return [self._clamp_step(), self.offset]

    def _clamp_step(self) -> Tensor:
        # Gradient descent may take it below 0.
        return self.step.clamp(min=SMALLEST_STEP)


class LogarithmicRange(Quantizer):
    """Quantizes the logarithm of positive numbers, in equal steps over the range of each column; not learned.

    `forward` sets the range to that of the values it is given.

    Args:
        bits: Bits of a symbol.
        columns: Number of columns of the tensor.
        least: Positive number; smaller values count as this.

    Attributes:
        low, high: (columns,) least and largest logarithm of each column.
    """

    low: Tensor
    high: Tensor

    def __init__(self, bits: int, columns: int, least: float) -> None:
        super().__init__()
        self.top, self.least = 2**bits - 1, least
        self.alphabets = (self.top + 1,) * columns
        self.register_buffer("low", torch.zeros(columns))
        self.register_buffer("high", torch.ones(columns))

    @override
    @torch.no_grad()
    def start(self, values: Tensor) -> None:
        # New tensors, since a graph may still need the old ones.
        self.low, self.high = values.clamp(min=self.least).log().aminmax(dim=0)

    @override
    def forward(self, values: Tensor) -> Tensor:
        self.start(values.detach())
        symbols: Tensor = _Round.apply(self._scale_logarithm(values))
        return self._unscale_logarithm(symbols)

    @override
    @torch.no_grad()
    def symbols(self, values: Tensor) -> Tensor:
        return self._scale_logarithm(values).round().int()

    @override
    @torch.no_grad()
    def dequantize(self, symbols: Tensor) -> Tensor:
        return self._unscale_logarithm(symbols.float())

    @override
    def load(self, data: bytes) -> None:
        super().load(data)
        if not (self.low <= self.high).all():
            raise FormatError("is damaged (a quantizer has a range that ends before it begins)")

    def _compute_step(self) -> Tensor:
        step: Tensor = (self.high - self.low) / self.top
        return step.clamp(min=SMALLEST_STEP)

    def _scale_logarithm(self, values: Tensor) -> Tensor:
        return ((values.clamp(min=self.least).log() - self.low) / self._compute_step()).clamp(0, self.top)

    def _unscale_logarithm(self, symbols: Tensor) -> Tensor:
        value: Tensor = (symbols * self._compute_step() + self.low).exp()
        return value


class Half(Quantizer):
    """Rounds to 16-bit floating point; the symbols are its bits, read as an unsigned integer.

    Values that are too large become the largest finite number. `dequantize` raises FormatError for symbols that are NaN
    or infinite.

    Args:
        columns: Number of columns of the tensor.
    """

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.alphabets = (2**16,) * columns

    @override
    def forward(self, values: Tensor) -> Tensor:
        rounded: Tensor = _ReplaceValue.apply(values, round_to_half(values.detach()).float())
        return rounded

    @override
    @torch.no_grad()
    def symbols(self, values: Tensor) -> Tensor:
        return round_to_half(values).view(torch.int16).int() & 0xFFFF

    @override
    @torch.no_grad()
    def dequantize(self, symbols: Tensor) -> Tensor:
        values = symbols.to(torch.int16).view(torch.float16).float()
        if not torch.isfinite(values).all():
            raise FormatError("is damaged (a 16-bit floating-point number is NaN or infinite)")
        return values


def round_to_half(values: Tensor) -> Tensor:
    """Round to 16-bit floating point; values that are too large become the largest finite number."""
    return values.clamp(-LARGEST_HALF, LARGEST_HALF).half()


class _Round(torch.autograd.Function):
    """Rounds; the gradient passes unchanged."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.round()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        return upstream


class _ScaleGradient(torch.autograd.Function):
    """Returns the value itself, bit for bit; multiplies its gradient by a share."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, share: float) -> Tensor:
        ctx.share = share
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        return upstream * ctx.share, None


class _ReplaceValue(torch.autograd.Function):
    """Returns another value with the gradient of the first.

    `values + (others - values).detach()` would be off by a rounding.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, others: Tensor) -> Tensor:
        return others

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        return upstream, None


# Maps (values, quantized values) to the latter, with the gradient of the former.
straight_through = _ReplaceValue.apply
