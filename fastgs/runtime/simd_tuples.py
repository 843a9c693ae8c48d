"""Tuples of vectors in numba code, such as eight pixels in each of the colour channels.

The length of a tuple is a part of its type, so it is known when a kernel is compiled. All functions here are therefore
unrolled, and the vectors stay in registers, which they would leave in a loop over channels. A kernel gets a tuple of
zeros, as long as there are channels, and is compiled once for each length.

    color = splat_each(read_row(colors, k, zeros))
    sums = load_each(planes, x, stride, zeros)
    store_each(planes, x, stride, fma_each(weight, color, sums))
"""

from __future__ import annotations

from typing import Any

from numba.core import types
from numba.extending import intrinsic

from fastgs.runtime import simd
from fastgs.runtime.simd import float32x8


def _tuple_type(element: Any, count: int) -> Any:
    return types.UniTuple(element, count)  # type: ignore[no-untyped-call]


def _unpack(builder: Any, values: Any, count: int) -> list[Any]:
    """Emit the elements of a tuple."""
    return [builder.extract_value(values, each) for each in range(count)]


def _row_addresses(context: Any, builder: Any, signature: Any, arguments: Any, count: int) -> list[Any]:
    """Emit the addresses of the elements of a row of a contiguous array (N, count)."""
    data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
    row = context.cast(builder, arguments[1], signature.args[1], types.intp)
    first = builder.mul(row, context.get_constant(types.intp, count))
    return [builder.gep(data, [builder.add(first, context.get_constant(types.intp, each))]) for each in range(count)]


def _places(context: Any, builder: Any, signature: Any, arguments: Any, count: int) -> list[Any]:
    """Emit `count` indices, from the second argument on and the third apart."""
    index, step = (context.cast(builder, arguments[each], signature.args[each], types.intp) for each in (1, 2))
    places = [index]
    for _ in range(count - 1):
        places.append(builder.add(places[-1], step))
    return places


def _plane_addresses(
    context: Any, builder: Any, signature: Any, arguments: Any, count: int, lanes: int = simd.LANES
) -> list[Any]:
    """Emit the addresses of `count` vectors in a contiguous 1-D array, from an index on and a step apart."""
    places = _places(context, builder, signature, arguments, count)
    return [simd.vector_address(context, builder, signature.args[0], arguments[0], place, lanes) for place in places]


@intrinsic
def read_row(_typing: Any, array: Any, row: Any, like: Any) -> Any:
    """Return a row of a contiguous float32 array (N, length) as a tuple of numbers, without a bounds check.

    `like` is any tuple of that length.
    """
    result = _tuple_type(types.float32, like.count)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        addresses = _row_addresses(context, builder, signature, arguments, result.count)
        return context.make_tuple(builder, result, [builder.load(each) for each in addresses])

    return result(array, row, like), generate


@intrinsic
def write_row(_typing: Any, array: Any, row: Any, values: Any) -> Any:
    """Write a tuple of numbers to a row of a contiguous float32 array (N, length), without a bounds check."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        numbers = _unpack(builder, arguments[2], values.count)
        addresses = _row_addresses(context, builder, signature, arguments, values.count)
        for number, address in zip(numbers, addresses, strict=True):
            builder.store(number, address)
        return context.get_dummy_value()

    return types.void(array, row, values), generate


@intrinsic
def write_each(_typing: Any, array: Any, index: Any, step: Any, values: Any) -> Any:
    """Write a tuple of numbers to a contiguous 1-D float32 array, at `index`, `index + step` and so on, unchecked."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        numbers = _unpack(builder, arguments[3], values.count)
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        for number, place in zip(numbers, _places(context, builder, signature, arguments, values.count), strict=True):
            builder.store(number, builder.gep(data, [place]))
        return context.get_dummy_value()

    return types.void(array, index, step, values), generate


@intrinsic
def splat_each(_typing: Any, values: Any) -> Any:
    """Return a tuple of vectors, each with all lanes set to one number of a tuple."""
    result = _tuple_type(float32x8, values.count)

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        numbers = _unpack(builder, arguments[0], values.count)
        return context.make_tuple(builder, result, [simd.broadcast(builder, each) for each in numbers])

    return result(values), generate


@intrinsic
def splat_each_like(_typing: Any, vector: Any, values: Any) -> Any:
    """Return a tuple of vectors of as many lanes as another, each with all lanes set to one number of a tuple."""
    result = _tuple_type(vector, values.count)

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        numbers = _unpack(builder, arguments[1], values.count)
        return context.make_tuple(builder, result, [simd.broadcast(builder, each, vector.lanes) for each in numbers])

    return result(vector, values), generate


@intrinsic
def load_each(_typing: Any, array: Any, index: Any, step: Any, like: Any) -> Any:
    """Load vectors of a contiguous 1-D float32 array, from `index`, `index + step`, and so on.

    There are as many as the tuple `like` is long, of as many lanes as its vectors, or eight if it holds numbers. There
    is no bounds check.
    """
    element = like.dtype if isinstance(like.dtype, simd.Vector) else float32x8
    result = _tuple_type(element, like.count)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        addresses = _plane_addresses(context, builder, signature, arguments, result.count, element.lanes)
        return context.make_tuple(builder, result, [builder.load(each, align=4) for each in addresses])

    return result(array, index, step, like), generate


@intrinsic
def store_each(_typing: Any, array: Any, index: Any, step: Any, values: Any) -> Any:
    """Store vectors in a contiguous 1-D float32 array, at `index`, `index + step` and so on, without a bounds check."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vectors = _unpack(builder, arguments[3], values.count)
        addresses = _plane_addresses(context, builder, signature, arguments, values.count, values.dtype.lanes)
        for vector, address in zip(vectors, addresses, strict=True):
            builder.store(vector, address, align=4)
        return context.get_dummy_value()

    return types.void(array, index, step, values), generate


@intrinsic
def fma_each(_typing: Any, factor: Any, values: Any, sums: Any) -> Any:
    """Return the tuple of factor * value + sum, fused where the processor can.

    All are vectors, or all are float32 numbers.
    """

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        pairs = zip(*(_unpack(builder, each, sums.count) for each in arguments[1:]), strict=True)
        results = [simd.multiply_add(builder, arguments[0], value, total) for value, total in pairs]
        return context.make_tuple(builder, sums, results)

    return sums(factor, values, sums), generate


@intrinsic
def add_loaded(_typing: Any, array: Any, index: Any, step: Any, values: Any) -> Any:
    """Return a tuple of vectors plus those of an array where `store_each` would write them."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = values.dtype.lanes
        addresses = _plane_addresses(context, builder, signature, arguments, values.count, lanes)
        pairs = zip(_unpack(builder, arguments[3], values.count), addresses, strict=True)
        sums = [builder.fadd(vector, builder.load(address, align=4)) for vector, address in pairs]
        return context.make_tuple(builder, values, sums)

    return values(array, index, step, values), generate


@intrinsic
def leak_each(_typing: Any, values: Any, slope: Any) -> Any:
    """Return the tuple of the larger of x and slope x, for each vector x of a tuple and a slope from 0 to 1."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        factor = context.cast(builder, arguments[1], signature.args[1], types.float32)
        results = []
        for vector in _unpack(builder, arguments[0], values.count):
            lower = builder.fmul(vector, simd.broadcast(builder, factor, values.dtype.lanes))
            results.append(builder.select(builder.fcmp_ordered(">", vector, lower), vector, lower))
        return context.make_tuple(builder, values, results)

    return values(values, slope), generate


@intrinsic
def dot(_typing: Any, a: Any, b: Any, start: Any) -> Any:
    """Return start plus the sum of a * b over two tuples, added from the last elements to the first."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        pairs = zip(*(_unpack(builder, each, a.count) for each in arguments[:2]), strict=True)
        total = arguments[2]
        for left, right in reversed(list(pairs)):
            total = simd.multiply_add(builder, left, right, total)
        return total

    return start(a, b, start), generate


@intrinsic
def horizontal_sum_each(_typing: Any, values: Any) -> Any:
    """Return the tuple of the sums over the lanes of each vector."""
    result = _tuple_type(types.float32, values.count)

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        vectors = _unpack(builder, arguments[0], values.count)
        return context.make_tuple(builder, result, [simd.sum_lanes(builder, each) for each in vectors])

    return result(values), generate


@intrinsic
def transpose(_typing: Any, rows: Any) -> Any:
    """Return the columns of a matrix of eight rows, both as tuples of vectors of eight lanes."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        # Three rounds, each of which swaps the blocks of one size: 4 x 4, 2 x 2, single numbers.
        vectors = _unpack(builder, arguments[0], simd.LANES)
        for half in (4, 2, 1):
            lower = [lane + (lane & half and simd.LANES - half) for lane in range(simd.LANES)]
            upper = [lane + (simd.LANES if lane & half else half) for lane in range(simd.LANES)]
            for row in range(simd.LANES):
                if not row & half:
                    pair = vectors[row], vectors[row + half]
                    vectors[row], vectors[row + half] = (
                        builder.shuffle_vector(*pair, simd.lane_indices(lanes)) for lanes in (lower, upper)
                    )
        return context.make_tuple(builder, rows, vectors)

    return rows(rows), generate
