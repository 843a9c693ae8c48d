"""Pictures that are no photos as files: their makers, the program at toy size, and verdicts of known numbers."""

import json
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def verdicts(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER.parent)
    from benchmarks.quality.graphics import verdicts

    return verdicts


def records(ours, avif, webp=20.0, lossless=2.0):
    """Return records of one picture at 0.3 and 1 bpp; PSNRs are pairs, or None where there is no file."""
    files = [
        {"codec": codec, "lossless": False, "bpp_target": bpp, "psnr": psnr, "bpp": bpp}
        for codec, pair in (("fastgs", ours), ("avif", avif), ("webp", (webp, webp)))
        for bpp, psnr in zip((0.3, 1.0), pair, strict=True)
    ]
    sizes = {"png": 2 * lossless, "webp": lossless}
    return files + [{"codec": codec, "lossless": True, "bytes": bpp, "bpp": bpp} for codec, bpp in sizes.items()]


@pytest.mark.parametrize(
    ("numbers", "words", "lost"),
    [
        (records((30, 40), (35, 38)), "AVIF 5.0 dB better at 0.3 bpp; .fgs 2.0 dB better than AVIF at 1 bpp", [1, 0]),
        (records((30, 40), (35, 50), lossless=0.6), "AVIF 5.0 dB better at 0.3 bpp; lossless WebP from 0.60", [1, 1]),
        (records((50, 60), (20, 20), lossless=0.3), "lossless WebP from 0.30 bpp on", [1, 1]),
        (records((30, 40), (30.4, 39.6)), "level with AVIF at 0.3 bpp; level with AVIF at 1 bpp", [0, 0]),
        (records((70, 80), (100, 100)), "level with AVIF at 0.3 bpp; level with AVIF at 1 bpp", [0, 0]),
        (records((None, 30), (None, 20), webp=25), "no .fgs file at 0.3 bpp; .fgs 5.0 dB better than WebP", [1, 0]),
        (records((30, 40), (None, None), webp=None), "only .fgs at 0.3 bpp; only .fgs at 1 bpp", [0, 0]),
    ],
)
def test_verdict_follows_from_the_numbers(verdicts, numbers, words, lost):
    comparisons = verdicts.compare(numbers)
    assert verdicts.describe(comparisons).startswith(words)
    assert [each.is_lost for each in comparisons] == lost


def test_summary_names_every_picture_once(verdicts):
    pictures = {
        "page": verdicts.compare(records((30, 40), (35, 45))),
        "chart": verdicts.compare(records((30, 40), (20, 45))),
        "logo": verdicts.compare(records((30, 40), (20, 20))),
        "map": verdicts.compare(records((30, 40), (20, 20), lossless=0.1)),
    }
    assert verdicts.summarize(pictures) == (
        "A Gaussian file is the wrong tool at every rate here for the page and the map. "
        "It is the wrong tool at some of the rates for the chart. "
        "No other file is clearly better at these rates for the logo."
    )


def test_pictures_repeat_and_depend_on_the_seed(verdicts):
    from benchmarks.quality.graphics import pictures

    assert len(pictures.NAMES) == 10
    for name in pictures.NAMES:
        image, again, other = (pictures.draw(name, 64, seed) for seed in (0, 0, 1))
        assert image.size == (64, 64) and image.mode == ("RGBA" if name in pictures.TRANSPARENT else "RGB")
        assert image.tobytes() == again.tobytes()
        assert (image.tobytes() == other.tobytes()) == (name in pictures.TRANSPARENT)
        assert len(image.getcolors(64 * 64)) > 1


@pytest.mark.slow
def test_program_measures_and_the_report_shows_it(verdicts, tmp_path, monkeypatch):
    from benchmarks import environment
    from benchmarks.quality import tables
    from benchmarks.quality.graphics import __main__ as program

    options = ("--side", "64", "--bpp", "3", "2", "--iterations", "2", "--keep", str(tmp_path))
    monkeypatch.setattr(environment, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["graphics", "--pictures", "comic", "transparent icon", *options])
    program.main()
    content = json.loads((tmp_path / "graphics.json").read_text(encoding="utf-8"))
    lossy = [record for record in content["records"] if not record["lossless"]]
    assert [record["codec"] for record in lossy if record["bpp_target"] == 2.0] == [
        *("fastgs", "avif", "jpegxl", "webp", "jpeg"),
        *("fastgs", "avif", "jpegxl", "webp"),
    ]
    for record in lossy:
        assert record["bpp"] <= record["bpp_target"] and record["psnr"] > 10
    stem = {"comic": "comic", "transparent icon": "transparent-icon"}
    for record in content["records"]:
        if record["codec"] == "png":
            assert 0 < record["bytes"] <= 1.1 * (tmp_path / f"{stem[record['picture']]}.png").stat().st_size
    table = tables.graphics_table(content)
    assert [row[0] for row in table.rows] == ["comic", "transparent icon"]
    assert {len(row) for row in table.rows} == {len(table.headings)}
    assert "lossless WebP from" in table.rows[0][-1]
