"""The commands as processes of their own: exit codes, messages, interrupts and broken outputs."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_data import QUICK, ROOT, make_bad_files, read_report
from processes import PATIENCE, exit_code, python, start, wait_until

pytestmark = pytest.mark.slow


def infer(*arguments) -> subprocess.CompletedProcess:
    return python(ROOT / "infer.py", *arguments)


def test_infer_gives_the_files_of_fastgs_predict(photo_file, out, predict, tmp_path):
    arguments = (photo_file, "-k", 200, "--iterations", 10, "--output")
    done = infer(*arguments, out)
    assert (done.returncode, done.stderr) == (0, "")  # no progress bar, since stderr is no terminal
    assert predict(*arguments, tmp_path / "again") == 0
    for name in ("photo.png", "photo.safetensors"):
        assert (out / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_infer_goes_on_after_bad_files(photo_file, out, names):
    bad_files = make_bad_files()
    for name, content in bad_files.items():
        photo_file.with_name(name).write_bytes(content)
    wrong = [photo_file.with_name(name) for name in ("missing.png", *bad_files)]
    done = infer(*wrong, photo_file, *QUICK, "--output", out)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert [line.split(": ")[:3] for line in lines] == [["fastgs", "error", str(path)] for path in wrong]
    assert names(out) == ["jobs.jsonl", "photo.png", "photo.safetensors", "report.json"] and len(read_report(out)) == 1


@pytest.mark.skipif(os.name != "posix", reason="SIGINT")
def test_infer_leaves_nothing_when_interrupted(photo_file, out):
    with start(ROOT / "infer.py", photo_file, photo_file, "-k", "120", "--seconds", "600", "--output", out) as process:
        wait_until(out.exists)
        time.sleep(1)  # until the fit runs; on a slow machine, the interrupt comes before it
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=PATIENCE)
    assert exit_code(process) == 130
    assert stderr == "fastgs: interrupted\n"
    assert not out.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_infer_reports_a_broken_standard_output(photo_file, out, names):
    with open("/dev/full", "w", encoding="utf-8") as full:
        command = [sys.executable, str(ROOT / "infer.py"), photo_file, *QUICK, "--output", out]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
    assert done.returncode == 1
    assert done.stderr == "fastgs: error: standard output: cannot be written (No space left on device)\n"
    assert names(out) == ["photo.png", "photo.safetensors", "report.json"]


def test_fastgs_encodes_and_decodes(photo_file, names):
    folder, output = photo_file.parent, photo_file.with_suffix(".fgs")
    done = python(
        *("-m", "fastgs", "encode", folder / "missing.png", photo_file, "-o", folder, "-k", 9, "--iterations", 1)
    )
    expected = f"fastgs: error: {folder / 'missing.png'}: no such file; check the name\n"
    assert (done.returncode, done.stderr) == (1, expected)
    assert done.stdout.startswith(f"{photo_file} -> {output}  {output.stat().st_size} bytes  ")
    output.write_bytes(output.read_bytes()[:-1] + b"?")
    done = python("-m", "fastgs", "decode", output, "-o", folder / "out.png")
    assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"fastgs: error: {output}: is damaged (the checksum of layer ")
    assert names(folder) == ["jobs.jsonl", "photo.fgs", "photo.png"]
