"""A photo and Gaussians fitted to it, for the tests of encoders."""

import pytest
from PIL import Image


@pytest.fixture(scope="session")
def astronaut():
    """Return the photo of an astronaut, (3, 128, 128) in [0, 1]."""
    from skimage import data

    from fastgs.io.images import load_image

    return load_image(Image.fromarray(data.astronaut()).resize((128, 128), Image.Resampling.LANCZOS))


@pytest.fixture(scope="session")
def fitted(astronaut, seeded):
    """Return 400 Gaussians fitted to the astronaut."""
    from fastgs.fitting.densification import relocation
    from fastgs.fitting.fit import fit
    from fastgs.fitting.options import FitOptions
    from fastgs.initializers import INITIALIZERS

    start = INITIALIZERS["curvature"](astronaut, 400, seeded())
    return fit(astronaut, start, FitOptions(150), densification=relocation(start, seeded())).gaussians
