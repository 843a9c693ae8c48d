"""`fastgs predict` on several images at once."""

import pytest
from cli_data import read_files, read_report
from PIL import Image
from skimage import data

import fastgs
from fastgs.cli import processing


@pytest.mark.slow
@pytest.mark.parametrize("batch", [(), ("--batch", 4)])
@pytest.mark.parametrize("workers", [1, 2])
def test_batches_give_the_files_of_single_images(album, out, tmp_path, run_cli, workers, batch):
    Image.fromarray(data.coffee()[:30, :20]).save(album / "other.png")  # of another size
    (album / "bad.png").write_bytes(b"no image")
    options = ("-k", 30, "--iterations", 20, "--workers")
    assert run_cli("predict", album, *options, 1, "-o", tmp_path / "single", "--batch", 1) == 1
    assert run_cli("predict", album, *options, workers, "-o", out, *batch) == 1
    found, wanted = read_report(out), read_report(tmp_path / "single")
    assert [each["image"] for each in found] == [each["image"] for each in wanted] and len(found) == 5
    before = read_files(out)
    assert before == read_files(tmp_path / "single")
    (out / "photo002.png").unlink()
    assert run_cli("predict", album, *options, workers, "-o", out, *batch, "--resume") == 1
    assert read_files(out) == before


@pytest.mark.slow
@pytest.mark.parametrize("error", [ValueError("target: holds NaN"), MemoryError()])
def test_images_that_cannot_be_fitted_together_are_fitted_alone(album, out, tmp_path, run_cli, monkeypatch, error):
    options = ("-k", 30, "--iterations", 20, "--workers", 1, "-o")
    assert run_cli("predict", album, *options, tmp_path / "single", "--batch", 1) == 0

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(fastgs.Predictor, "batch", fail)
    assert run_cli("predict", album, *options, out) == 0
    assert read_files(out) == read_files(tmp_path / "single")


@pytest.mark.slow
def test_small_images_are_fitted_together_by_default(album, out, run_cli, monkeypatch):
    sizes, batch = [], fastgs.Predictor.batch

    def count(self, images, *arguments, **options):
        sizes.append(len(images))
        return batch(self, images, *arguments, **options)

    monkeypatch.setattr(fastgs.Predictor, "batch", count)
    monkeypatch.setattr(processing, "SECONDS_PER_BATCH", 600.0)  # however long the first image takes
    Image.fromarray(data.coffee()[:200, :200]).save(album / "large.png")
    options = ("-k", 30, "--iterations", 20, "--workers", 1, "-o", out)
    assert run_cli("predict", album, *options) == 0
    assert sizes == [len(read_report(out)) - 1]  # all but the large one, which comes first
    sizes.clear()
    assert run_cli("predict", album, *options, "--seconds", 5) == 0 and not sizes  # all cores for each


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--batch", "0"), "must be at least 1, got 0"),
        (("--batch", "4", "--seconds", "3"), "not allowed with argument --seconds"),
        (("--batch", "4", "--loss", "l1"), "not allowed with argument --loss"),
    ],
)
def test_wrong_batch_is_one_line(album, out, run_cli, error_line, options, message):
    assert run_cli("predict", album, *options, "-o", out) == 2
    assert error_line() == f"fastgs predict: error: argument --batch: {message}" and not out.exists()
