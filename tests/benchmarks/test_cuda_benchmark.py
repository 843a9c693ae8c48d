"""Benchmark of the CUDA backend, whose numbers need a GPU, at toy sizes in the interpreter of Triton."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from optional import skip_without_kernels

skip_without_kernels()

ROOT = Path(__file__).parents[2]
SECTIONS = [
    "correctness",
    "rasterizer",
    "roofline",
    "fit",
    "batches",
    "networks",
    "training",
    "launch_shapes",
    "gsplat",
]


def run(*arguments, **options):
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "benchmarks.gpu", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=ROOT, **options)


@pytest.fixture
def run_here(monkeypatch):
    """Return a function that runs the program in this process and returns its exit code.

    With a GPU, it runs in another process, as kernels are compiled in this one.
    """

    def run_here(*arguments) -> int:
        if torch.cuda.is_available():
            finished = run(*arguments)
            sys.stdout.write(finished.stdout)
            sys.stderr.write(finished.stderr)
            return finished.returncode
        monkeypatch.setattr(sys, "argv", ["benchmarks.gpu", *map(str, arguments)])
        monkeypatch.syspath_prepend(ROOT)
        with pytest.raises(SystemExit) as stop:
            runpy.run_module("benchmarks.gpu", run_name="__main__")
        return stop.value.code

    return run_here


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the interpreter computes with NumPy
def test_all_sections_run_in_the_interpreter(tmp_path, run_here, capsys, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.setattr("benchmarks.gpu.speed.BATCH", 2)  # steps of a graph; without one, those that are timed at once
    output = tmp_path / "new" / "cuda.json"
    assert run_here("--interpret", "--seed", 0, "--output", output) == 0, capsys.readouterr().out[-3000:]
    content = json.loads(output.read_text())
    assert list(content["seconds"]) == SECTIONS
    assert content["environment"]["triton"]
    records = {name: [each for each in content["records"] if each["section"] == name] for name in SECTIONS}
    assert all(records.values())
    assert not [each for each in content["records"] if "error" in each or each.get("passed") is False]

    checks = records["correctness"]
    assert {each["check"] for each in checks} == {"rasterize", "bins", "descent"}
    assert all(each["passed"] for each in checks)
    assert all(each["identical"] for each in checks if each["check"] == "rasterize")
    assert any(each.get("made_room") for each in checks)
    assert all(each["milliseconds"] > 0 for each in records["rasterizer"])
    timed = {(each["size"], each["num_gaussians"]) for each in records["rasterizer"]}
    assert timed < {(each["size"], each["num_gaussians"]) for each in records["fit"] if "size" in each}
    (pairs,) = (each for each in records["roofline"] if "needed_pairs" in each)
    assert 0 < pairs["needed_pairs"] <= pairs["backward_pairs"] <= min(pairs["forward_pairs"], pairs["issued_pairs"])
    assert all(each["images_per_second"] > 0 for each in records["batches"])
    assert sum(each["fastest"] for each in records["launch_shapes"]) == 3


def test_section_that_fails_leaves_its_error_and_the_rest(tmp_path, run_here, capsys):
    output = tmp_path / "cuda.json"
    code = run_here(tmp_path / "none.png", "--interpret", "--output", output, "--only", "roofline", "gsplat")
    assert code == 1
    # Ceilings and gsplat need no photo.
    ceilings, error, note = json.loads(output.read_text())["records"]
    assert ceilings["bytes_per_second"] > 0
    assert "no such file" in error["error"][-1]
    assert note["section"] == "gsplat"
    assert capsys.readouterr().out.rstrip().endswith(error["error"][-1])


@pytest.mark.slow
def test_program_without_a_gpu_ends_with_one_line():
    finished = run()
    assert finished.returncode == 2
    assert finished.stdout == ""
    assert len(finished.stderr.splitlines()) == 1
    assert "needs a CUDA device" in finished.stderr


def test_toy_numbers_are_not_written_among_results(run_here, capsys):
    assert run_here("--interpret") == 2
    assert "--output" in capsys.readouterr().err
