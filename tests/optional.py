"""Helpers that skip tests, with the reason, where an optional part is missing or broken on a machine."""

import functools
import importlib

import pytest
import torch


def import_or_skip(name: str):
    """Import an optional package; skip the module of tests if that fails in any way."""
    try:
        return importlib.import_module(name)
    except Exception as error:
        pytest.skip(f"{name} cannot be imported ({error!r})", allow_module_level=True)


@functools.cache
def kernels_obstacle() -> str | None:
    """Return the reason why Triton kernels cannot be tested here; None if they can, on a GPU or in the interpreter.

    A kernel of the tests is tried, so that a fault in one of the package is never taken for a reason.
    """
    try:
        import triton_probe

        triton_probe.run("cuda" if torch.cuda.is_available() else "cpu")
    except Exception as error:
        if torch.cuda.is_available():
            raise
        return f"Triton's interpreter does not run here ({error!r})".splitlines()[0][:200]
    return None


def skip_without_kernels() -> None:
    """Skip a test, or the module of tests that is being imported, if the kernels cannot be tested here."""
    obstacle = kernels_obstacle()
    if obstacle is not None:
        pytest.skip(obstacle, allow_module_level=True)
