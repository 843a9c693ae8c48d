"""Sources of the images of a job: files, folders, patterns, lists, archives, and URLs."""

import io
import tarfile
import warnings

import fsspec
import pytest
from PIL import Image

from fastgs.io.picture import read_picture
from fastgs.io.pixels import ImageError, warn
from fastgs.jobs.sources import Source, find_sources, holds_many, read_list


def png_bytes(value: int, side: int = 4) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (side, side), (value, 0, 0)).save(stream, "PNG")
    return stream.getvalue()


def make_archive(path, files) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.fixture
def album(tmp_path):
    """Return a folder with images at two depths, a text, and an archive."""
    (tmp_path / "deep").mkdir()
    for number, name in enumerate(("b.png", "a.png", "deep/c.png")):
        (tmp_path / name).write_bytes(png_bytes(number))
    (tmp_path / "notes.txt").write_text("no image", encoding="utf-8")
    members = {"y/2.png": png_bytes(7), "y/2.json": b"{}", "x/1.png": png_bytes(8), "x/.hidden.png": b""}
    make_archive(tmp_path / "shard-0.tar", members)
    return tmp_path


def names(sources) -> list[str]:
    return [source.name for source in sources]


def test_a_folder_a_pattern_and_a_file(album):
    assert names(find_sources(str(album))) == ["a.png", "b.png"]
    assert names(find_sources(f"{album}/**/*.png")) == ["a.png", "b.png", "c.png"]
    assert names(find_sources(f"{album}/*")) == ["a.png", "b.png", "2.png", "1.png"]  # not the text
    assert find_sources(f"{album}/missing.png") == [Source(f"{album}/missing.png")]
    (album / "a[1].png").write_bytes(png_bytes(1))
    assert names(find_sources(f"{album}/a[1].png")) == ["a[1].png"]  # a file of that name comes before a pattern
    with pytest.raises(ImageError, match="no image matches this pattern"):
        find_sources(f"{album}/*.bmp")


def test_members_of_an_archive_are_images_in_its_order(album):
    path = album / "shard-0.tar"
    second, first = find_sources(str(path))
    assert (str(first), first.name, first.stem) == (f"{path}/x/1.png", "1.png", "1")
    assert first.read_bytes() == png_bytes(8) and second.read_bytes() == png_bytes(7)
    with first.local() as copy:
        assert copy.name == "1.png" and read_picture(copy).values[0, 0, 0] == pytest.approx(8 / 255)
    assert not copy.exists()


def test_messages_about_members_name_the_archive(album, recwarn):
    make_archive(album / "bad.tar", {"text.png": b"no image"})
    (source,) = find_sources(f"{album}/bad.tar")
    with pytest.raises(ImageError) as caught, source.local() as copy:
        read_picture(copy)
    assert str(caught.value).startswith(f"{album}/bad.tar/text.png: ")
    with warnings.catch_warnings(record=True) as seen, source.local() as copy:
        warn(str(copy), "looks odd")
    assert [str(each.message) for each in seen] == [f"{album}/bad.tar/text.png: looks odd"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "is no whole tar archive"), (b"x" * 2000, "is no whole tar archive"), (None, "holds no image")],
)
def test_archives_that_cannot_be_used(tmp_path, content, reason):
    path = tmp_path / "bad.tar"
    if content is None:
        make_archive(path, {"notes.txt": b"text"})
    else:
        path.write_bytes(content)
    with pytest.raises(ImageError, match=reason) as caught:
        find_sources(str(path))
    assert str(caught.value).startswith(f"{path}: ")


def test_a_cut_archive_is_named(album):
    path = album / "shard-0.tar"
    source = find_sources(str(path))[0]
    path.write_bytes(path.read_bytes()[: source.offset + 10])
    with pytest.raises(ImageError, match="is cut short, 10 of"):
        source.read_bytes()
    assert source.sha256() is None


def test_a_list_has_one_path_per_line(tmp_path, monkeypatch):
    path = tmp_path / "list.txt"
    path.write_bytes(b"a.png\r\n\nphotos/b c.png\n\xff.png")
    assert read_list(str(path)) == ["a.png", "photos/b c.png", "\udcff.png"]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"x.png\n"), encoding="utf-8"))
    assert read_list("-") == ["x.png"]
    path.write_bytes(b"\n")
    with pytest.raises(ImageError, match="names no image"):
        read_list(str(path))
    with pytest.raises(ImageError, match=r"missing.txt: cannot be read"):
        read_list("missing.txt")


def test_urls_are_folders_patterns_archives_and_files(album):
    store = fsspec.filesystem("memory")
    for path in (album / "a.png", album / "b.png", album / "shard-0.tar"):
        store.pipe_file(f"/bucket/{path.name}", path.read_bytes())
    assert list(map(str, find_sources("memory://bucket"))) == ["memory:///bucket/a.png", "memory:///bucket/b.png"]
    assert names(find_sources("memory://bucket/b*.png")) == ["b.png"]
    (only,) = find_sources("memory://bucket/a.png")
    assert only.read_bytes() == png_bytes(1) and only.is_remote
    second, _ = find_sources("memory://bucket/shard-0.tar")
    assert second.read_bytes() == png_bytes(7)
    with pytest.raises(ImageError, match=r"memory://nowhere/: no such bucket or folder"):
        find_sources("memory://nowhere/")
    with pytest.raises(ImageError, match=r"memory://bucket/c.png: no such file"):
        find_sources("memory://bucket/c.png")[0].read_bytes()
    with pytest.raises(ValueError, match=r"nothing://x: cannot be opened"):
        find_sources("nothing://x")


def test_what_may_be_several_images_is_known_without_listing(album):
    assert holds_many(str(album)) and holds_many(f"{album}/*.png") and holds_many("photos.tar")
    assert not holds_many(f"{album}/a.png") and not holds_many("missing.png")
