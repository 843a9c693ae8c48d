"""benchmarks/gpu, whose numbers need a GPU, runs to its end at toy sizes without one."""

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
SECTIONS = ["correctness", "rasterizer", "roofline", "fit", "networks", "training", "launch_shapes", "gsplat"]


def run(*arguments, **options):
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "benchmarks.gpu", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=ROOT, **options)


def interpreted(monkeypatch, *arguments) -> int:
    """The exit code of the program in this process, which has imported what it needs; with a GPU, in one of its own."""
    if torch.cuda.is_available():
        return run("--interpret", *arguments).returncode
    monkeypatch.setattr(sys, "argv", ["benchmarks.gpu", "--interpret", *map(str, arguments)])
    monkeypatch.syspath_prepend(ROOT)
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("benchmarks.gpu", run_name="__main__")
    return stop.value.code


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the interpreter computes with NumPy
def test_all_sections_run_in_the_interpreter(tmp_path, monkeypatch, capsys):
    output = tmp_path / "new" / "cuda.json"
    assert interpreted(monkeypatch, "--seed", 0, "--output", output) == 0, capsys.readouterr().out[-3000:]
    content = json.loads(output.read_text())
    assert list(content["seconds"]) == SECTIONS
    assert content["environment"]["triton"]
    records = {name: [each for each in content["records"] if each["section"] == name] for name in SECTIONS}
    assert all(records.values())
    assert not [each for each in content["records"] if "error" in each or each.get("passed") is False]

    checks = records["correctness"]
    assert {each["check"] for each in checks} == {"rasterize", "lists", "descent"}
    assert all(each["passed"] for each in checks if each["check"] != "lists")
    assert all(each["identical"] for each in checks if each["check"] == "rasterize")
    assert any(each.get("made_room") for each in checks)
    assert all(each["milliseconds"] > 0 for each in records["rasterizer"])
    timed = {(each["size"], each["num_gaussians"]) for each in records["rasterizer"]}
    assert timed < {(each["size"], each["num_gaussians"]) for each in records["fit"] if "size" in each}
    (pairs,) = (each for each in records["roofline"] if "needed_pairs" in each)
    assert 0 < pairs["needed_pairs"] <= pairs["backward_pairs"] <= min(pairs["forward_pairs"], pairs["issued_pairs"])
    assert sum(each["fastest"] for each in records["launch_shapes"]) == 2


def test_a_section_that_fails_leaves_its_error_and_the_rest(tmp_path):
    output = tmp_path / "cuda.json"  # but what needs no photo
    finished = run(tmp_path / "none.png", "--interpret", "--output", output, "--only", "roofline", "gsplat")
    assert finished.returncode == 1
    ceilings, error, note = json.loads(output.read_text())["records"]
    assert ceilings["bytes_per_second"] > 0
    assert "no such file" in error["error"][-1]
    assert note["section"] == "gsplat"
    assert finished.stdout.rstrip().endswith(error["error"][-1])


def test_without_a_gpu_it_says_so():
    finished = run()
    assert finished.returncode == 2
    assert finished.stdout == ""
    assert len(finished.stderr.splitlines()) == 1
    assert "needs a CUDA device" in finished.stderr


def test_toy_numbers_are_no_results():
    finished = run("--interpret")
    assert finished.returncode == 2
    assert "--output" in finished.stderr
