"""`fastgs evaluate --codec` with wrong options and files, and codecs that fail."""

import importlib.util
import sys

import pytest
from evaluating import CODEC_GRID, load, run, save
from PIL import features

from fastgs.evaluation.codecs import formats
from fastgs.evaluation.codecs.coders import codec_names


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--codec png", f"argument --codec: expected some of {', '.join(codec_names())}, got 'png'"),
        ("--bpp 0.5,x", "argument --bpp: expected numbers between commas, got '0.5,x'"),
        ("--bpp 0.5,0", "argument --bpp: must be more than 0 and finite, got 0"),
        ("--bpp inf", "argument --bpp: must be more than 0 and finite, got inf"),
        ("--bpp nan", "argument --bpp: must be more than 0 and finite, got nan"),
        ("-k 100", "argument -k/--num-gaussians: not allowed with argument --codec"),
        ("--seconds 1", "argument --seconds: not allowed with argument --codec"),
        ("--iterations -1", "argument --iterations: must be at least 0, got -1"),
        ("--methods fastgs", "argument --methods: not allowed with argument --codec"),
        ("--effort 5", "argument --effort: jpeg has none; add fastgs to --codec"),
        ("--codec jpeg,fastgs --effort 5,10", "argument --effort: must be from 1 to 9, got 10"),
        ("--workers 0", "argument --workers: must be at least 1, got 0"),
    ],
)
def test_wrong_option(photos, tmp_path, capsys, options, message):
    arguments = ("--codec", "jpeg", "--bpp", "1", "--size", "48", *options.split(), "--output", tmp_path / "r.json")
    assert run("evaluate", photos, *arguments) == 2
    said = capsys.readouterr()
    assert said.err == f"fastgs evaluate: error: {message}\n"
    assert said.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "one of the arguments --methods --codec --zoom --preset is required"),
        ("--codec jpeg", "the following arguments are required with --codec: --bpp"),
        ("--methods fastgs --iterations 1", "the following arguments are required with --methods: -k/--num-gaussians"),
        ("--methods fastgs --effort 1", "argument --effort: not allowed without argument --codec"),
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


def test_heif_without_its_package(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    output = tmp_path / "r.json"
    assert run("evaluate", photos, "--codec", "heif", "--bpp", 1, "--size", 48, "--output", output) == 2
    message = "argument --codec: heif needs pillow-heif; leave heif out, or: pip install 'fastgs[anchors]'"
    assert capsys.readouterr().err == f"fastgs evaluate: error: {message}\n"


def test_codec_that_writes_too_much(photos, tmp_path, capsys, monkeypatch):
    encode = formats.encode
    monkeypatch.setattr(formats, "encode", lambda name, image, size: encode(name, image, size + 500))
    image = photos / "a.png"
    assert run("evaluate", image, "--codec", "webp", "--bpp", 1, "--size", 48, "--output", tmp_path / "r.json") == 1
    said = capsys.readouterr().err
    assert said.startswith(f"fastgs: error: {image}: webp, 1 bpp: webp wrote ")
    assert said.count("\n") == 1
    assert said.endswith(" bytes; at most 288 were asked for\n")
    assert not (tmp_path / "r.json").exists()


@pytest.mark.parametrize(("name", "value"), [("psnr", "30"), ("bpp_target", None), ("sha256", 1)])
def test_altered_record(codec_records, tmp_path, capsys, name, value):
    records = load(codec_records)
    records[1][name] = value
    output = save(tmp_path / "r.json", records)
    assert run("table", output) == 2
    said = capsys.readouterr().err
    assert f"{output}: record 2 has an improper {name}" in said
    assert said.count("\n") == 1


def test_methods_and_codecs_do_not_share_a_file(codec_records, method_records, photos, capsys):
    methods = ("--methods", "fastgs-curvature", "-k", 30, "--iterations", 1, "--full-size")
    for output, arguments in ((codec_records, methods), (method_records, CODEC_GRID)):
        before = output.read_bytes()
        assert run("evaluate", photos, *arguments, "--output", output) == 2
        reason = f"argument --output: {output}: holds records of another kind; name another file"
        assert capsys.readouterr().err == f"fastgs evaluate: error: {reason}\n"
        assert output.read_bytes() == before


def test_methods_and_codecs_do_not_share_a_table(codec_records, method_records, tmp_path, capsys):
    assert run("table", codec_records, method_records) == 2
    message = "records of methods and of codecs have no table in common; give each a run of its own"
    assert capsys.readouterr().err == f"fastgs table: error: {message}\n"
    mixed = save(tmp_path / "mixed.json", load(codec_records)[:1] + load(method_records))
    assert run("table", mixed) == 2
    assert "record 2 has other fields than this version writes" in capsys.readouterr().err
