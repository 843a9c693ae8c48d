"""Benchmarks of published results: records of several files as one, differences from papers, and their cuts."""

import math
import sys
from pathlib import Path

import pytest

from fastgs.evaluation.methods.published import OURS, OURS_ITERATIONS
from fastgs.evaluation.methods.records import Budget, MethodRecord
from fastgs.evaluation.records import load_records, save_records
from fastgs.methods.published import PUBLISHED

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def published(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER.parent)
    from benchmarks.quality import published

    return published


def record(method, psnr, *, image="kodim01", count=10_000, size=None, iterations=OURS_ITERATIONS, **fields):
    """Return a record whose PSNR rises evenly to its end, from nothing."""
    steps = sorted({*range(0, iterations, 10), iterations})
    values = {
        **{"method": method, "image": f"photos/{image}.png", "sha256": image, "size": size, "num_gaussians": count},
        **{"budget": Budget(iterations, None), "seed": 0, "height": 512, "width": 768, "iterations": iterations},
        **{"psnr_init": 0.0, "psnr": psnr, "psnr_8bit": psnr, "ssim": 0.9, "ms_ssim": 0.9, "lpips": None},
        **{"seconds_network": 0.0, "seconds_sampling": 0.0, "seconds_fit": 1.0, "seconds_render": 0.1},
        **{"peak_memory_mb": None, "workers": 1, "threads": 1, "bytes": 1, "picture": None, "fastgs": "0"},
        "history": [(step, step / iterations, psnr * step / iterations) for step in steps],
    }
    return MethodRecord(**{**values, **fields})


def test_switches_fit_every_variant(monkeypatch, capsys):
    monkeypatch.syspath_prepend(FOLDER.parent)
    from benchmarks.quality import switches

    photo = FOLDER.parent / "assets" / "coffee.png"
    options = ("--methods", *PUBLISHED, "--num-gaussians", "40", "--iterations", "2", "--size", "32")
    monkeypatch.setattr(sys, "argv", ["switches.py", str(photo), *options])
    switches.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(set(lines)) == sum(len(switches.switches(name)) for name in PUBLISHED)


@pytest.fixture
def records(published):
    """Return results of which those of this project are 1 dB above the mean of all photos, and 0.5 below it at 50k."""
    mine, dense = published.ALL_PHOTOS[None][10_000] + 1, published.ALL_PHOTOS[None][50_000] - 0.5
    small = published.ALL_PHOTOS[512][10_000] + 1
    return [
        *(record(OURS, mine + sign, image=image) for sign, image in ((1, "kodim01"), (-1, "kodim02"))),
        record("gaussianimage-plus", mine + 1 - 2, iterations=50_000),
        *(record(OURS, small + sign, size=512, image=image) for sign, image in ((1, "kodim01"), (-1, "kodim02"))),
        *(record(OURS, dense, count=50_000, image=image) for image in ("kodim01", "kodim02")),
        *(record(OURS, 43.0, count=30_000, image=image) for image in ("kodim01", "kodim02")),
        *(record("gaussianimage-rs", 38.0, count=30_000, iterations=50_000, image=f"kodim0{n}") for n in (1, 2)),
        record("image-gs-gradient", 42.0, count=50_000, size=512, iterations=10_000),
        *(record("fast-2dgs", 38.0, size=512, iterations=5_000, image=image) for image in ("kodim01", "kodim02")),
    ]


def test_differences_are_those_of_the_mean_of_all_photos(published, records):
    table = published.differences_table(records)
    rows = {(row[0], row[1]): row[2:] for row in table.rows}
    all_photos = published.ALL_PHOTOS[None][10_000]
    # One photo of two, on which this project is 1 dB above its mean, and the preset 2 dB below this project.
    assert rows["gaussianimage-plus", "10,000"] == [
        *("whole", "1", f"{all_photos - 2:.2f} ± ?", "35.41", f"{all_photos - 2 - 35.41:+.2f}"),
        *(f"{all_photos:.2f}", f"{all_photos - 35.41:+.2f}"),
    ]
    assert rows["fast-2dgs", "10,000"][1:3] == ["2", "37.00"]
    assert rows["gaussianimage-cholesky", "70,000"][1:3] == ["–", "–"]
    # Between 10k and 50k the photos are easier by what lies on a line over log K, from 1 dB to -0.5.
    easier = 1 - 1.5 * math.log(3) / math.log(5)
    assert rows["gaussianimage-rs", "30,000"][1:3] == ["2", f"{38 - easier:.2f}"]
    basis, lead, _, half = table.notes
    assert "by +1.00 dB at K = 10,000 on whole photos, -0.50 dB at K = 50,000 on whole photos, " in basis
    least = all_photos - 35.41
    assert " is above every published mean at the same K " in lead
    assert lead.endswith(f"{least:+.2f} dB, from gaussianimage-plus at K = 10,000.")
    assert half.endswith(" image-gs-gradient at K = 50,000 is 21.00 dB below its end.")


def test_cuts_are_where_the_mean_course_passes_them(published, records):
    rows = [row[1:] for row in published.cuts_table(records).rows if row[0] == "fast-2dgs"]
    ((count, after, psnr, passed, rate),) = rows
    assert (count, after, psnr) == ("10,000", "5 s", "33.79")
    # The mean of all photos is 1 dB below that of those fitted, and 38 dB are reached after 5,000 iterations.
    iteration = next(step for step in range(0, 5_001, 10) if 38 * step / 5_000 > 33.79 + 1)
    assert (passed, rate) == (f"{iteration:,} of 5,000", f"{iteration / 5:.0f}")


def test_files_are_merged_with_shorter_histories(published, records, tmp_path, monkeypatch):
    old = [record(OURS, 30.0, psnr_8bit=None), record("fast-2dgs", 30.0, iterations=20_000)]
    save_records(tmp_path / "old.json", old)
    save_records(tmp_path / "new.json", records[:1])
    monkeypatch.setattr(published, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["published.py", str(tmp_path / "old.json"), str(tmp_path / "new.json")])
    published.main()
    theirs, mine = load_records(tmp_path / "published.json", MethodRecord)
    # Of two records of a fit, the one with all measures.
    assert (mine.psnr, mine.image) == (records[0].psnr, "data/kodak/kodim01.png")
    assert len(theirs.history) <= published.ENTRIES + 1
    assert (theirs.history[0], theirs.history[-1]) == (old[1].history[0], old[1].history[-1])
