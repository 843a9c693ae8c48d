"""Jobs of many images by the real command: resumed, killed, shared, and from lists and archives."""

import json
import os
import random
import shutil
import signal
import tarfile
from pathlib import Path

import pytest
import torch
from cli_data import make_photos, read_files, read_report
from processes import PATIENCE, python, start, wait_until

import fastgs
import fastgs.codec
import fastgs.data
from fastgs.io.checkpoints import CHECKPOINTS

TINY = ("-k", "20", "--iterations", "4", "--workers", "1")


def read_journal(folder: Path, name: str = "jobs.jsonl") -> list[dict]:
    """Return the lines of a journal without its head."""
    return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()[1:]]


# Resuming


@pytest.mark.parametrize("command", ["predict", "encode"])
def test_what_is_done_is_left_out_and_the_rest_is_done(album, out, run_cli, capsys, command):
    assert run_cli(command, album, *TINY, "-o", out) == 0
    whole = read_files(out)
    lines = (out / "jobs.jsonl").read_bytes().splitlines(keepends=True)
    (out / "jobs.jsonl").write_bytes(b"".join(lines[:3]) + lines[3][:25])  # killed while it wrote the third
    last = next(path for path in out.iterdir() if path.stem == "photo003")
    last.unlink()
    times = {path.name: path.stat().st_mtime_ns for path in out.iterdir() if path.stem in ("photo000", "photo001")}
    capsys.readouterr()
    assert run_cli(command, album, *TINY, "-o", out, "--resume") == 0
    assert capsys.readouterr().out.count("\n") == 2
    assert read_files(out) == whole
    assert {name: (out / name).stat().st_mtime_ns for name in times} == times
    assert [Path(line["name"]).stem for line in read_journal(out)] == [f"photo00{number}" for number in range(4)]
    if command == "predict":
        assert [Path(record["image"]).stem for record in read_report(out)] == [f"photo00{n}" for n in range(4)]


def test_content_decides_and_not_the_name(album, out, run_cli, capsys):
    assert run_cli("encode", album, *TINY, "-o", out) == 0
    moved = album.rename(album.with_name("moved"))
    shutil.copy(moved / "photo001.png", moved / "photo000.png")
    capsys.readouterr()
    assert run_cli("encode", moved, *TINY, "-o", out, "--resume") == 1
    printed = capsys.readouterr()
    assert printed.out == ""  # three were done before
    assert f"would overwrite {out / 'photo000.fgs'}, made from {album / 'photo000.png'}" in printed.err
    moved.rename(album)  # at its old place, the changed photo takes the place of the old one
    assert run_cli("encode", album, *TINY, "-o", out, "--resume") == 0
    assert capsys.readouterr().out.startswith(f"{album / 'photo000.png'} -> ")
    assert (out / "photo000.fgs").read_bytes() == (out / "photo001.fgs").read_bytes()


def test_other_settings_are_refused(album, out, run_cli, error_line, capsys):
    assert run_cli("predict", album, *TINY, "-o", out) == 0
    before = read_files(out)
    capsys.readouterr()
    assert run_cli("predict", album, *TINY, "--seed", 3, "-o", out, "--resume") == 2
    reason = (
        "was written with --seed 0, not 3; give the same settings or another --output, or begin anew without --resume"
    )
    assert error_line() == f"fastgs predict: error: argument --resume: {out / 'jobs.jsonl'}: {reason}"
    assert read_files(out) == before
    assert run_cli("predict", album, *TINY, "--seed", 3, "-o", out) == 0
    assert len(read_journal(out)) == 4 and read_files(out) != before


@pytest.mark.parametrize(
    ("command", "options", "name"),
    [
        ("encode", (), "symbols"),
        ("encode", ("--target-psnr", "20"), "count"),
        ("predict", ("-k", "auto", "--target-psnr", "20"), "count"),
    ],
)
def test_other_weights_are_refused(
    album, out, run_cli, error_line, capsys, monkeypatch, tmp_path, command, options, name
):
    few = [*sorted(album.iterdir())[:2], *(options or TINY), "--iterations", "20", "--workers", "1", "-o", out]
    assert run_cli(command, *few) == 0
    assert run_cli(command, *few, "--resume") == 0
    others = shutil.copytree(CHECKPOINTS, tmp_path / "others")
    (others / f"{name}.safetensors").write_bytes(b"trained anew")
    monkeypatch.setattr("fastgs.cli.weights.CHECKPOINTS", others)
    capsys.readouterr()
    assert run_cli(command, *few, "--resume") == 2
    assert f"argument --resume: {out / 'jobs.jsonl'}: was written with weights of networks [" in error_line()
    (others / f"{name}.safetensors").unlink()
    assert run_cli(command, *few) == 2
    assert error_line().endswith(f"{others / name}.safetensors: no such weights; install fastgs again")


def test_failures_are_tried_again(album, out, run_cli, capsys):
    whole = (album / "photo002.png").read_bytes()
    (album / "photo002.png").write_bytes(whole[:60])
    assert run_cli("predict", album, *TINY, "-o", out) == 1
    assert [set(line) for line in read_journal(out)][2] == {"name", "error"}
    (album / "photo002.png").write_bytes(whole)
    capsys.readouterr()
    assert run_cli("predict", album, *TINY, "-o", out, "--resume") == 0
    assert capsys.readouterr().out.startswith(f"{album / 'photo002.png'} -> ") and len(read_report(out)) == 4


def test_two_runs_of_one_job_do_not_meet(album, out, run_cli, error_line):
    from fastgs.io.files import exclusive

    pytest.importorskip("fcntl")
    (out / ".jobs").mkdir(parents=True)
    with exclusive(out / ".jobs"):
        assert run_cli("predict", album, *TINY, "-o", out) == 1
        assert error_line().startswith(f"fastgs: error: {out}: another run of this job is at work")
    (out / ".jobs" / "left").mkdir()
    assert run_cli("predict", album, *TINY, "-o", out) == 0
    assert not (out / ".jobs").exists()


def test_the_end_of_a_long_run_names_the_failures(tmp_path, out, run_cli, capsys):
    album = make_photos(tmp_path / "many", 11)
    (album / "photo004.png").write_bytes(b"no image")
    assert run_cli("predict", album, *TINY, "-o", out) == 1
    *_, summary, failed = capsys.readouterr().err.splitlines()
    assert summary.startswith("fastgs: 10 of 11 images are done, 1 failed  ") and summary.endswith(" images/s")
    assert failed == f"fastgs: failed: {album / 'photo004.png'}"


# Kills

KILLS = int(os.environ.get("FASTGS_TEST_KILLS", "3"))


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_kills_lose_nothing_and_repeat_nothing(tmp_path, run_cli):
    """FASTGS_TEST_KILLS=50 for the long form."""
    draw = random.Random(KILLS)
    album = make_photos(tmp_path / "album", 200 if KILLS > 10 else 40)
    count = len(list(album.iterdir()))
    out, plain = tmp_path / "out", tmp_path / "plain"
    command = ("-m", "fastgs", "predict", str(album), *TINY[:-1], "2", "--resume", "-o", str(out))

    def count_lines() -> int:
        return (out / "jobs.jsonl").read_bytes().count(b"\n") if (out / "jobs.jsonl").exists() else 0

    for kill in range(KILLS):
        # Some of them before the first image is done; the last ones leave work for the others.
        aim = count_lines() + draw.randint(0, max(1, 2 * (count - count_lines()) // (KILLS - kill + 1)))
        with start(*command, start_new_session=True) as process:
            wait_until(lambda aim=aim, process=process: count_lines() >= aim or process.poll() is not None)
            os.killpg(process.pid, signal.SIGKILL) if draw.random() < 0.5 else process.kill()
            process.communicate(timeout=PATIENCE)
    done = python(*command)
    assert done.returncode == 0, done.stderr
    assert run_cli("predict", album, *TINY, "-o", plain) == 0
    assert read_files(out) == read_files(plain)
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in plain.iterdir())
    photos = sorted(map(str, album.iterdir()))
    assert sorted(line["name"] for line in read_journal(out)) == photos
    assert [record["image"] for record in read_report(out)] == photos


# Inputs


def test_lists_patterns_and_archives_are_inputs(album, out, tmp_path, run_cli, capsys, names):
    with tarfile.open(tmp_path / "shard.tar", "w") as archive:
        archive.add(album / "photo003.png", "x/inside.png")
    (tmp_path / "list.txt").write_text(f"{album / 'photo001.png'}\n{tmp_path / 'shard.tar'}\n", encoding="utf-8")
    pattern = f"{album}/photo00[02].png"
    assert run_cli("encode", pattern, "--from", tmp_path / "list.txt", *TINY, "-o", out) == 0
    assert names(out) == ["inside.fgs", "jobs.jsonl", "photo000.fgs", "photo001.fgs", "photo002.fgs"]
    assert f"\n{tmp_path / 'shard.tar'}/x/inside.png -> {out / 'inside.fgs'}  " in capsys.readouterr().out
    assert run_cli("encode", album / "photo003.png", *TINY, "-o", tmp_path / "again.fgs") == 0
    assert (tmp_path / "again.fgs").read_bytes() == (out / "inside.fgs").read_bytes()


@pytest.mark.slow
def test_list_from_standard_input(album, out):
    paths = "\n".join(str(path) for path in sorted(album.iterdir()))
    done = python("-m", "fastgs", "predict", "--from", "-", *TINY, "-o", out, input=paths)
    assert done.returncode == 0, done.stderr
    assert len(read_report(out)) == 4


def test_no_image_is_wrong_usage(run_cli, error_line, out):
    assert run_cli("predict", "-o", out) == 2
    assert error_line() == "fastgs predict: error: the following arguments are required: IMAGE, or --from FILE"


def test_inputs_that_cannot_be_listed_are_reported(album, out, run_cli, capsys):
    given = (f"{album}/*.bmp", "memory://nowhere/", "nothing://bucket/")
    assert run_cli("predict", *given, album / "photo000.png", "--from", "missing.txt", *TINY, "-o", out) == 1
    lines = capsys.readouterr().err.splitlines()
    subjects = ["missing.txt", f"{album}/*.bmp", "memory://nowhere/", "nothing://bucket/"]
    assert [line.split(": ")[2] for line in lines] == subjects and all("fastgs: error: " in line for line in lines)
    assert len(read_report(out)) == 1


# Parts


def test_parts_together_are_the_whole_job(album, out, tmp_path, run_cli, names):
    assert run_cli("predict", album, *TINY, "-o", tmp_path / "whole") == 0
    for number in (1, 2, 3):
        assert run_cli("predict", album, *TINY, "-o", out, "--shard", f"{number}/3") == 0
    assert read_files(out) == read_files(tmp_path / "whole")
    assert [len(read_journal(out, f"jobs-{number}-of-3.jsonl")) for number in (1, 2, 3)] == [1, 1, 2]
    reports = [json.loads((out / f"report-{number}-of-3.json").read_text(encoding="utf-8")) for number in (1, 2, 3)]
    assert len([record for each in reports for record in each]) == 4
    # Another division of the work goes on from all of their journals.
    (out / "photo003.png").unlink()
    assert run_cli("predict", album, *TINY, "-o", out, "--resume") == 0
    assert [Path(line["name"]).stem for line in read_journal(out)] == ["photo003"] and len(read_report(out)) == 4


@pytest.mark.parametrize("value", ["0/2", "3/2", "1", "a/b"])
def test_wrong_part_is_one_line(album, out, run_cli, error_line, value):
    assert run_cli("predict", album, *TINY, "-o", out, "--shard", value) == 2
    assert error_line().startswith("fastgs predict: error: argument --shard: expected I") and not out.exists()


@pytest.mark.parametrize("option", [("--resume",), ("--shard", "1/2")])
def test_a_stack_is_no_job(album, out, run_cli, error_line, option):
    assert run_cli("predict", album, *TINY, "--stack", *option, "-o", out) == 2
    assert error_line().startswith(f"fastgs predict: error: argument {option[0]}: not allowed with argument --stack")


# Shards of results


def read_shards(folder: Path) -> dict[str, fastgs.Gaussians]:
    return {name: gaussians for name, gaussians in fastgs.data.FittedDataset(folder)}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["safetensors", "tar"])
def test_shards_hold_what_single_files_do(album, out, tmp_path, run_cli, names, kind):
    options = (*TINY, "--shards", 3, "--shard-kind", kind)
    assert run_cli("predict", album, *TINY, "-o", tmp_path / "files") == 0
    assert run_cli("predict", album, *options, "-o", out) == 0
    assert names(out) == ["jobs.jsonl", "report.json", f"shard-00000.{kind}", f"shard-00001.{kind}"]
    found, wanted = read_shards(out), read_shards(tmp_path / "files")
    assert list(found) == [f"photo00{number}" for number in range(4)] == list(wanted)
    assert all(torch.equal(found[name].means, wanted[name].means) for name in wanted)
    if kind == "tar":
        with tarfile.open(out / "shard-00001.tar") as archive:
            picture = archive.extractfile("photo003.png").read()
        assert picture == (tmp_path / "files" / "photo003.png").read_bytes()
    parallel = tmp_path / "parallel"
    assert run_cli("predict", album, *options[:-5], 2, *options[-4:], "-o", parallel) == 0
    assert read_files(parallel) == read_files(out)


@pytest.mark.parametrize("kind", ["safetensors", "tar"])
def test_a_shard_is_written_again_when_what_failed_is_done(album, out, tmp_path, run_cli, names, kind):
    options = (*TINY, "--shards", 3, "--shard-kind", kind)
    assert run_cli("predict", album, *options, "-o", tmp_path / "whole") == 0
    content = (album / "photo001.png").read_bytes()
    (album / "photo001.png").write_bytes(b"no image")
    assert run_cli("predict", album, *options, "-o", out) == 1
    assert list(read_shards(out)) == ["photo000", "photo002", "photo003"]
    time = (out / f"shard-00001.{kind}").stat().st_mtime_ns
    (album / "photo001.png").write_bytes(content)
    assert run_cli("predict", album, *options, "-o", out, "--resume") == 0
    assert read_files(out) == read_files(tmp_path / "whole")
    assert (out / f"shard-00001.{kind}").stat().st_mtime_ns == time
    # A shard that is lost is made again, and nothing else.
    (out / f"shard-00000.{kind}").unlink()
    assert run_cli("predict", album, *options, "-o", out, "--resume") == 0
    assert read_files(out) == read_files(tmp_path / "whole")
    assert (out / f"shard-00001.{kind}").stat().st_mtime_ns == time
    assert names(out) == names(tmp_path / "whole")


def test_what_waits_for_its_shard_is_found_again(album, out, run_cli, capsys, monkeypatch):
    """A run that is broken off leaves the files of an unfinished shard, and the next one uses them."""

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("fastgs.jobs.packing._pack_gaussians", stop)
        assert run_cli("predict", album, *TINY, "--shards", 4, "-o", out) == 130
    assert len(list((out / ".parts").glob("*.safetensors"))) == 4
    (out / ".parts" / "photo002.safetensors").unlink()
    capsys.readouterr()
    assert run_cli("predict", album, *TINY, "--shards", 4, "-o", out, "--resume") == 0
    assert capsys.readouterr().out.startswith(f"{album / 'photo002.png'} -> {out}  ")
    assert len(read_shards(out)) == 4 and not (out / ".parts").exists()


def test_shards_of_other_images_are_refused(album, out, run_cli, error_line, capsys):
    assert run_cli("encode", album, *TINY, "--shards", 2, "-o", out) == 0
    assert [name for name, _ in fastgs.data.FittedDataset(out, fastgs.codec.decode)][3] == "photo003"
    (album / "photo000.png").unlink()
    capsys.readouterr()
    assert run_cli("encode", album, *TINY, "--shards", 2, "-o", out, "--resume") == 2
    assert "jobs.jsonl: was written with images " in error_line()


def test_shards_at_a_url_and_of_parts(album, out, tmp_path, run_cli):
    options = (*TINY, "--shards", "--shard-kind", "tar")
    assert run_cli("predict", album, *options, "-o", f"file://{out}") == 0
    assert run_cli("predict", album, *options, "-o", tmp_path / "plain") == 0
    assert read_files(out) == read_files(tmp_path / "plain")
    for number in (1, 2):
        assert run_cli("predict", album, *options, "--shard", f"{number}/2", "-o", tmp_path / "parts") == 0
    names = [path.name for path in (tmp_path / "parts").glob("*.tar")]
    assert sorted(names) == ["shard-1-of-2-00000.tar", "shard-2-of-2-00000.tar"]
    assert list(read_shards(tmp_path / "parts")) == list(read_shards(out))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--shards", "0"), "--shards: must be at least 1, got '0'"),
        (("--shards", "5", "--plots"), "--shards: holds Gaussians alone; pictures and pages go to --shard-kind tar"),
        (("--shards", "5", "--stack"), "--shards: not allowed with argument --stack"),
    ],
)
def test_wrong_shards_are_one_line(album, out, run_cli, error_line, options, message):
    assert run_cli("predict", album, *TINY, *options, "-o", out) == 2
    assert error_line().startswith(f"fastgs predict: error: argument {message}") and not out.exists()
