"""Test that the package and its tests work without optional dependencies."""

import os
from pathlib import Path

import pytest
from processes import python

CODE = """
import logging, sys, torch
import fastgs
from fastgs.training.callbacks.wandb import LogToWandb
from fastgs.render import has_triton

logging.basicConfig(stream=sys.stdout, format="%(message)s")
result = fastgs.Predictor()(torch.rand(3, 16, 16), num_gaussians=20, iterations=2)
print(len(result.gaussians), has_triton(), LogToWandb()._connect("unused"))

import pytest
sys.exit(pytest.main(["-q", "-rs", "--co", "-p", "no:cacheprovider", *sys.argv[1:]]))
"""


@pytest.mark.slow
def test_package_and_tests_work_with_broken_dependencies(tmp_path):
    """An import that fails counts as a missing package; the tests that need it are skipped, and say why."""
    # torch and timm import the first two as well, and expect an ImportError.
    for name, error in (("triton", "ImportError"), ("wandb", "ImportError"), ("gsplat", "RuntimeError")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise {error}('{name} broke')\n", encoding="utf-8")
    tests = Path(__file__).parent
    files = [
        tests / name
        for name in (
            "render/test_cuda.py",
            "benchmarks/test_cuda_benchmark.py",
            "training/test_logging.py",
            "fitting/test_adam.py",
        )
    ]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    done = python("-c", CODE, *files, env=environment, cwd=tests.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "20 False None" in done.stdout
    assert "Triton cannot be imported (ImportError('triton broke')); its kernels are not used, and" in done.stdout
    assert "wandb cannot be imported (ImportError('wandb broke')); logging to files only" in done.stdout
    skips = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
    assert sorted(line.split()[1] for line in skips) == ["[1]", "[2]"]
    assert all("broke" in line for line in skips)
    assert "tests/fitting/test_adam.py::" in done.stdout
