"""Tests of the second process, which compiles kernels beside a command."""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from processes import alive, children, exit_code, python, start, wait_until

from fastgs.codec.frame import Frame, write_frame
from fastgs.codec.layer import encode_layers
from fastgs.codec.symbols import Layer, Steps
from fastgs.runtime import compiler_process
from fastgs.runtime.division import Division, TakenError


def test_each_kernel_is_taken_once(tmp_path):
    assert Division(tmp_path).take("a")
    with pytest.raises(TakenError):
        Division(tmp_path).take("a")
    assert Division(tmp_path).take("b")


def test_a_kernel_of_a_process_that_dies_is_not_waited_for(tmp_path):
    Division(tmp_path).take("a")
    states = iter((True, True, False))
    assert not Division(tmp_path, lambda: next(states)).take("a")
    assert next(states, "asked until it was dead") == "asked until it was dead"


def test_a_kernel_that_is_done_is_not_waited_for(tmp_path):
    other = Division(tmp_path)
    other.take("a")
    other.finish("a")
    assert not Division(tmp_path, lambda: True).take("a")


@pytest.mark.parametrize("obstacle", ["no folder", "one core", "all there"])
def test_no_process_starts_where_it_cannot_help(tmp_path, monkeypatch, obstacle):
    started = []
    monkeypatch.setattr(compiler_process, "_Process", lambda *arguments: started.append(arguments))
    monkeypatch.setattr(compiler_process, "_running", None)
    monkeypatch.setattr(compiler_process.atexit, "register", lambda _: None)
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    monkeypatch.setattr(compiler_process.threads, "num_threads", lambda: 1 if obstacle == "one core" else 2)
    folder = tmp_path / "kernels"
    if obstacle == "no folder":
        folder.write_text("a file")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(folder / "cache"))
    if obstacle == "all there":
        compiler_process.start("module", ("fit", 3))
        assert started.pop()
        marker = compiler_process._marker(["module", "fit", "3"])
        marker.touch()
    compiler_process.start("module", ("fit", 3))
    assert not started


@pytest.fixture
def photo(tmp_path):
    """Return the path of a small photo."""
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)).save(path)
    return path


def environment(tmp_path) -> dict[str, str]:
    """Return an environment with an empty cache of kernels, two cores, and a folder for temporary files."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    own = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "OMP_NUM_THREADS": "2", "TMPDIR": str(temporary)}
    return os.environ | own


def find_second(pid) -> int | None:
    """Return the id of the second process of a command, once it has taken a kernel (Linux)."""
    for child in children(pid):
        try:
            words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"fastgs.runtime.compiler_process" in words and any(Path(os.fsdecode(words[3])).glob("*")):
            return child
    return None


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("end", ["usual", "second killed", "interrupted", "killed"])
def test_the_process_ends_and_results_are_the_same(tmp_path, photo, end):
    env = environment(tmp_path)
    command = ("-m", "fastgs", "predict", photo, "-k", 50, "--iterations", 2, "-o")
    process = start(*command, tmp_path / "first", env=env)
    wait_until(lambda: find_second(process.pid) or process.poll() is not None)
    child = find_second(process.pid)
    assert child is not None
    if end == "second killed":
        os.kill(child, signal.SIGKILL)
    elif end == "interrupted":
        process.send_signal(signal.SIGINT)
    elif end == "killed":
        process.kill()
    _, said = process.communicate()
    wait_until(lambda: not alive(child))
    assert exit_code(process) == {"interrupted": 128 + signal.SIGINT, "killed": 128 + signal.SIGKILL}.get(end, 0), said
    assert said == ("fastgs: interrupted\n" if end == "interrupted" else "")
    assert not list((tmp_path / "temporary").iterdir())
    if end in ("usual", "second killed"):
        result = python(*command, tmp_path / "second", env=env)
        assert result.returncode == 0, result.stderr
        files = [(tmp_path / name / "photo.safetensors").read_bytes() for name in ("first", "second")]
        assert files[0] == files[1]


CODE = """
import sys
from numba.core import event
class Listener(event.Listener):
    depth = 0
    def on_start(self, event):
        self.depth += 1
        if self.depth == 1:
            print(event.data["dispatcher"].py_func.__name__, file=sys.stderr)
    def on_end(self, event):
        self.depth -= 1
event.register("numba:compile", Listener())
from fastgs.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_list_has_the_kernels_that_commands_need(tmp_path, photo):
    """With what the second process has compiled, a fit with all its parts and a drawing compile no more."""
    env = environment(tmp_path)
    reading, writing = os.pipe()
    for work in ("encode", "draw learned", "restore learned"):
        folder = tmp_path / work
        folder.mkdir()
        result = python("-m", compiler_process.__name__, folder, "fastgs.cli.kernels", work, 3, env=env, stdin=reading)
        assert result.returncode == 0, result.stderr
        assert not result.stdout + result.stderr
    os.close(reading)
    os.close(writing)
    file = tmp_path / "photo.fgs"
    layers = [Layer(np.zeros((9, 8), np.int32), Steps(1, 0.2, 0.2, 0.1, 0.1))]
    file.write_bytes(write_frame(Frame("fastgs", 24, 32, encode_layers(layers, (24, 32), model=1), symbols=1)))
    fit = ("predict", photo, "-k", 50, "--iterations", 60, "-o", tmp_path / "output")
    compiled = [python("-c", CODE, *words, env=env) for words in (fit, ("decode", file, "-o", tmp_path / "drawn.png"))]
    assert [each.returncode for each in compiled] == [0, 0], compiled[0].stderr
    assert [each.stderr.split() for each in compiled] == [[], []]
