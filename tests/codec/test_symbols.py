"""Gaussians as symbols: values, units, and the way back."""

import math

import numpy as np
import pytest
import torch
from layer_data import STEPS, dequantize

from fastgs.codec.channels import BASIS
from fastgs.codec.symbols import Layer, Steps, values
from fastgs.gaussians import Gaussians
from fastgs.render import render


def test_dequantize_inverts_values_where_steps_are_fine(random_gaussians):
    gaussians = random_gaussians(200)
    fine = Steps(position=6, area=2**-10, shape=2**-10, luma=2**-10, chroma=2**-10)
    symbols = np.rint(values(gaussians) / fine.columns()).astype(np.int32)
    again = dequantize([Layer(symbols, fine)], gaussians.height, gaussians.width)
    assert torch.allclose(again.means, gaussians.means, atol=0.01)
    assert torch.allclose(again.colors, gaussians.colors, atol=1e-3)
    assert torch.allclose(render(again), render(gaussians), atol=0.05)
    assert np.allclose(BASIS @ BASIS.T, np.eye(3))


def test_values_of_a_known_ellipse():
    gaussians = Gaussians(
        torch.tensor([[3.0, 4.0]]), torch.tensor([[math.e, 1.0]]), torch.tensor([math.pi / 4]), torch.ones(1, 3), 8, 8
    )
    assert np.allclose(values(gaussians), [[3, 4, 1, 0, 1, math.sqrt(3), 0, 0]], atol=1e-6)


@pytest.mark.parametrize("wrong", [{"position": 7}, {"area": 0.0}, {"luma": 1e9}, {"shape": math.nan}])
def test_steps_reject_values_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Steps(**{**vars(STEPS), **wrong})
