"""Weights that end at an edge of 1/255, in place of those that fade out, for switches.py."""

from __future__ import annotations

import math

import numpy as np

from fastgs.render import cpu_kernels
from fastgs.render.cpu_kernels import _gaussian
from fastgs.runtime.jit import jit
from fastgs.runtime.simd import splat_like, where_below

EDGE = np.float32(2 * math.log(255))  # squared distance from the centre in standard deviations


@jit
def weigh(d2):
    """Return the weight."""
    return where_below(d2, splat_like(d2, EDGE), _gaussian(d2))


@jit
def weight_and_slope(d2):
    """Return the weight and its slope, -2 dw/d(d2), without the edge, as the kernels of GaussianImage do."""
    weight = where_below(d2, splat_like(d2, EDGE), _gaussian(d2))
    return weight, weight


def replace_weights() -> None:
    """Let the kernels of the CPU draw such weights from now on.

    None may be compiled yet, and the folder of compiled ones must be one that nobody else uses.
    """
    cpu_kernels.weigh, cpu_kernels._weight_and_slope = weigh, weight_and_slope
