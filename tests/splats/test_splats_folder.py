"""Datasets on the disk: they are read as they were written, and damaged parts are named and not read."""

import json
import logging
import math
from pathlib import Path

import pytest
import safetensors.torch
import torch

from fastgs.fitting.parametrization import Attributes
from fastgs.splats import Entry, Index, load_splats, read_index
from fastgs.splats.channels import Normalization
from fastgs.splats.index import shard_name, write_index
from fastgs.splats.shards import Content, Failure, Row, Settings, read_shard, write_shard

SETTINGS = Settings(6, "grid", 10, 3, 4, None, 2, "0" * 64)
SPLITS = ("train", "test", "train", "val", "train", "train")


def make_content(count, sizes, seed):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(count, 6, 2), (count, 6, 2), (count, 6), (count, 6, 3)]
    tensors = [torch.rand(shape, generator=generator) + 0.1 for shape in shapes]
    pixels = torch.randint(256, (3 * sum(height * width for height, width in sizes),), generator=generator)
    return Content(Attributes(*tensors), pixels.to(torch.uint8))


def write(folder: Path, sizes) -> list[Content]:
    """Write three shards of two images each, and return their contents."""
    folder.mkdir()
    contents, entries, shards = [], [], {}
    for number in range(3):
        here = sizes[2 * number : 2 * number + 2]
        rows = [Row(place, 1, 2, *size, 30.0 + place) for place, size in enumerate(here)]
        contents.append(make_content(2, here, number))
        name = shard_name(number)
        shards[name] = write_shard(folder / name, SETTINGS, "", rows, [Failure(1, "is empty")], contents[-1]).sha256
        for place, row in enumerate(rows):
            image = 2 * number + place
            entries.append(Entry(f"a/{image}.png", *row[1:5], place, row.psnr, SPLITS[image], name, place))
    ends = torch.arange(8.0)
    normalization = Normalization("plain", ends, ends + 1, ends, ends)
    write_index(folder, Index(SETTINGS, ["a", "b"], entries, {"plain": normalization}, shards))
    return contents


@pytest.fixture
def folder(tmp_path) -> Path:
    write(tmp_path / "set", [(4, 4)] * 6)
    return tmp_path / "set"


@pytest.mark.parametrize("sizes", [[(4, 4)] * 6, [(4, 4), (3, 5), (1, 1), (2, 7), (4, 4), (6, 2)]])
def test_dataset_is_read_as_it_was_written(tmp_path, sizes):
    contents = write(tmp_path / "set", sizes)
    index = read_index(tmp_path / "set")
    assert (index.num_gaussians, index.initialization, index.iterations, index.seed) == (6, "grid", 10, 3)
    assert index.size == (4 if len(set(sizes)) == 1 else None) and index.labels == ["a", "b"]
    assert torch.equal(index.normalizations["plain"].high, torch.arange(8.0) + 1)

    splats = load_splats(tmp_path / "set")
    assert splats.entries == index.entries and [entry.split for entry in index.entries] == list(SPLITS)
    for name in Attributes._fields:
        expected = torch.cat([getattr(each.attributes, name) for each in contents])
        assert torch.equal(getattr(splats.attributes, name), expected)
    assert isinstance(splats.pixels, torch.Tensor) == (len(set(sizes)) == 1)
    assert [tuple(image.shape) for image in splats.pixels] == [(3, *size) for size in sizes]
    flat = torch.cat([image.flatten() for image in splats.pixels])
    assert torch.equal(flat, torch.cat([each.pixels for each in contents]))


def test_splits_are_read_separately(folder):
    whole = load_splats(folder)
    for split in ("train", "val", "test"):
        rows = [row for row, side in enumerate(SPLITS) if side == split]
        part = load_splats(folder, split)
        assert part.entries == [whole.entries[row] for row in rows]
        assert torch.equal(part.attributes.means, whole.attributes.means[rows])
        assert torch.equal(part.pixels, whole.pixels[rows])


def test_equal_datasets_have_equal_bytes(folder, tmp_path):
    write(tmp_path / "again", [(4, 4)] * 6)
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
    header, _ = read_shard(folder / shard_name(0))
    assert header.settings == SETTINGS and header.failures == [Failure(1, "is empty")]


def flip_bit(path):
    """Flip one bit of the last pixel."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def write_other_format(path):
    safetensors.torch.save_file({"weight": torch.rand(3)}, path)


def write_other_shard(path):
    """Write an undamaged shard of another dataset."""
    header, _ = read_shard(path)
    write_shard(path, SETTINGS, "", header.rows, [], make_content(2, [(4, 4)] * 2, 9))


def write_half_precision(path):
    """Write a shard with a valid checksum but attributes of another type."""
    header, made = read_shard(path)
    halves = Content(type(made.attributes)(*(each.bfloat16() for each in made.attributes)), made.pixels)
    write_shard(path, SETTINGS, header.contents, header.rows, [], halves)


DAMAGES = {
    "flipped": (flip_bit, "is damaged (wrong checksum)"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-9]), "is damaged ("),
    "empty": (lambda path: path.write_bytes(b""), "is damaged ("),
    "gone": (Path.unlink, "no such file"),
    "foreign": (write_other_format, "is no shard of a dataset (not written by fastgs)"),
    "numbers": (write_half_precision, "is damaged (has no proper means)"),
    "other": (write_other_shard, "is not the file that index.json describes"),
}


@pytest.mark.parametrize(("damage", "reason"), DAMAGES.values(), ids=list(DAMAGES))
def test_damaged_shard_is_named_and_skipped(folder, caplog, damage, reason):
    whole = load_splats(folder)
    damage(folder / shard_name(1))
    with caplog.at_level(logging.WARNING):
        splats = load_splats(folder)
    (record,) = caplog.records
    assert record.getMessage().startswith(f"skipping {folder / shard_name(1)}: {reason}")
    assert "2 images are left out" in record.getMessage() and "\n" not in record.getMessage()
    assert splats.entries == whole.entries[:2] + whole.entries[4:]
    assert torch.equal(splats.attributes.colors, whole.attributes.colors[[0, 1, 4, 5]])
    assert torch.equal(splats.pixels, whole.pixels[[0, 1, 4, 5]])


def test_split_without_readable_images(folder):
    flip_bit(folder / shard_name(1))
    with pytest.raises(ValueError, match=f"^{folder}: none of the shards can be read"):
        load_splats(folder, "val")
    index = read_index(folder)
    write_index(folder, Index(SETTINGS, index.labels, index.entries[:1], {}, index.shards))
    with pytest.raises(ValueError, match=f"^{folder}: has no images for test"):
        load_splats(folder, "test")


def change(**values):
    return lambda item: item | values


def change_entry(**values):
    return lambda item: item | {"entries": [item["entries"][0] | values, *item["entries"][1:]]}


BAD_INDICES = [
    (lambda item: [], "is no index of a dataset"),
    (change(format="fastgs.weights"), "is no index of a dataset"),
    (change(version="3"), "is of version '3', and this fastgs reads up to version '2'"),
    (change(version="2"), "has channels 'rgb', which version '2' does not have"),
    (change(version=["2"]), "is of version .'2'., and this fastgs reads up to version '2'"),
    (lambda item: {key: value for key, value in item.items() if key != "labels"}, "has other fields"),
    (change(labels=[1, 2]), "has improper labels or shards"),
    (change(settings={}), "has no proper settings"),
    (change(normalizations={"round": {}}), "parameters: expected one of"),
    (change_entry(colour="red"), "has other fields"),
    (change_entry(psnr="high"), "entry 1 is improper"),
    (change_entry(psnr=math.nan), "is damaged or no JSON .holds the number NaN"),
    (change_entry(split="dev"), "entry 1 is improper"),
    (change_entry(label=2), "entry 1 is improper"),
    (change_entry(shard="../x"), "entry 1 is improper"),
    (change_entry(row=-1), "entry 1 is improper"),
    (change_entry(height=0), "entry 1 is improper"),
]


@pytest.mark.parametrize(("change", "reason"), BAD_INDICES)
def test_damaged_index_is_one_line(folder, change, reason):
    path = folder / "index.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(ValueError, match=f"^{path}: {reason}") as error:
        read_index(folder)
    assert "\n" not in str(error.value)


def test_missing_index(folder):
    path = folder / "index.json"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=f"^{path}: is damaged or no JSON"):
        load_splats(folder)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f"^{path}: no such file; make the dataset with `fastgs splats make`"):
        load_splats(folder)


def test_index_with_a_row_beyond_the_end_of_its_shard(folder, caplog):
    index = read_index(folder)
    entries = [index.entries[0]._replace(row=2), *index.entries[2:]]
    write_index(folder, Index(SETTINGS, index.labels, entries, {}, index.shards))
    assert load_splats(folder).entries == index.entries[2:]
    assert "is not the file that index.json describes" in caplog.text
