"""Fixtures of the tests of autoencoders."""

import pytest
from splat_data import make_splats


@pytest.fixture(scope="package")
def splats_folder(tmp_path_factory):
    """Make a dataset of twelve small images."""
    return make_splats(tmp_path_factory.mktemp("splats"))
