"""`fastgs splats make`: the same bytes for the same seed, even after interruptions and damage."""

import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from processes import start, wait_until
from skimage import data

from fastgs import render
from fastgs.cli import main as cli
from fastgs.gaussians import Gaussians
from fastgs.io.images import load_image
from fastgs.metrics.quality import psnr
from fastgs.splats import batches, kinds, load_splats, making, read_index
from fastgs.splats.indexing import draw_splits
from fastgs.splats.sources import Source, find_sources

QUICK = ("-k", 64, "--iterations", 2, "--size", 16, "--workers", 1)


def make(*arguments) -> int:
    return cli.main(["splats", "make", *map(str, arguments)])


def read_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Make seven images of two classes, and one file that is no image."""
    folder = tmp_path_factory.mktemp("photos")
    for label, photo, count in (("cat", data.chelsea(), 4), ("cup", data.coffee(), 3)):
        (folder / label).mkdir()
        for number in range(count):
            part = photo[40 * number : 40 * number + 36, 60:108]
            Image.fromarray(np.ascontiguousarray(part)).save(folder / label / f"{number}.png")
    (folder / "cup" / "1.jpg").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def made(photos, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    assert make(photos, *QUICK, "--shard-size", 3, "--output", folder) == 1
    return folder


# The dataset


def test_dataset_has_fits_pixels_and_index(photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert make(photos, *QUICK, "--shard-size", 3, "--seed", 7, "--output", out) == 1
    said = capsys.readouterr()
    assert said.err == (
        f"fastgs: error: {photos / 'cup' / '1.jpg'}: is not an image that Pillow can read, or is damaged; convert it "
        "to 8-bit PNG or JPEG\n"
    )
    assert sorted(read_files(out)) == ["index.json", *(f"shard-0000{number}.safetensors" for number in range(3))]
    index, splats = read_index(out), load_splats(out)
    mean = sum(entry.psnr for entry in index.entries) / 7
    assert said.out.startswith(f"{out}: 7 images  64 Gaussians each  {mean:.2f} dB  ")
    assert said.out.endswith(" images/s\n")

    assert (index.num_gaussians, index.initialization, index.iterations, index.seed) == (64, "grid", 2, 7)
    assert (index.size, index.labels) == (16, ["cat", "cup"])
    assert [entry.source for entry in index.entries] == [
        *(f"cat/{number}.png" for number in range(4)),
        *(f"cup/{number}.png" for number in (0, 1, 2)),
    ]
    assert [entry.label for entry in index.entries] == [0] * 4 + [1] * 3
    for place, entry in enumerate(splats.entries):
        assert (entry.top, entry.left, entry.height, entry.width) == (0, 2, 16, 16)
        target = load_image(photos / entry.source, 16).mul(255).round().byte()
        assert torch.equal(splats.pixels[place], target)
        fitted = Gaussians(*(each[place] for each in splats.attributes), 16, 16)
        assert psnr(render(fitted), target / 255) == pytest.approx(entry.psnr, abs=1e-3)
        assert entry.psnr > 20
    assert index.normalizations.keys() == {"plain", "anchored"}


def test_normalizations_cover_the_train_split(made):
    index, train = read_index(made), load_splats(made, "train")
    share = train.attributes.means.flatten(0, 1).double() / 16
    torch.testing.assert_close(index.normalizations["plain"].mean[:2].double(), share.mean(0))
    scales = train.attributes.scales.flatten(0, 1).log()
    assert (index.normalizations["plain"].low[2:4] <= scales.quantile(0.01, dim=0)).all()
    assert (index.normalizations["plain"].high[2:4] >= scales.quantile(0.99, dim=0)).all()


def test_full_size_and_other_initializations(photos, tmp_path):
    Image.fromarray(data.coffee()[:20, :25]).save(tmp_path / "small.png")
    given = (tmp_path / "small.png", photos / "cat")
    nearest, random = tmp_path / "nearest", tmp_path / "random"
    quick = ("-k", 50, "--iterations", 1, "--full-size")
    assert make(*given, *quick, "--init", "nearest", "--output", nearest) == 0
    assert make(*given, *quick, "--init", "random", "--output", random) == 0
    splats, index = load_splats(nearest), read_index(nearest)
    assert [tuple(image.shape) for image in splats.pixels] == [(3, 20, 25)] + [(3, 36, 48)] * 4
    assert [(entry.source, entry.label) for entry in index.entries[:2]] == [("small.png", None), ("0.png", None)]
    assert index.size is None and index.normalizations.keys() == {"plain"}
    assert not torch.equal(splats.attributes.scales, load_splats(random).attributes.scales)


def test_crops_are_different_squares_of_the_full_size_image(tmp_path, capsys):
    """An image that is too small has none, and all crops of an image are in one split."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, side in (("a", 9), ("b", 30), ("c", 8), ("d", 40)):
        Image.fromarray(data.coffee()[100 : 100 + side, 200 : 204 + side]).save(folder / f"{name}.png")
    crops = ("--crops", 12, "--size", 8, "-k", 16, "--iterations", 0, "--shard-size", 10, "--workers", 1)
    assert make(folder, *crops, "--output", tmp_path / "out") == 1
    assert capsys.readouterr().err == (
        f"fastgs: error: {folder / 'c.png'}: has 8 x 12 pixels, too few for 12 different crops of 8 x 8; lower --size "
        "or --crops\n"
    )
    splats = load_splats(tmp_path / "out")
    assert [entry.source for entry in splats.entries] == ["a.png"] * 12 + ["b.png"] * 12 + ["d.png"] * 12
    places = {(entry.source, entry.top, entry.left) for entry in splats.entries}
    assert len(places) == 36
    # The first image has just 12 different crops.
    assert {place[1:] for place in places if place[0] == "a.png"} == set(product(range(2), range(6)))
    for pixels, entry in zip(splats.pixels, splats.entries, strict=True):
        whole = torch.from_numpy(np.array(Image.open(folder / entry.source))).permute(2, 0, 1)
        assert torch.equal(pixels, whole[:, entry.top : entry.top + 8, entry.left : entry.left + 8])
    assert len({(entry.source, entry.split) for entry in splats.entries}) == 3


def test_gray_dataset_has_one_channel(photos, made, tmp_path, capsys):
    """Files that cannot be read are reported as of RGB, and a folder of other channels is refused."""
    out = tmp_path / "out"
    assert make(photos, *QUICK, "--shard-size", 3, "--channels", "gray", "--output", out) == 1
    assert capsys.readouterr().err.count(f"{photos / 'cup' / '1.jpg'}: is not an image that Pillow can read") == 1
    gray, rgb = load_splats(out), load_splats(made)
    assert gray.pixels.shape == (7, 1, 16, 16) and gray.attributes.colors.shape == (7, 64, 1)
    expected = (rgb.pixels.double() * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
    torch.testing.assert_close(gray.pixels.double(), expected, atol=1, rtol=0)
    assert make(photos, *QUICK, "--shard-size", 3, "--output", out) == 2
    assert f"argument --output: {out}: holds another dataset (channels gray, not rgb)" in capsys.readouterr().err


def test_splits_have_their_proportions():
    def draw(count, split=None, seed=0):
        return draw_splits([Source(str(number), Path(str(number)), None, split) for number in range(count)], seed)

    for count in range(1, 40):
        drawn = [draw(count).count(split) for split in ("train", "val", "test")]
        assert sum(drawn) == count and drawn[1] == drawn[2] and abs(drawn[1] - count / 6) <= 0.5 and drawn[0] > 0
        assert abs(draw(count, "train").count("val") - count / 5) <= 0.5 and "test" not in draw(count, "train")
    assert draw(5, "test") == ["test"] * 5
    assert draw(30) == draw(30) != draw(30, seed=1)


def test_sources_of_folders_of_folders(tmp_path, photos):
    """Hidden files and folders are left out, deeper folders are included, and images beside folders take precedence."""
    for path in ("x/.b/1.png", "x/deep/2.PNG", "x/.3.png", "x/4.txt", ".y/5.png", "a/6.png"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert [(each.name, each.label) for each in find_sources(tmp_path)] == [("a/6.png", "a"), ("x/deep/2.PNG", "x")]
    (tmp_path / "7.png").touch()
    assert [(each.name, each.label) for each in find_sources(tmp_path)] == [("7.png", None)]


# Repeated and interrupted runs


def test_second_run_fits_nothing(photos, made, capsys):
    before = {path.name: path.stat().st_mtime_ns for path in made.glob("shard*")}
    index = (made / "index.json").read_bytes()
    assert make(photos, *QUICK, "--shard-size", 3, "--output", made) == 1
    assert {path.name: path.stat().st_mtime_ns for path in made.glob("shard*")} == before
    assert (made / "index.json").read_bytes() == index
    said = capsys.readouterr()
    assert said.out.endswith(" dB\n") and said.err.count("1.jpg: is not an image") == said.err.count("\n") == 1


@pytest.mark.slow
def test_killed_run_is_continued(photos, tmp_path):
    """A run of two processes is killed after the first shard and continued by one, with the bytes of a single run."""
    options = ("-k", "64", "--size", "16", "--shard-size", "3", "--iterations", "300")
    out = tmp_path / "out"
    with start("-m", "fastgs", "splats", "make", photos, *options, "--workers", "2", "--output", out) as process:
        wait_until(lambda: list(out.glob("shard-*")) or process.poll() is not None)
        process.kill()
    assert not (out / "index.json").exists()
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("shard-*")}

    assert make(photos, *options, "--workers", 1, "--output", out) == 1
    assert before.items() <= {path.name: path.stat().st_mtime_ns for path in out.iterdir()}.items()
    assert make(photos, *options, "--workers", 1, "--output", tmp_path / "whole") == 1
    assert read_files(out) == read_files(tmp_path / "whole")


def test_interrupted_run_reports_it(photos, tmp_path, monkeypatch, capsys):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(making, "write_index", interrupted)
    assert make(photos, *QUICK, "--output", tmp_path / "out") == 130
    assert capsys.readouterr().err.endswith("fastgs: interrupted\n")
    assert sorted(read_files(tmp_path / "out")) == ["shard-00000.safetensors"]


def test_only_damaged_or_changed_shards_are_made_again(photos, tmp_path):
    """They have the same bytes if the images are the same."""
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    for number, path in enumerate(sorted(photos.glob("c*/*.png"))):
        (folder / f"{number}.png").write_bytes(path.read_bytes())
    arguments = (folder, *QUICK, "--shard-size", 2, "--output", out)
    assert make(*arguments) == 0
    before = read_files(out)
    damaged = bytearray(before["shard-00001.safetensors"])
    damaged[-1] ^= 1
    (out / "shard-00001.safetensors").write_bytes(damaged)
    (out / "shard-00002.safetensors").write_bytes(b"")
    assert make(*arguments) == 0 and read_files(out) == before

    (folder / "3.png").write_bytes((folder / "4.png").read_bytes())
    assert make(*arguments) == 0
    after = read_files(out)
    assert {name for name in before if before[name] != after[name]} == {"index.json", "shard-00001.safetensors"}
    splats = load_splats(out)
    assert torch.equal(splats.pixels[3], splats.pixels[4])


def test_fits_do_not_depend_on_batches(photos, made, tmp_path, monkeypatch):
    """Fits in a batch are those of each image alone, up to rounding."""
    monkeypatch.setattr(batches, "MAX_PIXELS", 1)
    assert make(photos, *QUICK, "--shard-size", 3, "--output", tmp_path / "out") == 1
    for alone, together in zip(load_splats(tmp_path / "out").attributes, load_splats(made).attributes, strict=True):
        torch.testing.assert_close(alone, together, atol=1e-3, rtol=1e-3)


def test_no_readable_image(tmp_path, capsys):
    (tmp_path / "a.png").write_text("no image")
    out = tmp_path / "out"
    assert make(tmp_path / "a.png", tmp_path / "b.png", *QUICK, "--output", out) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[2] for line in lines] == [f" {tmp_path / 'b.png'}", f" {tmp_path / 'a.png'}", f" {out}"]
    assert lines[2].endswith("none of the 1 images can be read") and not out.exists()
    # If no image is found, there is one line, and no folder is made.
    assert make(tmp_path / "b.png", *QUICK, "--output", tmp_path / "other") == 1
    line = f"fastgs: error: {tmp_path / 'b.png'}: no such file or folder; check the name"
    assert capsys.readouterr().err.splitlines() == [line] and not (tmp_path / "other").exists()


def test_folder_of_another_dataset_is_refused(photos, made, tmp_path, capsys):
    before = read_files(made)
    for arguments, reason in (
        ((photos, *QUICK, "--shard-size", 3, "-k", 65), "num_gaussians 64, not 65"),
        ((photos, *QUICK), f"shard_size 3, not {kinds.SHARD_SIZE}"),
        ((photos / "cat", *QUICK, "--shard-size", 3), "other images"),
    ):
        assert make(*arguments, "--output", made) == 2
        assert f"argument --output: {made}: holds another dataset ({reason})" in capsys.readouterr().err
    assert read_files(made) == before
    (tmp_path / "index.json").write_text("{}")
    assert make(photos, *QUICK, "--output", tmp_path) == 2
    assert read_files(tmp_path) == {"index.json": b"{}"}


def test_progress_is_shown_on_a_terminal(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    assert make(photos / "cat", *QUICK, "--output", tmp_path / "out") == 0
    assert "4 of 4" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("-k", 0), "argument --num-gaussians: must be at least 1, got 0"),
        (("--size", 0), "argument --size: must be at least 1, got 0"),
        (("--iterations", -1), "argument --iterations: must be at least 0, got -1"),
        (("--crops", 0), "argument --crops: must be at least 1, got 0"),
        (("--shard-size", 0), "argument --shard-size: must be at least 1, got 0"),
        (("--workers", 0), "argument --workers: must be at least 1, got 0"),
        (("--crops", 2, "--full-size"), "argument --crops: not allowed with argument --full-size"),
        (("--init", "learned"), "argument --init: invalid choice: 'learned'"),
        (("--channels", "cmyk"), "argument --channels: invalid choice: 'cmyk'"),
    ],
)
def test_wrong_option_is_one_line(photos, tmp_path, capsys, arguments, line):
    assert make(photos, *arguments, "--output", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert said.startswith(f"fastgs splats make: error: {line}") and said.count("\n") == 1
    assert not (tmp_path / "out").exists()
