"""Tests of the decorator that compiles kernels."""

import numpy as np

from fastgs.runtime import jit as module
from fastgs.runtime import kernel_cache
from fastgs.runtime.jit import jit


def double(values):
    for index in range(len(values)):
        values[index] *= 2


def test_jit_compiles_without_a_writable_cache(monkeypatch):
    monkeypatch.setattr(kernel_cache._Implementation, "_locator_classes", [])
    values = np.arange(3.0)
    jit(double)(values)
    assert values.tolist() == [0, 2, 4]


def test_first_compilation_is_logged(monkeypatch, caplog):
    monkeypatch.setattr(kernel_cache._Implementation, "_locator_classes", [])
    monkeypatch.setattr(module.listener, "is_silent", False)
    caplog.set_level("INFO", "fastgs.runtime.jit")
    others = jit(lambda values: values.sort())
    others(np.arange(3.0))
    assert not caplog.messages  # kernels of other packages are none of its business
    for kernel in (double, lambda values: values.sort()):
        kernel.__module__ = "fastgs.tests"
        jit(kernel)(np.arange(3.0))
    assert [message.partition(",")[0] for message in caplog.messages] == ["compiling kernels"]


def test_kernel_has_machine_code_only_where_python_calls_it(monkeypatch):
    monkeypatch.setattr(kernel_cache._Implementation, "_locator_classes", [])
    inner = jit(double)

    @jit
    def outer(values):
        inner(values)
        inner(values)

    values = np.arange(3.0)
    outer(values)
    assert values.tolist() == [0, 4, 8]
    assert not inner.signatures
    inner(values)
    assert values.tolist() == [0, 8, 16]
    assert inner.signatures == outer.signatures
