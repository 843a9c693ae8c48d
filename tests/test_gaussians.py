"""Tests of `Gaussians`: validation, saving and loading, and errors that name the file."""

import errno
import math
import os
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch
from pretended import pretended_device, waits

from fastgs.gaussians import Gaussians
from fastgs.io.files import atomic_write

TENSORS = ("means", "scales", "rotations", "colors")


def fields(count=4, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    shapes = {"means": (count, 2), "scales": (count, 2), "rotations": (count,), "colors": (count, 3)}
    tensors = {name: torch.rand(shape, generator=generator, dtype=dtype) + 0.1 for name, shape in shapes.items()}
    return {**tensors, "height": 7, "width": 9}


def with_value(name, value):
    tensor = fields()[name]
    tensor.view(-1)[-1] = value
    return tensor


BAD_FIELDS = [
    ("means", [[1.0, 2.0]] * 4, "means: expected a torch.Tensor, got list"),
    ("means", torch.tensor(1.0), r"means: expected shape .*, got \(\)"),
    ("means", torch.rand(4, 3), r"means: expected shape \(4, 2\), got \(4, 3\)"),
    ("means", torch.rand(3, 2), r"scales: expected shape \(3, 2\), got \(4, 2\)"),
    ("scales", torch.rand(4), r"scales: expected shape \(4, 2\), got \(4,\)"),
    ("rotations", torch.rand(4, 1), r"rotations: expected shape \(4,\), got \(4, 1\)"),
    ("rotations", None, "rotations: expected a torch.Tensor, got NoneType"),
    ("colors", torch.rand(4, 33), r"colors: expected shape \(4, 1 to 32\), got \(4, 33\)"),
    ("colors", torch.rand(4, 0), r"colors: expected shape \(4, 1 to 32\), got \(4, 0\)"),
    ("colors", torch.rand(3, 3), r"colors: expected shape \(4, 1 to 32\), got \(3, 3\)"),
    ("alpha", True, "alpha: is the last of 2 or 4 channels, got 3"),
    ("means", torch.ones(4, 2, dtype=torch.int64), "means: expected floating point, got torch.int64"),
    ("colors", torch.ones(4, 3, dtype=torch.uint8), "colors: expected floating point, got torch.uint8"),
    ("rotations", torch.rand(4, dtype=torch.float64), "rotations: is torch.float64 on cpu, means torch.float32 on cpu"),
    ("scales", torch.rand(4, 2, device="meta"), "scales: is torch.float32 on meta, means torch.float32 on cpu"),
    *((name, with_value(name, math.nan), f"{name}: holds NaN or infinity") for name in TENSORS),
    *((name, with_value(name, math.inf), f"{name}: holds NaN or infinity") for name in TENSORS),
    ("scales", with_value("scales", 0.0), "scales: must be positive"),
    ("scales", with_value("scales", -1.0), "scales: must be positive"),
    ("height", 0, "height: expected an integer of at least 1, got 0"),
    ("width", -3, "width: expected an integer of at least 1, got -3"),
    ("width", 9.0, "width: expected an integer of at least 1, got 9.0"),
    ("height", "7", "height: expected an integer of at least 1, got '7'"),
    ("blend", "max", "blend: expected one of normalized, sum, got 'max'"),
]


def test_values_are_looked_at_once_and_by_the_constructor_alone():
    """A look at them waits for a GPU."""
    with pretended_device() as device:
        moved = {name: value.to(device) if name in TENSORS else value for name, value in fields().items()}
        waits.clear()
        gaussians = Gaussians(**moved)
        assert waits == ["tolist"]
        Gaussians.unchecked(**moved)
        gaussians.to(device)
        assert waits == ["tolist"]
        with pytest.raises(ValueError, match=r"^colors: holds NaN or infinity$"):
            Gaussians(**moved | {"colors": with_value("colors", math.nan).to(device)})


def test_unchecked_gaussians_are_like_others():
    made, unchecked = Gaussians(**fields(), blend="sum"), Gaussians.unchecked(**fields(), blend="sum")
    assert repr(made) == repr(unchecked)
    assert len(Gaussians.unchecked(**fields() | {"scales": -torch.ones(4, 2)})) == 4
    with pytest.raises(AttributeError):
        unchecked.height = 3
    assert unchecked.to(torch.float64).means.dtype == torch.float64


@pytest.mark.parametrize(("name", "value", "message"), BAD_FIELDS)
def test_gaussians_refuse_bad_fields(name, value, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        Gaussians(**{**fields(), name: value})


@pytest.mark.parametrize("count", [0, 1, 4])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("blend", ["normalized", "sum"])
def test_load_returns_what_save_wrote(tmp_path, count, dtype, blend):
    gaussians = Gaussians(**fields(count, dtype), blend=blend)
    gaussians.save(tmp_path / "photo.safetensors")
    loaded = Gaussians.load(str(tmp_path / "photo.safetensors"))
    for name in TENSORS:
        assert getattr(loaded, name).dtype == dtype
        assert torch.equal(getattr(loaded, name), getattr(gaussians, name))
    assert (loaded.height, loaded.width, loaded.blend, len(loaded)) == (7, 9, blend, count)


def test_save_takes_tensors_of_any_layout(tmp_path):
    """Save views, a tensor in a graph, and one tensor as two fields."""
    table = torch.rand(8, 4).T + 0.1
    shared = table[:, :2].contiguous()
    gaussians = Gaussians(shared, shared, table[:, 2], table[:, 3:6].requires_grad_(), height=7, width=9)
    gaussians.save(tmp_path / "photo.safetensors")
    loaded = Gaussians.load(tmp_path / "photo.safetensors")
    assert all(torch.equal(getattr(loaded, name), getattr(gaussians, name)) for name in TENSORS)


def test_to_casts_all_tensors():
    gaussians = Gaussians(**fields(), blend="sum").to(torch.float64)
    assert {getattr(gaussians, name).dtype for name in TENSORS} == {torch.float64}
    assert (gaussians.height, gaussians.width, gaussians.blend) == (7, 9, "sum")


@pytest.fixture
def saved(tmp_path) -> Path:
    Gaussians(**fields()).save(tmp_path / "photo.safetensors")
    return tmp_path / "photo.safetensors"


def rewrite(path, metadata=None, tensors=None):
    """Change metadata or tensors of a file (None removes an entry)."""
    with safetensors.safe_open(path, framework="pt") as file:
        new_metadata = {**file.metadata(), **(metadata or {})}
        new_tensors = {**{name: file.get_tensor(name) for name in file.keys()}, **(tensors or {})}  # noqa: SIM118
    safetensors.torch.save_file(
        {name: tensor for name, tensor in new_tensors.items() if tensor is not None},
        path,
        {name: text for name, text in new_metadata.items() if text is not None},
    )


BAD_FILES = [
    ({"metadata": {"version": "3"}}, "is of version '3'; this fastgs reads up to version '2'"),
    ({"metadata": {"version": None}}, "is of version None"),
    ({"metadata": {"format": None}}, "holds no Gaussians"),
    ({"metadata": {"format": "pt"}}, "holds no Gaussians"),
    ({"tensors": {"colors": None, "means": None}}, "lacks colors, means"),
    ({"tensors": {"scales": torch.rand(5, 2)}}, "scales: expected shape"),
    ({"tensors": {"means": with_value("means", math.nan)}}, "means: holds NaN"),
    ({"metadata": {"height": "0"}}, "height: expected an integer"),
    ({"metadata": {"height": "tall"}}, ".*tall"),
    ({"metadata": {"width": None}}, ".*width"),
    ({"metadata": {"blend": "max"}}, "blend: expected one of"),
]


@pytest.mark.parametrize(("change", "message"), BAD_FILES)
def test_load_refuses_inconsistent_files(saved, change, message):
    rewrite(saved, **change)
    with pytest.raises(ValueError, match=f"^{saved}: {message}"):
        Gaussians.load(saved)


def test_load_refuses_safetensors_of_other_programs(tmp_path):
    path = tmp_path / "network.safetensors"
    safetensors.torch.save_file({"weight": torch.rand(3)}, path)  # without metadata
    with pytest.raises(ValueError, match=f"^{path}: holds no Gaussians"):
        Gaussians.load(path)


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 100, -1])
def test_load_refuses_truncated_files(saved, keep):
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(ValueError, match=f"^{saved}: not a readable safetensors file"):
        Gaussians.load(saved)


@pytest.mark.parametrize("content", [b"\xff" * 64, b"not a tensor in sight, just text"])
def test_load_refuses_other_files(tmp_path, content):
    path = tmp_path / "photo.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{path}: not a readable safetensors file"):
        Gaussians.load(path)


def test_load_and_save_report_paths_that_cannot_be_opened(tmp_path):
    with pytest.raises(OSError, match="absent"):
        Gaussians.load(tmp_path / "absent.safetensors")
    with pytest.raises(OSError):  # noqa: PT011
        Gaussians.load(tmp_path)
    with pytest.raises(OSError, match="absent"):
        Gaussians(**fields()).save(tmp_path / "absent" / "photo.safetensors")


def test_save_keeps_the_old_file_when_it_fails(saved, monkeypatch):
    before = saved.read_bytes()

    def fill_the_disk(path, data):
        with open(path, "wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill_the_disk)
    with pytest.raises(OSError, match="No space left"):
        Gaussians(**fields(9)).save(saved)
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]


def test_atomic_write_leaves_nothing_when_interrupted(tmp_path):
    def interrupted():
        with atomic_write(tmp_path / "figure.png") as temporary:
            assert temporary.parent == tmp_path
            assert temporary.suffix == ".png"
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not os.listdir(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="permission bits")
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_save_gives_files_the_usual_permissions(tmp_path, umask):
    previous = os.umask(umask)
    try:
        Gaussians(**fields()).save(tmp_path / "photo.safetensors")
    finally:
        os.umask(previous)
    assert (tmp_path / "photo.safetensors").stat().st_mode & 0o777 == 0o666 & ~umask
    assert os.listdir(tmp_path) == ["photo.safetensors"]
