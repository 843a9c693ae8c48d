"""Vectors of eight or sixteen float32 lanes in numba code.

numba leaves vectorization to LLVM, which does not vectorize the short rows that a Gaussian covers (about eight pixels):
they run in the scalar remainder loop. With the explicit vector types of this module, an operation on eight pixels is
one instruction on AVX2 and two on SSE or NEON.

    value = fma(splat(slope), lane_index(), splat(start))
    store(row, x, load(row, x) + value * value)

Vectors exist in registers only: `splat`, `lane_index` and `load` make them, `+ - * /` and the functions below combine
them, and `store` and `horizontal_sum` take their content out. `join` makes one of sixteen lanes from two of eight, and
`low` and `high` take it apart: so two short rows are one instruction on AVX-512.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

LANES = 8

# Contraction lets LLVM fuse a*b+c; NaN and infinity keep their meaning.
_FLAGS = ("contract", "nsz")


class Vector(types.Type):
    """Numba type of float32 lanes.

    Args:
        lanes: Number of lanes, a power of 2.
    """

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__(name=f"Float32x{lanes}")


float32x8, float32x16 = Vector(LANES), Vector(2 * LANES)


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, numba_type: Any) -> None:
        super().__init__(manager, numba_type, _llvm_vector(numba_type.lanes))  # type: ignore[no-untyped-call]


def _llvm_vector(lanes: int) -> Any:
    return ir.VectorType(ir.FloatType(), lanes)


def lane_indices(indices: Iterable[int]) -> Any:
    """Return the constant vector of integers that a shuffle takes."""
    values = list(indices)
    return ir.Constant(ir.VectorType(ir.IntType(32), len(values)), values)


def broadcast(builder: Any, scalar: Any, lanes: int = LANES) -> Any:
    """Emit a vector with all lanes set to a float32 value."""
    nothing = ir.Constant(_llvm_vector(lanes), ir.Undefined)
    lane0 = builder.insert_element(nothing, scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(lane0, nothing, lane_indices([0] * lanes))


def multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """Emit a * b + c of vectors or numbers, which LLVM may fuse."""
    return builder.fadd(builder.fmul(a, b, flags=_FLAGS), c, flags=_FLAGS)


def sum_lanes(builder: Any, total: Any) -> Any:
    """Emit the sum of the lanes of a vector, added by halves."""
    width = total.type.count
    while width > 1:
        width //= 2
        lower = builder.shuffle_vector(total, total, lane_indices(range(width)))
        upper = builder.shuffle_vector(total, total, lane_indices(range(width, 2 * width)))
        total = builder.fadd(lower, upper, flags=_FLAGS)
    return builder.extract_element(total, ir.Constant(ir.IntType(32), 0))


def vector_address(context: Any, builder: Any, array_type: Any, array: Any, index: Any, lanes: int = LANES) -> Any:
    """Emit the address of the vector that begins at an index of a contiguous 1-D float32 array."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _llvm_vector(lanes).as_pointer())


@intrinsic
def splat(_typing: Any, scalar: Any) -> Any:
    """Return a vector of eight lanes, all set to one number, as float32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return broadcast(builder, context.cast(builder, arguments[0], signature.args[0], types.float32))

    return float32x8(scalar), generate


@intrinsic
def splat_like(_typing: Any, vector: Any, scalar: Any) -> Any:
    """Return a vector of as many lanes as another, all set to one number, as float32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return broadcast(builder, context.cast(builder, arguments[1], signature.args[1], types.float32), vector.lanes)

    return vector(vector, scalar), generate


@intrinsic
def lane_index(_typing: Any) -> Any:
    """Return the vector 0, 1, ..., 7."""

    def generate(_context: Any, _builder: Any, _signature: Any, _arguments: Any) -> Any:
        return ir.Constant(_llvm_vector(LANES), [float(lane) for lane in range(LANES)])

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
def load_wide(_typing: Any, array: Any, index: Any) -> Any:
    """Read sixteen adjacent elements of a contiguous 1-D float32 array, like `load`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        index_value = context.cast(builder, arguments[1], signature.args[1], types.intp)
        lanes = float32x16.lanes
        address = vector_address(context, builder, signature.args[0], arguments[0], index_value, lanes)
        return builder.load(address, align=4)

    return float32x16(array, index), generate


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

    return a(a, b, c), generate


@intrinsic
def minimum(_typing: Any, a: Any, b: Any) -> Any:
    """Return the smaller of two numbers in each lane, and b where either is NaN."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        smaller = builder.fcmp_ordered("<", arguments[0], arguments[1])
        return builder.select(smaller, arguments[0], arguments[1])

    return a(a, b), generate


@intrinsic
def where_below(_typing: Any, value: Any, limit: Any, chosen: Any) -> Any:
    """Return `chosen` in the lanes where value < limit, and 0 elsewhere and where either is NaN."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        inside = builder.fcmp_ordered("<", arguments[0], arguments[1])
        return builder.select(inside, arguments[2], ir.Constant(arguments[2].type, [0.0] * chosen.lanes))

    return chosen(value, limit, chosen), generate


@intrinsic
def select_below(_typing: Any, value: Any, limit: Any, chosen: Any, other: Any) -> Any:
    """Return `chosen` in the lanes where value < limit, and `other` elsewhere and where either is NaN."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.select(builder.fcmp_ordered("<", arguments[0], arguments[1]), arguments[2], arguments[3])

    return chosen(value, limit, chosen, other), generate


@intrinsic
def store_integers(_typing: Any, array: Any, index: Any, value: Any) -> Any:
    """Write eight lanes, cut to integers, to a contiguous 1-D int32 array from `index` on, without a bounds check."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        integers = ir.VectorType(ir.IntType(32), LANES)
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        place = builder.gep(data, [context.cast(builder, arguments[1], signature.args[1], types.intp)])
        builder.store(builder.fptosi(arguments[2], integers), builder.bitcast(place, integers.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(array, index, value), generate


@intrinsic
def power_of_two(_typing: Any, exponent: Any) -> Any:
    """Return 2^n for whole numbers n from -126 to 127."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        integers = ir.VectorType(ir.IntType(32), exponent.lanes)

        def constant(value: int) -> Any:
            return ir.Constant(integers, [value] * exponent.lanes)

        biased = builder.add(builder.fptosi(arguments[0], integers), constant(127))
        return builder.bitcast(builder.shl(biased, constant(23)), arguments[0].type)

    return exponent(exponent), generate


def _function_of_llvm(name: str, doc: str) -> Callable[..., Any]:
    def call(_typing: Any, value: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            kind = ir.FunctionType(arguments[0].type, [arguments[0].type])
            name_of_width = f"llvm.{name}.v{value.lanes}f32"
            function = cgutils.get_or_insert_function(builder.module, kind, name_of_width)  # type: ignore[no-untyped-call]
            return builder.call(function, arguments)

        return value(value), generate

    call.__doc__ = doc
    return intrinsic(call)


square_root = _function_of_llvm("sqrt", "Return the square root of each lane.")
round_down = _function_of_llvm("floor", "Return the largest whole number that is not above each lane.")


@intrinsic
def horizontal_sum(_typing: Any, value: Any) -> Any:
    """Return the sum of the lanes, added by halves: (0+4, 1+5, ...), then again."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return sum_lanes(builder, arguments[0])

    return types.float32(value), generate


@intrinsic
def join(_typing: Any, lower: Any, upper: Any) -> Any:
    """Return the vector of sixteen lanes of two of eight."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.shuffle_vector(arguments[0], arguments[1], lane_indices(range(2 * LANES)))

    return float32x16(lower, upper), generate


@intrinsic
def first_lane(_typing: Any, value: Any) -> Any:
    """Return the first lane as a number."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.extract_element(arguments[0], ir.Constant(ir.IntType(32), 0))

    return types.float32(value), generate


@intrinsic
def low(_typing: Any, value: Any) -> Any:
    """Return the first eight of sixteen lanes."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.shuffle_vector(arguments[0], arguments[0], lane_indices(range(LANES)))

    return float32x8(value), generate


@intrinsic
def high(_typing: Any, value: Any) -> Any:
    """Return the last eight of sixteen lanes."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.shuffle_vector(arguments[0], arguments[0], lane_indices(range(LANES, 2 * LANES)))

    return float32x8(value), generate


def _register_operator(operation: Callable[..., Any], instruction: str) -> None:
    # Without `overload`, which would compile a function for each operator and type.
    def generic(_self: Any, args: tuple[Any, ...], _kws: Any) -> Any:
        a, b = args
        return signature(a, a, b) if isinstance(a, Vector) and a == b else None  # type: ignore[no-untyped-call]

    infer_global(operation)(  # type: ignore[no-untyped-call]
        type("VectorOperator", (AbstractTemplate,), {"key": operation, "generic": generic})
    )

    @lower_builtin(operation, Vector, Vector)  # type: ignore[no-untyped-call,untyped-decorator]
    def lower(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return getattr(builder, instruction)(arguments[0], arguments[1], flags=_FLAGS)


_register_operator(operator.add, "fadd")
_register_operator(operator.sub, "fsub")
_register_operator(operator.mul, "fmul")
_register_operator(operator.truediv, "fdiv")
