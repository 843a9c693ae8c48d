"""One browser for all tests of pages, and photos with the Gaussians that they were fitted with."""

import browser as browsers
import pytest


@pytest.fixture(scope="session")
def shared_browser(tmp_path_factory):
    """Start a browser; skip where there is none."""
    obstacle = browsers.obstacle()
    if obstacle:
        pytest.skip(obstacle)
    with browsers.open_browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture
def browser(shared_browser):
    """Return the browser at the size of a usual window; a test fails if its page has complained to the console."""
    shared_browser.resize(1400, 900)
    shared_browser.complaints()
    yield shared_browser
    assert shared_browser.complaints() == []


@pytest.fixture(scope="session")
def fit():
    """Return a function that fits a photo of scikit-image, cropped to a side, with a few steps."""
    from skimage import data

    from fastgs.predictor import Predictor

    def make(name, count, blend="normalized", side=None, iterations=5):
        pixels = getattr(data, name)() if name != "motorcycle" else data.stereo_motorcycle()[0]
        return Predictor()(pixels[:side, :side].copy(), count, iterations, blend=blend)

    return make
