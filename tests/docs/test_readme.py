"""Everything in the README runs: its Python and its commands, in a folder where the photos are tiny."""

import re
import shutil

import pytest
from markdown_files import ROOT, blocks, commands
from PIL import Image

from fastgs.cli.main import main as fastgs
from fastgs.gaussians import Gaussians

README = ROOT / "README.md"
MAX_LINES = 130
MAX_ROWS = 8

pytestmark = pytest.mark.skipif(not README.exists(), reason="needs the source tree")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Make a folder that is like the repository to what the README says."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "configs", folder / "configs")
    for name in ("assets", "photos"):
        (folder / name).mkdir()
    with Image.open(ROOT / "assets" / "coffee.png") as photo:
        small = photo.resize((192, 128))
    small.save(folder / "photo.png")
    small.save(folder / "map.tif")
    small.save(folder / "assets" / "coffee.png")
    small.crop((0, 0, 96, 96)).save(folder / "photos" / "left.png")
    small.crop((96, 32, 192, 128)).save(folder / "photos" / "right.png")
    return folder


def test_readme_is_short():
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_LINES
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(tables) == 1
    assert tables[0].count("\n") - 2 <= MAX_ROWS  # less the head


@pytest.mark.slow
def test_python_runs(folder, monkeypatch):
    monkeypatch.chdir(folder)
    namespace = {}
    for block in blocks(README, "python"):  # one after the other, as a reader would type them
        exec(block, namespace)
    assert len(Gaussians.load(folder / "coffee.safetensors")) == 5_000


def test_make_has_the_targets():
    made = [words[1] for words in commands(README) if words[0] == "make"]
    assert made == ["demo", "test"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in made)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:LightningCLI's args")
def test_commands_run(folder, monkeypatch, one_thread):
    from fastgs.training.cli import main as train

    monkeypatch.chdir(folder)
    ran = []
    for words in commands(README):
        if words[0] == "fastgs":
            assert fastgs(words[1:]) == 0, words
        elif words[:2] == ["python", "train.py"]:
            assert train(shortened(words[2:])) == 0, words
        else:
            assert words[0] == "make", words
            continue
        ran.append(words[1])
    assert {"predict", "encode", "decode", "info", "view", "evaluate", "table", "train.py"} == set(ran)
    assert (folder / "large.png").exists()
    assert (folder / "output" / "attribute" / "weights.json").exists()


def shortened(arguments):
    """Return arguments of train.py for a run of two steps that leaves its files where the whole one would."""
    place = arguments.index("--config") + 1
    stage = arguments[place].removeprefix("configs/").removesuffix(".yaml")
    smoke = ["--config", "configs/overlays/smoke.yaml", "--trainer.default_root_dir", f"output/{stage}"]
    return [*arguments[: place + 1], *smoke, *arguments[place + 1 :]]
