"""`fastgs splats evaluate` with datasets, weights and outputs that are missing, wrong or in the way."""

import pytest
from autoencoding import SMALL, by_name, evaluate, save_weights
from evaluating import run
from PIL import Image

from fastgs.cli import splats_evaluating
from fastgs.evaluation.autoencoders import measure as measuring
from fastgs.evaluation.autoencoders.records import AutoencoderRecord
from fastgs.evaluation.records import load_records


def failure(capsys) -> str:
    """Return the one line that was written."""
    said = capsys.readouterr()
    assert said.out == "", said
    assert said.err.count("\n") == 1, said
    return said.err.removeprefix("fastgs splats evaluate: error: ").rstrip("\n")


def test_folder_that_is_no_dataset(bars, weights, tmp_path, capsys):
    assert evaluate(bars, *weights, output=tmp_path / "r.json") == 2
    assert failure(capsys).startswith(f"argument DIR: {bars / 'index.json'}: no such file; make the dataset with ")


def test_dataset_of_several_sizes(tmp_path, capsys):
    options = ("-k", 16, "--full-size", "--iterations", 0, "--workers", 1, "--output", tmp_path / "mixed")
    for number in range(12):
        Image.new("RGB", (8 + number, 8)).save(tmp_path / f"{number}.png")
    assert run("splats", "make", tmp_path, *options) == 0
    capsys.readouterr()
    assert evaluate(tmp_path / "mixed", output=tmp_path / "r.json") == 2
    assert failure(capsys).startswith(f"argument DIR: {tmp_path / 'mixed'}: holds images of several sizes, and ")
    assert not (tmp_path / "r.json").exists()


@pytest.mark.parametrize(
    ("options", "parameters", "content", "reason"),
    [
        ((*SMALL, "--init", "random"), "anchored", "splats", "is for anchored parameters, and the dataset's Gaussians, "
         "which started from 'random', have none; name others"),
        (("-k", 16, "--size", 16, "--workers", 1), "plain", "splats", "is for 64 Gaussians, and the dataset's images "
         "have 16; name others"),
        (("-k", 64, "--size", 12, "--workers", 1), "plain", "pixels", "is for images of 16 x 16 pixels, and the "
         "dataset's have 12 x 12; name others"),
    ],
)  # fmt: skip
def test_autoencoder_of_another_dataset(dataset, bars, tmp_path, capsys, options, parameters, content, reason):
    other, path = tmp_path / "other", save_weights(tmp_path / "w", dataset, content, parameters)
    assert run("splats", "make", bars, *options, "--iterations", 0, "--output", other) == 0
    capsys.readouterr()
    assert evaluate(other, path, output=tmp_path / "r.json") == 2
    assert failure(capsys) == f"argument --autoencoders: {path}: {reason}"
    assert not (tmp_path / "r.json").exists()


def test_weights_that_are_missing_or_share_a_name(dataset, tmp_path, capsys):
    output, good = tmp_path / "new" / "r.json", save_weights(tmp_path / "good", dataset)
    missing = tmp_path / "missing.safetensors"
    assert evaluate(dataset, good, missing, output=output) == 2
    assert failure(capsys).startswith(f"argument --autoencoders: {missing}: no such file; ")
    twin = save_weights(tmp_path / "more" / "good", dataset, seed=1)
    assert evaluate(dataset, good, twin, output=output) == 2
    assert failure(capsys) == f"argument --autoencoders: {twin}: another one has this name, too; rename it"
    reserved = save_weights(tmp_path / "splats" / "weights", dataset)
    assert evaluate(dataset, reserved, output=output) == 2
    message = "'splats' is the name of the record without autoencoder; rename it"
    assert failure(capsys) == f"argument --autoencoders: {reserved}: {message}"
    assert not output.parent.exists()


def test_inputs_are_not_overwritten(dataset, tmp_path, capsys):
    path = save_weights(tmp_path / "w", dataset)
    for output in (tmp_path / "w.json", tmp_path / "w.safetensors", dataset / "index.json", *dataset.glob("shard-*")):
        before = output.read_bytes()
        assert evaluate(dataset, path, output=output) == 2
        assert failure(capsys) == f"would overwrite the input {output}; choose another --output"
        assert output.read_bytes() == before


def test_outputs_that_cannot_be_written(dataset, tmp_path, capsys):
    path = save_weights(tmp_path / "w", dataset)
    assert evaluate(dataset, path, output=tmp_path) == 2
    assert failure(capsys) == f"cannot write {tmp_path}, which is a folder; choose another --output"
    pictures = tmp_path / "p" / f"{dataset.name}-test.png"
    pictures.mkdir(parents=True)
    assert evaluate(dataset, path, output=tmp_path / "r.json", more=("--pictures", pictures.parent)) == 2
    assert failure(capsys) == f"cannot write {pictures}, which is a folder; choose another --pictures"
    assert evaluate(dataset, path, output=tmp_path / "w.json" / "r.json") == 2
    assert failure(capsys).startswith(f"argument --output: cannot write to {tmp_path / 'w.json'} (")
    assert evaluate(dataset, path, output=tmp_path / "r.json", more=("--pictures", tmp_path / "w.json")) == 2
    assert failure(capsys).startswith(f"argument --pictures: cannot write to {tmp_path / 'w.json'} (")
    assert evaluate(dataset, path, output=tmp_path / "r.json", more=("--images", 0)) == 2
    assert failure(capsys) == "argument --images: must be at least 1, got 0"


def test_output_of_another_program(dataset, tmp_path, capsys):
    (tmp_path / "other.json").write_text('[{"image": "a.png", "psnr": 30}]', encoding="utf-8")
    assert evaluate(dataset, output=tmp_path / "other.json") == 2
    reason = "record 1 has other fields than this version writes; name a file that `fastgs evaluate` or "
    assert failure(capsys).startswith(f"argument --output: {tmp_path / 'other.json'}: {reason}")


def test_autoencoder_that_fails_leaves_the_others(dataset, weights, tmp_path, capsys, monkeypatch):
    def fail(dataset, coder, progress):
        if coder.name == "conv":
            raise ValueError("the reconstructions hold NaN; train the autoencoder again")
        return measuring.measure(dataset, coder, progress)

    monkeypatch.setattr(splats_evaluating, "measure", fail)
    more = ("--pictures", tmp_path)
    assert evaluate(dataset, *weights, output=tmp_path / "r.json", more=more) == 1
    reason = "the reconstructions hold NaN; train the autoencoder again"
    assert capsys.readouterr().err == f"fastgs: error: {dataset}: conv, test split: {reason}\n"
    assert list(by_name(tmp_path / "r.json")) == [
        *("splats, test", "pixels, test", "split, test"),
        "plain-pixels, test",
    ]
    assert Image.open(tmp_path / "bars-test.png").width == 4 * 260 - 4


def test_kinds_of_records_do_not_mix(autoencoder_records, bars, tmp_path, capsys):
    options = ("--codec", "jpeg", "--bpp", 9, "--full-size", "--output")
    assert run("evaluate", bars / "lies" / "0.png", *options, tmp_path / "codecs.json") == 0
    capsys.readouterr()
    assert run("table", autoencoder_records, tmp_path / "codecs.json") == 2
    message = "records of codecs and of autoencoders have no table in common; give each a run of its own"
    assert capsys.readouterr().err == f"fastgs table: error: {message}\n"
    assert run("evaluate", bars / "lies" / "0.png", *options, autoencoder_records) == 2
    assert "record 1 has other fields than this version writes" in capsys.readouterr().err
    assert len(load_records(autoencoder_records, AutoencoderRecord)) == 5
