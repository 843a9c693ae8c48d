"""Numbers into few integers and back, learned while Gaussians are fitted.

Gradients pass straight through the rounding, as if it were not there (Bengio et al., arXiv 1308.3432).
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from fastgs.codec.frame import FormatError

SMALLEST_STEP = 1e-6  # what is no step any more
LARGEST_HALF = 65504.0  # the largest finite 16-bit floating-point number


class Quantizer(nn.Module):
    """A tensor of N rows as integers.

    Its parameters and buffers go into the file, in their order; those named in `LOCAL` stay with the encoder.

    Attributes:
        alphabets: how many symbols there are, for each column of integers; not the same columns as those of the tensor.
    """

    KIND: ClassVar[str] = "<f4"  # of the numbers in the file, as NumPy has it
    LOCAL: ClassVar[tuple[str, ...]] = ()

    alphabets: tuple[int, ...]

    def start(self, values: Tensor) -> None:
        """Suit the parameters to (N, columns) data that are about to be quantized."""

    def forward(self, values: Tensor) -> Tensor:
        """Exactly `dequantize(symbols(values))`, differentiable."""
        raise NotImplementedError

    def symbols(self, values: Tensor) -> Tensor:
        """(N, len(alphabets)) int32, not negative and below the alphabets."""
        raise NotImplementedError

    def dequantize(self, symbols: Tensor) -> Tensor:
        """(N, columns) float32."""
        raise NotImplementedError

    def learn(self, values: Tensor) -> Tensor:
        """What this step adds to the loss, beyond what the image tells; called once for each step."""
        return values.new_zeros(())

    def _stored(self) -> list[Tensor]:
        """What goes into the file, and comes from it."""
        named = [*self.named_parameters(), *self.named_buffers()]
        return [each for name, each in named if name.rpartition(".")[2] not in self.LOCAL]

    def _written(self) -> list[Tensor]:
        """The values of those that go into the file."""
        return self._stored()

    def parameter_bytes(self) -> int:
        """How long `to_bytes` is."""
        return sum(each.numel() for each in self._stored()) * np.dtype(self.KIND).itemsize

    def to_bytes(self) -> bytes:
        """The parameters, little-endian."""
        return b"".join(each.detach().cpu().numpy().astype(self.KIND).tobytes() for each in self._written())

    @torch.no_grad()
    def load(self, data: bytes) -> None:
        """Take over what `to_bytes` gave.

        Raises:
            FormatError: it is not as long, or holds what no parameter can be.
        """
        if len(data) != self.parameter_bytes():
            raise FormatError(f"is damaged (a quantizer has {len(data)} bytes instead of {self.parameter_bytes()})")
        numbers = torch.from_numpy(np.frombuffer(data, self.KIND).astype(np.float32))
        if not torch.isfinite(numbers).all():
            raise FormatError("is damaged (a quantizer holds NaN or infinity)")
        for each in self._stored():
            part, numbers = numbers[: each.numel()], numbers[each.numel() :]
            each.copy_(part.reshape(each.shape))


class LearnedScalar(Quantizer):
    """`round((x - offset) / step) step + offset`, with offset and step learned for each column.

    LSQ+ (Bhalgat et al., arXiv 2004.09576), asymmetric and unsigned. It starts with the range of the data.

    Args:
        bits: of a symbol.
        columns: of the tensor.
    """

    def __init__(self, bits: int, columns: int) -> None:
        super().__init__()
        self.top = 2**bits - 1
        self.alphabets = (self.top + 1,) * columns
        self.step = nn.Parameter(torch.ones(columns))
        self.offset = nn.Parameter(torch.zeros(columns))

    @torch.no_grad()
    def start(self, values: Tensor) -> None:
        """See `Quantizer`."""
        low, high = values.aminmax(dim=0)
        self.step.copy_((high - low) / self.top)
        self.offset.copy_(low)

    def forward(self, values: Tensor) -> Tensor:
        """See `Quantizer`."""
        share = 1 / max(1, values.numel() * self.top) ** 0.5
        step, offset = _Damped.apply(self._positive_step(), share), _Damped.apply(self.offset, share)
        symbols: Tensor = _Round.apply(((values - offset) / step).clamp(0, self.top))
        value: Tensor = symbols * step + offset
        return value

    @torch.no_grad()
    def symbols(self, values: Tensor) -> Tensor:
        """See `Quantizer`."""
        return ((values - self.offset) / self._positive_step()).clamp(0, self.top).round().int()

    @torch.no_grad()
    def dequantize(self, symbols: Tensor) -> Tensor:
        """See `Quantizer`."""
        return symbols.float() * self._positive_step() + self.offset

    def load(self, data: bytes) -> None:
        """See `Quantizer`."""
        super().load(data)
        if not (self.step >= np.float32(SMALLEST_STEP)).all():
            raise FormatError("is damaged (a quantizer has a step that is not positive)")

    def _written(self) -> list[Tensor]:
        return [self._positive_step(), self.offset]

    def _positive_step(self) -> Tensor:
        """Gradient descent may take it below 0."""
        return self.step.clamp(min=SMALLEST_STEP)


class LogarithmicRange(Quantizer):
    """The logarithm of positive numbers in equal steps from the least to the largest of each column, not learned.

    Args:
        bits: of a symbol.
        columns: of the tensor.
        least: smaller numbers count as this.
    """

    low: Tensor
    high: Tensor

    def __init__(self, bits: int, columns: int, least: float) -> None:
        super().__init__()
        self.top, self.least = 2**bits - 1, least
        self.alphabets = (self.top + 1,) * columns
        self.register_buffer("low", torch.zeros(columns))
        self.register_buffer("high", torch.ones(columns))

    @torch.no_grad()
    def start(self, values: Tensor) -> None:
        """See `Quantizer`."""
        # New tensors, since a graph may still need the old ones.
        self.low, self.high = values.clamp(min=self.least).log().aminmax(dim=0)

    def forward(self, values: Tensor) -> Tensor:
        """See `Quantizer`; the range is that of these values."""
        self.start(values.detach())
        symbols: Tensor = _Round.apply(self._position(values))
        return self._value(symbols)

    @torch.no_grad()
    def symbols(self, values: Tensor) -> Tensor:
        """See `Quantizer`."""
        return self._position(values).round().int()

    @torch.no_grad()
    def dequantize(self, symbols: Tensor) -> Tensor:
        """See `Quantizer`."""
        return self._value(symbols.float())

    def load(self, data: bytes) -> None:
        """See `Quantizer`."""
        super().load(data)
        if not (self.low <= self.high).all():
            raise FormatError("is damaged (a quantizer has a range that ends before it begins)")

    def _step(self) -> Tensor:
        step: Tensor = (self.high - self.low) / self.top
        return step.clamp(min=SMALLEST_STEP)

    def _position(self, values: Tensor) -> Tensor:
        return ((values.clamp(min=self.least).log() - self.low) / self._step()).clamp(0, self.top)

    def _value(self, symbols: Tensor) -> Tensor:
        value: Tensor = (symbols * self._step() + self.low).exp()
        return value


class Half(Quantizer):
    """16-bit floating point; the symbols are the bits, read as an unsigned integer.

    Args:
        columns: of the tensor.
    """

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.alphabets = (2**16,) * columns

    def forward(self, values: Tensor) -> Tensor:
        """See `Quantizer`."""
        rounded: Tensor = _Replaced.apply(values, self._half(values).float())
        return rounded

    @torch.no_grad()
    def symbols(self, values: Tensor) -> Tensor:
        """See `Quantizer`."""
        return self._half(values).view(torch.int16).int() & 0xFFFF

    @torch.no_grad()
    def dequantize(self, symbols: Tensor) -> Tensor:
        """See `Quantizer`.

        Raises:
            FormatError: some are NaN or infinite.
        """
        values = symbols.to(torch.int16).view(torch.float16).float()
        if not torch.isfinite(values).all():
            raise FormatError("is damaged (a 16-bit floating-point number is NaN or infinite)")
        return values

    def _half(self, values: Tensor) -> Tensor:
        return values.detach().clamp(-LARGEST_HALF, LARGEST_HALF).half()


class _Round(torch.autograd.Function):
    """Rounds; the gradient does not see it."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.round()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        return upstream


class _Damped(torch.autograd.Function):
    """The value itself, bit for bit, with a share of its gradient."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, share: float) -> Tensor:
        ctx.share = share
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        return upstream * ctx.share, None


class _Replaced(torch.autograd.Function):
    """Another value with the gradient of the first: `values + (others - values)` would be off by a rounding."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, others: Tensor) -> Tensor:
        return others

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        return upstream, None


straight_through = _Replaced.apply
