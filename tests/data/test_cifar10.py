"""CIFAR-10, replaced by a small one: download, and making of splats."""

import hashlib
import pickle
import tarfile

import numpy as np
import pytest
import torch
from file_server import serving
from torchvision.datasets import CIFAR10

from fastgs.cli import main as cli
from fastgs.data import cifar10
from fastgs.data.fetch import RemoteFile
from fastgs.splats import load_splats
from fastgs.splats.sources import find_sources

COUNTS = {**{f"data_batch_{number}": 2 for number in range(1, 6)}, "test_batch": 4}
NAMES = ["airplane", "cat", "ship"]


def dump(path, item):
    path.write_bytes(pickle.dumps(item))
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """Replace CIFAR-10 by 14 images; return the archive, the images and their labels, in the order of the files."""
    folder = tmp_path / CIFAR10.base_folder
    folder.mkdir()
    numbers = np.random.default_rng(0)
    images, labels, md5 = [], [], {}
    for name, count in COUNTS.items():
        pixels, classes = numbers.integers(256, size=(count, 3072), dtype=np.uint8), numbers.integers(3, size=count)
        md5[name] = dump(folder / name, {"data": pixels, "labels": classes.tolist()})
        images += list(pixels.reshape(-1, 3, 32, 32))
        labels += [NAMES[label] for label in classes]
    meta = dump(folder / "batches.meta", {"label_names": NAMES})
    monkeypatch.setattr(CIFAR10, "train_list", [[name, md5[name]] for name in COUNTS if name != "test_batch"])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", md5["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": meta})
    path = tmp_path / cifar10.ARCHIVE.name
    with tarfile.open(path, "w:gz") as file:
        file.add(folder, CIFAR10.base_folder)
    content = path.read_bytes()
    remote = RemoteFile(path.name, hashlib.sha256(content).hexdigest(), len(content))
    monkeypatch.setattr(cifar10, "ARCHIVE", remote)
    return content, images, labels


def test_cifar10_is_downloaded_once_and_made_into_splats(archive, tmp_path, monkeypatch, capsys):
    content, images, labels = archive
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    make = ["splats", "make", "cifar10", "-k", "16", "--iterations", "1", "--output", "splats"]
    assert cli.main(make) == 2
    expected = "argument DATA: cifar10 is not at data/cifar10; get it with `fastgs download cifar10`\n"
    assert capsys.readouterr().err.endswith(expected)

    with serving({cifar10.ARCHIVE.name: content}) as server:
        for _ in range(2):  # the second time, all files exist
            assert cli.main(["download", "cifar10", "--url", server.url]) == 0
            said = capsys.readouterr()
            assert said.out == "data/cifar10  60000 images\n" and said.err == f"{cifar10.LICENSE}\n"
        assert len(server.paths) == 1
    assert [path.name for path in (tmp_path / "work/data/cifar10").iterdir()] == [CIFAR10.base_folder]

    assert cli.main(make) == 0
    splats = load_splats("splats")
    assert torch.equal(splats.pixels, torch.from_numpy(np.stack(images)))
    names = [f"cifar10/train/{number}" for number in range(10)] + [f"cifar10/test/{number}" for number in range(4)]
    assert [entry.source for entry in splats.entries] == names
    assert [NAMES[entry.label] for entry in splats.entries] == labels
    splits = [entry.split for entry in splats.entries]
    assert splits[10:] == ["test"] * 4 and sorted(splits[:10]) == ["train"] * 8 + ["val"] * 2


def test_damaged_cifar10_is_named(archive, tmp_path, capsys):
    (tmp_path / CIFAR10.base_folder / "data_batch_2").write_bytes(b"")
    assert cli.main(["splats", "make", str(tmp_path), "--output", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.startswith(f"fastgs: error: {tmp_path}: does not hold a whole CIFAR-10; ")
    assert not (tmp_path / "out").exists()


def test_cifar10_sources_are_hashed_by_their_pixels(archive, tmp_path):
    assert len({source.sha256() for source in find_sources(tmp_path)}) == 14
