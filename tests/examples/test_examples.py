"""Examples, each run through its command line on tiny photos."""

import json
import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image
from splat_data import make_splats

from fastgs.codec import SCHEMES
from fastgs.data.datasets import DATASETS
from fastgs.fitting.losses import LOSSES
from fastgs.gaussians import Gaussians
from fastgs.initializers import INITIALIZERS
from fastgs.methods import METHODS

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
MAX_LINES = 80

pytestmark = pytest.mark.skipif(not EXAMPLES.is_dir(), reason="needs the source tree")


@pytest.fixture(autouse=True)
def registries(monkeypatch):
    """Forget what examples register, so that each can run more than once in a process."""
    for registry in (INITIALIZERS, LOSSES, METHODS, SCHEMES, DATASETS):
        monkeypatch.setattr(registry, "_items", dict(registry._items))


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Make a folder of two parts of the sample photo, in the current directory."""
    folder = tmp_path / "photos"
    folder.mkdir()
    with Image.open(ROOT / "assets" / "coffee.png") as photo:
        photo.resize((96, 64)).save(folder / "a.png")
        photo.resize((120, 80)).crop((40, 10, 104, 74)).save(folder / "b.png")
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def run(monkeypatch, capsys):
    """Return a function that runs an example as a program and returns what it prints."""

    def run_example(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run_example


def test_examples_are_short_and_tested():
    tests = Path(__file__).read_text(encoding="utf-8")
    for path in EXAMPLES.glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) < MAX_LINES, path.name
        assert f'run("{path.name}"' in tests, path.name


def test_fit_photo(run, photos, tmp_path):
    out = run("fit_photo.py", photos / "a.png", "--num-gaussians", 200, "--iterations", 10, "--output", "out")
    assert "iteration 10: " in out
    assert len(Gaussians.load(tmp_path / "out" / "a.safetensors")) == 200
    with Image.open(tmp_path / "out" / "a-large.png") as large:
        assert large.size == (192, 128)


def test_fit_folder_leaves_out_damaged_files(run, photos, tmp_path):
    (photos / "damaged.png").write_bytes(b"no image")
    out = run("fit_folder.py", photos, "--num-gaussians", 100, "--iterations", 5, "--size", 48, "--output", "out")
    assert "left out: " in out
    assert "mean of 2 photos" in out
    rows = (tmp_path / "out" / "results.csv").read_text(encoding="utf-8").splitlines()
    assert [row.split(",")[0] for row in rows] == ["photo", "a.png", "b.png"]


def test_own_loss(run, photos):
    out = run("own_loss.py", photos / "a.png", "--num-gaussians", 200, "--iterations", 10)
    assert [line.split(":")[0] for line in out.splitlines()] == ["mse", "edges"]
    assert "edges" in LOSSES


def test_own_initializer(run, photos):
    out = run("own_initializer.py", photos / "a.png", "--num-gaussians", 200, "--iterations", 5)
    assert [line.split(":")[0] for line in out.splitlines()] == ["center", "grid", "curvature"]
    assert "center" in INITIALIZERS


def test_gradients_through_render_train_the_network(run, photos):
    out = run("gradients_through_render.py", photos / "a.png", "--steps", 20)
    first, *_, last = (float(line.split()[2]) for line in out.splitlines())
    assert last > first + 0.5


def test_encode_decode(run, photos, tmp_path):
    out = run("encode_decode.py", photos / "a.png", "--bpp", 2.0, "--iterations", 20, "--output", "out/a.fgs")
    size = (tmp_path / "out" / "a.fgs").stat().st_size
    assert f"{size} bytes" in out
    assert size <= 2 * 96 * 64 / 8
    assert "two thirds of the file" in out
    assert (tmp_path / "out" / "a.png").exists()


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_train_on_your_photos(run, photos, tmp_path, one_thread):
    arguments = ("--epochs", 1, "--crop", 32, "--batch-size", 2, "--small", "--output", "out")
    out = run("train_on_your_photos.py", photos, *arguments)
    assert "curvature: " in out
    assert "learned: " in out
    assert (tmp_path / "out" / "attribute" / "weights.safetensors").exists()


def test_splats_classifier(run, tmp_path):
    out = run("splats_classifier.py", make_splats(tmp_path), "--epochs", 2, "--batch-size", 4)
    assert "2 classes, 64 Gaussians each" in out
    assert "epoch 2: accuracy " in out


def test_notebook_runs_and_is_stripped(photos, tmp_path, monkeypatch):
    """The code cells, one after the other in one namespace, as a reader would run them."""
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    monkeypatch.setattr(pyplot, "show", lambda: pyplot.close("all"))
    (tmp_path / "assets").mkdir()
    (tmp_path / "examples").mkdir()
    (photos / "a.png").rename(tmp_path / "assets" / "coffee.png")
    monkeypatch.chdir(tmp_path / "examples")
    notebook = json.loads((EXAMPLES / "tour.ipynb").read_text(encoding="utf-8"))
    namespace = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
            exec(compile("".join(cell["source"]), cell["id"], "exec"), namespace)
    assert len(namespace["decoded"]) > 0
