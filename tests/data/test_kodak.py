"""Download of the Kodak photos from a local server; test_div2k.py tests what all downloads share."""

import hashlib
import os
from pathlib import Path

import pytest
from file_server import serving

from fastgs.data import kodak
from fastgs.data.fetch import DownloadError, RemoteFile

CONTENTS = {f"kodim{number:02}.png": os.urandom(20_000 + number) for number in range(1, 4)}
NAMES = list(CONTENTS)


@pytest.fixture
def server(monkeypatch):
    """Serve three files that replace the 24 photos."""
    files = tuple(RemoteFile(name, hashlib.sha256(content).hexdigest()) for name, content in CONTENTS.items())
    monkeypatch.setattr(kodak, "FILES", files)
    with serving(CONTENTS) as server:
        yield server


@pytest.fixture
def download(server, tmp_path):
    def run(**options):
        return kodak.download(tmp_path, server.url, wait=0, **options)

    return run


def check(folder):
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENTS


def test_registered_checksums_are_the_published_ones():
    assert [file.name for file in kodak.FILES] == [f"kodim{number:02}.png" for number in range(1, 25)]
    assert all(len(bytes.fromhex(file.sha256)) == 32 for file in kodak.FILES)
    assert len({file.sha256 for file in kodak.FILES}) == 24
    # `sha256sum kodim*.png | sha256sum`, as published by others who fetched the photos.
    listing = "".join(f"{file.sha256}  {file.name}\n" for file in kodak.FILES)
    assert hashlib.sha256(listing.encode()).hexdigest().startswith("3eaa5bd52eb8c894d351cf607028f5d3")


def test_photos_are_fetched_once(server, download, tmp_path):
    told = []
    folder = download(progress=lambda *entry: told.append(entry))
    assert folder == tmp_path / "kodak"
    check(folder)
    assert list(dict.fromkeys(action for action, _, _ in told)) == [
        f"{action} {name}" for name in NAMES for action in ("downloading", "checking")
    ]
    assert all(0 < done <= total for _, done, total in told)
    assert all((f"downloading {name}", len(CONTENTS[name]), len(CONTENTS[name])) in told for name in NAMES)
    assert server.paths == [f"/mirror/{name}" for name in NAMES]
    download()
    assert len(server.paths) == 3


@pytest.mark.parametrize("lengths", [True, False])
def test_size_is_that_of_the_file_and_not_of_a_range(server, download, tmp_path, lengths):
    """Only the server tells the size; a part that was taken for the whole file would be removed for its checksum."""
    (tmp_path / "kodak").mkdir()
    (tmp_path / "kodak" / f"{NAMES[0]}.part").write_bytes(CONTENTS[NAMES[0]][:5_000])
    server.most, server.lengths = 10_000, lengths
    check(download())
    assert server.asked == ["bytes=5000-", "bytes=15000-", None, None]


def test_only_missing_photos_are_fetched(server, download, tmp_path):
    (tmp_path / "kodak").mkdir()
    (tmp_path / "kodak" / NAMES[0]).write_bytes(CONTENTS[NAMES[0]])
    (tmp_path / "kodak" / f"{NAMES[1]}.part").write_bytes(CONTENTS[NAMES[1]][:5_000])
    check(download())
    assert list(zip(server.paths, server.asked, strict=True)) == [
        (f"/mirror/{NAMES[1]}", "bytes=5000-"),
        (f"/mirror/{NAMES[2]}", None),
    ]


def test_dropped_connections_are_resumed(server, download):
    server.cuts = [10_000, 0, 1]
    server.statuses = [503]
    check(download())
    assert server.asked == [None, None, "bytes=10000-", "bytes=10000-", "bytes=10001-", None, None]


def test_photos_before_a_failure_stay(server, download, tmp_path):
    del server.files[NAMES[1]]
    with pytest.raises(DownloadError, match=f"^{server.url}/{NAMES[1]}: the server refuses it \\(HTTP 404") as error:
        download()
    assert "\n" not in str(error.value)
    assert [path.name for path in (tmp_path / "kodak").iterdir()] == [NAMES[0]]
    server.files[NAMES[1]] = CONTENTS[NAMES[1]]
    check(download())
    assert [Path(path).name for path in server.paths] == [NAMES[0], NAMES[1], NAMES[1], NAMES[2]]


@pytest.mark.parametrize("excess", [0, 1])
def test_complete_or_longer_part_is_fetched_again(server, download, tmp_path, excess):
    """The part is complete but not renamed, or another file: as the size is unknown, it is fetched again."""
    (tmp_path / "kodak").mkdir()
    (tmp_path / "kodak" / f"{NAMES[0]}.part").write_bytes(CONTENTS[NAMES[0]] + excess * b"x")
    check(download())
    assert server.asked == [f"bytes={len(CONTENTS[NAMES[0]]) + excess}-", None, None, None]


def test_server_without_content_lengths(server, download, tmp_path):
    server.lengths = False
    check(download())


def test_wrong_file_is_removed(server, download, tmp_path):
    server.files[NAMES[0]] = b"<html>We are sorry</html>"
    with pytest.raises(DownloadError, match=r"\.part: did not have the right checksum and was removed") as error:
        download()
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "kodak").iterdir())


def test_file_of_the_user_stays(server, download, tmp_path):
    (tmp_path / "kodak").mkdir()
    mine = tmp_path / "kodak" / NAMES[0]
    mine.write_text("mine")
    with pytest.raises(DownloadError, match=f"^{mine}: is not the official file"):
        download()
    assert mine.read_text() == "mine"
    assert not server.asked
