"""Mixtures of channels."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fastgs.codec.mixing import find_mixing, to_basis


@pytest.fixture
def related(random_gaussians, seeded):
    """Return 2000 Gaussians of five channels, of which four nearly follow from two."""
    gaussians = random_gaussians(2000)
    base = gaussians.colors[:, :2]
    noise = 0.01 * torch.randn(2000, 5, generator=seeded())
    columns = [base[:, :1], base[:, 1:], base.mean(1, keepdim=True), 1 - base[:, :1], 0.3 * base[:, 1:]]
    return replace(gaussians, colors=torch.cat(columns, 1) + noise)


def test_mixing_is_nearly_orthonormal(related):
    basis = to_basis(find_mixing(related))
    assert np.abs(basis @ basis.T - np.eye(5)).max() < 0.02


def test_mixing_decorrelates_neighbours(related):
    columns = related.colors.double().numpy() @ np.linalg.inv(to_basis(find_mixing(related)))
    spread = columns.std(0)
    assert spread[:2].min() > 0.2 and spread[2:].max() < 0.03


def test_mixing_is_left_out_where_gaussians_are_too_few_for_its_bytes(related):
    few = replace(
        related, **{name: getattr(related, name)[:199] for name in ("means", "scales", "rotations", "colors")}
    )
    assert find_mixing(few) is None


def test_mixing_repeats(related):
    assert np.array_equal(find_mixing(related), find_mixing(related))
