"""Flags of Gaussians that have a colour."""

import numpy as np
import pytest

from fastgs.codec.attributes import relate
from fastgs.codec.entropy import Decoder, Encoder
from fastgs.codec.flags import read_flags, write_flags


def encode_flags(flags) -> bytes:
    """Check that flags along a line of Gaussians come back, and return their bytes."""
    parts = relate(np.arange(len(flags)), np.zeros(len(flags), np.int64), 0)
    encoder = Encoder()
    write_flags(encoder, flags, parts)
    data = encoder.finish()
    decoder = Decoder(data)
    read = read_flags(decoder, len(flags), parts)
    assert read.dtype == bool and np.array_equal(read, flags)
    return data


@pytest.mark.parametrize("count", [0, 1, 32, 33, 1000])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_flags_round_trip(count, share):
    encode_flags(np.random.default_rng(count).random(count) < share)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.97, 1.0])
def test_flags_take_their_entropy(share):
    flags = np.random.default_rng(0).random(4000) < share
    entropy = -sum(each * np.log2(each) for each in (share, 1 - share) if each)
    assert 8 * len(encode_flags(flags)) < 4000 * (entropy + 0.02) + 50


def test_flags_of_neighbours_save_bits():
    blocks = np.repeat(np.random.default_rng(0).random(40) < 0.5, 100)
    assert 8 * len(encode_flags(blocks)) < 0.4 * 4000
