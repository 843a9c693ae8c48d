"""Tests of the decorator that compiles kernels."""

import numba.core.caching
import numpy as np

from fastgs.runtime.jit import jit


def double(values):
    for index in range(len(values)):
        values[index] *= 2


def test_jit_compiles_without_a_writable_cache(monkeypatch):
    monkeypatch.setattr(numba.core.caching.CompileResultCacheImpl, "_locator_classes", [])
    values = np.arange(3.0)
    jit(double)(values)
    assert values.tolist() == [0, 2, 4]
