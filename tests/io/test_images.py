"""Tests of reading and writing images: pixels are exact, and every bad input gives a message of one line."""

import io
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import png
from PIL import Image

from fastgs.io.images import ImageError, find_images, load_image, save_image

RGB = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 15
GRAY16 = np.array([[0, 1, 257], [300, 40000, 65535]], dtype=np.uint16)


def expected(array: np.ndarray, limit: int = 255) -> torch.Tensor:
    """Return the image that should be read from (H, W) or (H, W, 3) integers."""
    array = np.repeat(array[..., None], 3, axis=2) if array.ndim == 2 else array
    return torch.from_numpy(array.astype(np.float32) / np.float32(limit)).permute(2, 0, 1)


@pytest.mark.parametrize(
    ("suffix", "options"), [("png", {}), ("tif", {}), ("bmp", {}), ("webp", {"lossless": True}), ("PNG", {})]
)
def test_load_image_reads_lossless_files_exactly(tmp_path, suffix, options):
    path = tmp_path / f"photo.{suffix}"
    Image.fromarray(RGB).save(path, **options)
    for source in (path, str(path), Image.open(path)):
        image = load_image(source)
        assert image.dtype == torch.float32 and image.is_contiguous()
        assert torch.equal(image, expected(RGB))


def test_load_image_reads_jpeg(tmp_path):
    flat = np.full((16, 16, 3), (200, 100, 50), dtype=np.uint8)
    Image.fromarray(flat).save(tmp_path / "photo.jpg", quality=95)
    assert (load_image(tmp_path / "photo.jpg") - expected(flat)).abs().max() < 2 / 255


def test_load_image_reads_cmyk_jpeg(tmp_path):
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "photo.jpg")
    assert (load_image(tmp_path / "photo.jpg") - torch.tensor([1.0, 0, 0]).view(3, 1, 1)).abs().max() < 3 / 255


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_load_image_does_not_round_16_bit_gray(tmp_path, suffix):
    path = tmp_path / f"gray.{suffix}"
    Image.fromarray(GRAY16).save(path)
    assert torch.equal(load_image(path), expected(GRAY16, 65535))


def test_load_image_reads_big_endian_tiff(tmp_path):
    Image.frombytes("I;16B", (3, 2), GRAY16.astype(">u2").tobytes()).save(tmp_path / "gray.tif")
    assert Image.open(tmp_path / "gray.tif").mode == "I;16B"
    assert torch.equal(load_image(tmp_path / "gray.tif"), expected(GRAY16, 65535))


def test_load_image_reads_other_modes_of_pillow():
    gray = RGB[..., 0]
    assert torch.equal(load_image(Image.fromarray(gray)), expected(gray))
    assert torch.equal(load_image(Image.fromarray(GRAY16.astype(np.int32))), expected(GRAY16, 65535))
    bits = Image.fromarray(np.array([[0, 255]], dtype=np.uint8)).convert("1")
    assert load_image(bits)[:, 0].tolist() == [[0, 1]] * 3
    palette = Image.fromarray(np.array([[0, 1]], dtype=np.uint8))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    assert palette.mode == "P" and load_image(palette)[:, 0].tolist() == [[1, 0], [0, 0], [0, 1]]
    unit = np.array([[0, 0.3, 1]], dtype=np.float32)
    assert torch.equal(load_image(Image.fromarray(unit)), torch.from_numpy(unit).expand(3, 1, 3))


def test_load_image_reads_arrays_and_tensors():
    assert torch.equal(load_image(RGB), expected(RGB))
    assert torch.equal(load_image(RGB[..., 0]), expected(RGB[..., 0]))
    assert torch.equal(load_image(RGB[..., :1]), expected(RGB[..., 0]))
    assert torch.equal(load_image(GRAY16), expected(GRAY16, 65535))
    deep = np.stack([GRAY16] * 3, axis=2)
    assert torch.equal(load_image(deep), expected(GRAY16, 65535))
    tensor = torch.rand(3, 4, 5, dtype=torch.float64, requires_grad=True)
    image = load_image(tensor)
    assert torch.equal(image, tensor.detach().float()) and not image.requires_grad


def test_load_image_composites_transparency_on_the_background():
    rgba = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [255, 0, 0, 51]]], dtype=np.uint8)
    wanted = torch.tensor([[1, 0, 0.2], [0, 1, 0.8], [0, 0, 0]])
    for source in (rgba, Image.fromarray(rgba)):
        torch.testing.assert_close(load_image(source, background=(0, 255, 0))[:, 0], wanted)
    torch.testing.assert_close(load_image(rgba)[:, 0, 1], torch.ones(3))
    gray_alpha = np.array([[[0, 255], [0, 0]]], dtype=np.uint8)
    for source in (gray_alpha, Image.fromarray(gray_alpha, "LA")):
        assert load_image(source)[:, 0].tolist() == [[0, 1]] * 3


def test_compositing_stays_in_range():
    alphas = np.full((1, 256, 4), 255, dtype=np.uint8)
    alphas[0, :, 3] = np.arange(256)
    load_image(load_image(alphas))  # a tensor out of [0, 1] would raise


def test_load_image_reads_transparent_palettes(tmp_path):
    palette = Image.fromarray(np.array([[0, 1]], dtype=np.uint8))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    for name in ("palette.gif", "palette.png"):
        palette.save(tmp_path / name, transparency=0)
        assert load_image(tmp_path / name)[:, 0].tolist() == [[1, 0], [1, 0], [1, 1]]


@pytest.mark.parametrize(("orientation", "turn"), [(1, lambda a: a), (2, np.fliplr), (6, lambda a: np.rot90(a, -1))])
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_load_image_applies_exif_rotation(tmp_path, suffix, orientation, turn):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{suffix}"
    Image.fromarray(RGB).save(path, exif=exif, **({"lossless": True} if suffix == "webp" else {}))
    assert torch.equal(load_image(path), expected(turn(RGB)))


def test_load_image_applies_exif_rotation_to_16_bit_gray(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(GRAY16).save(tmp_path / "turned.png", exif=exif)
    assert torch.equal(load_image(tmp_path / "turned.png"), expected(np.rot90(GRAY16, -1), 65535))


def test_load_image_ignores_damaged_exif(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "photo.png", exif=b"Exif\0\0garbage")
    assert torch.equal(load_image(tmp_path / "photo.png"), expected(RGB))


def test_load_image_takes_the_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (2, 2), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert load_image(tmp_path / "moving.gif")[:, 0, 0].tolist() == [1, 0, 0]


@pytest.mark.parametrize(("height", "width"), [(40, 61), (61, 40), (20, 20), (5, 7), (1, 300)])
def test_size_resizes_and_crops_the_centre(height, width):
    image = torch.rand(3, height, width, generator=torch.Generator().manual_seed(0))
    got = load_image(image, size=20)
    assert got.shape == (3, 20, 20)
    long_height, long_width = 20 * height // min(height, width), 20 * width // min(height, width)
    resized = [Image.fromarray(c).resize((long_width, long_height), Image.Resampling.LANCZOS) for c in image.numpy()]
    top, left = round((long_height - 20) / 2), round((long_width - 20) / 2)
    wanted = torch.from_numpy(np.stack([np.asarray(c) for c in resized])).clamp(0, 1)
    torch.testing.assert_close(got, wanted[:, top : top + 20, left : left + 20], atol=2e-5, rtol=0)


def test_size_of_the_shorter_side_only_crops():
    image = torch.rand(3, 4, 8)
    assert torch.equal(load_image(image, size=4), image[:, :, 2:6])
    assert torch.equal(load_image(GRAY16, size=2), expected(GRAY16, 65535)[:, :, :2])


def test_size_of_a_long_thin_image_needs_little_memory():
    assert load_image(torch.rand(3, 1, 100_000), size=512).shape == (3, 512, 512)  # 300 GB if it were resized whole


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (torch.full((3, 2, 2), float("nan")), "source: the tensor holds NaN or infinity"),
        (torch.full((3, 2, 2), 255.0), r"source: expected values in \[0, 1\], got \[255, 255\]"),
        (torch.zeros(2, 2, 3), "source: expected a floating-point tensor of shape"),
        (torch.zeros(3, 0, 2), "source: expected a floating-point tensor of shape"),
        (torch.zeros(3, 2, 2, dtype=torch.uint8), "source: expected a floating-point tensor"),
        (np.zeros((2, 2, 3)), "source: expected an array of uint8 or uint16, got float64"),
        (np.zeros((3, 8, 8), np.uint8), "source: expected an array of shape"),
        (np.zeros((0, 8, 3), np.uint8), "source: expected an array of shape"),
        (Image.new("RGB", (0, 4)), r"source: has no pixels \(0 x 4\)"),
        (Image.new("F", (2, 2), 2.0), r"source: its values must lie in \[0, 1\] but span \[2, 2\]"),
        (Image.new("F", (2, 2), float("nan")), r"source: its values must lie in \[0, 1\]"),
        (Image.new("I", (2, 2), 70000), r"source: its values must lie in \[0, 65535\]"),
        (Image.new("I", (2, 2), -1), r"source: its values must lie in \[0, 65535\]"),
        (7, "source: expected a path, PIL image, numpy array or tensor, got int"),
    ],
)
def test_load_image_refuses_bad_values(source, message):
    with pytest.raises(ImageError, match=f"^{message}"):
        load_image(source)


def test_load_image_refuses_bad_arguments():
    with pytest.raises(ImageError, match=r"^size: must be at least 1 pixel, got 0$"):
        load_image(RGB, size=0)
    with pytest.raises(ImageError, match=r"^background: expected three numbers"):
        load_image(RGB, background=(0, 0, 256))


def encoded(format: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer := io.BytesIO(), format)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("empty.png", b"", "is empty (0 bytes); get a whole copy of it"),
        ("text.png", b"not a picture\n", "is not an image that Pillow can read"),
        ("flat.png", png(0, 5, 8, 0, b""), "is not an image that Pillow can read"),
        ("head.png", encoded("PNG")[:10], "is not an image that Pillow can read"),
        ("cut.png", encoded("PNG")[:-5000], "cannot be decoded (image file is truncated"),
        ("cut.jpg", encoded("JPEG")[:-500], "cannot be decoded (image file is truncated"),
        ("cut.tif", encoded("TIFF")[:-5000], "cannot be decoded (image file is truncated"),
        ("cut.webp", encoded("WEBP")[:-500], "cannot be decoded ("),
        ("bomb.png", png(10_000, 10_000, 8, 0, b"\0"), "has more than 89,478,485 pixels; shrink it"),
        ("vast.png", png(50_000, 50_000, 8, 0, b"\0"), "has more than 89,478,485 pixels; shrink it"),
    ],
)
def test_load_image_refuses_bad_files(tmp_path, name, data, reason):
    (tmp_path / name).write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no warnings besides the error
        with pytest.raises(ImageError) as caught:
            load_image(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: {reason}")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.name != "posix", reason="Windows has other messages")
def test_load_image_refuses_bad_paths(tmp_path):
    (tmp_path / "file.png").write_bytes(b"")
    for path, reason in [
        (tmp_path / "missing.png", "no such file; check the name"),
        (tmp_path, "is a folder; name an image file in it"),
        (tmp_path / "file.png" / "inside.png", "cannot be read (Not a directory); check the path"),
        (tmp_path / ("x" * 300), "cannot be read (File name too long); check the path"),
    ]:
        with pytest.raises(ImageError) as caught:
            load_image(path)
        assert str(caught.value) == f"{path}: {reason}"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root can read every file")
def test_load_image_refuses_unreadable_files(tmp_path):
    path = tmp_path / "secret.png"
    Image.fromarray(RGB).save(path)
    path.chmod(0)
    with pytest.raises(ImageError, match=r"secret\.png: may not be read; check its permissions$"):
        load_image(path)


def test_load_image_keeps_warning_filters_in_threads(tmp_path):
    for index in range(8):
        Image.fromarray(RGB + np.uint8(index)).save(tmp_path / f"{index}.png")
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(load_image, sorted(tmp_path.iterdir()) * 10))
    assert all(torch.equal(image, expected(RGB + np.uint8(i % 8))) for i, image in enumerate(images))
    assert warnings.filters == before


def test_find_images_lists_folders_and_keeps_other_paths(tmp_path):
    for name in ("b.PNG", "a.jpeg", "c.webp", ".hidden.png", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    missing = tmp_path / "missing.xyz"
    assert find_images([missing, tmp_path]) == [missing, *(tmp_path / name for name in ("a.jpeg", "b.PNG", "c.webp"))]
    assert find_images(str(missing)) == [Path(missing)]
    with pytest.raises(ImageError, match=r"folder\.png: holds no image; expected files that end in \.avif, \.bmp"):
        find_images([tmp_path / "folder.png"])


def test_save_image_clamps_and_rounds(tmp_path):
    image = torch.tensor([-1.0, 0, 0.5, 0.4999 / 255, 0.5001 / 255, 2]).expand(3, 1, 6).requires_grad_()
    save_image(tmp_path / "photo.png", image)
    assert np.asarray(Image.open(tmp_path / "photo.png"))[0, :, 0].tolist() == [0, 0, 128, 0, 1, 255]
    save_image(tmp_path / "photo.tif", load_image(RGB))
    assert torch.equal(load_image(tmp_path / "photo.tif"), expected(RGB))


@pytest.mark.parametrize(
    ("name", "image", "reason"),
    [
        ("x.png", torch.zeros(1, 4, 4), "cannot write an image of shape (1, 4, 4); give (3, H, W)"),
        ("x.png", torch.full((3, 4, 4), float("nan")), "cannot write an image that holds NaN"),
        ("x", torch.zeros(3, 4, 4), "unknown image suffix ''; use .png"),
        ("x.psd", torch.zeros(3, 4, 4), "unknown image suffix '.psd'; use .png"),
    ],
)
def test_save_image_refuses_bad_images_and_suffixes(tmp_path, name, image, reason):
    with pytest.raises(ImageError) as caught:
        save_image(tmp_path / name, image)
    assert str(caught.value).startswith(f"{tmp_path / name}: {reason}")
    assert list(tmp_path.iterdir()) == []


def test_save_image_leaves_no_file_when_it_fails(tmp_path):
    with pytest.raises(ValueError, match="encod"):
        save_image(tmp_path / "x.webp", torch.zeros(3, 1, 20_000))  # the limit of WebP is 16383 pixels
    assert list(tmp_path.iterdir()) == []
