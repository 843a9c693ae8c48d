"""Tables and figures of codecs."""

import re
from statistics import fmean

import numpy as np
from evaluating import load, run, save, tables
from PIL import Image

RATES = [0.5, 1.5, 3.0]
CURVE = [(0.1, 25.0), (0.2, 28.0), (0.4, 31.0), (0.8, 34.0), (1.6, 36.5)]


def made_up(records: list[dict], factors: dict[str, float]) -> list[dict]:
    """Return records of codecs that need a multiple of one curve's rates."""
    made = []
    for image in "ab":
        for name, factor in factors.items():
            for rate, score in CURVE:
                record = {**records[0], "codec": name, "image": image, "bpp_target": rate, "bpp": rate * factor}
                made.append({**record, "psnr": score + (image == "b")})
    return made


def missed(record: dict) -> dict:
    """Return the record of a file that was not small enough."""
    return {**record, "psnr": None, "bpp": None, "bytes": None}


def test_table_has_means_and_marks_the_best(codec_records, capsys):
    assert run("table", codec_records) == 0
    text = capsys.readouterr().out
    assert text.startswith(
        "PSNR in dB, mean of 2 images of full size; best in bold; in brackets the bits per pixel of "
    )
    scores, rates = tables(text)
    assert scores["codec"] == ["0.5 bpp", "1.5 bpp", "3 bpp"]
    records = load(codec_records)
    for name in ("webp", "jpeg"):
        for rate, cell in zip(RATES, scores[name], strict=True):
            mine = [each for each in records if (each["codec"], each["bpp_target"]) == (name, rate)]
            if None in [each["psnr"] for each in mine]:
                assert cell == "–"
                continue
            mean = f"{fmean(each['psnr'] for each in mine):.2f}"
            assert cell.replace("*", "") == f"{mean} ({fmean(each['bpp'] for each in mine):.3f})"
            assert cell.startswith("**") == (name == "webp")
    assert list(rates) == ["against", "jpeg"]
    assert rates["against"][0] == "0.1 to 0.5 bpp"
    assert rates["jpeg"] == ["–"] * 3
    assert "- jpeg, 0.15 to 1 bpp, 2 images left out: jpeg has fewer than 3 points\n" in text


def test_table_names_encoders_and_images(codec_records, tmp_path, capsys):
    records = load(codec_records)
    chromas = [record["encoder"][-5:] for record in records if record["codec"] == "jpeg"]
    assert run("table", codec_records) == 0
    first = capsys.readouterr().out.split("\n\nBD-rate")[0]
    assert re.search(r"\n- Encoder of webp: libwebp [\d.]+, method 6, 4:2:0\n", first)
    (line,) = (line for line in first.splitlines() if line.startswith("- Encoder of jpeg: "))
    assert all(chroma in line for chroma in chromas) and f"of {len(chromas)} files)" in line
    assert "\n- Images: a, b" in first
    old = [{name: value for name, value in record.items() if name != "encoder"} for record in records]
    assert run("table", save(tmp_path / "old.json", old)) == 0
    assert "\n- Encoder of jpeg: not recorded\n- Images: a, b\n" in capsys.readouterr().out


def test_table_has_no_mean_over_other_images(codec_records, tmp_path, capsys):
    """Differences of rate are of the images that both codecs have, and say of how many."""
    records = made_up(load(codec_records), {"fastgs": 0.5, "jpeg": 1, "webp": 0.4, "avif": 0.5})
    records = [missed(each) if (each["codec"], each["image"]) == ("avif", "b") else each for each in records]
    assert run("table", save(tmp_path / "r.json", records)) == 0
    text = capsys.readouterr().out
    scores, rates = tables(text)
    assert "; no mean (–) where images are missing:\n" in text
    assert scores["avif"] == ["– (1 of 2 images)"] * 5
    assert scores["jpeg"][0] == "**25.50** (0.100)"
    assert rates["jpeg"] == ["−50.0%"] * 3
    assert rates["webp"] == ["+25.0%"] * 3
    assert rates["avif"] == ["+0.0%, 1 of 2 images"] * 3
    assert text.count("1 image left out: avif has fewer than 3 points\n") == 3


def test_differences_say_which_share_of_psnr_is_common(codec_records, tmp_path, capsys):
    records = made_up(load(codec_records), {"fastgs": 0.5, "jpeg": 1})
    records = [missed(each) if each["codec"] == "fastgs" and each["bpp_target"] < 0.3 else each for each in records]
    assert run("table", save(tmp_path / "r.json", records)) == 0
    text = capsys.readouterr().out
    _, rates = tables(text)
    assert rates["jpeg"][2].startswith("−50.")
    assert 40 < float(rates["jpeg"][2][8:-2]) < 60
    assert rates["jpeg"][1] == "–"
    assert "- jpeg, 0.1 to 0.4 bpp, 2 images left out: no PSNR in common\n" in text


def test_iterations_are_rows_and_seeds_are_samples(codec_records, tmp_path, capsys):
    """Seeds are further samples against codecs that have none, too."""
    records = made_up(load(codec_records), {"fastgs": 0.5, "jpeg": 1})
    more = [
        {**record, "iterations": iterations, "seed": seed, "bpp": record["bpp"] * factor}
        for record in records
        if record["codec"] == "fastgs"
        for iterations, factor in ((1000, 1), (1, 4))
        for seed in (0, 1)
    ]
    output = save(tmp_path / "r.json", more + [each for each in records if each["codec"] == "jpeg"])
    assert run("table", output) == 0
    scores, rates = tables(capsys.readouterr().out)
    assert list(scores)[1:] == ["fastgs, 1,000 iterations", "fastgs, 1 iteration", "jpeg"]
    assert rates["jpeg"] == ["−50.0%"] * 3
    assert rates["fastgs, 1 iteration"] == ["−75.0%"] * 3
    assert scores["fastgs, 1 iteration"][0] == "**25.50** (0.200)"


def test_table_without_any_file_that_was_small_enough(codec_records, tmp_path, capsys):
    records = [missed(record) for record in load(codec_records)]
    for record in records:
        record |= {"ssim": None}
    assert run("table", save(tmp_path / "both.json", records)) == 0
    assert tables(capsys.readouterr().out)[-1]["jpeg"] == ["–"] * 3
    assert run("table", save(tmp_path / "one.json", [each for each in records if each["codec"] == "jpeg"])) == 0
    assert capsys.readouterr().out == "No file was small enough.\n"


def test_figures_have_a_line_for_each_codec(codec_records, tmp_path, capsys):
    assert run("table", codec_records, "--output", tmp_path / "new") == 0
    names = ["table.md", "psnr-bpp.png"]
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "new" / name) for name in names]
    picture = np.asarray(Image.open(tmp_path / "new" / "psnr-bpp.png").convert("RGB"))
    for color in ((0, 0x72, 0xB2), (0xD5, 0x5E, 0)):
        assert (picture == color).all(axis=2).sum() > 300, f"no line of {color}"


def test_images_of_176_pixels_have_ms_ssim(codec_records, tmp_path):
    records = [{**record, "ms_ssim": record["ssim"]} for record in load(codec_records) if record["codec"] == "webp"]
    assert run("table", save(tmp_path / "r.json", records), "--output", tmp_path / "new") == 0
    assert (tmp_path / "new" / "ms-ssim-bpp.png").exists()
    mean = fmean(record["ssim"] for record in records if record["bpp_target"] == 0.5)
    assert f"\n| webp | **{mean:.4f}** |" in (tmp_path / "new" / "table.md").read_text("utf-8")
