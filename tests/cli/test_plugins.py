"""Recipes of CONTRIBUTING: one of each kind, in a package outside of fastgs, used from the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

pytestmark = pytest.mark.slow

PLUGIN = '''
"""One initializer, loss, method, codec scheme and dataset."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import fastgs
from fastgs.codec import Encoded, Frame, register_scheme
from fastgs.codec.frame import write_frame
from fastgs.data.datasets import DATASETS, Dataset, Part
from fastgs.fitting.losses import LOSSES
from fastgs.fitting.options import FitOptions
from fastgs.initializers import INITIALIZERS
from fastgs.initializers.from_density import gaussians_from_density
from fastgs.methods import METHODS


@INITIALIZERS.registered("center")
def initialize(image, num_gaussians, generator=None):
    _, height, width = image.shape
    y, x = torch.meshgrid(torch.arange(height) / height - 0.5, torch.arange(width) / width - 0.5, indexing="ij")
    return gaussians_from_density(image, torch.exp(-8 * (x**2 + y**2)), num_gaussians, generator)


@LOSSES.registered("charbonnier")
def charbonnier(image, target):
    return torch.sqrt((image - target) ** 2 + 1e-6).mean()


METHODS.register("central", replace(METHODS["fastgs-curvature"], initialize=initialize, iterations=30))


class Raw:
    """Every number as float32, without entropy coding."""

    name, bits, iterations = "raw", 256.0, 10

    def encode(self, image, num_gaussians, *, iterations=None, seed=0, target_bytes=None, callback=None):
        options = FitOptions(self.iterations if iterations is None else iterations)
        result = METHODS["central"](image, num_gaussians, options, seed=seed, callback=callback)
        g = result.gaussians
        table = torch.cat([g.means, g.scales, g.rotations[:, None], g.colors], dim=1).numpy()
        frame = Frame(self.name, g.height, g.width, [table.astype("<f4").tobytes()])
        return Encoded(write_frame(frame), self.decode(frame), result.history)

    def decode(self, frame):
        table = torch.from_numpy(np.frombuffer(frame.layers[0], "<f4").reshape(-1, 8).copy())
        means, scales, rotations, colors = table.split([2, 2, 1, 3], dim=1)
        return fastgs.Gaussians(means, scales, rotations[:, 0], colors, frame.height, frame.width)

    def bit_breakdown(self, frame):
        payload = 8 * len(frame.layers[0])
        return {"floats": payload, "header": 8 * len(write_frame(frame)) - payload}


register_scheme(Raw(), code=200)


def download(folder, **options):
    (Path(folder) / "dots").mkdir(parents=True, exist_ok=True)
    return Path(folder) / "dots"


DATASETS.register("dots", Dataset("Two dots.", "CC0", {"all": Part("dots", 2, download)}))
'''


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Return a folder of installed packages that has the plugin, and one that cannot be imported."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "recipes.py").write_text(PLUGIN, encoding="utf-8")
    (folder / "broken.py").write_text("raise RuntimeError('half installed')", encoding="utf-8")
    for name in ("recipes", "broken"):
        info = folder / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
        (info / "entry_points.txt").write_text(f"[fastgs.plugins]\n{name} = {name}\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work") / "data" / "dots"
    folder.mkdir(parents=True)
    for name, color in (("a", (200, 40, 90)), ("b", (20, 140, 190))):
        image = Image.new("RGB", (24, 20), color)
        image.paste((250, 250, 240), (6, 5, 15, 12))
        image.save(folder / f"{name}.png")
    return folder


@pytest.fixture
def run(site, photos):
    def run(*arguments):
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), *sys.path])}
        command = [sys.executable, "-m", "fastgs", *map(str, arguments)]
        return subprocess.run(
            command, cwd=photos.parents[1], env=environment, capture_output=True, text=True, check=False
        )

    return run


def test_initializer_and_loss_from_outside(run, photos, tmp_path):
    done = run(
        "predict", photos / "a.png", "-k", 20, "--iterations", 5, "--init", "center", "--loss", "charbonnier",
        "--output", tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (record,) = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert (record["init"], record["loss"], record["num_gaussians"]) == ("center", "charbonnier", 20)
    assert record["psnr"] > record["psnr_init"]
    warning = "plugin 'broken' (broken) cannot be used: half installed; repair or uninstall its package"
    assert f"fastgs: warning: {warning}\n" in done.stderr


def test_method_and_dataset_from_outside(run, tmp_path):
    done = run(
        "evaluate", "dots", "--methods", "central", "-k", 20, "--iterations", 5, "--full-size",
        "--output", tmp_path / "records.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    records = json.loads((tmp_path / "records.json").read_text(encoding="utf-8"))
    assert [(Path(record["image"]).name, record["method"]) for record in records] == [
        ("a.png", "central"),
        ("b.png", "central"),
    ]


def test_codec_scheme_from_outside(run, photos, tmp_path):
    file = tmp_path / "a.fgs"
    done = run("encode", photos / "a.png", "-k", 12, "--scheme", "raw", "-o", file)
    assert done.returncode == 0, done.stderr
    done = run("info", file, "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert (facts["scheme"], facts["bits"]["floats"]) == ("raw", 12 * 8 * 32)
    done = run("decode", file, "-o", tmp_path / "a.png")
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / "a.png").size == (24, 20)


def test_help_names_things_from_outside(run):
    text = run("predict", "--help").stdout
    assert "center" in text and "charbonnier" in text
    assert "central" in run("evaluate", "--help").stdout
    assert "raw" in run("encode", "--help").stdout
    assert "dots" in run("download", "--help").stdout


def test_scheme_that_is_not_installed_is_named(run, photos, tmp_path):
    file = tmp_path / "a.fgs"
    assert run("encode", photos / "a.png", "-k", 3, "--scheme", "raw", "-o", file).returncode == 0
    command = [sys.executable, "-m", "fastgs", "decode", str(file), "-o", str(tmp_path / "a.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "is of a scheme (code 200) that is not registered; install the package that wrote it" in done.stderr
