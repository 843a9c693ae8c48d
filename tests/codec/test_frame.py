"""The container of .fgs files: what is written comes back, and anything else gives one clear line."""

import zlib
from dataclasses import replace

import pytest
from layer_data import sample_file

from fastgs.codec.channels import Channels
from fastgs.codec.frame import CODES, MAGIC, VERSION, FormatError, Frame, read_frame, write_frame
from fastgs.codec.restoration_entry import Restoration


@pytest.mark.parametrize("scheme", CODES)
@pytest.mark.parametrize("layers", [[], [b""], [b"a", b"", b"x" * 300]])
def test_frame_round_trip(scheme, layers):
    frame = Frame(scheme, 65535, 1, layers)
    data = write_frame(frame)
    assert read_frame(data) == frame and read_frame(data, partial=True) == frame
    assert data[:4] == MAGIC + bytes([1])


@pytest.mark.parametrize(("count", "alpha"), [(1, False), (2, True), (2, False), (4, True), (4, False), (32, False)])
def test_frame_of_other_channels_is_of_version_2(count, alpha):
    frame = Frame("fastgs", 3, 5, [b"a"], channels=Channels(count, alpha))
    data = write_frame(frame)
    assert read_frame(data) == frame
    assert data[:4] == MAGIC + bytes([2])


def test_restoration_takes_five_bytes():
    plain = Frame("fastgs", 512, 768, [b"a"])
    frame = replace(plain, restoration=Restoration(1, (0, 64, 255)))
    data = write_frame(frame)
    assert read_frame(data) == read_frame(data, partial=True) == frame
    assert data[:4] == MAGIC + bytes([VERSION]) and len(data) == len(write_frame(plain)) + 5


def test_entries_of_version_3_are_checked():
    with pytest.raises(ValueError, match="restoration: is for files of RGB, not of 1 channel"):
        Frame("fastgs", 3, 5, [], channels=Channels(1), restoration=Restoration(1, (1, 1, 1)))
    with pytest.raises(ValueError, match="model: expected one of 1, 2, got 3"):
        Restoration(3, (1, 1, 1))
    with pytest.raises(ValueError, match=r"gains: expected 3 numbers from 0 to 255, got \(1, 1, 256\)"):
        Restoration(1, (1, 1, 256))
    header = MAGIC + bytes([3, 0, 2, 9, 1, 1, 1, 3, 5, 0])
    with pytest.raises(FormatError, match="is restored by network 9, and this fastgs has 1, 2; update fastgs"):
        read_frame(header + (zlib.crc32(header) & 0xFFFF).to_bytes(2, "little"))
    header = MAGIC + bytes([3, 0, 4, 9, 3, 5, 0])
    with pytest.raises(FormatError, match="is coded by model 9 of symbols, and this fastgs has 1; update fastgs"):
        read_frame(header + (zlib.crc32(header) & 0xFFFF).to_bytes(2, "little"))
    for flags in (b"\0", b"\1", b"\x08", b"\2\0\1\1\1", b"\4\0"):
        header = MAGIC + bytes([3, 0]) + flags + bytes([3, 5, 0])
        with pytest.raises(FormatError, match="its header makes no sense"):
            read_frame(header + (zlib.crc32(header) & 0xFFFF).to_bytes(2, "little"))


@pytest.mark.parametrize(("count", "alpha"), [(0, False), (33, False), (3, True), (1, True)])
def test_channels_refuse_what_files_cannot_hold(count, alpha):
    with pytest.raises(ValueError, match=r"^(channels|alpha): "):
        Channels(count, alpha)


def test_frame_adds_few_bytes_to_its_layers():
    assert len(write_frame(Frame("fastgs", 512, 768, [bytes(900)] * 3))) == 3 * 900 + 12 + 3 * 4


def test_partial_frame_has_the_whole_layers_of_a_prefix():
    layers = [b"a" * 5, b"b" * 200, b"c"]
    data = write_frame(Frame("fastgs", 512, 768, layers))
    ends = [len(write_frame(Frame("fastgs", 512, 768, layers[:count]))) for count in range(4)]
    for length in range(len(data)):
        with pytest.raises(FormatError):
            read_frame(data[:length])
        if length < ends[0]:
            with pytest.raises(FormatError):
                read_frame(data[:length], partial=True)
        else:
            whole = sum(end <= length for end in ends) - 1
            assert read_frame(data[:length], partial=True).layers == layers[:whole]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: b"", "not a .fgs file"),
        (lambda data: b"\x89PNG" + data[4:], "not a .fgs file"),
        (lambda data: data[:3] + bytes([VERSION + 1]) + data[4:], "version 4.*update fastgs"),
        (lambda data: data[:9], "cut short"),
        (lambda data: data[:-1], "cut short"),
        (lambda data: data + b"?", "1 bytes follow"),
        (lambda data: data[:5] + bytes([data[5] ^ 1]) + data[6:], "checksum of its header"),
        (lambda data: data[:-5] + bytes([data[-5] ^ 1]) + data[-4:], "checksum of layer 3 of 3"),
    ],
)
def test_read_frame_reports_damage_in_one_line(change, words):
    with pytest.raises(FormatError, match=words) as error:
        read_frame(change(sample_file()))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("change", [{"scheme": "jpeg"}, {"height": 0}, {"width": 65536}, {"layers": [b""] * 33}])
def test_frame_rejects_values_out_of_range(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        replace(Frame("fastgs", 1, 1, []), **change)
