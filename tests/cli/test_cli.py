"""The command: what it writes, and one line, the right exit code and nothing left over for whatever goes wrong."""

import errno
import json
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from networks import initializer
from PIL import Image
from processes import PATIENCE, python, start, wait_until
from skimage import data

import fastgs
from fastgs.cli import main as cli
from fastgs.models.pretrained import save_weights
from fastgs.predictor import Predictor

ROOT = Path(__file__).resolve().parents[2]
PHOTO = np.ascontiguousarray(data.chelsea()[::6, ::6])  # 50 x 76
HEIGHT, WIDTH, _ = PHOTO.shape
QUICK = ("--num-gaussians", "120", "--iterations", "3")


@pytest.fixture
def photo(tmp_path) -> Path:
    Image.fromarray(PHOTO).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "out"


def predict(*arguments) -> int:
    return cli.main(["predict", *map(str, arguments)])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def report(folder: Path) -> list[dict]:
    return json.loads((folder / "report.json").read_text())


def infer(*arguments, **options) -> subprocess.CompletedProcess:
    """The real command, from another process."""
    return python(ROOT / "infer.py", *arguments, **options)


# What it writes


def test_files_and_report(photo, out, capsys):
    assert predict(photo, "-k", 150, "--iterations", 12, "--seed", 5, "--init", "gradient", "--output", out) == 0
    assert names(out) == ["photo.png", "photo.safetensors", "report.json"]
    gaussians = fastgs.Gaussians.load(out / "photo.safetensors")
    assert (len(gaussians), gaussians.height, gaussians.width) == (150, HEIGHT, WIDTH)
    rendered = fastgs.render(gaussians).clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
    assert np.array_equal(np.asarray(Image.open(out / "photo.png")), rendered)

    (record,) = report(out)
    expected = {"image": str(photo), "height": HEIGHT, "width": WIDTH, "num_gaussians": 150, "iterations": 12}
    expected |= {"init": "gradient", "weights": None, "seed": 5, "blend": "normalized", "loss": "mse", "ms_ssim": None}
    assert {name: record[name] for name in expected} == expected
    assert [entry[0] for entry in record["history"]] == [0, 10, 12]
    assert record["psnr_init"] == record["history"][0][2] < record["psnr"] == record["history"][-1][2]
    assert record["seconds_init"] > 0 and record["seconds_fit"] == record["history"][-1][1]

    said = capsys.readouterr()
    assert said.out.startswith(f"{photo} -> {out / 'photo.png'}  {record['psnr']:.2f} dB  150 Gaussians  ")
    assert said.out.count("\n") == 1 and said.err == ""


def test_size_crops_and_ms_ssim_is_measured(tmp_path, out):
    Image.fromarray(data.coffee()).save(tmp_path / "coffee.jpg")
    assert predict(tmp_path / "coffee.jpg", *QUICK, "--size", 180, "--output", out) == 0
    (record,) = report(out)
    assert (record["height"], record["width"]) == (180, 180) and 0 < record["ms_ssim"] < 1


def test_plots(photo, out):
    assert predict(photo, *QUICK, "--plots", "--output", out) == 0
    assert names(out) == ["photo-plots.png", "photo.png", "photo.safetensors", "report.json"]
    with Image.open(out / "photo-plots.png") as figure:
        assert figure.width > 1500 and np.asarray(figure.convert("L")).std() > 20


def test_limits(photo, out):
    assert predict(photo, "-k", 100, "--seconds", 0.3, "--output", out) == 0
    assert report(out)[0]["iterations"] > 0 and 0.3 <= report(out)[0]["seconds_fit"] < 3
    goal = report(out)[0]["psnr_init"] + 1
    assert predict(photo, "-k", 100, "--target-psnr", goal, "--output", out) == 0
    assert report(out)[0]["psnr"] >= goal and report(out)[0]["iterations"] < 200


def test_learned(photo, out, monkeypatch, capsys):
    for name in ("base", "other"):
        save_weights(photo.parent / name, initializer(), {})
    assert predict(photo, *QUICK, "--weights", photo.parent / "other", "--output", out) == 0
    (record,) = report(out)
    assert (record["init"], record["weights"]) == ("learned", str(photo.parent / "other"))
    assert record["num_gaussians"] == 120 and np.isfinite(record["psnr_init"])
    monkeypatch.setattr("fastgs.models.pretrained.CHECKPOINTS", photo.parent)
    assert predict(photo, *QUICK, "--init", "learned", "--output", out) == 0
    (again,) = report(out)
    assert (again["init"], again["weights"], again["psnr"]) == ("learned", "base", record["psnr"])

    (photo.parent / "base.json").write_text("{}")
    capsys.readouterr()
    assert predict(photo, *QUICK, "--init", "learned", "--output", photo.parent / "none") == 2
    said = capsys.readouterr().err
    assert said.startswith(
        f"fastgs predict: error: argument --init: {photo.parent / 'base.json'}: describes no weights"
    )
    assert said.count("\n") == 1 and not (photo.parent / "none").exists()


def test_folders_and_files(photo, out, capsys):
    folder = photo.parent / "album"
    folder.mkdir()
    Image.fromarray(PHOTO).save(folder / "b.JPG")
    Image.fromarray(PHOTO).save(folder / "a.webp")
    (folder / "notes.txt").write_text("not an image")
    assert predict(folder, photo, *QUICK, "--output", out) == 0
    assert [Path(record["image"]).name for record in report(out)] == ["a.webp", "b.JPG", "photo.png"]
    assert capsys.readouterr().out.count("\n") == 3


def test_deep_and_transparent_inputs(tmp_path, out):
    gray = np.linspace(0, 65535, HEIGHT * WIDTH).astype(np.uint16).reshape(HEIGHT, WIDTH)
    Image.fromarray(gray).save(tmp_path / "deep.png")
    Image.fromarray(np.zeros((20, 30, 4), np.uint8)).save(tmp_path / "clear.png")
    arguments = (
        tmp_path / "deep.png",
        tmp_path / "clear.png",
        "-k",
        120,
        "--iterations",
        0,
        "--init",
        "grid",
        "--output",
        out,
    )
    for background, color in (("white", 255), ("0,0,0", 0), ("#808080", 128)):
        assert predict(*arguments, "--background", background) == 0
        # Flat, so that the first Gaussians are nearly right already.
        assert abs(np.asarray(Image.open(out / "clear.png")).mean() - color) < 3
    assert report(out)[0]["psnr"] > 30


@pytest.mark.parametrize("blend", ["normalized", "sum"])
def test_blend_and_backend(photo, out, blend):
    for backend in ("cpu", "reference"):
        assert predict(photo, *QUICK, "--blend", blend, "--backend", backend, "--output", out) == 0
        assert fastgs.Gaussians.load(out / "photo.safetensors").blend == blend


# The real command


def test_command_repeats_itself(photo, out, tmp_path):
    arguments = (photo, "-k", 200, "--iterations", 10, "--output")
    done = infer(*arguments, out)
    assert (done.returncode, done.stderr) == (0, "")  # quiet: stderr is no terminal
    assert predict(*arguments, tmp_path / "again") == 0
    for name in ("photo.png", "photo.safetensors"):
        assert (out / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_command_goes_on_after_bad_files(photo, out):
    for name, content in bad_files().items():
        (photo.parent / name).write_bytes(content)
    done = infer(photo.parent / "missing.png", *(photo.parent / name for name in bad_files()), photo, *QUICK,
                 "--output", out)  # fmt: skip
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert [line.split(": ")[:3] for line in lines] == [
        ["fastgs", "error", str(photo.parent / name)] for name in ("missing.png", *bad_files())
    ]
    assert names(out) == ["photo.png", "photo.safetensors", "report.json"] and len(report(out)) == 1


@pytest.mark.skipif(os.name != "posix", reason="SIGINT")
def test_command_interrupted(photo, out):
    with start(ROOT / "infer.py", photo, photo, "-k", "120", "--seconds", "600", "--output", out) as process:
        wait_until(out.exists)
        time.sleep(1)  # so that it is in the middle of things; where it is slower, at their beginning
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert stderr == "fastgs: interrupted\n"
    assert names(out) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_command_with_broken_output(photo, out):
    with open("/dev/full", "w", encoding="utf-8") as full:
        command = [sys.executable, str(ROOT / "infer.py"), photo, *QUICK, "--output", out]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
    assert done.returncode == 1
    assert done.stderr == "fastgs: error: standard output: cannot be written (No space left on device)\n"
    assert names(out) == ["photo.png", "photo.safetensors", "report.json"]


# Bad input


def bad_files() -> dict[str, bytes]:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    photo = (ROOT / "assets" / "coffee.png").read_bytes()
    return {"bomb.png": bomb, "cut.png": photo[: len(photo) // 2], "empty.png": b"", "text.png": b"this is no image\n"}


@pytest.mark.parametrize("name", bad_files())
def test_bad_file(tmp_path, out, capsys, name):
    (tmp_path / name).write_bytes(bad_files()[name])
    assert predict(tmp_path / name, *QUICK, "--output", out) == 1
    said = capsys.readouterr()
    assert said.err.startswith(f"fastgs: error: {tmp_path / name}: ") and said.err.count("\n") == 1
    assert str(tmp_path) not in said.err.split(f"{name}: ", 1)[1]  # the name is said once
    assert said.out == "" and names(out) == []


def test_unreadable_file(photo, out, capsys, monkeypatch):
    """Root, who may run the tests, may read everything; so the system's refusal is made."""

    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Image, "open", refuse)
    assert predict(photo, *QUICK, "--output", out) == 1
    assert capsys.readouterr().err == f"fastgs: error: {photo}: may not be read; check its permissions\n"
    assert names(out) == []


def test_bad_folder(photo, out, capsys):
    empty = photo.parent / "empty"
    empty.mkdir()
    assert predict(empty, photo, *QUICK, "--output", out) == 1
    assert capsys.readouterr().err.startswith(f"fastgs: error: {empty}: holds no image")
    assert len(report(out)) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--num-gaussians 0", "--num-gaussians: must be at least 1, got 0"),
        ("--num-gaussians -5", "--num-gaussians: must be at least 1, got -5"),
        ("-k many", "-k/--num-gaussians: invalid int value: 'many'"),
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
def test_wrong_option(photo, out, capsys, options, message):
    assert predict(photo, *options.split(), "--output", out) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"fastgs predict: error: argument {message}") and said.err.count("\n") == 1
    assert said.out == "" and not out.exists()


@pytest.mark.parametrize("arguments", [[], ["paint"], ["predict"], ["predict", "photo.png", "--itera", "3"]])
def test_wrong_usage(capsys, arguments):
    assert cli.main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("fastgs") and ": error: " in said and said.count("\n") == 1


@pytest.mark.parametrize("below", [".", "deeper"])
def test_output_that_cannot_be_a_folder(photo, capsys, below):
    before = photo.read_bytes()
    assert predict(photo, *QUICK, "--output", photo / below) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"fastgs predict: error: argument --output: cannot write to {photo / below} (")
    assert said.count("\n") == 1 and photo.read_bytes() == before


def test_help_and_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("fastgs ")
    assert cli.main(["predict", "--help"]) == 0
    said = capsys.readouterr().out
    assert "--num-gaussians" in said and "random, nearest, learned" in " ".join(said.split())


# Nothing is overwritten or half-written


def test_inputs_are_never_overwritten(photo, capsys):
    before = photo.read_bytes()
    Image.fromarray(PHOTO).save(photo.parent / "other.jpg")
    Image.fromarray(PHOTO).save(photo.parent / "other.png")
    inputs = (photo, photo.parent / "other.jpg", photo.parent / "other.png")
    # Spelled in another way, it is still the same folder.
    assert predict(*inputs, *QUICK, "--output", photo.parent / ".." / photo.parent.name) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 3 and all("would overwrite the input" in line for line in errors)
    assert photo.read_bytes() == before and names(photo.parent) == ["other.jpg", "other.png", "photo.png"]


def test_same_stem_is_refused_the_second_time(photo, out, capsys):
    Image.fromarray(255 - PHOTO).save(photo.parent / "photo.jpg")
    Image.fromarray(PHOTO).save(photo.parent / "photo-plots.jpg")
    inputs = (photo, photo.parent / "photo.jpg", photo.parent / "photo-plots.jpg")
    assert predict(*inputs, *QUICK, "--plots", "--output", out) == 1
    errors = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[2] for line in errors] == [str(path) for path in inputs[1:]]
    assert all("would overwrite" in line and f"made from {photo}" in line for line in errors)
    assert [record["image"] for record in report(out)] == [str(photo)]


def test_a_folder_in_the_way(photo, out, capsys):
    (out / "photo.safetensors").mkdir(parents=True)
    assert predict(photo, *QUICK, "--output", out) == 1
    assert capsys.readouterr().err.startswith(f"fastgs: error: {photo}: cannot write {out / 'photo.safetensors'}")
    assert names(out) == ["photo.safetensors"]


def full_disk(*arguments, **options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("writer", ["fastgs.cli.predict.save_image", "fastgs.gaussians.Gaussians.save",
                                    "fastgs.visualize.save_figure"])  # fmt: skip
def test_disk_full(photo, out, capsys, monkeypatch, writer):
    monkeypatch.setattr(writer, full_disk)
    assert predict(photo, *QUICK, "--plots", "--output", out) == 1
    assert capsys.readouterr().err == f"fastgs: error: {photo}: cannot be written (No space left on device)\n"
    assert names(out) == []


def test_failure_while_files_are_moved(photo, out, capsys, monkeypatch):
    replace = os.replace

    def fail_for_gaussians(source, target):
        if Path(target) == out / "photo.safetensors":
            full_disk()
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail_for_gaussians)
    assert predict(photo, *QUICK, "--output", out) == 1
    assert capsys.readouterr().err.count("\n") == 1 and names(out) == []


def test_disk_full_for_the_report(photo, out, capsys, monkeypatch):
    monkeypatch.setattr("fastgs.io.records.atomic_write", full_disk)
    assert predict(photo, *QUICK, "--output", out) == 1
    message = f"fastgs: error: {out / 'report.json'}: cannot be written (No space left on device)\n"
    assert capsys.readouterr().err == message
    assert names(out) == ["photo.png", "photo.safetensors"]


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_out_of_memory(photo, out, capsys, monkeypatch, error):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(Predictor, "__call__", fail)
    assert predict(photo, *QUICK, "--output", out) == 1
    assert capsys.readouterr().err.startswith(f"fastgs: error: {photo}: not enough memory")
    assert names(out) == []


def test_bugs_keep_their_traceback(photo, out, monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("a bug")

    monkeypatch.setattr(Predictor, "__call__", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        predict(photo, *QUICK, "--output", out)


def test_progress_on_a_terminal_only(photo, out, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    assert predict(photo, "-k", 100, "--iterations", 20, "--output", out) == 0
    said = capsys.readouterr()
    assert "iteration" in said.err and " dB" in said.err
    assert said.out.startswith(str(photo)) and said.out.count("\n") == 1
