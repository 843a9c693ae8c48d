"""Precision of what devices compute."""

import pytest
import torch

from fastgs.runtime.precision import repeatable, widest

CUDNN = torch.backends.cudnn


def settings():
    return CUDNN.deterministic, CUDNN.benchmark, CUDNN.conv.fp32_precision


@pytest.fixture
def careless():
    """Choose the fastest settings for the test."""
    before = settings()
    CUDNN.deterministic, CUDNN.benchmark, CUDNN.conv.fp32_precision = False, True, "tf32"
    yield
    CUDNN.deterministic, CUDNN.benchmark, CUDNN.conv.fp32_precision = before


def test_convolutions_repeat_in_the_block_and_settings_come_back(careless):
    with repeatable(torch.device("cuda")):
        assert settings() == (True, False, "ieee")
    assert settings() == (False, True, "tf32")
    with pytest.raises(KeyError), repeatable(torch.device("cuda", 1)):
        raise KeyError
    assert settings() == (False, True, "tf32")
    with repeatable(torch.device("cpu")):
        assert settings() == (False, True, "tf32")


def test_sums_have_the_widest_type_of_the_device():
    assert widest(torch.device("cpu")) == widest(torch.device("cuda", 0)) == torch.float64
    assert widest(torch.device("mps")) == torch.float32
