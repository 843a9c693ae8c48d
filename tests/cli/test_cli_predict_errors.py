"""`fastgs predict` gone wrong: one line, the right exit code, nothing overwritten and nothing left over."""

import errno
import os
from pathlib import Path

import pytest
from cli_data import QUICK, make_bad_files, read_report
from PIL import Image

from fastgs.predictor import Predictor

# Bad input


@pytest.mark.parametrize("name", make_bad_files())
def test_bad_file_is_reported(tmp_path, out, predict, error_line, name):
    (tmp_path / name).write_bytes(make_bad_files()[name])
    assert predict(tmp_path / name, *QUICK, "--output", out) == 1
    line = error_line()
    assert line.startswith(f"fastgs: error: {tmp_path / name}: ")
    assert str(tmp_path) not in line.split(f"{name}: ", 1)[1]  # the name stands there once
    assert not out.exists()


def test_unreadable_file_is_reported(photo_file, out, predict, error_line, monkeypatch):
    """Root may run the tests and may read everything, so the refusal of the system is faked."""

    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Image, "open", refuse)
    assert predict(photo_file, *QUICK, "--output", out) == 1
    assert error_line() == f"fastgs: error: {photo_file}: may not be read; check its permissions"
    assert not out.exists()


def test_folder_without_images_is_reported(photo_file, out, predict, capsys):
    empty = photo_file.parent / "empty"
    empty.mkdir()
    assert predict(empty, photo_file, *QUICK, "--output", out) == 1
    assert capsys.readouterr().err.startswith(f"fastgs: error: {empty}: holds no image")
    assert len(read_report(out)) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--num-gaussians 0", "--num-gaussians: must be at least 1, got 0"),
        ("--num-gaussians -5", "--num-gaussians: must be at least 1, got -5"),
        ("-k many", "-k/--num-gaussians: expected a number or auto, got 'many'"),
        ("--iterations -1", "--iterations: must be at least 0, got -1"),
        ("--seconds 0", "--seconds: must be more than 0 and finite, got 0.0"),
        ("--seconds nan", "--seconds: must be more than 0 and finite, got nan"),
        ("--target-psnr inf", "--target-psnr: must be finite, got inf"),
        ("--seed -1", "--seed: must be at least 0, got -1"),
        ("--size 0", "--size: must be at least 1, got 0"),
        (
            "--init best",
            "--init: expected one of curvature, gradient, saliency, grid, random, nearest, learned, got 'best'",
        ),
        ("--init grid --weights base", "--weights: are for init 'learned', not 'grid'; leave one of the two out"),
        ("--weights nowhere", "--weights: nowhere: no such weights; give a path, or a name in checkpoints/ ("),
        ("--blend over", "--blend: expected one of normalized, sum, got 'over'"),
        ("--loss l3", "--loss: expected one of mse, "),
        ("--background nocolor", "--background: expected a colour name, #RRGGBB or R,G,B, got 'nocolor'"),
        ("--background 0,0,256", "--background: expected three numbers in [0, 255], got (0, 0, 256)"),
        ("--backend tpu", "--backend: expected one of auto, reference, cpu, cuda, got 'tpu'"),
    ],
)
def test_wrong_option_is_reported(photo_file, out, predict, error_line, options, message):
    assert predict(photo_file, *options.split(), "--output", out) == 2
    assert error_line().startswith(f"fastgs predict: error: argument {message}") and not out.exists()


@pytest.mark.parametrize("arguments", [[], ["paint"], ["predict"], ["predict", "photo.png", "--itera", "3"]])
def test_wrong_usage_is_reported(run_cli, error_line, arguments):
    assert run_cli(*arguments) == 2
    line = error_line()
    assert line.startswith("fastgs") and ": error: " in line


@pytest.mark.parametrize("below", [".", "deeper"])
def test_output_that_cannot_be_a_folder_is_reported(photo_file, predict, error_line, below):
    before = photo_file.read_bytes()
    assert predict(photo_file, *QUICK, "--output", photo_file / below) == 2
    message = f"fastgs predict: error: argument --output: cannot write to {photo_file / below} ("
    assert error_line().startswith(message) and photo_file.read_bytes() == before


# Nothing is overwritten, half-written or left behind


@pytest.mark.parametrize(
    "command",
    [
        ("predict", "missing.png", *QUICK),
        ("predict", "*.missing", *QUICK),
        ("decode", "missing.fgs", "missing2.fgs"),
        ("splats", "make", "missing", "-k", "9"),
    ],
)
def test_a_run_without_results_leaves_no_folder(run_cli, tmp_path, command):
    output, before = tmp_path / "made" / "by it", tmp_path / "before"
    before.mkdir()
    for folder in (output, before):
        assert run_cli(*command, "-o", folder) in (1, 2)
    assert list(tmp_path.iterdir()) == [before] and not list(before.iterdir())


def test_inputs_are_not_overwritten(photo_file, photo_pixels, predict, names, capsys):
    folder, before = photo_file.parent, photo_file.read_bytes()
    inputs = (photo_file, folder / "other.jpg", folder / "other.png")
    for path in inputs[1:]:
        Image.fromarray(photo_pixels).save(path)
    # The output is the folder of the inputs, spelled in another way.
    assert predict(*inputs, *QUICK, "--output", folder / ".." / folder.name) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 3 and all("would overwrite the input" in line for line in errors)
    assert photo_file.read_bytes() == before
    assert names(folder) == ["jobs.jsonl", "other.jpg", "other.png", "photo.png"]


def test_outputs_of_another_input_are_not_overwritten(photo_file, photo_pixels, out, predict, capsys):
    inputs = (photo_file, photo_file.with_name("photo.jpg"), photo_file.with_name("photo-plots.jpg"))
    Image.fromarray(255 - photo_pixels).save(inputs[1])
    Image.fromarray(photo_pixels).save(inputs[2])
    assert predict(*inputs, *QUICK, "--plots", "--output", out) == 1
    errors = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[2] for line in errors] == [str(path) for path in inputs[1:]]
    assert all("would overwrite" in line and f"made from {photo_file}" in line for line in errors)
    assert [record["image"] for record in read_report(out)] == [str(photo_file)]


def test_folder_in_place_of_an_output_is_reported(photo_file, out, predict, names, error_line):
    (out / "photo.safetensors").mkdir(parents=True)
    assert predict(photo_file, *QUICK, "--output", out) == 1
    assert error_line().startswith(f"fastgs: error: {photo_file}: cannot write {out / 'photo.safetensors'}")
    assert names(out) == ["photo.safetensors"]


def fill_disk(*arguments, **options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("writer", ["fastgs.cli.predicting.write_picture", "fastgs.gaussians.Gaussians.save",
                                    "fastgs.visualize.save_figure"])  # fmt: skip
def test_full_disk_leaves_no_files(photo_file, out, predict, error_line, monkeypatch, writer):
    monkeypatch.setattr(writer, fill_disk)
    assert predict(photo_file, *QUICK, "--plots", "--output", out) == 1
    assert error_line() == f"fastgs: error: {photo_file}: cannot be written (No space left on device)"
    assert not out.exists()


def test_full_disk_while_files_are_moved_leaves_no_files(photo_file, out, predict, error_line, monkeypatch):
    replace = os.replace

    def fail_for_gaussians(source, target):
        if Path(target) == out / "photo.safetensors":
            fill_disk()
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail_for_gaussians)
    assert predict(photo_file, *QUICK, "--output", out) == 1
    assert error_line().startswith("fastgs: error: ") and not out.exists()


def test_full_disk_for_the_report_keeps_the_files(photo_file, out, predict, names, capsys, monkeypatch):
    monkeypatch.setattr("fastgs.io.places.atomic_write", fill_disk)
    assert predict(photo_file, *QUICK, "--output", out) == 1
    message = f"fastgs: error: {out / 'report.json'}: cannot be written (No space left on device)\n"
    assert capsys.readouterr().err == message
    assert names(out) == ["photo.png", "photo.safetensors"]


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_lack_of_memory_is_reported(photo_file, out, predict, error_line, monkeypatch, error):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(Predictor, "__call__", fail)
    assert predict(photo_file, *QUICK, "--output", out) == 1
    assert error_line().startswith(f"fastgs: error: {photo_file}: not enough memory")
    assert not out.exists()


def test_bugs_keep_their_traceback(photo_file, out, predict, monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("a bug")

    monkeypatch.setattr(Predictor, "__call__", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        predict(photo_file, *QUICK, "--output", out)
