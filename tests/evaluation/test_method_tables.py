"""Tables and figures of methods."""

from statistics import fmean

import numpy as np
import pytest
from evaluating import load, run, save
from PIL import Image

OURS, PEER = "fastgs-curvature", "image-gs-gradient"
METHOD_NAMES, BUDGETS = [OURS, PEER], [0, 5, 10]
QUICK = ("--methods", OURS, "-k", "30", "--iterations", "5", "--size", "48")


def rows(text: str) -> dict[tuple[str, str], list[str]]:
    """Return the cells of the first table by K and method."""
    lines = [line.strip("| ").split(" | ") for line in text.split("\n\n")[1].splitlines()[2:]]
    return {(line[0], line[1]): line[2:] for line in lines}


def test_table_has_means_and_marks_the_best(method_records, capsys):
    assert run("table", method_records) == 0
    text = capsys.readouterr().out
    assert text.startswith(
        "PSNR in dB, mean of 2 images at 48 × 48; best in bold; in brackets the seconds of a fit, on "
    )
    assert "| K | method | 0 iterations | 5 iterations | 10 iterations |" in text
    assert "MS-SSIM" not in text
    assert "no mean" not in text
    records, found = load(method_records), rows(text)
    assert list(found) == [("30", OURS), ("30", PEER), ("60", OURS), ("60", PEER)]
    for (count, method), cells in found.items():
        for budget, cell in zip(BUDGETS, cells, strict=True):
            means = {
                rival: fmean(
                    record["psnr"]
                    for record in records
                    if (record["method"], record["num_gaussians"], record["iterations"]) == (rival, int(count), budget)
                )
                for rival in METHOD_NAMES
            }
            score, seconds = cell.rstrip(")").split(" (")
            assert score.strip("*") == f"{means[method]:.2f}"
            assert seconds.endswith(" s")
            assert score.startswith("**") == (means[method] == max(means.values()))


def test_table_has_no_mean_over_other_images(method_records, tmp_path, capsys):
    """The best cell loses an image, and another cell all of them."""
    records = load(method_records)
    kept = [
        record
        for record in records
        if (record["method"], record["num_gaussians"]) != (PEER, 60)
        and not (
            record["method"] == OURS
            and (record["num_gaussians"], record["iterations"]) == (30, 10)
            and record["image"].endswith("b.png")
        )
    ]
    assert run("table", save(tmp_path / "r.json", kept)) == 0
    text = capsys.readouterr().out
    found = rows(text)
    assert "; no mean (–) where images are missing:\n" in text
    assert found["30", OURS][2] == "– (1 of 2 images)"
    assert found["30", PEER][2].startswith("**")
    assert found["60", PEER] == ["–", "–", "–"]


def test_table_has_no_mean_without_every_seed(method_records, tmp_path, capsys):
    records = load(method_records)
    more = [{**record, "seed": 1} for record in records if record["method"] == OURS]
    assert run("table", save(tmp_path / "r.json", records + more)) == 0
    text = capsys.readouterr().out
    assert text.startswith("PSNR in dB, mean of 2 images at 48 × 48 and 2 seeds; ")
    assert rows(text)["30", PEER] == ["– (not every seed)"] * 3


def test_several_files_are_as_one(method_records, tmp_path, capsys):
    """Records that two of them hold count once."""
    records = load(method_records)
    files = [save(tmp_path / "r.json", records[:15]), save(tmp_path / "rest.json", records[15:])]
    assert run("table", method_records) == 0
    whole = capsys.readouterr().out
    assert run("table", method_records, *files) == 0
    assert capsys.readouterr().out == whole


def test_table_of_larger_images_has_ms_ssim(method_records, tmp_path, capsys):
    records = [{**record, "ms_ssim": 0.9 + index / 1000} for index, record in enumerate(load(method_records)[:1])]
    assert run("table", save(tmp_path / "r.json", records)) == 0
    text = capsys.readouterr().out
    assert f"| 30 | {OURS} | **0.9000** |\n" in text.split("MS-SSIM, mean of 1 image at 48 × 48")[1]


def test_figures_have_lines_pictures_and_errors(method_records, tmp_path, capsys):
    assert run("table", method_records, "--output", tmp_path / "new") == 0
    names = ["table.md", "psnr-iterations.png", "psnr-seconds.png", "psnr-gaussians.png", "errors.png"]
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "new" / name) for name in names]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(names)
    assert (tmp_path / "new" / "table.md").read_text("utf-8").startswith("PSNR in dB, mean of 2 images")
    pictures = {name: np.asarray(Image.open(tmp_path / "new" / name).convert("RGB")) for name in names[1:]}
    for name, color in ((name, color) for name in names[1:4] for color in ((0, 0x72, 0xB2), (0xD5, 0x5E, 0))):
        assert (pictures[name] == color).all(axis=2).sum() > 300, f"{name} has no line of {color}"
    height, width, _ = pictures["errors.png"].shape
    width -= width % 3
    panels = pictures["errors.png"][:, :width].reshape(height, 3, width // 3, 3).transpose(1, 0, 2, 3)
    assert all(panel[height // 4].std() > 10 for panel in panels)  # the image, and two reconstructions
    assert panels[0][height * 3 // 4].min() > 200
    assert all(panel[height * 3 // 4].std() > 10 for panel in panels[1:])


def test_figures_without_pictures(method_records, tmp_path):
    records = [{**record, "picture": None} for record in load(method_records)[:1]]
    assert run("table", save(tmp_path / "r.json", records), "--output", tmp_path) == 0
    assert not (tmp_path / "errors.png").exists()
    assert (tmp_path / "psnr-seconds.png").exists()


def test_each_size_has_tables_and_figures(method_records, tmp_path, capsys):
    records = [{**record, "picture": None} for record in load(method_records)[:2]]
    sizes = save(tmp_path / "r.json", [{**record, "size": size} for size in (None, 48) for record in records])
    assert run("table", sizes, "--output", tmp_path / "out", "--figures", "svg") == 0
    text = (tmp_path / "out" / "table.md").read_text("utf-8")
    assert text.count("PSNR in dB, mean of 1 image of full size; ") == 1
    assert text.count("PSNR in dB, mean of 1 image at 48 × 48; ") == 1
    names = [f"psnr-{axis}-{size}.svg" for size in ("full", 48) for axis in ("iterations", "seconds", "gaussians")]
    found = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"table.md", *names} <= found
    assert capsys.readouterr().out.count("\n") == len(found)


@pytest.mark.parametrize(("form", "start"), [("pdf", b"%PDF-"), ("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_figures_repeat_in_every_format(method_records, tmp_path, form, start):
    records = save(tmp_path / "r.json", [{**load(method_records)[0], "picture": None}])
    for folder in "ab":
        assert run("table", records, "--output", tmp_path / folder, "--figures", form) == 0
    first, second = ((tmp_path / folder / f"psnr-gaussians.{form}").read_bytes() for folder in "ab")
    assert first.startswith(start)
    assert first == second


def test_records_without_a_common_table(tmp_path, capsys):
    none, missing = save(tmp_path / "none.json", []), tmp_path / "missing.json"
    for path, message in (
        (none, f"{none}: no records; run `fastgs evaluate` first"),
        (missing, f"{missing}: cannot be read (No such file or directory); check the path"),
    ):
        assert run("table", path) == 2
        assert capsys.readouterr().err == f"fastgs table: error: {message}\n"
