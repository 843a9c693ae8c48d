"""Commands and files for the tests of the command line."""

from pathlib import Path

import pytest
from cli_data import QUICK_ENCODE, make_photos


@pytest.fixture(scope="session")
def predict(run_cli):
    """Return a function that runs `fastgs predict` with some arguments, in this process, and returns the exit code."""
    return lambda *arguments: run_cli("predict", *arguments)


@pytest.fixture
def out(tmp_path) -> Path:
    """Return the path of a folder for outputs, which does not exist yet."""
    return tmp_path / "out"


@pytest.fixture(scope="session")
def encoded(photo_pixels, run_cli, tmp_path_factory) -> dict[str, bytes]:
    """Return the photo as a .fgs file of each scheme."""
    from PIL import Image

    from fastgs.codec import SCHEMES

    folder = tmp_path_factory.mktemp("encoded")
    Image.fromarray(photo_pixels).save(folder / "photo.png")
    files = {}
    for name in SCHEMES:
        output = folder / f"{name}.fgs"
        assert run_cli("encode", folder / "photo.png", "-o", output, *QUICK_ENCODE, "--scheme", name) == 0
        files[name] = output.read_bytes()
    return files


@pytest.fixture
def fgs_file(photo_file, encoded) -> Path:
    """Return the path of the photo as photo.fgs, beside photo.png, encoded by the default scheme."""
    path = photo_file.with_suffix(".fgs")
    path.write_bytes(encoded["fastgs"])
    return path


@pytest.fixture
def album(tmp_path) -> Path:
    """Return a folder of four small photos."""
    return make_photos(tmp_path / "album", 4)
