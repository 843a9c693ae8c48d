"""Records that several tests read: of methods, codecs and autoencoders on small images."""

from pathlib import Path

import numpy as np
import pytest
from autoencoding import SMALL, save_weights
from evaluating import CODEC_GRID, METHOD_GRID, run
from PIL import Image
from skimage import data


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    """Return a folder of two photos, 64 x 96 and 64 x 80 pixels."""
    folder = tmp_path_factory.mktemp("photos")
    for name, photo in (("a", data.chelsea()[100:164, 100:196]), ("b", data.coffee()[100:164, 200:280])):
        Image.fromarray(photo).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="session")
def method_records(photos, tmp_path_factory) -> Path:
    """Return the file of the records of METHOD_GRID, with pictures beside it."""
    return evaluate(photos, METHOD_GRID, tmp_path_factory.mktemp("methods"))


@pytest.fixture(scope="session")
def codec_records(photos, tmp_path_factory) -> Path:
    """Return the file of the records of CODEC_GRID, with pictures beside it."""
    return evaluate(photos, CODEC_GRID, tmp_path_factory.mktemp("codecs"))


def evaluate(photos: Path, grid: tuple[str, ...], folder: Path) -> Path:
    """Run `fastgs evaluate`, and return the file of the records."""
    options = ("--output", folder / "grid.json", "--pictures", folder / "pictures")
    assert run("evaluate", photos, *grid, *options) == 0
    return folder / "grid.json"


@pytest.fixture(scope="session")
def bars(tmp_path_factory) -> Path:
    """Return a folder of 12 pictures of each of two classes: a bar that is upright, and one that lies."""
    folder = tmp_path_factory.mktemp("bars")
    numbers = np.random.default_rng(0)
    for label in ("lies", "stands"):
        (folder / label).mkdir()
        for number in range(12):
            picture = numbers.integers(0, 60, (16, 16, 3), dtype=np.uint8) + numbers.integers(0, 60, 3, dtype=np.uint8)
            picture[5 + number % 3 : 9, 2:14] += 120
            turned = picture if label == "lies" else picture.swapaxes(0, 1)
            Image.fromarray(turned).save(folder / label / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def dataset(bars, tmp_path_factory) -> Path:
    """Return a dataset of Gaussians of the bars."""
    folder = tmp_path_factory.mktemp("datasets") / "bars"
    assert run("splats", "make", bars, *SMALL, "--iterations", 20, "--shard-size", 6, "--output", folder) == 0
    return folder


@pytest.fixture(scope="session")
def weights(dataset, tmp_path_factory) -> list[Path]:
    """Return the weights of three autoencoders: on anchored splats, on plain ones by attribute, and on pixels."""
    folder = tmp_path_factory.mktemp("weights")
    return [
        save_weights(folder / "conv" / "weights", dataset, kind="conv", latent=4),
        save_weights(folder / "split.safetensors", dataset, parameters="plain", split=True),
        save_weights(folder / "plain-pixels.json", dataset, content="pixels", latent=4),
    ]


@pytest.fixture(scope="session")
def autoencoder_records(dataset, weights, tmp_path_factory) -> Path:
    """Return the file of the records of all autoencoders, with a picture beside it."""
    folder = tmp_path_factory.mktemp("autoencoders")
    options = ("--output", folder / "r.json", "--pictures", folder, "--images", 3)
    assert run("splats", "evaluate", dataset, "--autoencoders", *weights, *options) == 0
    return folder / "r.json"
