"""`fastgs evaluate --preset published`: what is fitted, how long it is said to take, and what stands in the table."""

import math
from statistics import fmean, stdev

import pytest
from evaluating import load, run, save

from fastgs.evaluation.methods.published import OURS, configurations, estimate_mean, published_results
from fastgs.methods import METHODS
from fastgs.methods.published import PUBLISHED, Published

PEER = "gaussianimage-rs"
TINY = ("--preset", "published", "--methods", f"{OURS},{PEER}", "-k", "30", "--iterations", "5", "--size", "48")


@pytest.fixture
def short(monkeypatch):
    """Let a paper report what takes no time."""
    results = (Published(30, 48, 5, 12.5, "arXiv 1", seconds=3, gpu="V100"), Published(40, 48, 5, 13.5, "arXiv 1"))
    monkeypatch.setitem(PUBLISHED, PEER, results)


def test_lengths_of_papers_are_those_of_their_methods():
    assert all(name in METHODS for name in PUBLISHED)
    assert {(cell.method, cell.iterations) for cell in published_results()} == {
        (name, METHODS[name].iterations) for name in PUBLISHED
    }


def test_preset_has_this_project_at_every_number_of_gaussians():
    cells = configurations()
    mine = {(cell.num_gaussians, cell.size) for cell in cells if cell.method == OURS}
    assert mine == {(cell.num_gaussians, cell.size) for cell in cells if cell.method != OURS}
    assert set(configurations([PEER])) == set(published_results([PEER]))
    costs = [cell.num_gaussians * cell.iterations for cell in cells]
    assert costs == sorted(costs)


def test_estimate_of_a_mean_has_its_closed_form():
    reference = {"a": 30.0, "b": 35.0, "c": 40.0, "d": 45.0}
    some = estimate_mean({"a": 29.0, "c": 37.0}, reference)
    assert some.psnr == fmean(reference.values()) - 2
    assert some.error == pytest.approx(stdev([-1, -3]) * math.sqrt((1 - 2 / 4) / 2))
    assert (some.measured, some.images) == (2, 4)
    assert str(some) == "35.50 ± 0.71"
    one = estimate_mean({"b": 36.0}, reference)
    assert (one.psnr, one.error, str(one)) == (38.5, None, "38.50 ± ?")
    # Where all are measured, or others than those of the reference, nothing is estimated.
    assert str(estimate_mean({name: 1.0 for name in "abcd"}, reference)) == "1.00"
    assert str(estimate_mean({"a": 1.0, "e": 3.0}, reference)) == "2.00"


def test_preset_says_how_long_it_takes_and_goes_on(photos, tmp_path, capsys):
    output = tmp_path / "r.json"
    assert run("evaluate", photos, *TINY, "--output", output) == 0
    said = capsys.readouterr()
    assert said.err.startswith("fastgs: 4 fits to make, in about 0:00:")
    assert said.err.count("\n") == 1
    lines = said.out.splitlines()
    assert len(lines) == 4
    assert lines[-1].endswith("  about 0:00:00 left")
    records = load(output)
    assert [(record["image"][-5], record["method"]) for record in records] == [
        (name, method) for name in "ab" for method in (OURS, PEER)
    ]
    assert {(record["num_gaussians"], record["size"], record["iterations"]) for record in records} == {(30, 48, 5)}

    save(output, records[:3])
    assert run("evaluate", photos, *TINY, "--output", output) == 0
    said = capsys.readouterr()
    assert said.err.startswith("fastgs: 1 fit to make, in about 0:00:")
    assert said.out.count("\n") == 1
    assert run("evaluate", photos, *TINY, "--output", output) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.slow
def test_preset_fits_at_the_sizes_of_papers(short, photos, tmp_path, capsys):
    """Two sizes in one file, on two processes."""
    options = ("--preset", "published", "--methods", PEER, "--workers", 2)
    assert run("evaluate", photos / "a.png", *options, "--output", tmp_path / "r.json") == 0
    assert {(each["num_gaussians"], each["size"], each["iterations"]) for each in load(tmp_path / "r.json")} == {
        (30, 48, 5),
        (40, 48, 5),
    }
    assert " on 2 processes; " in capsys.readouterr().err


def test_table_has_published_results_beside_those_measured(short, photos, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("fastgs.evaluation.methods.published.OURS_ITERATIONS", 5)
    output = tmp_path / "r.json"
    assert run("evaluate", photos, *TINY, "--output", output) == 0
    records = load(output)
    mine, theirs = ([record for record in records if record["method"] == name] for name in (OURS, PEER))
    save(output, [*mine, theirs[0]])  # the first photo by both, the second one by this project alone
    capsys.readouterr()
    assert run("table", output, "--output", tmp_path / "out") == 0
    text = (tmp_path / "out" / "table.md").read_text("utf-8")
    assert (tmp_path / "out" / "published.png").exists()
    lines = text.split("Published results")[1].splitlines()
    found = [line.strip("| ").split(" | ") for line in lines if "| 30 |" in line]
    ours = fmean(record["psnr"] for record in mine)
    mean = ours + theirs[0]["psnr"] - mine[0]["psnr"]
    first, second = ([cell.strip() for cell in row] for row in found)
    assert first[1:5] == [OURS, "5", "2", f"{ours:.2f}"]
    assert second[1:5] == [PEER, "5", "1", f"{theirs[0]['psnr']:.2f}"]
    assert second[5] == f"{theirs[0]['psnr_8bit']:.2f}"
    assert second[-6:] == [f"{mean:.2f} ± ?", "12.50", "3 s, V100", "arXiv 1", "240", "0.00"]


def test_records_of_earlier_versions_have_no_8_bit_psnr(method_records, tmp_path, capsys):
    records = load(method_records)
    for record in records:
        del record["psnr_8bit"]
    assert run("table", save(tmp_path / "r.json", records)) == 0
    assert "8 bits" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--preset best", "argument --preset: invalid choice: 'best'"),
        ("--preset published --codec jpeg", "argument --codec: not allowed with argument --preset"),
        ("--preset published --seconds 1", "argument --seconds: not allowed with argument --preset"),
        ("--preset published --methods best", "argument --methods: expected some of "),
        ("--preset published --methods instant-gi-dither", "argument --methods: the preset has no results of instant"),
        ("--preset published -k 0", "argument --num-gaussians: must be at least 1, got 0"),
    ],
)
def test_wrong_options_of_the_preset(photos, tmp_path, capsys, options, message):
    assert run("evaluate", photos, *options.split(), "--output", tmp_path / "r.json") == 2
    said = capsys.readouterr().err
    assert said.startswith(f"fastgs evaluate: error: {message}")
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
