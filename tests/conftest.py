"""Fixtures that tests of all folders share: small photos, random Gaussians, seeds, and the command line.

fastgs and skimage are imported inside fixtures: without a GPU, the kernels of Triton run in its interpreter, which must
be chosen before Triton is first imported.
"""

import os
import sys
from pathlib import Path

import pytest
import seeds
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"


@pytest.fixture(autouse=True)
def wide_programs(monkeypatch):
    """Give much work to few programs in Triton's interpreter, whose time is that of their instructions."""
    cuda = sys.modules.get("fastgs.render.cuda")
    if cuda is not None and not torch.cuda.is_available():
        monkeypatch.setattr(cuda, "choose_shape", lambda pixels: cuda.Shape(16, 64, 1))
        monkeypatch.setattr(cuda, "MOST_SLICERS", 2)


@pytest.fixture(scope="module")
def one_thread():
    """Run torch on one thread, for networks so small that more threads are slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def seeded():
    """Return a function that makes a generator from a seed."""
    return seeds.seeded


@pytest.fixture(scope="session")
def photo_pixels():
    """Return the photo of a cat, (48, 64, 3) uint8."""
    from skimage import data

    return data.chelsea()[::6, ::6][:48, :64].copy()


@pytest.fixture(scope="session")
def photo(photo_pixels) -> torch.Tensor:
    """Return the photo of a cat, (3, 48, 64) in [0, 1]."""
    return torch.from_numpy(photo_pixels).permute(2, 0, 1).float() / 255


@pytest.fixture
def photo_file(photo_pixels, tmp_path) -> Path:
    """Return the path of the photo of a cat, photo.png, the only file in `tmp_path`."""
    from PIL import Image

    path = tmp_path / "photo.png"
    Image.fromarray(photo_pixels).save(path)
    return path


@pytest.fixture(scope="session")
def random_gaussians(seeded):
    """Return a function that makes Gaussians of a few pixels, anywhere on the canvas, at any angle, in any colour."""
    from fastgs.gaussians import Gaussians

    def make(count, height=48, width=64, seed=0, blend="normalized"):
        uniform = torch.rand(count, 8, generator=seeded(seed))
        means = uniform[:, :2] * torch.tensor([width, height])
        return Gaussians(means, 0.5 + 4 * uniform[:, 2:4], 6 * uniform[:, 4] - 3, uniform[:, 5:], height, width, blend)

    return make


@pytest.fixture(scope="session")
def run_cli():
    """Return a function that runs `fastgs` with some arguments, in this process, and returns the exit code."""
    from fastgs.cli.main import main

    return lambda *arguments: main([*map(str, arguments)])


@pytest.fixture
def error_line(capsys):
    """Return a function that checks that one line was printed, on stderr, and returns it."""

    def read() -> str:
        printed = capsys.readouterr()
        assert printed.out == "" and printed.err.count("\n") == 1 and printed.err.endswith("\n")
        return printed.err.removesuffix("\n")

    return read


@pytest.fixture(scope="session")
def names():
    """Return a function that lists the names in a folder, sorted."""
    return lambda folder: sorted(path.name for path in Path(folder).iterdir())
