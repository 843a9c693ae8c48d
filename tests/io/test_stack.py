"""Tests of stacks: images of one size, or one array, as the channels of one picture."""

import numpy as np
import pytest
import tifffile
import torch
from color_formulas import P3, profile_of
from picture_files import samples
from PIL import Image

from fastgs.io.images import ImageError
from fastgs.io.picture import read_picture
from fastgs.io.stack import read_stack
from fastgs.io.writing import write_picture


@pytest.fixture
def textures(tmp_path):
    """Return the paths of an RGB, a gray 16-bit, and an RGBA texture of one size."""
    Image.fromarray(samples(8, 3)).save(tmp_path / "albedo.png")
    Image.fromarray(samples(16, 1)[..., 0]).save(tmp_path / "height.png")
    Image.fromarray(samples(8, 4, seed=3)).save(tmp_path / "mask.png")
    return [tmp_path / name for name in ("albedo.png", "height.png", "mask.png")]


def test_stack_of_images_has_their_channels(textures):
    picture, parts = read_stack(textures)
    assert (picture.channels, picture.alpha, picture.depth, picture.range) == (8, False, 16, (0.0, 1.0))
    assert parts == [slice(0, 3), slice(3, 4), slice(4, 8)]
    assert torch.equal(picture.values[parts[0]], read_picture(textures[0]).values)
    assert torch.equal(picture.values[parts[1]], read_picture(textures[1]).values)


def test_alpha_in_a_stack_is_a_plain_channel_and_comes_back(textures, tmp_path):
    """Colours under alpha of 0 are kept, since textures keep other things than opacity there."""
    picture, parts = read_stack(textures)
    values = samples(8, 4, seed=3)
    assert (values[..., 3] == 0).any()
    assert np.abs(picture.values[parts[2]].permute(1, 2, 0).numpy() * 255 - values).max() < 1e-4
    write_picture(tmp_path / "again.png", picture.values[parts[2]], alpha=True, straight=True)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "again.png")), values)


def test_stack_takes_images_tensors_and_pictures(textures):
    sources = [Image.open(textures[0]), samples(16, 1), torch.rand(2, 19, 21), read_picture(textures[2])]
    picture, parts = read_stack(sources)
    assert [part.stop - part.start for part in parts] == [3, 1, 2, 4]
    assert torch.equal(picture.values[parts[2]], sources[2])


def test_stack_is_resized_as_a_whole(textures):
    picture, _ = read_stack(textures, size=10)
    assert picture.values.shape == (8, 10, 10)
    assert torch.equal(picture.values[:3], read_picture(textures[0], size=10).values)


def test_stack_keeps_a_profile_that_all_images_have(tmp_path, textures):
    wide = profile_of(P3, 2.2)
    for name, profile in (("a.png", wide), ("b.png", wide), ("c.png", None)):
        Image.fromarray(samples(8, 3)).save(tmp_path / name, icc_profile=profile)
    picture, _ = read_stack([tmp_path / "a.png", tmp_path / "b.png"], keep_profile=True)
    assert picture.profile == wide
    with pytest.raises(ImageError, match=r"c\.png: has another colour profile than .*a\.png; leave out keep_profile"):
        read_stack([tmp_path / "a.png", tmp_path / "c.png"], keep_profile=True)


@pytest.mark.parametrize(
    ("dtype", "factor", "limits"),
    [
        ("u1", 255, (0, 255)),
        ("u2", 65535, (0, 65535)),
        ("f4", 1, (0, 1)),
        ("f8", 1, (0, 1)),
        ("f4", -1000, None),
        ("i2", 9000, None),
        ("?", 1, (0, 1)),
    ],
)
@pytest.mark.parametrize("format", ["npy", "bands", "pages", "planes"])
def test_array_is_read_with_its_range(tmp_path, dtype, factor, limits, format):
    array = (np.random.default_rng(0).random((9, 19, 21)) * factor).astype(dtype)
    path = tmp_path / ("array.npy" if format == "npy" else "array.tif")
    if format == "npy":
        np.save(path, array)
    elif dtype == "?":
        pytest.skip("TIFF packs booleans")
    elif format == "pages":
        tifffile.imwrite(path, array)
    elif format == "planes":
        tifffile.imwrite(path, array, photometric="minisblack", planarconfig="separate")
    else:
        tifffile.imwrite(path, array.transpose(1, 2, 0), photometric="minisblack", planarconfig="contig")
    limits = limits or (float(array.min()), float(array.max()))
    picture, parts = read_stack([path])
    assert parts == [slice(0, 9)] and picture.range == limits and picture.depth == 8 * array.dtype.itemsize
    wanted = (array.astype(float) - limits[0]) / (limits[1] - limits[0])
    assert np.abs(picture.values.numpy() - wanted).max() < 1e-7
    for name in ("again.npy", "again.tif"):
        write_picture(tmp_path / name, picture, bits=32)
        again, _ = read_stack([tmp_path / name], limits=limits)
        assert again.values.shape == picture.values.shape
        assert (again.values - picture.values).abs().max() < 1e-6


def test_limits_of_an_array_can_be_given(tmp_path):
    array = np.linspace(-2, 5, 60, dtype=np.float32).reshape(3, 4, 5)
    np.save(tmp_path / "a.npy", array)
    picture, _ = read_stack([tmp_path / "a.npy"], limits=(-10, 10))
    assert picture.range == (-10, 10)
    assert np.abs(picture.values.numpy() - (array + 10) / 20).max() < 1e-7
    with pytest.raises(ImageError, match=r"a\.npy: holds -2 to 5, which is outside its range 0 to 1"):
        read_stack([tmp_path / "a.npy"], limits=(0, 1))
    with pytest.raises(ImageError, match=r"a\.npy: expected a range of two ascending numbers, got 1 to 0"):
        read_stack([tmp_path / "a.npy"], limits=(1, 0))


def test_array_of_one_value_has_a_range(tmp_path):
    np.save(tmp_path / "a.npy", np.full((2, 3, 4), 7.0))
    assert read_stack([tmp_path / "a.npy"])[0].range == (7.0, 8.0)


def test_read_picture_reads_npy(tmp_path):
    array = samples(16, 1)[..., 0]
    np.save(tmp_path / "a.npy", array)
    picture = read_picture(tmp_path / "a.npy")
    assert picture.channels == 1 and picture.range == (0, 65535)
    assert np.abs(picture.values[0].numpy() * 65535 - array).max() < 0.01


@pytest.mark.parametrize(("dtype", "bands"), [("u2", 6), ("i2", 1), ("i4", 3), ("f4", 5)])
def test_read_picture_reads_tiff_of_bands(tmp_path, dtype, bands):
    array = (np.random.default_rng(0).random((19, 21, bands)) * 1000).astype(dtype)
    array = array[..., 0] if bands == 1 else array
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack", planarconfig="contig" if bands > 1 else None)
    picture = read_picture(tmp_path / "a.tif")
    assert picture.channels == bands and not picture.alpha
    assert picture.range == ((0, 65535) if dtype == "u2" else (array.min(), array.max()))
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(data[:-100])
    for load in (read_picture, lambda path: read_stack([path])):
        with pytest.raises(ImageError, match=r"a\.tif: "):
            load(tmp_path / "a.tif")


def test_one_image_file_is_read_as_an_image(textures, tmp_path):
    assert read_stack(textures[:1])[0].channels == 3
    tifffile.imwrite(tmp_path / "rgb.tif", samples(16, 3), photometric="rgb")
    assert read_stack([tmp_path / "rgb.tif"])[0].range == (0.0, 1.0)


def bad_stacks(tmp_path):
    """Return pairs of sources and what their message must say."""
    wide, other = torch.rand(3, 19, 22), torch.rand(3, 19, 21)
    np.save(tmp_path / "nan.npy", np.array([[[1, np.nan]]]))
    np.save(tmp_path / "infinite.npy", np.array([[[1, -np.inf]]]))
    np.save(tmp_path / "many.npy", np.zeros((33, 2, 2)))
    np.save(tmp_path / "last.npy", np.zeros((64, 64, 3)))
    np.save(tmp_path / "names.npy", np.array([["a"]]))
    np.save(tmp_path / "complex.npy", np.zeros((1, 2, 2), complex))
    np.save(tmp_path / "own.npy", np.array([[[1.0, 7]]]))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "many.npy").read_bytes()[:200])
    (tmp_path / "text.npy").write_text("1 2 3")
    tifffile.imwrite(tmp_path / "many.tif", np.zeros((33, 4, 5), np.uint8))
    tifffile.imwrite(tmp_path / "nan.tif", np.full((6, 4, 5), np.nan, np.float32))
    tifffile.imwrite(tmp_path / "bright.tif", np.full((19, 21, 3), 3, np.float32), photometric="rgb")
    one = torch.rand(1, 1, 2)
    return [
        ([other, wide], "image 2: has 22 x 19 pixels, image 1 has 21 x 19; the images of a stack need one size"),
        ([other] * 11, "stack: has 33 channels, the most is 32; leave out some images"),
        ([], "stack: expected at least one image"),
        ([tmp_path / "nan.npy"], "nan.npy: holds NaN or infinity; replace them by numbers"),
        ([tmp_path / "infinite.npy"], "infinite.npy: holds NaN or infinity; replace them by numbers"),
        (
            [tmp_path / "many.npy"],
            "many.npy: expected an array of shape (1 to 32, H, W), got (33, 2, 2)",
        ),
        ([tmp_path / "last.npy"], "last.npy: expected an array of shape (1 to 32, H, W), got (64, 64, 3); move"),
        ([tmp_path / "names.npy"], "names.npy: holds <U1 values; save real numbers"),
        ([tmp_path / "complex.npy"], "complex.npy: holds complex128 values; save real numbers"),
        ([tmp_path / "cut.npy"], "cut.npy: is not a whole .npy file of numbers ("),
        ([tmp_path / "text.npy"], "text.npy: is not a whole .npy file of numbers ("),
        ([tmp_path / "missing.npy"], "missing.npy: no such file; check the name"),
        ([tmp_path], ": is a folder; name an image file in it"),
        ([tmp_path / "many.tif"], "many.tif: has 33 bands, the most is 32; leave out some"),
        ([tmp_path / "nan.tif"], "nan.tif: holds NaN or infinity; replace them by numbers"),
        ([other, tmp_path / "bright.tif"], "bright.tif: has high dynamic range; fit it alone, or save it as an"),
        ([one, tmp_path / "own.npy"], "own.npy: has a range of its own (1 to 7); read it alone, or scale it to"),
    ]


def test_bad_stacks_are_refused_in_one_line(tmp_path):
    for sources, reason in bad_stacks(tmp_path):
        with pytest.raises(ImageError) as caught:
            read_stack(sources)
        assert reason in str(caught.value) and "\n" not in str(caught.value)


def test_limits_are_refused_for_several_images(textures):
    with pytest.raises(ImageError, match=r"^limits: are for one \.npy file or one TIFF file of bands"):
        read_stack(textures, limits=(0, 1))
