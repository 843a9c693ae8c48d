"""Files that were cut: what their first bytes settle, and that more bytes give a better image."""

import tracemalloc
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from layer_data import CANVAS, GOLDEN, KINDS, random_layer, sample_file

from fastgs.codec import decode, decode_arrays, encode, read_frame
from fastgs.codec.channels import RGB
from fastgs.codec.cut_layer import decode_cut_layers
from fastgs.codec.entropy import Encoder, bell
from fastgs.codec.frame import FormatError, Frame, write_frame
from fastgs.codec.layer import decode_layers, encode_layers
from fastgs.codec.prefix import UNREAD, EndOfPrefixError, PrefixDecoder
from fastgs.io.images import load_image
from fastgs.metrics.quality import psnr
from fastgs.render import render

COFFEE = Path(__file__).parents[2] / "assets" / "coffee.png"


def test_prefix_settles_the_symbols_of_the_whole_stream_and_nearly_all_of_its_bits():
    rng = np.random.default_rng(0)
    batches = [
        (bell(width, 1, 60), rng.integers(-8, 9, count)) for width, count in ((1, 30), (9, 50), (0.3, 4), (4, 80))
    ]
    encoder = Encoder()
    for table, symbols in batches:
        encoder.symbols(symbols, table)
    data, whole = encoder.finish(), np.concatenate([symbols for _, symbols in batches])
    ends = np.cumsum(np.concatenate([table.bits[symbols - table.low] for table, symbols in batches]))
    for length in range(len(data)):
        decoder = PrefixDecoder(data[:length])
        read = np.concatenate([decoder.available(len(symbols), table) for table, symbols in batches])
        known = int((read != UNREAD).sum())
        assert np.array_equal(read[:known], whole[:known]) and (read[known:] == UNREAD).all()
        assert 8 * length - 16 < ends[min(known, len(ends) - 1)]
        with pytest.raises(EndOfPrefixError):
            decoder.raw(1, 1)


def test_prefix_of_random_bytes_is_read_or_refused():
    """Bytes of ones are such as no encoder writes."""
    rng = np.random.default_rng(0)
    for data in [b"", b"\xff" * 20, *(rng.bytes(int(rng.integers(0, 40))) for _ in range(50))]:
        decoder = PrefixDecoder(data)
        for width in (0.25, 1, 30):
            assert decoder.available(40, bell(width, 2, 9)).shape == (40,)
        with suppress(EndOfPrefixError):
            assert decoder.number() >= 0


@pytest.mark.parametrize(
    ("channels", "model"), [(RGB, 1), *((channels, None) for channels in (RGB, *KINDS.values()))], ids=str
)
def test_places_of_a_prefix_are_those_of_the_whole_file(channels, model):
    data = sample_file(4, channels=channels, model=model)
    frame = read_frame(data)
    whole = decode_layers(frame.layers, CANVAS, channels, model)
    counts = []
    for length in range(40, len(data), 23):
        cut = read_frame(data[:length], partial=True)
        layers, has_color = decode_cut_layers(cut.layers, cut.cut, CANVAS, channels, model)
        assert len(has_color) == sum(len(layer.symbols) for layer in layers)
        counts.append(len(layers) - len(cut.layers))
        for layer, expected in zip(layers, whole, strict=False):
            assert np.array_equal(layer.symbols[:, :2], expected.symbols[:, :2])
        done = len(cut.layers)
        if len(layers) > done:
            known = has_color[-len(layers[-1].symbols) :] if len(layers[-1].symbols) else np.zeros(0, bool)
            # Behind the first column of colours is the next, and before it are shapes.
            assert np.array_equal(layers[-1].symbols[known, 2:6], whole[done].symbols[known, 2:6])
    assert {0, 1} == set(counts)


@pytest.mark.parametrize("model", [None, 1])
def test_file_without_its_last_checksum_is_whole_but_for_it(model):
    data = sample_file(3, model=model)
    for missing in (1, 2):
        cut = read_frame(data[:-missing], partial=True)
        layers, has_color = decode_cut_layers(cut.layers, cut.cut, CANVAS, model=model)
        assert not cut.whole and has_color.all()
        whole = decode_layers(read_frame(data).layers, CANVAS, model=model)
        assert [each.symbols.tolist() for each in layers] == [each.symbols.tolist() for each in whole]


@pytest.mark.parametrize("name", ["vector", *KINDS, "learned"])
def test_any_cut_is_read_or_refused_in_one_line(name):
    data = sample_file(4, model=1) if name == "learned" else (GOLDEN / f"{name}.fgs").read_bytes()
    drawn, lines = 0, set()
    for length in range(0, len(data), max(1, len(data) // 25)):
        try:
            gaussians = decode_arrays(data[:length], partial=True)
        except FormatError as error:
            lines.add(str(error))
            continue
        again = decode_arrays(data[:length], partial=True)
        for field in ("means", "scales", "rotations", "colors"):
            assert np.isfinite(getattr(gaussians, field)).all()
            assert np.array_equal(getattr(gaussians, field), getattr(again, field))
        drawn += 1
    assert drawn > 8 and all(line and "\n" not in line for line in lines)


def test_damaged_layer_before_the_cut_is_an_error():
    data = bytearray(sample_file(0))
    data[20] ^= 1
    with pytest.raises(FormatError, match="checksum of layer 1"):
        decode(bytes(data[:-3]), partial=True)


def test_few_bytes_that_claim_many_gaussians_give_none():
    (payload,) = encode_layers([random_layer(3000)], CANVAS)
    data = write_frame(Frame("fastgs", *CANVAS, [payload]))
    with pytest.raises(FormatError, match=r"is cut before its first Gaussians"):
        decode(data[:100], partial=True)


def test_cut_file_of_a_huge_canvas_takes_little_memory():
    canvas = (65535, 65535)
    data = write_frame(Frame("fastgs", *canvas, encode_layers([random_layer(60)], canvas)))
    drawn = 0
    tracemalloc.start()
    try:
        for length in range(100, len(data), 29):
            with suppress(FormatError):
                drawn += len(decode_arrays(data[:length], partial=True)) > 0
        assert drawn > 2 and tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_psnr_rises_with_every_tenth_of_the_bytes():
    image = load_image(COFFEE)
    data = encode(image, bpp=0.25, iterations=60).data
    scores = [psnr(render(decode(data[: len(data) * tenth // 10], partial=True)), image) for tenth in range(1, 11)]
    assert scores == sorted(set(scores)), scores
    assert scores[-1] > scores[4] + 5 > scores[0] + 8, scores
