"""Packages of earlier commits in processes of their own, and the comparison of encoders that uses them."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2]
SCRIPT = """\
import json, sys
from fastgs import VERSION
for line in sys.stdin:
    print(json.dumps({"version": VERSION, "twice": 2 * json.loads(line)["number"]}), flush=True)
"""


@pytest.fixture
def earlier(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    from benchmarks.speed import earlier

    return earlier


def git(folder, *arguments):
    person = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.org", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *person, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path):
    """Return a repository whose package has VERSION 1 in its first commit, and 2 in its second."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    folder = tmp_path / "repository"
    (folder / "fastgs").mkdir(parents=True)
    git(folder, "init", "--quiet")
    for version in (1, 2):
        (folder / "fastgs" / "__init__.py").write_text(f"VERSION = {version}\n", encoding="utf-8")
        git(folder, "add", "fastgs")
        git(folder, "commit", "--quiet", "--message", f"Version {version}")
    return folder


def list_checkouts(repository):
    return git(repository, "worktree", "list").splitlines()[1:]


def test_each_commit_answers_with_its_own_package(earlier, repository, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    with earlier.checked_out("HEAD^", repository) as folder:
        assert len(list_checkouts(repository)) == 1
        with earlier.started(script, folder) as before, earlier.started(script, repository) as now:
            for number in (1, 2):
                assert before({"number": number}) == {"version": 1, "twice": 2 * number}
                assert now({"number": number}) == {"version": 2, "twice": 2 * number}
    assert not folder.exists() and not list_checkouts(repository)


def test_checkout_is_removed_after_interruptions(earlier, repository):
    with pytest.raises(KeyboardInterrupt), earlier.checked_out("HEAD", repository) as folder:
        raise KeyboardInterrupt
    assert not folder.exists() and not list_checkouts(repository)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stop, earlier.checked_out("HEAD", repository) as folder:
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.value.code == 143 and signal.getsignal(signal.SIGTERM) is before
    assert not folder.exists() and not list_checkouts(repository)


def test_script_that_fails_is_told_in_one_line(earlier, repository, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import fastgs\nraise ValueError('too old')\n", encoding="utf-8")
    with earlier.started(script, repository) as ask:
        for _ in range(2):
            with pytest.raises(earlier.UnavailableError) as failure:
                ask({"much": "x" * 10**6})
            message = f"{repository}: script.py ended without an answer: ValueError: too old"
            assert str(failure.value) == message


def test_missing_commits_are_told_in_one_line(earlier, repository, tmp_path, monkeypatch):
    with pytest.raises(earlier.UnavailableError, match=r"^0123abc: no such commit; see `git log`$"):
        earlier.resolve("0123abc", repository)
    git(tmp_path, "clone", "--quiet", "--depth", "1", repository.as_uri(), "shallow")
    with pytest.raises(earlier.UnavailableError, match=r"^HEAD\^: no such commit; the clone is shallow; `git fetch "):
        earlier.resolve("HEAD^", tmp_path / "shallow")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (tmp_path / "plain").mkdir()
    with pytest.raises(earlier.UnavailableError, match=r"^HEAD: .*plain is no repository of git; clone the project$"):
        earlier.resolve("HEAD", tmp_path / "plain")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(earlier.UnavailableError, match=r"^HEAD: git is not installed"):
        earlier.resolve("HEAD", repository)


@pytest.mark.slow
def test_encoders_of_two_commits_are_compared(earlier, tmp_path, monkeypatch):
    from benchmarks.speed import encoding

    try:
        name = earlier.resolve("HEAD")
    except earlier.UnavailableError as error:
        pytest.skip(str(error))
    output = tmp_path / "against.json"
    options = ("--bpp", "1", "--against", "HEAD", "--rounds", "1", "--size", "32", "--output", str(output))
    monkeypatch.setattr(sys, "argv", ["encoding.py", *options])
    encoding.main()
    today, before = json.loads(output.read_text(encoding="utf-8"))["records"]
    assert (today["commit"], before["commit"], before["hash"]) == (encoding.TODAY, "HEAD", name)
    for record in (today, before):
        assert 0.9 * record["target_bytes"] <= record["bytes"] <= record["target_bytes"]
        assert record["cpu_seconds"] > 0 and record["seconds"] > 0 and record["psnr"] > 15
    assert before["time_ratio"] > 0 and before["wall_ratio"] > 0


def test_gains_over_a_commit_are_at_equal_bytes(earlier):
    from benchmarks.speed import encoding

    def record(commit, cpu, size, psnr):
        times = {"cpu_seconds": cpu, "seconds": cpu / 2}
        return {"commit": commit, "bpp": 0.5, **times, "bytes": size, "target_bytes": 1000, "psnr": psnr}

    now, then = record(encoding.TODAY, 3.0, 1000, 31.0), record("HEAD", 6.0, 500, 27.0)
    encoding.add_gains([now, then])
    assert now["psnr_at_target"] == 31.0 and "time_ratio" not in now
    assert then["psnr_at_target"] == 27.0 + encoding.USUAL_SLOPE
    assert (then["time_ratio"], then["wall_ratio"], then["psnr_gain"]) == (0.5, 0.5, 1.0)


@pytest.mark.slow  # imports all programs of the table
def test_rows_of_the_encoder_are_left_out_without_history(earlier, monkeypatch, capsys):
    from benchmarks.speed import __main__ as table

    first, second = table.EARLIER

    def compare(_photos, _size, _rates, commits):
        if commits == [first.commit]:
            raise earlier.UnavailableError(f"{first.commit}: no such commit")
        return [{}, {"time_ratio": 0.9}]

    monkeypatch.setattr(table.encoding, "compare", compare)
    (row,) = table.encoder(Path("photo.png"))
    assert (row.value, row.unit, row.goal) == (0.9, f"the commit before {second.following}", 1.0)
    said = capsys.readouterr().out
    assert said == f"left out: fastgs encode over the commit before efforts: {first.commit}: no such commit\n"


def test_arguments_that_contradict_are_refused(earlier, monkeypatch, capsys):
    from benchmarks.speed import encoding

    monkeypatch.setattr(sys, "argv", ["encoding.py", "--against", "HEAD", "--efforts", "5"])
    with pytest.raises(SystemExit):
        encoding.main()
    assert "argument --efforts: not allowed with argument --against" in capsys.readouterr().err
