"""Kernels compile whether or not the disk can be written."""

import numba.core.caching
import numpy as np

from fastgs.runtime.jit import jit


def double(values):
    for index in range(len(values)):
        values[index] *= 2


def test_no_folder_to_cache_in(monkeypatch):
    monkeypatch.setattr(numba.core.caching.CompileResultCacheImpl, "_locator_classes", [])
    values = np.arange(3.0)
    jit(double)(values)
    assert values.tolist() == [0, 2, 4]
