"""Tests of the Triton kernels as a compiler for GPUs makes them, on any machine where Triton can compile."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from optional import import_or_skip

backends = import_or_skip("triton.backends")
PROGRAMS = Path(__file__).parents[1] / "ptx"
ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("nvidia" not in backends.backends, reason="Triton has no compiler for GPUs of NVIDIA"),
]


def run(program, *arguments):
    """Run a program in which Triton does not interpret kernels, and return what it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")])
    command = [sys.executable, "-W", "ignore", PROGRAMS / program, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("target", ["90", "120", "gfx942"])
def test_kernels_fit_into_registers(target, tmp_path, monkeypatch):
    """The compiler also checks types and shapes, which the interpreter does not."""
    if target.startswith("gfx") and "amd" not in backends.backends:
        pytest.skip("Triton has no compiler for GPUs of AMD")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    name, registers, spilled, shared = run("compile_kernels.py", target).split()
    assert name == target
    assert int(registers) <= 128
    assert int(spilled) == 0
    assert int(shared) <= 48 * 1024


def test_compiled_kernels_do_as_the_reference():
    """They run on the CPU, thread by thread: see tests/ptx/machine.py for what is checked.

    Whatever the order in which Gaussians arrive in the bins, the bits are the same.
    """
    assert run("check_kernels.py", "75") == "checked\n"
