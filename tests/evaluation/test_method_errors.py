"""`fastgs evaluate --methods` with wrong options, images and outputs, and methods that fail or come from outside."""

import json
import shutil
from dataclasses import replace

import pytest
from evaluating import load, run, save

from fastgs.initializers import INITIALIZERS
from fastgs.methods import METHODS

OURS = "fastgs-curvature"
QUICK = ("--methods", OURS, "-k", "30", "--iterations", "5", "--size", "48")


@pytest.fixture
def methods(monkeypatch):
    """Return the registry, which forgets after the test what it has registered."""
    monkeypatch.setattr(METHODS, "_items", dict(METHODS))
    return METHODS


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--methods best", f"argument --methods: expected some of {', '.join(METHODS)}, got 'best'"),
        ("-k 30,x", "argument -k/--num-gaussians: expected numbers between commas, got '30,x'"),
        ("-k 30,0", "argument --num-gaussians: must be at least 1, got 0"),
        ("--iterations 5,-1", "argument --iterations: must be at least 0, got -1"),
        ("--iterations=", "argument --iterations: expected numbers between commas, got ''"),
        ("--seconds nan", "argument --seconds: must be more than 0 and finite, got nan"),
        ("--seed -1", "argument --seed: must be at least 0, got -1"),
        ("--size 0", "argument --size: must be at least 1, got 0"),
        ("--size 48 --full-size", "argument --full-size: not allowed with argument --size"),
        ("--workers 0", "argument --workers: must be at least 1, got 0"),
    ],
)
def test_wrong_option(photos, tmp_path, capsys, options, message):
    assert run("evaluate", photos, *QUICK, *options.split(), "--output", tmp_path / "r.json") == 2
    said = capsys.readouterr()
    assert said.err == f"fastgs evaluate: error: {message}\n"
    assert said.out == ""
    assert list(tmp_path.iterdir()) == []


def test_missing_budget(photos, tmp_path, capsys):
    assert run("evaluate", photos, "--methods", OURS, "-k", 30, "--output", tmp_path / "r.json") == 2
    message = "one of the arguments --iterations and --seconds is required"
    assert capsys.readouterr().err == f"fastgs evaluate: error: {message}\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('[\n{"method": "x", "im', "is damaged or no JSON (Unterminated string"),
        ("\x00\x01", "is damaged or no JSON ("),
        ('{"records": []}', "holds no list of records; name a file that"),
        ('[{"image": "a.png", "psnr": 30}]', "record 1 has other fields than this version writes; name a file that"),
    ],
)
def test_output_of_another_program(photos, tmp_path, capsys, content, reason):
    output = tmp_path / "r.json"
    output.write_text(content)
    for arguments in (["evaluate", photos, *QUICK, "--output", output], ["table", output]):
        assert run(*arguments) == 2
        said = capsys.readouterr().err
        assert f"{output}: {reason}" in said
        assert said.count("\n") == 1
    assert output.read_text() == content


@pytest.mark.parametrize(
    ("name", "value"), [("psnr", "30"), ("history", [[1, 2]]), ("budget", {"hours": 1}), ("num_gaussians", None)]
)
def test_altered_record(method_records, tmp_path, capsys, name, value):
    records = load(method_records)
    records[1][name] = value
    output = save(tmp_path / "r.json", records)
    assert run("table", output) == 2
    said = capsys.readouterr().err
    assert f"{output}: record 2 has " in said
    assert name in said
    assert said.count("\n") == 1


def test_output_that_cannot_be_written(photos, capsys):
    assert run("evaluate", photos, *QUICK, "--output", photos) == 2
    assert capsys.readouterr().err.startswith(f"fastgs evaluate: error: argument --output: {photos}: cannot be read (")
    below = photos / "a.png" / "r.json"
    assert run("evaluate", photos, *QUICK, "--output", below) == 2
    assert f"argument --output: cannot write to {below.parent} (" in capsys.readouterr().err


def test_bad_images_are_reported_once(photos, tmp_path, capsys):
    (tmp_path / "cut.png").write_bytes((photos / "a.png").read_bytes()[:900])
    images = (tmp_path / "cut.png", tmp_path / "missing.png", photos / "b.png")
    assert run("evaluate", *images, *QUICK, "-k", "30,60", "--output", tmp_path / "r.json") == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[:3] for line in lines] == [["fastgs", "error", str(path)] for path in images[:2]]
    assert [(record["image"], record["num_gaussians"]) for record in load(tmp_path / "r.json")] == [
        (str(photos / "b.png"), 30),
        (str(photos / "b.png"), 60),
    ]


def test_fits_that_fail_leave_the_others(photos, tmp_path, capsys, methods):
    """One method diverges, and one ends with too many Gaussians for one K; neither gives a record then."""
    grid = replace(METHODS[OURS], initialize=INITIALIZERS["grid"])

    def diverge(image, count, generator=None):
        if image.shape[1] == 48:  # not when it is warmed up
            raise ValueError("the fit diverged before iteration 7; use lower rates")
        return INITIALIZERS["grid"](image, count, generator)

    methods.register("more", replace(grid, start=lambda count: count + (count < 50)))
    methods.register("bad", replace(grid, initialize=diverge))
    image, output = photos / "a.png", tmp_path / "r.json"
    options = ("--methods", "bad,more", "-k", "30,60", "--iterations", 1, "--size", 48, "--output", output)
    assert run("evaluate", image, *options) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"fastgs: error: {image}: bad, K = 30, 1 iteration: the fit diverged before iteration 7; use lower rates",
        f"fastgs: error: {image}: bad, K = 60, 1 iteration: the fit diverged before iteration 7; use lower rates",
        f"fastgs: error: {image}: more, K = 30, 1 iteration: more ended with 31 Gaussians; 30 were asked for",
    ]
    assert [(record["method"], record["num_gaussians"]) for record in load(output)] == [("more", 60)]


def test_datasets_by_name(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("evaluate", "kodak", *QUICK, "--output", "r.json") == 2
    message = "argument DATA: kodak is not at data/kodak; get it with `fastgs download kodak`"
    assert capsys.readouterr().err == f"fastgs evaluate: error: {message}\n"
    shutil.copytree(photos, "data/DIV2K_valid_HR")
    assert run("evaluate", "div2k", *QUICK, "--output", "r.json") == 0
    assert [record["image"] for record in json.loads((tmp_path / "r.json").read_text())] == [
        "data/DIV2K_valid_HR/a.png",
        "data/DIV2K_valid_HR/b.png",
    ]
