"""Mixtures of channels of no known meaning: an orthonormal transform, chosen for each file, that decorrelates them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fastgs.codec import hilbert

if TYPE_CHECKING:
    from fastgs.gaussians import Gaussians

UNIT = 127  # symbol of 1 in a matrix, which is of signed bytes

# A matrix is written if there are at least so many Gaussians for each of its bytes: with 5 and 9 channels it saves 1 to
# 10 bits of a Gaussian (benchmarks/LOG.md, section "Codec").
_GAUSSIANS_PER_BYTE = 8
_MAX_DIFFERENCE = 1.0  # by magnitude; colours where many Gaussians overlap may be any numbers


def find_mixing(gaussians: Gaussians) -> NDArray[np.int8] | None:
    """Return the matrix whose rows are the principal components of the colours, as differences to neighbours.

    What contexts predict from neighbours need not be decorrelated, so differences along the curve count.

    Args:
        gaussians: K Gaussians of C channels.

    Returns:
        (C, C) matrix in units of 1 / `UNIT`; None if the Gaussians are too few for its bytes.
    """
    count = gaussians.channels
    if len(gaussians) < _GAUSSIANS_PER_BYTE * count * count:
        return None
    colors = gaussians.colors.detach().cpu().double().numpy()
    x, y = gaussians.means.detach().cpu().double().numpy().T
    x, y = x.clip(0, gaussians.width - 1).astype(np.int64), y.clip(0, gaussians.height - 1).astype(np.int64)
    along = hilbert.index(x, y, hilbert.order_for(gaussians.width, gaussians.height))
    differences = np.diff(colors[np.argsort(along, kind="stable")], axis=0).clip(-_MAX_DIFFERENCE, _MAX_DIFFERENCE)
    _, components = np.linalg.eigh(differences.T @ differences)
    mixing: NDArray[np.int8] = np.rint(UNIT * components.T[::-1]).astype(np.int8)
    return mixing


def to_basis(mixing: NDArray[np.int8]) -> NDArray[np.float64]:
    """Return the (C, C) matrix of which a colour is the product with its columns, from one in units of 1 / `UNIT`."""
    basis: NDArray[np.float64] = mixing / UNIT
    return basis
