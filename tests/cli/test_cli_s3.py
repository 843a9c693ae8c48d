"""Jobs of many images in buckets, by the real command, against a server that speaks the protocol of S3.

They run where `pip install s3fs 'moto[s3,server]'` was given; test_cli_places.py has a store in memory everywhere.
"""

import logging
import tarfile

import pytest
from cli_data import read_files

pytest.importorskip("s3fs")
server = pytest.importorskip("moto.server")

TINY = ("-k", "20", "--iterations", "4", "--workers", "1")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address():
    """Address of a server on this machine with nothing in it."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = server.ThreadedMotoServer(port=0)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def store(address, album, monkeypatch):
    """File system with the buckets "photos", which holds the album, and "results"."""
    import s3fs

    for name, value in {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    s3fs.S3FileSystem.clear_instance_cache()
    system = s3fs.S3FileSystem()
    for bucket in ("photos", "results"):
        if system.exists(bucket):
            system.rm(bucket, recursive=True)
        system.mkdir(bucket)
    for path in album.iterdir():
        system.pipe_file(f"photos/2026/{path.name}", path.read_bytes())
    return system


def read_bucket(store, folder):
    store.invalidate_cache()
    return {path.rpartition("/")[2]: store.cat_file(path) for path in store.ls(folder)}


def count_reads(store, monkeypatch):
    """Return a list to which each path is appended that is read from now on."""
    paths, read = [], store.cat_file
    monkeypatch.setattr(store, "cat_file", lambda path, **options: paths.append(path) or read(path, **options))
    return paths


def test_outputs_in_a_bucket_are_those_of_a_folder(store, album, out, run_cli, monkeypatch):
    assert run_cli("predict", album, *TINY, "-o", out) == 0
    paths = count_reads(store, monkeypatch)
    assert run_cli("predict", "s3://photos/2026", *TINY, "-o", "s3://results/here/there") == 0
    assert sorted(paths) == [f"photos/2026/photo00{number}.png" for number in range(4)]  # each once
    found = read_bucket(store, "results/here/there")
    assert {name: data for name, data in found.items() if name in read_files(out)} == read_files(out)
    assert sorted(found) == sorted(path.name for path in out.iterdir())  # and nothing else


def test_what_is_done_in_a_bucket_is_left_out(store, run_cli, capsys):
    command = ("encode", "s3://photos/2026/*.png", *TINY, "-o", "s3://results/files")
    assert run_cli(*command) == 0
    whole = read_bucket(store, "results/files")
    store.rm_file("results/files/photo002.fgs")
    capsys.readouterr()
    assert run_cli(*command, "--resume") == 0
    assert "photo002.png" in capsys.readouterr().out
    again = read_bucket(store, "results/files")
    assert again["photo002.fgs"] == whole["photo002.fgs"] and again.keys() == whole.keys()


def test_archives_and_shards_are_in_buckets(store, album, out, tmp_path, run_cli):
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        archive.add(album, arcname="album")
    store.put_file(str(tmp_path / "set.tar"), "photos/set.tar")
    options = (*TINY, "--shards", 3)
    assert run_cli("predict", tmp_path / "set.tar", *options, "-o", out) == 0
    assert run_cli("predict", "s3://photos/set.tar", *options, "-o", "s3://results/shards") == 0
    found = read_bucket(store, "results/shards")
    assert sorted(found) == ["jobs.jsonl", "report.json", "shard-00000.safetensors", "shard-00001.safetensors"]
    assert all(found[name] == data for name, data in read_files(out).items())


def test_wrong_buckets_are_one_line(store, album, run_cli, error_line):
    assert run_cli("predict", album, *TINY, "-o", "s3://reslts/out") == 2
    assert error_line().startswith(
        "fastgs predict: error: argument --output: cannot write to s3://reslts/out (no such bucket or folder"
    )
    assert not store.exists("reslts")  # nor is it made
    for wrong in ("s3://phtos/2026", "s3://photos/2025/"):
        assert run_cli("predict", wrong, *TINY, "-o", "s3://results/out") == 1
        assert error_line().startswith(f"fastgs: error: {wrong}: no such")
    assert not store.exists("results/out")
