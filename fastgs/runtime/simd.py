"""Vectors of eight float32 lanes in numba code.

numba leaves vectorization to LLVM, which does not vectorize the short rows that a Gaussian covers (about eight pixels):
they run in the scalar remainder loop. With the explicit vector type of this module, an operation on eight pixels is
one instruction on AVX2 and two on SSE or NEON.

    value = fma(splat(slope), lane_index(), splat(start))
    store(row, x, load(row, x) + value * value)

Vectors exist in registers only: `splat`, `lane_index` and `load` make them, `+ - * /` and the functions below combine
them, and `store` and `horizontal_sum` take their content out.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, models, overload, register_model

LANES = 8

_vector = ir.VectorType(ir.FloatType(), LANES)
# Contraction lets LLVM fuse a*b+c; NaN and infinity keep their meaning.
_FLAGS = ("contract", "nsz")


class Float32x8(types.Type):
    """Numba type of eight float32 lanes."""

    def __init__(self) -> None:
        super().__init__(name="Float32x8")


float32x8 = Float32x8()


@register_model(Float32x8)
class _Float32x8Model(models.PrimitiveModel):
    def __init__(self, manager: Any, numba_type: Any) -> None:
        super().__init__(manager, numba_type, _vector)  # type: ignore[no-untyped-call]


def broadcast(builder: Any, scalar: Any) -> Any:
    """Emit a vector with all lanes set to a float32 value."""
    lane0 = builder.insert_element(ir.Constant(_vector, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(lane0, ir.Constant(_vector, ir.Undefined), zeros)


def multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """Emit a * b + c of vectors or numbers, which LLVM may fuse."""
    return builder.fadd(builder.fmul(a, b, flags=_FLAGS), c, flags=_FLAGS)


def sum_lanes(builder: Any, total: Any) -> Any:
    """Emit the sum of the lanes of a vector, added by halves."""
    width = LANES
    while width > 1:
        width //= 2
        low = ir.Constant(ir.VectorType(ir.IntType(32), width), list(range(width)))
        high = ir.Constant(ir.VectorType(ir.IntType(32), width), list(range(width, 2 * width)))
        total = builder.fadd(
            builder.shuffle_vector(total, total, low), builder.shuffle_vector(total, total, high), flags=_FLAGS
        )
    return builder.extract_element(total, ir.Constant(ir.IntType(32), 0))


def vector_address(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """Emit the address of the vector that begins at an index of a contiguous 1-D float32 array."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _vector.as_pointer())


@intrinsic
def splat(_typing: Any, scalar: Any) -> Any:
    """Return a vector with all lanes set to one number, as float32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return broadcast(builder, context.cast(builder, arguments[0], signature.args[0], types.float32))

    return float32x8(scalar), generate


@intrinsic
def lane_index(_typing: Any) -> Any:
    """Return the vector 0, 1, ..., 7."""

    def generate(_context: Any, _builder: Any, _signature: Any, _arguments: Any) -> Any:
        return ir.Constant(_vector, [float(lane) for lane in range(LANES)])

    return float32x8(), generate


@intrinsic
def load(_typing: Any, array: Any, index: Any) -> Any:
    """Read eight adjacent elements of a contiguous 1-D float32 array, from `index` on, without a bounds check."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        index_value = context.cast(builder, arguments[1], signature.args[1], types.intp)
        address = vector_address(context, builder, signature.args[0], arguments[0], index_value)
        return builder.load(address, align=4)

    return float32x8(array, index), generate


@intrinsic
def store(_typing: Any, array: Any, index: Any, value: Any) -> Any:
    """Write eight adjacent elements of a contiguous 1-D float32 array, from `index` on, without a bounds check."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        index_value = context.cast(builder, arguments[1], signature.args[1], types.intp)
        builder.store(
            arguments[2], vector_address(context, builder, signature.args[0], arguments[0], index_value), align=4
        )
        return context.get_dummy_value()

    return types.void(array, index, value), generate


@intrinsic
def fma(_typing: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a * b + c, fused where the processor can."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return multiply_add(builder, *arguments)

    return float32x8(a, b, c), generate


@intrinsic
def minimum(_typing: Any, a: Any, b: Any) -> Any:
    """Return the smaller of two numbers in each lane, and b where either is NaN."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        smaller = builder.fcmp_ordered("<", arguments[0], arguments[1])
        return builder.select(smaller, arguments[0], arguments[1])

    return float32x8(a, b), generate


@intrinsic
def where_below(_typing: Any, value: Any, limit: Any, chosen: Any) -> Any:
    """Return `chosen` in the lanes where value < limit, and 0 elsewhere and where either is NaN."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        inside = builder.fcmp_ordered("<", arguments[0], arguments[1])
        return builder.select(inside, arguments[2], ir.Constant(_vector, [0.0] * LANES))

    return float32x8(value, limit, chosen), generate


@intrinsic
def horizontal_sum(_typing: Any, value: Any) -> Any:
    """Return the sum of the lanes, added by halves: (0+4, 1+5, ...), then again."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return sum_lanes(builder, arguments[0])

    return types.float32(value), generate


def _elementwise(operation: str) -> Callable[..., Any]:
    @intrinsic
    def instruction(_typing: Any, a: Any, b: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            return getattr(builder, operation)(arguments[0], arguments[1], flags=_FLAGS)

        return float32x8(a, b), generate

    return instruction


def _register_operator(operation: Callable[..., Any], instruction: Callable[..., Any]) -> None:
    # numba requires the two functions to have exactly equal signatures, so neither is annotated.
    def choose(a, b):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        if isinstance(a, Float32x8) and isinstance(b, Float32x8):
            return lambda a, b: instruction(a, b)
        return None

    overload(operation)(choose)


_register_operator(operator.add, _elementwise("fadd"))
_register_operator(operator.sub, _elementwise("fsub"))
_register_operator(operator.mul, _elementwise("fmul"))
_register_operator(operator.truediv, _elementwise("fdiv"))
