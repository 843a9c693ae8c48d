"""Damaged files and random bytes give Gaussians or FormatError, in little memory."""

import tracemalloc
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from damage import damage
from layer_data import KINDS, dequantize, sample_file

from fastgs.codec.channels import RGB, Channels
from fastgs.codec.frame import FormatError, read_frame, write_frame
from fastgs.codec.layer import decode_layers
from fastgs.codec.restoration_entry import Restoration


def sample_file_of_version_3(seed: int) -> bytes:
    """Make a file with learned symbols; every second one asks for restoration, too."""
    data = sample_file(seed, model=1)
    return write_frame(replace(read_frame(data), restoration=Restoration(1, (0, 64, 255)))) if seed % 2 else data


def decode_damaged(count: int, seed: int, files: int = 10, channels=RGB, learned: bool = False) -> int:
    """Decode damaged files, check the messages, and return how many decode nevertheless."""
    rng = np.random.default_rng(seed)
    make = sample_file_of_version_3 if learned else partial(sample_file, channels=channels)
    samples = [make(number) for number in range(files)]
    decoded, lines = 0, set()
    for number in range(count):
        data = damage(samples[number % files], number % 8, rng)
        try:
            frame = read_frame(data, partial=bool(number % 2))
            layers = decode_layers(frame.layers, (frame.height, frame.width), frame.channels, frame.symbols)
        except FormatError as error:
            lines.add(str(error))
        else:
            dequantize(layers, frame.height, frame.width, frame.channels)  # checks the Gaussians
            decoded += 1
    assert all(line and "\n" not in line for line in lines)
    return decoded


@pytest.mark.slow
def test_damaged_files_decode_or_raise_format_error():
    assert decode_damaged(2000, seed=0) > 100


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_damaged_files_of_version_2_decode_or_raise_format_error(name):
    assert decode_damaged(200, seed=3, files=8, channels=KINDS[name]) > 8


@pytest.mark.slow
def test_damaged_files_of_version_3_decode_or_raise_format_error():
    assert decode_damaged(400, seed=4, files=8, learned=True) > 16


@pytest.mark.slow
@pytest.mark.parametrize(
    ("channels", "learned"),
    [(RGB, True), *((channels, False) for channels in (RGB, *KINDS.values(), Channels(32)))],
    ids=str,
)
def test_damaged_files_take_little_memory(channels, learned):
    of = {"files": 3, "channels": channels, "learned": learned}
    decode_damaged(3, seed=2, **of)  # makes the files
    tracemalloc.start()
    try:
        decode_damaged(30, seed=2, **of)
        assert tracemalloc.get_traced_memory()[1] < 300e6
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("channels", "learned"), [(RGB, True), *((channels, False) for channels in (RGB, *KINDS.values()))], ids=str
)
def test_very_many_damaged_files_decode_or_raise_format_error(channels, learned):
    count, files = (7_000, 10) if channels == RGB and not learned else (1_000, 6)
    assert decode_damaged(count, seed=1, files=files, channels=channels, learned=learned) > 0.1 * count
