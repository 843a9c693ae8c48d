"""Jobs that read and write at URLs by the real command; test_cli_s3.py has a real protocol."""

from pathlib import Path

import fsspec
import pytest
from cli_data import read_files, read_report

TINY = ("-k", "20", "--iterations", "4", "--workers", "1")


def test_outputs_at_a_url_are_those_of_a_folder(album, out, tmp_path, run_cli):
    assert run_cli("predict", album, *TINY, "-o", out) == 0
    place = f"file://{tmp_path}/store"
    assert run_cli("predict", f"file://{album}", *TINY, "-o", place) == 0
    assert read_files(tmp_path / "store") == read_files(out)
    (tmp_path / "store" / "photo001.png").unlink()
    assert run_cli("predict", f"file://{album}", *TINY, "-o", place, "--resume") == 0
    assert read_files(tmp_path / "store") == read_files(out) and len(read_report(tmp_path / "store")) == 4
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == sorted(path.name for path in out.iterdir())


def test_a_bucket_is_read_once_and_has_no_folders(album, out, run_cli, monkeypatch):
    # In a store of objects, a folder is there once something is in it, and to make one may make a bucket.
    store, paths = fsspec.filesystem("memory"), []
    for path in album.iterdir():
        store.pipe_file(f"/photos/{path.name}", path.read_bytes())
    read = store.cat_file
    monkeypatch.setattr(store, "cat_file", lambda path, **options: paths.append(path) or read(path, **options))
    monkeypatch.setattr(store, "makedirs", None)
    assert run_cli("predict", album, *TINY, "-o", out) == 0
    assert run_cli("predict", "memory://photos", *TINY, "-o", "memory://results/here/there") == 0
    assert sorted(paths) == [f"/photos/photo00{number}.png" for number in range(4)]
    found = {Path(path).name: read(path) for path in store.ls("/results/here/there", detail=False)}
    assert sorted(found) == sorted(path.name for path in out.iterdir())
    assert all(found[name] == data for name, data in read_files(out).items())


@pytest.mark.parametrize(
    "command",
    [
        ("decode", "s3://b/a.fgs", "-o", "a.png"),
        ("decode", "a.fgs", "b.fgs", "-o", "s3://b/a"),
        ("info", "s3://b/a.fgs"),
        ("view", "s3://b/a.fgs"),
        ("view", "a.fgs", "-o", "s3://b/a"),
        ("table", "s3://b/a.json"),
        ("evaluate", "a.png", "-k", "9", "--output", "s3://b/a.json"),
    ],
)
def test_commands_that_take_no_urls_say_so(command, tmp_path, monkeypatch, run_cli, error_line):
    monkeypatch.chdir(tmp_path)
    assert run_cli(*command) == 2
    url = next(each for each in command if "://" in each)
    assert error_line().endswith(f": expected a path on this machine, got {url}; predict and encode take URLs")
    assert not any(tmp_path.iterdir())


def test_a_bucket_that_is_not_there_is_one_line(album, run_cli, error_line, monkeypatch):
    def refuse(*arguments, **options):
        raise FileNotFoundError("The specified bucket does not exist")

    monkeypatch.setattr(fsspec.filesystem("memory"), "pipe_file", refuse)
    assert run_cli("encode", album, *TINY, "-o", "memory://nowhere/x") == 2
    line = error_line()
    assert line.startswith(
        "fastgs encode: error: argument --output: cannot write to memory://nowhere/x (no such bucket"
    )
