"""Tests of windows of pictures on disk: the pixels that the whole picture has there."""

import itertools
import warnings

import numpy as np
import pytest
import tifffile
from image_files import ASSOCIATED, BLACK_IS_ZERO, DEFLATE, PALETTE, RGB, UNASSOCIATED, WHITE_IS_ZERO, icc_chunk, tiff
from load_checks import save_bytes
from optional import import_or_skip
from PIL import Image
from skimage import data

from fastgs.io import tiff_windows, windows
from fastgs.io.pixels import ImageError, ImageWarning
from fastgs.io.reading import read_file
from fastgs.io.tiff_windows import TiffWindows
from fastgs.io.window import Window
from fastgs.io.windows import open_windows, read_size

HEIGHT, WIDTH = 37, 50
PARTS = [Window(0, 0, HEIGHT, WIDTH), Window(0, 0, 1, 1), Window(5, 17, 20, 18), Window(30, 33, 7, 17)]


def samples(channels, depth=8, kind="u"):
    random = np.random.default_rng(0).random((HEIGHT, WIDTH, channels))
    if kind == "f":
        return random.astype(f"f{depth // 8}")
    return (random * (2**depth - 1)).astype(f"u{max(1, depth // 8)}")


def assert_windows_are_crops(path, parts=PARTS):
    whole = read_file(path)
    height, width = whole.colors.shape[:2]
    with open_windows(path) as picture:
        assert (picture.height, picture.width) == (height, width)
        for top, left, tall, wide in parts:
            if (height, width) == (WIDTH, HEIGHT):
                top, left, tall, wide = left, top, wide, tall
            part = picture.read(Window(top, left, tall, wide))
            assert np.array_equal(part.colors, whole.colors[top : top + tall, left : left + wide])
            assert (part.alpha is None) == (whole.alpha is None)
            if whole.alpha is not None:
                assert np.array_equal(part.alpha, whole.alpha[top : top + tall, left : left + wide])
            assert (part.depth, part.associated, part.profile) == (whole.depth, whole.associated, whole.profile)


@pytest.mark.parametrize("layout", ["strip", "strips", "tiles"])
@pytest.mark.parametrize(("photometric", "channels", "extras"), [
    (RGB, 3, ()), (BLACK_IS_ZERO, 1, ()), (WHITE_IS_ZERO, 1, ()), (RGB, 4, (UNASSOCIATED,)), (RGB, 4, (ASSOCIATED,)),
])  # fmt: skip
def test_windows_of_tiff_are_crops_of_the_whole(tmp_path, layout, photometric, channels, extras):
    for planar, order, compression, depth in itertools.product((False, True), ("II", "MM"), (1, DEFLATE), (4, 8, 16)):
        options = {"order": order, "planar": planar, "layout": layout, "extras": extras, "compression": compression}
        values = samples(channels, depth)
        assert_windows_are_crops(save_bytes(tmp_path, "a.tif", tiff(values, depth, photometric, **options)), PARTS[1:])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_windows_are_turned(tmp_path, orientation):
    for layout in ("strip", "tiles"):
        values = samples(3)
        content = tiff(values, 8, RGB, layout=layout, tags={274: ("H", [orientation])})
        assert_windows_are_crops(save_bytes(tmp_path, "a.tif", content))


def test_palette_floats_and_missing_tiles_are_read(tmp_path):
    colormap = np.random.default_rng(1).integers(0, 65536, 3 * 256).tolist()
    palette = tiff(samples(1), 8, PALETTE, layout="tiles", tags={320: ("H", colormap)})
    assert_windows_are_crops(save_bytes(tmp_path, "palette.tif", palette))
    assert_windows_are_crops(save_bytes(tmp_path, "float.tif", tiff(samples(3, 32, "f"), 32, RGB, layout="strips")))
    with tifffile.TiffWriter(tmp_path / "sparse.tif") as file:
        file.write(None, shape=(HEIGHT, WIDTH, 3), dtype=np.uint8, tile=(16, 16), photometric="rgb")
    assert_windows_are_crops(tmp_path / "sparse.tif")


def test_jpeg_in_tiff_is_read_in_parts(tmp_path):
    photo = np.ascontiguousarray(data.chelsea()[:200, :300])
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, photo, tile=(64, 64), compression="jpeg", photometric="rgb")
    whole = read_file(path).colors
    with open_windows(path) as picture:
        assert isinstance(picture, TiffWindows)
        part = picture.read(Window(50, 100, 90, 80)).colors
    assert np.abs(part - whole[50:140, 100:180]).max() < 6 / 255  # two decoders enlarge colours in their own ways


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_other_files_are_decoded_whole(tmp_path, suffix):
    Image.fromarray(samples(3)).save(tmp_path / f"a{suffix}")
    assert_windows_are_crops(tmp_path / f"a{suffix}")
    Image.fromarray(samples(4)).save(tmp_path / "alpha.png")
    assert_windows_are_crops(tmp_path / "alpha.png")


def test_whole_files_say_how_much_memory_they_take(tmp_path, monkeypatch):
    Image.fromarray(samples(3)).save(tmp_path / "a.png")
    monkeypatch.setattr(windows, "available_memory", lambda: 1000)
    with pytest.raises(ImageError, match=r"a\.png: is decoded whole, which takes about .* GB; convert it to TIFF"):
        open_windows(tmp_path / "a.png").__enter__()
    monkeypatch.setattr(windows, "available_memory", lambda: None)
    monkeypatch.setattr(windows, "MOST_WHOLE_BYTES", 1000)
    with pytest.warns(ImageWarning, match=r"a\.png: is decoded whole, which takes about 0\.0 GB"):
        assert_windows_are_crops(tmp_path / "a.png")


def test_one_large_strip_is_decoded_whole(tmp_path, monkeypatch):
    path = save_bytes(tmp_path, "a.tif", tiff(samples(3), 8, RGB, compression=DEFLATE))
    monkeypatch.setattr(tiff_windows, "MOST_SEGMENT_BYTES", 1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImageWarning)
        assert_windows_are_crops(path)


def test_damaged_files_are_one_line(tmp_path):
    tiled = tiff(samples(3), 8, RGB, layout="tiles", compression=DEFLATE)
    cases = {"cut.tif": tiled[: len(tiled) // 2], "head.tif": tiled[:6], "text.tif": b"no image", "empty.tif": b""}
    spoiled = bytearray(tiled)
    spoiled[2000:2400] = bytes(400)
    cases["spoiled.tif"] = bytes(spoiled)
    for name, content in cases.items():
        path = save_bytes(tmp_path, name, content)
        with pytest.raises(ImageError, match=rf"{name}: \S") as error, open_windows(path) as picture:
            picture.read(Window(0, 0, HEIGHT, WIDTH))
        assert "\n" not in str(error.value)
    with pytest.raises(ImageError, match=r"none\.tif: no such file"):
        open_windows(tmp_path / "none.tif").__enter__()


def test_damaged_profile_is_one_warning(tmp_path):
    content = tiff(samples(3), 8, RGB, layout="tiles", tags={34675: ("B", b"no profile at all" * 10)})
    path = save_bytes(tmp_path, "a.tif", content)
    with pytest.warns(ImageWarning, match="its colour profile is damaged") as said, open_windows(path) as picture:
        parts = [picture.read(part) for part in PARTS]
    assert len(said) == 1 and all(part.profile is None for part in parts)


def test_size_is_read_from_the_header(tmp_path):
    assert read_size(save_bytes(tmp_path, "a.tif", tiff(samples(3), 8, RGB))) == (HEIGHT, WIDTH, True)
    Image.fromarray(samples(3)).save(tmp_path / "a.png")
    assert read_size(tmp_path / "a.png") == (HEIGHT, WIDTH, False)
    assert read_size(save_bytes(tmp_path, "b.png", icc_chunk(b""))) is None


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_large_photos_are_copied_to_tiles_where_pyvips_is(tmp_path, monkeypatch, suffix):
    import_or_skip("pyvips")
    monkeypatch.setattr(windows, "MOST_WHOLE_BYTES", 1000)
    path, copies = tmp_path / f"a{suffix}", tmp_path / "copies"
    Image.fromarray(np.ascontiguousarray(data.chelsea()[:200, :300])).save(path)
    whole = read_file(path).colors
    for _ in range(2):  # the second time, the copy is there
        with open_windows(path, copies) as picture:
            assert isinstance(picture, TiffWindows)
            part = picture.read(Window(50, 100, 90, 80)).colors
        assert np.abs(part - whole[50:140, 100:180]).max() <= (0 if suffix == ".png" else 2.1 / 255)
        assert len(list(copies.iterdir())) == 1
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ImageError, match=rf"a\{suffix}: cannot be decoded"):
        open_windows(path, copies).__enter__()
    assert len(list(copies.iterdir())) == 1
