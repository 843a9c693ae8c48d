"""Elementary functions of vectors (simd.py) in numba code, to about the precision of float32."""

from __future__ import annotations

import numpy as np

from fastgs.runtime.jit import jit
from fastgs.runtime.simd import fma, minimum, power_of_two, round_down, select_below, splat_like

# exp(r) on [-log(2) / 2, log(2) / 2]: Taylor's coefficients from the square on, whose error there is 1e-8.
_EXP2, _EXP3, _EXP4, _EXP5, _EXP6 = (np.float32(1 / n) for n in (2, 6, 24, 120, 720))
_LOG2_E = np.float32(1 / np.log(2))
# log(2) as a sum, the first of few bits, so that its multiples are exact.
_LOG2_HIGH, _LOG2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
_LARGEST = np.float32(88)  # exp of more is infinite in float32

# sin(r) and cos(r) on [-pi / 4, pi / 4]: Taylor's coefficients.
_SIN3, _SIN5, _SIN7, _SIN9 = (np.float32(c) for c in (-1 / 6, 1 / 120, -1 / 5040, 1 / 362880))
_COS4, _COS6, _COS8 = (np.float32(c) for c in (1 / 24, -1 / 720, 1 / 40320))
_TWO_OVER_PI = np.float32(2 / np.pi)
# pi / 2 as a sum, the first two of few bits.
_QUARTER_HIGH, _QUARTER_MIDDLE, _QUARTER_LOW = (
    np.float32(1.5703125),
    np.float32(4.837512969970703125e-4),
    np.float32(7.54978995489e-8),
)

ZERO, HALF, ONE, TWO, FOUR = (np.float32(value) for value in (0, 0.5, 1, 2, 4))


@jit
def absolute(x):
    """Return |x|."""
    return splat_like(x, ZERO) - minimum(x, splat_like(x, ZERO) - x)


@jit
def maximum(a, b):
    """Return the larger of two numbers in each lane, and b where either is NaN."""
    return select_below(b, a, a, b)


@jit
def exponential(x):
    """Return exp(x), for x up to 88."""
    x = maximum(minimum(x, splat_like(x, _LARGEST)), splat_like(x, -_LARGEST))
    whole = round_down(fma(x, splat_like(x, _LOG2_E), splat_like(x, HALF)))
    rest = fma(whole, splat_like(x, -_LOG2_HIGH), x)
    rest = fma(whole, splat_like(x, -_LOG2_LOW), rest)
    power = fma(rest, splat_like(x, _EXP6), splat_like(x, _EXP5))
    power = fma(power, rest, splat_like(x, _EXP4))
    power = fma(power, rest, splat_like(x, _EXP3))
    power = fma(power, rest, splat_like(x, _EXP2))
    power = fma(power, rest, splat_like(x, ONE))
    power = fma(power, rest, splat_like(x, ONE))
    return power * power_of_two(whole)


@jit
def cosine_and_sine(x):
    """Return cos(x) and sin(x), precise for |x| up to some thousands."""
    quarters = round_down(fma(x, splat_like(x, _TWO_OVER_PI), splat_like(x, HALF)))
    rest = fma(quarters, splat_like(x, -_QUARTER_HIGH), x)
    rest = fma(quarters, splat_like(x, -_QUARTER_MIDDLE), rest)
    rest = fma(quarters, splat_like(x, -_QUARTER_LOW), rest)
    square = rest * rest
    sine = fma(square, splat_like(x, _SIN9), splat_like(x, _SIN7))
    sine = fma(sine, square, splat_like(x, _SIN5))
    sine = fma(sine, square, splat_like(x, _SIN3))
    sine = fma(sine * square, rest, rest)
    cosine = fma(square, splat_like(x, _COS8), splat_like(x, _COS6))
    cosine = fma(cosine, square, splat_like(x, _COS4))
    cosine = fma(cosine, square, splat_like(x, -HALF))
    cosine = fma(cosine, square, splat_like(x, ONE))
    # The number of quarter turns from 0 to 3, and its lowest bit.
    turn = quarters - splat_like(x, FOUR) * round_down(quarters * splat_like(x, np.float32(0.25)))
    odd = turn - splat_like(x, TWO) * round_down(turn * splat_like(x, HALF))
    half = splat_like(x, HALF)
    of_cosine, of_sine = select_below(odd, half, cosine, sine), select_below(odd, half, sine, cosine)
    # cos is negative in quarters 1 and 2, sin in quarters 2 and 3.
    from_middle = absolute(turn - splat_like(x, np.float32(1.5)))
    of_cosine = select_below(from_middle, splat_like(x, ONE), splat_like(x, ZERO) - of_cosine, of_cosine)
    of_sine = select_below(turn, splat_like(x, np.float32(1.5)), of_sine, splat_like(x, ZERO) - of_sine)
    return of_cosine, of_sine
