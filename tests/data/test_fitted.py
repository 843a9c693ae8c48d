"""Fitted images read back from files, shards and archives, in order and shuffled, with damage named."""

import tarfile

import pytest
import torch
from torch.utils.data import DataLoader

from fastgs.codec import decode
from fastgs.codec.scheme import Encoded
from fastgs.data import FittedDataset, FittedImage
from fastgs.data.fitted import pack, read_shard
from fastgs.gaussians import Gaussians


@pytest.fixture
def images(random_gaussians) -> list[FittedImage]:
    """Return images of different sizes, channels and numbers of Gaussians."""
    found = [FittedImage(f"photo{number}", random_gaussians(5 + number, 20, 30, seed=number)) for number in range(5)]
    gray = found[3].gaussians
    gray = Gaussians(gray.means, gray.scales, gray.rotations, gray.colors[:, :2], 20, 30, "sum", alpha=True)
    return [*found[:3], FittedImage("gray", gray), found[4]]


def assert_equal(found: FittedImage, wanted: FittedImage) -> None:
    assert found.name == wanted.name
    for name in ("means", "scales", "rotations", "colors"):
        assert torch.equal(getattr(found.gaussians, name), getattr(wanted.gaussians, name)), name
    for name in ("height", "width", "blend", "alpha"):
        assert getattr(found.gaussians, name) == getattr(wanted.gaussians, name)


def write_archive(path, images) -> None:
    with tarfile.open(path, "w") as archive:
        for name, gaussians in images:
            gaussians.save(path.parent / f"{name}.safetensors")
            archive.add(path.parent / f"{name}.safetensors", f"{name}.safetensors")
            (path.parent / f"{name}.safetensors").unlink()
            archive.add(__file__, f"{name}.txt")


def write(folder, images, kind) -> None:
    """Write images as files, two shards or two archives."""
    folder.mkdir()
    if kind == "files":
        for name, gaussians in images:
            gaussians.save(folder / f"{name}.safetensors")
    for number, part in enumerate((images[:2], images[2:])):
        if kind == "shards":
            (folder / f"shard-{number}.safetensors").write_bytes(pack(part))
        elif kind == "archives":
            write_archive(folder / f"shard-{number}.tar", part)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["files", "shards", "archives"])
def test_images_come_back_in_any_order_and_from_any_process(tmp_path, images, kind):
    write(tmp_path / "out", images, kind)
    dataset = FittedDataset(tmp_path / "out")
    wanted = {image.name: image for image in images}
    assert sorted(dataset.names) == sorted(wanted) and len(dataset) == 5
    if kind != "files":
        assert dataset.names == [image.name for image in images]
    for index in (4, 0, (7, 2)):
        image = dataset[index]
        assert_equal(image, wanted[image.name])
    loader = DataLoader(dataset, batch_size=2, shuffle=True, collate_fn=list, num_workers=2,
                        multiprocessing_context="spawn", generator=torch.Generator().manual_seed(1))  # fmt: skip
    seen = [image for batch in loader for image in batch]
    assert sorted(image.name for image in seen) == sorted(wanted) and [image.name for image in seen] != dataset.names
    for image in seen:
        assert_equal(image, wanted[image.name])


def test_equal_images_give_equal_shards(images):
    assert pack(images) == pack(list(images)) != pack(images[::-1])


def test_an_empty_shard_has_no_images(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(pack([]))
    assert read_shard(tmp_path / "a.safetensors") == []
    with pytest.raises(ValueError, match="holds no fitted image"):
        FittedDataset(tmp_path)


def test_files_of_the_codec_need_a_decoder(tmp_path, photo, monkeypatch):
    from fastgs.codec import encode

    encoded: Encoded = encode(photo, num_gaussians=20, iterations=0)
    (tmp_path / "a.fgs").write_bytes(encoded.data)
    (image,) = FittedDataset(tmp_path, decode)
    assert image.name == "a" and len(image.gaussians) == len(decode(encoded.data))
    with pytest.raises(ValueError, match="holds no fitted image"):
        FittedDataset(tmp_path)


def test_damage_is_named(tmp_path, images):
    path = tmp_path / "shard-0.safetensors"
    data = pack(images)
    path.write_bytes(data)
    for image, wanted in zip(read_shard(path), images, strict=True):
        assert_equal(image, wanted)
    path.write_bytes(data[:-3] + b"???")
    with pytest.raises(ValueError, match="wrong checksum") as caught:
        read_shard(path)
    assert str(caught.value).startswith(f"{path}: ")
    path.write_bytes(data[:-3])
    with pytest.raises(ValueError, match="is damaged"):
        FittedDataset(path)
    path.write_bytes(data.replace(b'"version":"1"', b'"version":"9"'))
    with pytest.raises(ValueError, match="is of version '9'"):
        FittedDataset(path)
    (tmp_path / "bad.tar").write_bytes(b"x" * 600)
    with pytest.raises(ValueError, match=r"bad.tar: is damaged or no tar archive"):
        FittedDataset(tmp_path / "bad.tar")
    with pytest.raises(FileNotFoundError):
        FittedDataset(tmp_path / "missing.safetensors")


def test_gaussians_of_bytes_are_those_of_the_file(tmp_path, random_gaussians):
    path = tmp_path / "a.safetensors"
    gaussians = random_gaussians(7)
    gaussians.save(path)
    assert_equal(FittedImage("", Gaussians.from_bytes(path.read_bytes())), FittedImage("", gaussians))
    with pytest.raises(ValueError, match=r"^member: not a readable safetensors file"):
        Gaussians.from_bytes(b"nothing", "member")
