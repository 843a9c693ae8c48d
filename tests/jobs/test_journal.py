"""The journal of a job: what it remembers, and what it does about damage and other settings."""

import json

import fsspec
import pytest

from fastgs.io.places import Place
from fastgs.jobs.journal import Journal, Line, OtherSettingsError, Part, is_done, join_digests

SETTINGS = {"command": "predict", "iterations": 50, "background": (1, 2, 3), "fastgs": "0.2.0"}


@pytest.fixture(params=["local", "memory", "file"])
def place(request, tmp_path) -> Place:
    """Return a folder on the disk, in memory, and on the disk as a URL."""
    if request.param == "memory":
        fsspec.filesystem("memory").store.clear()
    out = tmp_path / "out"
    found = {"local": str(out), "memory": "memory://jobs", "file": f"file://{out}"}[request.param]
    place = Place(found)
    place.make()
    return place


def put(place: Place, tmp_path, name: str, content: bytes) -> Line:
    """Write an output, and return the line of an image that has it."""
    (tmp_path / "stage").mkdir(exist_ok=True)
    file = tmp_path / "stage" / name
    file.write_bytes(content)
    return Line(f"photos/{file.stem}.jpg", "abc", tuple(place.put([file])), '{"psnr": 30.5}')


def test_what_is_done_is_known_when_the_job_is_resumed(place, tmp_path):
    journal = Journal(place, "jobs.jsonl", SETTINGS, resume=False)
    first, second = (put(place, tmp_path, name, name.encode()) for name in ("a.png", "b.png"))
    journal.add(first)
    journal.add_error("photos/bad.jpg", "is no image")
    journal.add(second)
    journal.close()
    again = Journal(place, "jobs.jsonl", SETTINGS, resume=True)
    assert again.find("a") == [first] and again.find("b") == [second] and again.find("bad") == []
    assert is_done(first, "abc", place) and not is_done(first, "other", place) and not is_done(first, None, place)
    place.write("a.png", b"other")
    assert not is_done(first, "abc", place)
    place.remove("a.png")
    assert not is_done(first, "abc", place)
    third = put(place, tmp_path, "c.png", b"c")
    again.add(third)
    again.close()
    assert Journal(place, "jobs.jsonl", SETTINGS, resume=True).find("c") == [third]
    assert len(place.read("jobs.jsonl").splitlines()) == 5
    assert place.names("*") == ["b.png", "c.png", "jobs.jsonl"]


def test_damaged_and_torn_lines_are_left_out(tmp_path):
    place = Place(str(tmp_path))
    journal = Journal(place, "jobs.jsonl", SETTINGS, resume=False)
    for name in ("a.png", "b.png", "c.png"):
        journal.add(put(place, tmp_path, name, b"x"))
    journal.close()
    head, first, second, third = (tmp_path / "jobs.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "jobs.jsonl").write_bytes(head + first + second[:20] + b"\n" + third[:-10])
    again = Journal(place, "jobs.jsonl", SETTINGS, resume=True)
    assert again.find("a") and not again.find("b") and not again.find("c")
    again.add(put(place, tmp_path, "c.png", b"x"))
    again.close()
    assert Journal(place, "jobs.jsonl", SETTINGS, resume=True).find("c")


def test_other_settings_are_refused_by_name(tmp_path):
    place = Place(str(tmp_path))
    journal = Journal(place, "jobs.jsonl", SETTINGS, resume=False)
    journal.add(put(place, tmp_path, "a.png", b"a"))
    journal.close()
    with pytest.raises(OtherSettingsError) as caught:
        Journal(place, "jobs-1-of-2.jsonl", {**SETTINGS, "iterations": None, "bits": 16}, resume=True)
    expected = "was written with --iterations 50, not by default; --bits by default, not 16"
    assert str(caught.value) == f"{tmp_path / 'jobs.jsonl'}: {expected}"
    assert not Journal(place, "jobs.jsonl", {}, resume=False).lines


def test_another_file_is_no_journal(tmp_path):
    (tmp_path / "jobs.jsonl").write_text('{"format": "other"}\n', encoding="utf-8")
    with pytest.raises(ValueError, match="is no journal of this version"):
        Journal(Place(str(tmp_path)), "jobs.jsonl", SETTINGS, resume=True)


def test_a_full_disk_leaves_no_half_line(tmp_path, monkeypatch):
    place = Place(str(tmp_path))
    journal = Journal(place, "jobs.jsonl", SETTINGS, resume=False)
    line = put(place, tmp_path, "a.png", b"a")
    journal.add(line)

    class Full:
        """A stream that takes the first bytes only."""

        def __init__(self, stream):
            self.stream = stream

        def __getattr__(self, name):
            return getattr(self.stream, name)

        def write(self, data):
            return self.stream.write(data[:7])

    monkeypatch.setattr(journal, "_stream", Full(journal._stream))
    with pytest.raises(OSError, match="disk is full"):
        journal.add(put(place, tmp_path, "b.png", b"b"))
    journal.close()
    assert [json.loads(text) for text in (tmp_path / "jobs.jsonl").read_text(encoding="utf-8").splitlines()][1:]
    assert (tmp_path / "jobs.jsonl").read_bytes().endswith(b"}\n")


@pytest.mark.parametrize(("count", "total"), [(10, 3), (2, 5), (0, 2), (7, 7)])
def test_parts_share_everything_once(count, total):
    parts = [Part(number, total).select(count) for number in range(1, total + 1)]
    assert [place for part in parts for place in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert Part(2, 3).name("jobs", ".jsonl") == "jobs-2-of-3.jsonl" and Part().name("report", ".json") == "report.json"


def test_digest_of_a_stack_needs_all_of_it():
    assert join_digests(["a", "b"]) == "a+b" and join_digests(["a", None]) is None


def test_files_are_moved_all_or_none(place, tmp_path, monkeypatch):
    (tmp_path / "stage").mkdir()
    files = [tmp_path / "stage" / name for name in ("a.png", "b.png")]
    files[0].write_bytes(b"a")  # the other one is missing
    with pytest.raises(OSError, match=r"b\.png"):
        place.put(files)
    assert place.names("*") == []


def test_a_bucket_that_is_not_there_is_said(monkeypatch):
    def refuse(*arguments, **options):
        raise FileNotFoundError("The specified bucket does not exist")

    monkeypatch.setattr(fsspec.filesystem("memory"), "pipe_file", refuse)
    with pytest.raises(OSError) as caught:  # noqa: PT011
        Place("memory://nowhere").make()
    assert "no such bucket" in caught.value.strerror
    with pytest.raises(ValueError, match="nothing://x: cannot be opened"):
        Place("nothing://x").make()
