"""Download of DIV2K from a local server: it resumes, verifies, and leaves nothing incomplete."""

import errno
import hashlib
import io
import os
import sys
import zipfile
from dataclasses import replace

import pytest
from file_server import serving

from fastgs.cli import download as download_command
from fastgs.cli import main as cli
from fastgs.data import div2k
from fastgs.data.div2k import Archive, DownloadError, download
from fastgs.runtime.registry import Registry

NAME = "DIV2K_test_HR"


def make_zip(entries):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in entries:
            archive.writestr(name, os.urandom(20_000))
    return buffer.getvalue()


def describe(content, count=3):
    return Archive(NAME, len(content), hashlib.sha256(content).hexdigest(), count)


CONTENT = make_zip([f"{NAME}/{index}.png" for index in range(3)])
ARCHIVE = describe(CONTENT)


@pytest.fixture
def server():
    with serving({f"{NAME}.zip": CONTENT}) as server:
        yield server


@pytest.fixture
def fetch(server, tmp_path):
    def run(archive=ARCHIVE, folder=tmp_path, **options):
        return download(archive, folder, server.url, wait=0, **options)

    return run


def list_names(folder):
    return sorted(path.name for path in folder.iterdir())


def check_images(folder):
    with zipfile.ZipFile(io.BytesIO(CONTENT)) as archive:
        assert list_names(folder) == ["0.png", "1.png", "2.png"]
        assert all((folder / name).read_bytes() == archive.read(f"{NAME}/{name}") for name in list_names(folder))


# Downloads that succeed


def test_archive_is_downloaded_once(server, fetch, tmp_path):
    told = []
    folder = fetch(folder=tmp_path / "deeper", progress=lambda *entry: told.append(entry))
    assert folder == tmp_path / "deeper" / NAME and list_names(folder.parent) == [NAME]
    check_images(folder)
    assert [action for action in dict.fromkeys(entry[0] for entry in told)] == ["downloading", "checking", "extracting"]
    assert all(done <= total for _, done, total in told) and told[-1][1] == told[-1][2] == 60_000
    server.statuses = [500]
    assert fetch(folder=tmp_path / "deeper") == folder
    assert server.asked == [None]


def test_only_missing_bytes_are_transferred(server, fetch, tmp_path):
    (tmp_path / f"{NAME}.zip.part").write_bytes(CONTENT[:25_000])
    check_images(fetch())
    assert server.asked == ["bytes=25000-"] and list_names(tmp_path) == [NAME]


def test_ranges_shorter_than_requested(server, fetch, tmp_path):
    (tmp_path / f"{NAME}.zip.part").write_bytes(CONTENT[:25_000])
    server.most = 20_000
    check_images(fetch())
    assert server.asked == ["bytes=25000-", "bytes=45000-"]


def test_dropped_connections_are_resumed(server, fetch):
    server.cuts = [10_000, 15_000, 0, 1]
    check_images(fetch())
    assert server.asked == [None, "bytes=10000-", "bytes=25000-", "bytes=25000-", "bytes=25001-"]


def test_busy_server_is_asked_again(server, fetch):
    server.statuses = [503, 429]
    check_images(fetch())
    assert len(server.asked) == 3


def test_four_consecutive_failures_end_the_download(server, fetch, tmp_path):
    """Every byte that arrives resets the count."""
    server.cuts = [10_000, 0, 0, 0, 1, 0, 0, 0, 0]
    check_refused(fetch, r"cannot be fetched \(.+\); try again later to continue")
    assert len(server.asked) == 9 and (tmp_path / f"{NAME}.zip.part").read_bytes() == CONTENT[:10_001]


def test_server_without_ranges_sends_the_whole_file(server, fetch, tmp_path):
    (tmp_path / f"{NAME}.zip.part").write_bytes(b"x" * 25_000)
    server.ranges = False
    check_images(fetch())


def test_complete_part_needs_no_request(server, fetch, tmp_path):
    (tmp_path / f"{NAME}.zip.part").write_bytes(CONTENT)
    check_images(fetch(keep_archive=True))
    assert server.asked == [] and list_names(tmp_path) == [NAME, f"{NAME}.zip"]


def test_interrupt_keeps_received_bytes(server, fetch, tmp_path):
    def interrupt(action, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(progress=interrupt)
    received = (tmp_path / f"{NAME}.zip.part").read_bytes()
    assert received and CONTENT.startswith(received)
    check_images(fetch())


# Downloads that fail


def check_refused(fetch, match, **options):
    with pytest.raises(DownloadError, match=match) as error:
        fetch(**options)
    assert "\n" not in str(error.value)


def test_wrong_checksum_removes_the_file(fetch, tmp_path):
    check_refused(
        fetch, r"\.part: did not have the right checksum and was removed", archive=replace(ARCHIVE, sha256="0" * 64)
    )
    assert list_names(tmp_path) == []


def test_file_of_the_user_with_wrong_checksum_stays(fetch, tmp_path):
    (tmp_path / f"{NAME}.zip").write_text("mine")
    check_refused(fetch, "is not the official file")
    assert list_names(tmp_path) == [f"{NAME}.zip"]


@pytest.mark.parametrize("status", [404, 403])
def test_refusal_is_not_retried(server, fetch, tmp_path, status):
    server.statuses = [status]
    check_refused(fetch, f"refuses it \\(HTTP {status}")
    assert len(server.asked) == 1 and list_names(tmp_path) == []


def test_wrong_file_is_not_received(server, fetch, tmp_path):
    server.files[f"{NAME}.zip"] = b"<html>We are sorry</html>"
    check_refused(fetch, "offers 25 bytes instead of")
    assert list_names(tmp_path) == []


def test_file_shorter_than_the_part_is_not_received(server, fetch, tmp_path):
    (tmp_path / f"{NAME}.zip.part").write_bytes(CONTENT[:25_000])
    server.files[f"{NAME}.zip"] = CONTENT[:20_000]
    check_refused(fetch, "refuses it \\(HTTP 416")
    assert (tmp_path / f"{NAME}.zip.part").read_bytes() == CONTENT[:25_000]


@pytest.mark.parametrize("lengths", [True, False])
@pytest.mark.parametrize(
    "claim",
    [
        lambda start, end, size: f"bytes 0-{end - 1}/{size}",
        lambda start, end, size: f"bytes {start + 1}-{end - 1}/{size}",
        lambda start, end, size: f"bytes {start}0-{end - 1}/*",
        lambda start, end, size: f"bytes {start}-{end}/{size}",
        lambda start, end, size: f"items {start}-{end - 1}/{size}",
        lambda start, end, size: None,
    ],
)
def test_wrong_range_is_not_appended(server, fetch, tmp_path, claim, lengths):
    (tmp_path / f"{NAME}.zip.part").write_bytes(CONTENT[:25_000])
    server.claims, server.lengths = claim, lengths
    check_refused(fetch, "sends another range than it was asked for")
    assert (tmp_path / f"{NAME}.zip.part").read_bytes() == CONTENT[:25_000]
    assert server.asked == ["bytes=25000-"] and list_names(tmp_path) == [f"{NAME}.zip.part"]


@pytest.mark.parametrize("lengths", [True, False])
def test_range_of_another_file_is_not_appended(server, fetch, tmp_path, lengths):
    (tmp_path / f"{NAME}.zip.part").write_bytes(CONTENT[:25_000])
    server.claims, server.lengths = lambda start, end, size: f"bytes {start}-{end - 1}/{size + 1}", lengths
    check_refused(fetch, f"offers {len(CONTENT) + 1:,} bytes instead of {len(CONTENT):,}")
    assert (tmp_path / f"{NAME}.zip.part").read_bytes() == CONTENT[:25_000]


def test_no_network(server, fetch, tmp_path):
    server.shutdown()
    server.server_close()
    check_refused(fetch, "cannot be fetched \\(.+\\); try again later")
    assert list_names(tmp_path) == []


def test_invalid_addresses(tmp_path):
    for url in ("ftp://host", "/local", "http://[half", "http://host:port", "http://a b"):
        with pytest.raises(DownloadError, match="is not a web address"):
            download(ARCHIVE, tmp_path, url, wait=0)


@pytest.mark.parametrize("entry", ["../evil.png", "/evil.png", f"{NAME}/../../evil.png", "other/evil.png", "C:\\evil"])
def test_entries_outside_of_the_folder_are_refused(server, fetch, tmp_path, entry):
    server.files[f"{NAME}.zip"] = make_zip([f"{NAME}/0.png", entry])
    check_refused(
        fetch,
        "has an entry outside of",
        archive=describe(server.files[f"{NAME}.zip"], count=2),
        folder=tmp_path / "a" / "b",
    )
    assert (
        list_names(tmp_path / "a" / "b") == [f"{NAME}.zip"]
        and list_names(tmp_path) == ["a"]
        and list_names(tmp_path / "a") == ["b"]
    )


def test_links_are_refused(server, fetch, tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo(f"{NAME}/0.png")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    server.files[f"{NAME}.zip"] = buffer.getvalue()
    check_refused(fetch, "has an entry outside of", archive=describe(server.files[f"{NAME}.zip"], count=1))


def test_incomplete_folders_and_archives(fetch, tmp_path):
    check_refused(fetch, "holds 3 images instead of 4", archive=replace(ARCHIVE, count=4))
    assert list_names(tmp_path) == [f"{NAME}.zip"]
    (tmp_path / NAME).mkdir()
    check_refused(fetch, "holds 0 of 3 images")


def test_full_disk_is_noticed_before_the_download(server, fetch, tmp_path):
    check_refused(fetch, "needs 2000000.0 GB but has .* GB free", archive=replace(ARCHIVE, size=10**15))
    assert server.asked == []


# The command


@pytest.fixture
def command(server, monkeypatch, tmp_path):
    small = div2k.describe({"train": ARCHIVE, "valid": replace(ARCHIVE, name="DIV2K_other_HR")})
    monkeypatch.setattr(download_command, "DATASETS", Registry("dataset", {"div2k": small}))

    def run(*arguments):
        return cli.main(["download", "div2k", "--output", str(tmp_path / "data"), "--url", server.url, *arguments])

    return run


def test_command_fetches_a_split(command, tmp_path, capsys):
    assert command("--split", "train") == 0
    check_images(tmp_path / "data" / NAME)
    said = capsys.readouterr()
    assert said.out == f"{tmp_path / 'data' / NAME}  3 images\n"
    assert said.err == f"{div2k.LICENSE}\n" and "academic research only" in said.err  # no bar: stderr is no terminal


def test_command_shows_progress_on_a_terminal(command, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    assert command("--split", "train") == 0
    assert f"{NAME}: " in capsys.readouterr().err


def test_command_fails_in_one_line(command, server, tmp_path, capsys, monkeypatch):
    server.statuses = [404]
    assert command() == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and lines[1].startswith(f"fastgs: error: {server.url}/{NAME}.zip: the server refuses it")

    (tmp_path / "file").write_text("")
    assert command("--output", str(tmp_path / "file")) == 1
    assert (
        capsys.readouterr().err.splitlines()[1].startswith(f"fastgs: error: {tmp_path / 'file'}: cannot be written (")
    )

    def full_disk(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(div2k, "_extract", full_disk)
    assert command() == 1
    assert capsys.readouterr().err.splitlines()[1].endswith("cannot be written (No space left on device)")


def test_command_with_wrong_usage(command, capsys):
    assert command("--split", "test") == 2 and cli.main(["download", "imagenet"]) == 2
    assert capsys.readouterr().err.count("\n") == 2
