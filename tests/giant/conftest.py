"""Pictures on disk for the tests of fits in tiles."""

from pathlib import Path

import numpy as np
import pytest
import tifffile


@pytest.fixture(scope="session")
def mosaic() -> np.ndarray:
    """Return photos of a cat and of coffee side by side, (300, 420, 3) uint8."""
    from skimage import data

    cat, coffee = data.chelsea()[:300, 40:250], data.coffee()[50:350, 200:410]
    return np.concatenate([cat, coffee], axis=1)


@pytest.fixture
def picture(mosaic, tmp_path) -> Path:
    """Return the path of the mosaic as TIFF in tiles, map.tif."""
    path = tmp_path / "map.tif"
    tifffile.imwrite(path, mosaic, tile=(64, 64), compression="adobe_deflate", photometric="rgb")
    return path


@pytest.fixture
def out(tmp_path) -> Path:
    """Return an empty folder for outputs."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder
