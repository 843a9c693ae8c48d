"""Codecs at given rates: files that obey them, what is measured of those, differences of rate, tables and figures."""

import io
import json
import math
import shutil
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import torch
from PIL import Image, features
from skimage import data

from fastgs.cli import main as cli
from fastgs.evaluation.codecs import pillow as anchors
from fastgs.evaluation.codecs import registry as codecs
from fastgs.evaluation.codecs.pillow import ANCHORS
from fastgs.evaluation.codecs.records import MEASURED, CodecRecord
from fastgs.evaluation.records import load_records
from fastgs.io.images import load_image
from fastgs.metrics.bd_rate import rate_difference
from fastgs.metrics.quality import ms_ssim, psnr, ssim

FORMATS = {"jpeg": "JPEG", "jpeg2000": "JPEG2000", "webp": "WEBP", "avif": "AVIF"}
SMALL = [name for name in ANCHORS if name != "avif"]  # which needs seconds
RATES = [0.5, 1.5, 3.0]
GRID = ("--codec", "webp,jpeg", "--bpp", "0.5,1.5,3", "--full-size")


def run(*arguments) -> int:
    return cli.main([str(argument) for argument in arguments])


def load(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))


def repeatable(records: list[dict]) -> list[dict]:
    """What must be the same in every run."""
    return [{name: value for name, value in record.items() if name not in MEASURED} for record in records]


@pytest.fixture(scope="module")
def photo() -> torch.Tensor:
    return load_image(data.coffee()[100:196, 200:328].copy())


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name, pixels in (("a", data.chelsea()[100:164, 100:196]), ("b", data.coffee()[100:164, 200:280])):
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def evaluation(photos, tmp_path_factory) -> Path:
    """The records of the grid, with pictures."""
    folder = tmp_path_factory.mktemp("evaluation")
    output = folder / "grid.json"
    assert run("evaluate", photos, *GRID, "--output", output, "--pictures", folder / "pictures") == 0
    return output


# Anchors


@pytest.mark.parametrize("name", ANCHORS)
def test_anchor_obeys_the_size(photo, name):
    """The files are what Pillow reads as this format, none is too large, and more bytes are used for more quality."""
    scores = []
    for size in (800, 1600, 3200):
        file = anchors.encode(name, photo, size)
        assert 0.85 * size < len(file) <= size
        with Image.open(io.BytesIO(file)) as image:
            assert image.format == FORMATS[name]
            expected = np.asarray(image.convert("RGB"))
        decoded = anchors.decode(file)
        assert decoded.dtype == torch.float32 and decoded.shape == photo.shape
        assert np.array_equal((decoded * 255).round().byte().permute(1, 2, 0).numpy(), expected)
        original = (photo * 255).round().permute(1, 2, 0).numpy()
        error = np.mean((original.astype(np.float64) - expected) ** 2)
        scores.append(psnr(decoded, photo))
        assert scores[-1] == pytest.approx(10 * math.log10(255**2 / error), abs=1e-3)
    assert scores[0] + 1 < scores[1] < scores[2] - 1


@pytest.mark.parametrize("name", SMALL)
def test_anchor_is_the_best_that_fits(photo, name, monkeypatch):
    """No neighbour in quality would have been a better choice."""
    levels = {}
    save = anchors._save

    def remember(pixels, format_name, options):
        file = save(pixels, format_name, options)
        levels[str(options)] = file
        return file

    monkeypatch.setattr(anchors, "_save", remember)
    file = anchors.encode(name, photo, 1500)
    fitting = [psnr(anchors.decode(each), photo) for each in levels.values() if len(each) <= 1500]
    assert psnr(anchors.decode(file), photo) >= max(fitting) - 0.01 and len(levels) > 5


@pytest.mark.parametrize("name", ANCHORS)
def test_anchor_out_of_reach(photo, name):
    assert anchors.encode(name, photo, 60) is None


@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (17, 5)])
@pytest.mark.parametrize("name", SMALL)
def test_anchor_of_a_tiny_image(name, shape):
    image = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    assert anchors.decode(anchors.encode(name, image, 10_000)).shape == image.shape


def test_anchor_that_cannot_be(photo):
    with pytest.raises(ValueError, match=r"^JPEG cannot hold an image of 1 x 65536 pixels \("):
        anchors.encode("jpeg", torch.zeros(3, 65_536, 1), 100_000)
    with pytest.raises(ValueError, match=r"^data: no image that Pillow can read"):
        anchors.decode(anchors.encode("webp", photo, 2000)[:300])


# Differences of rate

CURVE = [(0.1, 25.0), (0.2, 28.0), (0.4, 31.0), (0.8, 34.0), (1.6, 36.5)]


def scaled(factor: float) -> list[tuple[float, float]]:
    return [(rate * factor, score) for rate, score in CURVE]


@pytest.mark.parametrize("factor", [1, 0.5, 2, 0.9])
@pytest.mark.parametrize("rates", [None, (0.1, 0.5), (0.15, 1.0), (0.01, 100)])
def test_difference_of_a_multiple(factor, rates):
    """As many per cent everywhere, so on every interval."""
    found = rate_difference(scaled(factor), CURVE[::-1], rates)
    assert found.percent == pytest.approx(100 * (factor - 1), abs=1e-9) and found.share == 1
    assert found.low == pytest.approx(25 if rates in (None, (0.1, 0.5), (0.01, 100)) else found.low)
    assert rates != (0.1, 0.5) or 31 < found.high < 34


def test_difference_of_straight_lines():
    """Logs of rates that are linear in PSNR: their difference rises from log(1/2) to log(1/4)."""
    reference = [(0.1 * 2 ** (score / 3), 20.0 + score) for score in (0, 3, 4.5, 6, 9)]
    points = [(0.05 * 2 ** (score * 2 / 9), 20.0 + score) for score in (0, 2, 5, 9)]
    assert rate_difference(points, reference).percent == pytest.approx(100 * (2**-1.5 - 1))
    # Over the reference's rates from 0.1 to 0.2 it rises from log(1/2) to a third of the way.
    part = rate_difference(points, reference, (0.1, 0.2))
    assert (part.low, part.high) == pytest.approx((20, 23)) and part.percent == pytest.approx(100 * (2 ** -(7 / 6) - 1))


def test_difference_is_antisymmetric():
    other = [(0.12, 26.0), (0.3, 30.0), (0.5, 31.5), (1.0, 34.0)]
    there, back = rate_difference(other, CURVE), rate_difference(CURVE, other)
    assert (1 + there.percent / 100) * (1 + back.percent / 100) == pytest.approx(1)
    assert (there.low, there.high) == (back.low, back.high) == (26, 34)
    assert there.share == pytest.approx(8 / 11.5) and back.share == 1


def test_difference_ignores_what_is_worse_for_more():
    extra = [*CURVE, (0.3, 27.0), (0.8, 30.0), (0.41, 31.0), (0.2, 28.0)]
    assert rate_difference(extra, CURVE).percent == 0


@pytest.mark.parametrize(
    ("points", "rates", "reason"),
    [
        (CURVE[:2], None, "the codec has fewer than 3 points"),
        ([*CURVE[:2], (0.5, 28.0)], None, "the codec has fewer than 3 points"),
        ([], None, "the codec has fewer than 3 points"),
        ([(rate, score + 11.5) for rate, score in CURVE], None, "no PSNR in common"),
        (CURVE[2:], (0.1, 0.4), "no PSNR in common"),
        (CURVE, (2, 3), "the reference has no points around 2 to 3"),
        ([(0, 20), *CURVE], None, "the codec has a rate that is not positive, or a number that is not finite"),
        ([(0.1, math.nan), *CURVE], None, "the codec has a rate that is not positive, or a number that is not finite"),
    ],
)
def test_no_difference(points, rates, reason):
    with pytest.raises(ValueError, match=f"^{reason}$"):
        rate_difference(points, CURVE, rates)


# Records


def test_records(evaluation, photos):
    records = load(evaluation)
    cells = [
        (name, str(photos / f"{image}.png"), rate) for name in ("webp", "jpeg") for image in "ab" for rate in RATES
    ]
    assert [(each["codec"], each["image"], each["bpp_target"]) for each in records] == cells
    for record in records:
        target = load_image(record["image"])
        assert (record["height"], record["width"]) == target.shape[1:] and record["size"] is None
        assert record["seed"] is record["iterations"] is record["num_gaussians"] is record["bits_analytic"] is None
        assert record["seconds_encode"] > 0 and record["workers"] == 1 and record["threads"] >= 1 and record["fastgs"]
        if record["bytes"] is None:
            # A file of JPEG begins with more than 300 bytes of tables.
            assert (record["codec"], record["bpp_target"]) == ("jpeg", 0.5)
            rest = ("bpp", "psnr", "ssim", "ms_ssim", "lpips", "seconds_decode", "picture")
            assert [record[name] for name in rest] == [None] * len(rest)
            continue
        assert record["bpp"] == record["bytes"] * 8 / (record["height"] * record["width"]) <= record["bpp_target"]
        file = anchors.encode(record["codec"], target, int(record["bpp_target"] * target[0].numel() / 8))
        decoded = anchors.decode(file)
        assert len(file) == record["bytes"] and psnr(decoded, target) == record["psnr"]
        assert ssim(decoded, target) == pytest.approx(record["ssim"]) and record["ms_ssim"] is None
        assert record["seconds_decode"] > 0
        assert torch.equal(load_image(record["picture"]), decoded)
        stem = Path(record["image"]).stem + "-" + record["sha256"][:8]
        assert torch.equal(load_image(Path(record["picture"]).with_name(f"{stem}-full.png")), target)
    assert sum(record["bytes"] is None for record in records) == 2


def test_lines(photos, tmp_path, capsys):
    assert run("evaluate", photos / "a.png", "--codec", "jpeg", "--bpp", "0.1,2", "--output", tmp_path / "r.json",
               "--size", 64) == 0  # fmt: skip
    said = capsys.readouterr()
    first, second = load(tmp_path / "r.json")
    assert said.err == "" and first["psnr"] is None
    lines = said.out.splitlines()
    assert lines[0] == f"{photos / 'a.png'}: jpeg, 0.1 bpp  not reached"
    start = f"{photos / 'a.png'}: jpeg, 2 bpp  {second['psnr']:.2f} dB  {second['bpp']:.4f} bpp  "
    assert lines[1].startswith(start) and len(lines) == 2


def test_resized_images_have_8_bits(photos, tmp_path):
    """Codecs get what a PNG can hold, so the file of the target is just that."""
    pictures = tmp_path / "pictures"
    options = ("--codec", "jpeg2000", "--bpp", "3", "--size", "48", "--output", tmp_path / "r.json")
    assert run("evaluate", photos / "a.png", *options, "--pictures", pictures) == 0
    (record,) = load(tmp_path / "r.json")
    target = load_image(next(path for path in pictures.iterdir() if path != Path(record["picture"])))
    assert psnr(load_image(record["picture"]), target) == record["psnr"]
    assert 0 < (target - load_image(photos / "a.png", 48)).abs().max() <= 0.5 / 255 + 1e-6


def test_ms_ssim(tmp_path):
    Image.fromarray(data.coffee()[:180, :200]).save(tmp_path / "c.png")
    options = ("--codec", "jpeg", "--bpp", "1,1.5,2", "--full-size", "--output", tmp_path / "r.json")
    assert run("evaluate", tmp_path / "c.png", *options, "--pictures", tmp_path) == 0
    record = load(tmp_path / "r.json")[0]
    expected = ms_ssim(load_image(record["picture"]), load_image(tmp_path / "c.png"))
    assert record["ms_ssim"] == pytest.approx(expected)
    assert run("table", tmp_path / "r.json", "--output", tmp_path / "new") == 0
    assert (tmp_path / "new" / "ms-ssim-bpp.png").exists()
    assert f"\n| jpeg | **{expected:.4f}** |" in (tmp_path / "new" / "table.md").read_text("utf-8")


# Repetition and continuation


def test_partial_file_continues(evaluation, photos, tmp_path, monkeypatch):
    """With two workers, and from records of which some were lost: as in one go, and those that were there untouched."""
    whole = load(evaluation)
    output = tmp_path / "r.json"
    lines = evaluation.read_text().strip("[]\n").split(",\n")
    output.write_text("[\n" + ",\n".join(lines[2:7:2]) + "\n]\n")
    arguments = ("evaluate", photos, *GRID, "--output", output, "--pictures", evaluation.parent / "pictures")
    assert run(*arguments, "--workers", 2) == 0
    after = output.read_text().strip("[]\n").split(",\n")
    assert repeatable(load(output)) == repeatable(whole) and set(lines[2:7:2]) < set(after)

    def fail(*arguments):
        raise AssertionError("made again")

    # What was not reached is not tried again either, and other iterations or seeds are nothing to what has none.
    monkeypatch.setattr(anchors, "encode", fail)
    before = output.read_bytes()
    assert run(*arguments, "--seed", 1, "--iterations", 7) == 0
    assert output.read_bytes() == before
    with pytest.raises(AssertionError, match="made again"):
        run(*arguments, "--bpp", "0.6")


def test_extension(evaluation, photos, tmp_path):
    output = tmp_path / "r.json"
    shutil.copy(evaluation, output)
    assert run("evaluate", photos, "--codec", "jpeg,jpeg2000", "--bpp", "2,1.5", "--full-size", "--output", output) == 0
    records = load(output)
    assert len(records) == 18
    cells = [(name, image, rate) for name in ("jpeg", "jpeg2000") for image in "ab" for rate in (2.0, 1.5)]
    assert [(each["codec"], Path(each["image"]).stem, each["bpp_target"]) for each in records[10:]] == cells


# What goes wrong


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--codec png", f"argument --codec: expected some of {', '.join(codecs.CODECS)}, got 'png'"),
        ("--bpp 0.5,x", "argument --bpp: expected numbers between commas, got '0.5,x'"),
        ("--bpp 0.5,0", "argument --bpp: must be more than 0 and finite, got 0"),
        ("--bpp inf", "argument --bpp: must be more than 0 and finite, got inf"),
        ("--bpp nan", "argument --bpp: must be more than 0 and finite, got nan"),
        ("-k 100", "argument -k/--num-gaussians: not allowed with argument --codec"),
        ("--seconds 1", "argument --seconds: not allowed with argument --codec"),
        ("--iterations -1", "argument --iterations: must be at least 0, got -1"),
        ("--methods fastgs", "argument --methods: not allowed with argument --codec"),
        ("--workers 0", "argument --workers: must be at least 1, got 0"),
    ],
)
def test_wrong_option(photos, tmp_path, capsys, options, message):
    arguments = ("--codec", "jpeg", "--bpp", "1", "--size", "48", *options.split(), "--output", tmp_path / "r.json")
    assert run("evaluate", photos, *arguments) == 2
    said = capsys.readouterr()
    assert said.err == f"fastgs evaluate: error: {message}\n" and said.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "one of the arguments --methods --codec is required"),
        ("--codec jpeg", "the following arguments are required with --codec: --bpp"),
        ("--methods fastgs --iterations 1", "the following arguments are required with --methods: -k/--num-gaussians"),
        ("--methods fastgs --bpp 1", "argument --bpp: not allowed with argument --methods"),
    ],
)
def test_missing_option(photos, tmp_path, capsys, options, message):
    assert run("evaluate", photos, *options.split(), "--output", tmp_path / "r.json") == 2
    assert capsys.readouterr().err == f"fastgs evaluate: error: {message}\n"


def test_pillow_without_a_format(photos, tmp_path, capsys, monkeypatch):
    check = features.check
    monkeypatch.setattr(features, "check", lambda feature: feature != "avif" and check(feature))
    output = tmp_path / "r.json"
    assert run("evaluate", photos, "--codec", "jpeg,avif", "--bpp", 1, "--size", 48, "--output", output) == 2
    message = "argument --codec: this Pillow cannot write avif; leave avif out, or install Pillow's own wheel"
    assert capsys.readouterr().err == f"fastgs evaluate: error: {message}\n"


def test_codec_that_writes_too_much(photos, tmp_path, capsys, monkeypatch):
    encode = anchors.encode
    monkeypatch.setattr(anchors, "encode", lambda name, image, size: encode(name, image, size + 500))
    image = photos / "a.png"
    assert run("evaluate", image, "--codec", "webp", "--bpp", 1, "--size", 48, "--output", tmp_path / "r.json") == 1
    said = capsys.readouterr().err
    assert said.startswith(f"fastgs: error: {image}: webp, 1 bpp: webp wrote ") and said.count("\n") == 1
    assert said.endswith(" bytes; at most 288 were asked for\n") and not (tmp_path / "r.json").exists()


def test_altered_record(evaluation, tmp_path, capsys):
    for name, value in (("psnr", "30"), ("bpp_target", None), ("sha256", 1)):
        records = load(evaluation)
        records[1][name] = value
        (tmp_path / "r.json").write_text(json.dumps(records))
        assert run("table", tmp_path / "r.json") == 2
        said = capsys.readouterr().err
        assert f"{tmp_path / 'r.json'}: record 2 has an improper {name}" in said and said.count("\n") == 1


def test_methods_and_codecs_do_not_mix(evaluation, photos, tmp_path, capsys):
    methods = ("--methods", "fastgs-curvature", "-k", 30, "--iterations", 1, "--full-size")
    assert run("evaluate", photos, *methods, "--output", tmp_path / "methods.json") == 0
    for output, arguments in ((evaluation, methods), (tmp_path / "methods.json", GRID)):
        before = output.read_bytes()
        assert run("evaluate", photos, *arguments, "--output", output) == 2
        reason = f"argument --output: {output}: methods and codecs cannot share a file; name another"
        assert capsys.readouterr().err == f"fastgs evaluate: error: {reason}\n" and output.read_bytes() == before
    assert run("table", evaluation, tmp_path / "methods.json") == 2
    message = "records of methods and of codecs have no table in common; give each a run of its own"
    assert capsys.readouterr().err == f"fastgs table: error: {message}\n"
    mixed = load(evaluation)[:1] + load(tmp_path / "methods.json")
    (tmp_path / "mixed.json").write_text(json.dumps(mixed))
    assert run("table", tmp_path / "mixed.json") == 2
    assert "record 2 has other fields than this version writes" in capsys.readouterr().err


# Tables and figures


def tables(text: str) -> list[dict[str, list[str]]]:
    """Cells of every table by the first of each row."""
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    rows = [[line.strip("| ").split(" | ") for line in block if not line.startswith("|--")] for block in blocks]
    return [{row[0]: row[1:] for row in block} for block in rows]


def made_up(records: list[dict], factors: dict[str, float]) -> list[dict]:
    """Records of codecs that need a multiple of one curve's rates."""
    made = []
    for image in "ab":
        for name, factor in factors.items():
            for rate, score in CURVE:
                record = {**records[0], "codec": name, "image": image, "bpp_target": rate, "bpp": rate * factor}
                made.append({**record, "psnr": score + (image == "b")})
    return made


def test_table(evaluation, capsys):
    assert run("table", evaluation) == 0
    text = capsys.readouterr().out
    assert text.startswith(
        "PSNR in dB, mean of 2 images of full size; best in bold; in brackets the bits per pixel of "
    )
    scores, rates = tables(text)
    assert scores["codec"] == ["0.5 bpp", "1.5 bpp", "3 bpp"]
    records = load(evaluation)
    for name in ("webp", "jpeg"):
        for rate, cell in zip(RATES, scores[name], strict=True):
            mine = [each for each in records if (each["codec"], each["bpp_target"]) == (name, rate)]
            if None in [each["psnr"] for each in mine]:
                assert cell == "–"
                continue
            mean = f"{fmean(each['psnr'] for each in mine):.2f}"
            assert cell.replace("*", "") == f"{mean} ({fmean(each['bpp'] for each in mine):.3f})"
            assert cell.startswith("**") == (name == "webp")
    assert list(rates) == ["against", "jpeg"] and rates["against"][0] == "0.1 to 0.5 bpp"
    assert rates["jpeg"] == ["–"] * 3
    assert "- jpeg, 0.15 to 1 bpp, 2 images left out: jpeg has fewer than 3 points\n" in text


def test_table_of_differences(evaluation, tmp_path, capsys):
    records = made_up(load(evaluation), {"fastgs": 0.5, "jpeg": 1, "webp": 0.4, "avif": 0.5})
    for record in records:
        if (record["codec"], record["image"]) == ("avif", "b"):
            record["psnr"] = record["bpp"] = record["bytes"] = None
    output = tmp_path / "r.json"
    output.write_text(json.dumps(records))
    assert run("table", output) == 0
    text = capsys.readouterr().out
    scores, rates = tables(text)
    assert scores["avif"][0] == "25.00 (0.050), 1 of 2 images" and scores["jpeg"][0] == "**25.50** (0.100)"
    assert rates["jpeg"] == ["−50.0%"] * 3 and rates["webp"] == ["+25.0%"] * 3
    assert rates["avif"] == ["+0.0%, 1 of 2 images"] * 3
    assert text.count("1 image left out: avif has fewer than 3 points\n") == 3
    # Half of the PSNR in common.
    for record in records:
        if record["codec"] == "fastgs" and record["bpp_target"] < 0.3:
            record["psnr"] = record["bpp"] = record["bytes"] = None
    output.write_text(json.dumps(records))
    assert run("table", output) == 0
    text = capsys.readouterr().out
    _, rates = tables(text)
    assert rates["jpeg"][2].startswith("−50.") and 40 < float(rates["jpeg"][2][8:-2]) < 60
    assert rates["jpeg"][1] == "–" and "- jpeg, 0.1 to 0.4 bpp, 2 images left out: no PSNR in common\n" in text


def test_table_by_iterations_and_seeds(evaluation, tmp_path, capsys):
    """Each number of iterations is a row; seeds are further samples, also against what has none."""
    records = made_up(load(evaluation), {"fastgs": 0.5, "jpeg": 1})
    more = [
        {**record, "iterations": iterations, "seed": seed, "bpp": record["bpp"] * factor}
        for record in records
        if record["codec"] == "fastgs"
        for iterations, factor in ((1000, 1), (1, 4))
        for seed in (0, 1)
    ]
    (tmp_path / "r.json").write_text(json.dumps(more + [each for each in records if each["codec"] == "jpeg"]))
    assert run("table", tmp_path / "r.json") == 0
    scores, rates = tables(capsys.readouterr().out)
    assert list(scores)[1:] == ["fastgs, 1,000 iterations", "fastgs, 1 iteration", "jpeg"]
    assert rates["jpeg"] == ["−50.0%"] * 3 and rates["fastgs, 1 iteration"] == ["−75.0%"] * 3
    assert scores["fastgs, 1 iteration"][0] == "**25.50** (0.200)"


def test_table_of_nothing(photos, tmp_path, capsys):
    assert run("evaluate", photos, "--codec", "jpeg,webp", "--bpp", 0.01, "--full-size", "--output",
               tmp_path / "r.json") == 0  # fmt: skip
    capsys.readouterr()
    assert run("table", tmp_path / "r.json", "--output", tmp_path / "new") == 0
    text = (tmp_path / "new" / "table.md").read_text("utf-8")
    assert tables(text)[-1]["webp"] == ["–"] * 3


def test_figures(evaluation, tmp_path, capsys):
    assert run("table", evaluation, "--output", tmp_path / "new") == 0
    names = ["table.md", "psnr-bpp.png"]
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "new" / name) for name in names]
    picture = np.asarray(Image.open(tmp_path / "new" / "psnr-bpp.png").convert("RGB"))
    for color in ((0, 0x72, 0xB2), (0xD5, 0x5E, 0)):
        assert (picture == color).all(axis=2).sum() > 300, f"no line of {color}"


# Codecs by Gaussians


@pytest.mark.slow
@pytest.mark.parametrize("name", codecs.SCHEMES)
def test_codec_by_gaussians(photos, tmp_path, name):
    arguments = ("--codec", name, "--bpp", "2", "--iterations", "30", "--size", "64", "--output", tmp_path / "r.json")
    assert run("evaluate", photos / "a.png", *arguments, "--pictures", tmp_path) == 0
    (record,) = load(tmp_path / "r.json")
    assert (record["codec"], record["iterations"], record["seed"]) == (name, 30, 0)
    assert [vars(each)["bits_analytic"] for each in load_records(tmp_path / "r.json", CodecRecord)] == [
        record["bits_analytic"]
    ]
    assert (record["bits_analytic"] is None) == (name == "fastgs")
    assert 0 < record["bytes"] <= 2 * 64 * 64 / 8 and record["bpp"] == record["bytes"] / 512
    assert record["num_gaussians"] >= 1 and record["seconds_decode"] > 0
    target = load_image(next(tmp_path.glob("*-64.png")))
    # Thirty steps are nothing to the peers, which start at random.
    assert psnr(load_image(record["picture"]), target) == record["psnr"] > (15 if name == "fastgs" else 5)
