"""`fastgs evaluate --codec`: files at given rates, what is measured of them, and that nothing is made twice."""

import shutil
from pathlib import Path

import pytest
import torch
from evaluating import CODEC_GRID, load, repeatable, run, save, tables

from fastgs.codec import SCHEMES, Encoded, Frame, register_scheme
from fastgs.codec.effort import DEFAULT_EFFORT
from fastgs.codec.frame import CODES, write_frame
from fastgs.evaluation.codecs import formats
from fastgs.evaluation.codecs.records import CodecRecord
from fastgs.evaluation.records import load_records
from fastgs.gaussians import Gaussians
from fastgs.initializers import INITIALIZERS
from fastgs.io.images import load_image
from fastgs.io.version import installed_version
from fastgs.metrics.quality import psnr, ssim

RATES = [0.5, 1.5, 3.0]


def test_records_come_by_codec_image_and_rate(codec_records, photos):
    cells = [
        (name, str(photos / f"{image}.png"), rate) for name in ("webp", "jpeg") for image in "ab" for rate in RATES
    ]
    assert [(each["codec"], each["image"], each["bpp_target"]) for each in load(codec_records)] == cells


def test_records_agree_with_the_files(codec_records):
    reached = [record for record in load(codec_records) if record["bytes"] is not None]
    assert len(reached) == 10
    for record in reached:
        target = load_image(record["image"])
        assert (record["height"], record["width"]) == target.shape[1:]
        assert record["size"] is None
        assert record["seed"] is record["iterations"] is record["num_gaussians"] is record["bits_analytic"] is None
        assert record["seconds_encode"] > 0
        assert record["seconds_decode"] > 0
        assert record["workers"] == 1
        assert record["threads"] >= 1
        assert record["fastgs"]
        assert record["bpp"] == record["bytes"] * 8 / (record["height"] * record["width"]) <= record["bpp_target"]
        file = formats.encode(record["codec"], target, int(record["bpp_target"] * target[0].numel() / 8))
        file, encoder = file
        assert encoder == record["encoder"]
        decoded = formats.decode(record["codec"], file)
        assert len(file) == record["bytes"]
        assert psnr(decoded, target) == record["psnr"]
        assert ssim(decoded, target) == pytest.approx(record["ssim"])
        assert record["ms_ssim"] is None
        assert torch.equal(load_image(record["picture"]), decoded)
        stem = Path(record["image"]).stem + "-" + record["sha256"][:8]
        assert torch.equal(load_image(Path(record["picture"]).with_name(f"{stem}-full.png")), target)


def test_records_of_rates_that_are_not_reached_are_empty(codec_records):
    """A file of JPEG begins with more than 300 bytes of tables."""
    missed = [record for record in load(codec_records) if record["bytes"] is None]
    assert [(record["codec"], record["bpp_target"]) for record in missed] == [("jpeg", 0.5)] * 2
    rest = ("bpp", "psnr", "ssim", "ms_ssim", "lpips", "seconds_decode", "picture")
    assert all(record[name] is None for record in missed for name in rest)
    assert all(record["seconds_encode"] > 0 for record in missed)
    assert {record["encoder"] for record in missed} == {formats.describe("jpeg")}


def test_records_of_earlier_versions_lack_the_encoder(codec_records, tmp_path):
    old = [{name: value for name, value in each.items() if name != "encoder"} for each in load(codec_records)]
    records = load_records(save(tmp_path / "old.json", old), CodecRecord)
    assert [record.as_json() for record in records] == [{**each, "encoder": None} for each in old]


def test_each_record_has_a_line(photos, tmp_path, capsys):
    assert run("evaluate", photos / "a.png", "--codec", "jpeg", "--bpp", "0.1,2", "--output", tmp_path / "r.json",
               "--size", 64) == 0  # fmt: skip
    said = capsys.readouterr()
    first, second = load(tmp_path / "r.json")
    assert said.err == ""
    assert first["psnr"] is None
    lines = said.out.splitlines()
    assert lines[0] == f"{photos / 'a.png'}: jpeg, 0.1 bpp  not reached"
    start = f"{photos / 'a.png'}: jpeg, 2 bpp  {second['psnr']:.2f} dB  {second['bpp']:.4f} bpp  "
    assert lines[1].startswith(start)
    assert len(lines) == 2


def test_resized_images_have_8_bits(photos, tmp_path):
    """Codecs get what a PNG can hold, so the picture of the target is exactly what they get."""
    pictures = tmp_path / "pictures"
    options = ("--codec", "jpeg2000", "--bpp", "3", "--size", "48", "--output", tmp_path / "r.json")
    assert run("evaluate", photos / "a.png", *options, "--pictures", pictures) == 0
    (record,) = load(tmp_path / "r.json")
    target = load_image(next(path for path in pictures.iterdir() if path != Path(record["picture"])))
    assert psnr(load_image(record["picture"]), target) == record["psnr"]
    assert 0 < (target - load_image(photos / "a.png", 48)).abs().max() <= 0.5 / 255 + 1e-6


def continue_partial_file(codec_records: Path, photos: Path, output: Path, workers: int) -> tuple:
    """Finish a file of which half was lost, check it, and return the arguments."""
    whole = load(codec_records)
    lines = codec_records.read_text(encoding="utf-8").strip("[]\n").split(",\n")
    output.write_text("[\n" + ",\n".join(lines[2:7:2]) + "\n]\n", encoding="utf-8")
    pictures = codec_records.parent / "pictures"
    arguments = ("evaluate", photos, *CODEC_GRID, "--output", output, "--pictures", pictures)
    assert run(*arguments, "--workers", workers) == 0
    after = output.read_text(encoding="utf-8").strip("[]\n").split(",\n")
    assert repeatable(load(output), CodecRecord) == repeatable(whole, CodecRecord)
    assert set(lines[2:7:2]) < set(after)
    return arguments


def test_partial_file_continues(codec_records, photos, tmp_path, monkeypatch):
    """Rates that were not reached are not tried again, and seed and iterations are nothing to codecs without them."""
    arguments = continue_partial_file(codec_records, photos, tmp_path / "r.json", workers=1)

    def fail(*arguments):
        raise AssertionError("made again")

    monkeypatch.setattr(formats, "encode", fail)
    before = (tmp_path / "r.json").read_bytes()
    assert run(*arguments, "--seed", 1, "--iterations", 7) == 0
    assert (tmp_path / "r.json").read_bytes() == before
    with pytest.raises(AssertionError, match="made again"):
        run(*arguments, "--bpp", "0.6")


@pytest.mark.slow
def test_partial_file_continues_with_two_workers(codec_records, photos, tmp_path):
    continue_partial_file(codec_records, photos, tmp_path / "r.json", workers=2)


def test_new_codecs_and_rates_are_added(codec_records, photos, tmp_path):
    output = tmp_path / "r.json"
    shutil.copy(codec_records, output)
    assert run("evaluate", photos, "--codec", "jpeg,jpeg2000", "--bpp", "2,1.5", "--full-size", "--output", output) == 0
    records = load(output)
    assert len(records) == 18
    cells = [(name, image, rate) for name in ("jpeg", "jpeg2000") for image in "ab" for rate in (2.0, 1.5)]
    assert [(each["codec"], Path(each["image"]).stem, each["bpp_target"]) for each in records[10:]] == cells


def evaluate_scheme(name: str, photos: Path, folder: Path) -> dict:
    """Write a file by a scheme, check its record, and return it."""
    arguments = ("--codec", name, "--bpp", "2", "--iterations", "30", "--size", "64", "--output", folder / "r.json")
    assert run("evaluate", photos / "a.png", *arguments, "--pictures", folder) == 0
    (record,) = load(folder / "r.json")
    assert (record["codec"], record["iterations"], record["seed"]) == (name, 30, 0)
    assert 0 < record["bytes"] <= 2 * 64 * 64 / 8
    assert record["bpp"] == record["bytes"] / 512
    assert record["num_gaussians"] >= 1
    assert record["seconds_decode"] > 0
    target = load_image(next(folder.glob("*-64.png")))
    assert psnr(load_image(record["picture"]), target) == record["psnr"]
    return record


@pytest.mark.slow
@pytest.mark.parametrize("name", SCHEMES)
def test_schemes_of_the_codec_are_measured(photos, tmp_path, name):
    record = evaluate_scheme(name, photos, tmp_path)
    assert (record["bits_analytic"] is None) == (name == "fastgs")
    # Thirty steps are nothing to the peers, which start at random.
    assert record["psnr"] > (15 if name == "fastgs" else 5)


class RawScheme:
    """Scheme that writes Gaussians on a grid as they are, eight float32 numbers each."""

    name, bits, iterations = "raw", 256.0, 0

    def encode(self, image, num_gaussians, **options):
        gaussians = INITIALIZERS["grid"](image, num_gaussians, None)
        columns = (gaussians.means, gaussians.scales, gaussians.rotations[:, None], gaussians.colors)
        layer = torch.cat(columns, dim=1).numpy().tobytes()
        return Encoded(write_frame(Frame("raw", *image.shape[1:], [layer])), gaussians, [])

    def decode(self, frame):
        numbers = torch.frombuffer(bytearray(frame.layers[0]), dtype=torch.float32).view(-1, 8)
        means, scales, rotations, colors = numbers.split((2, 2, 1, 3), dim=1)
        return Gaussians(means, scales, rotations[:, 0], colors, frame.height, frame.width)


def test_scheme_from_outside_is_measured(photos, tmp_path, monkeypatch):
    for registry in (SCHEMES, CODES):
        monkeypatch.setattr(registry, "_items", dict(registry))
    register_scheme(RawScheme(), 200)
    record = evaluate_scheme("raw", photos, tmp_path)
    assert record["psnr"] > 15
    assert record["bytes"] > 32 * record["num_gaussians"]


@pytest.mark.slow
def test_efforts_are_recorded_beside_the_default(photos, tmp_path, capsys):
    output = tmp_path / "r.json"
    given = ("evaluate", photos / "a.png", "--codec", "fastgs,jpeg", "--bpp", "2,4", "--size", 48, "--output", output)
    assert run(*given) == 0
    assert run(*given, "--effort", "1") == 0
    records = [(each["codec"], each["effort"], each["encoder"], each["bpp_target"]) for each in load(output)]
    version = installed_version()
    default, quick = f"fastgs {version}, effort {DEFAULT_EFFORT}", f"fastgs {version}, effort 1"
    assert [each for each in records if each[0] == "fastgs"] == [
        *(("fastgs", None, default, rate) for rate in (2, 4)),
        *(("fastgs", 1, quick, rate) for rate in (2, 4)),
    ]
    assert [each[1] for each in records if each[0] == "jpeg"] == [None, None]
    capsys.readouterr()
    assert run("table", output) == 0
    said = capsys.readouterr().out
    assert "BD-rate of fastgs, effort 1" in said and "against" in said
    assert {"fastgs", "fastgs, effort 1", "jpeg"} <= set(tables(said)[0])
