"""`fastgs predict` and `fastgs encode` with several processes, as real commands: the same files, lines and failures."""

import json
import os
import signal
import subprocess
import time
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from cli_data import QUICK, read_report
from PIL import Image
from processes import PATIENCE, alive, children, exit_code, python, start, wait_until
from skimage import data

from fastgs.cli import workers
from fastgs.cli.predict import _count_workers
from fastgs.jobs.sources import Source

PHOTOS = 5


@pytest.fixture(scope="module")
def album(tmp_path_factory) -> Path:
    """Return a folder of five photos and, in the middle, a file that is no image and one whose stem is taken."""
    folder = tmp_path_factory.mktemp("album")
    for number in range(PHOTOS):
        part = data.coffee()[30 * number : 30 * number + 130, 60:200]
        Image.fromarray(np.ascontiguousarray(part)).save(folder / f"photo{number}.png")
    (folder / "photo1a.png").write_text("no image", encoding="utf-8")
    Image.fromarray(data.coffee()[:40, :50]).save(folder / "photo2.webp")
    return folder


def run(command, *arguments) -> subprocess.CompletedProcess:
    return python("-m", "fastgs", command, *arguments)


def read_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix not in (".json", ".jsonl")}


def without_times(text: str, folder: Path) -> list[str]:
    """Lines without the name of the output folder and the seconds at the end."""
    return [
        line.rpartition("  ")[0] if line.endswith(" s") else line for line in text.replace(str(folder), "").split("\n")
    ]


# The same results


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "options", "counts"),
    [
        ("predict", ["-k", 400, "--iterations", 12], (1, 2)),
        (
            "predict",
            ["-k", 100, "--iterations", 2, "--init", "learned"],
            (2,),
        ),  # networks depend on the number of threads
        ("encode", ["--bpp", 0.4, "--iterations", 4, "--effort", 1], (1, 2)),
    ],
)
def test_files_and_lines_do_not_depend_on_the_number_of_workers(album, tmp_path, command, options, counts):
    seen = []
    for count in counts:
        out = tmp_path / str(count)
        done = run(command, album, *options, "--workers", count, "-o", out)
        assert done.returncode == 1
        printed = without_times(done.stdout, out), without_times(done.stderr, out)
        assert [line.partition(" ->")[0] for line in printed[0][:-1]] == [
            str(album / f"photo{number}.png") for number in range(PHOTOS)
        ]
        assert [line.split(": ")[2] for line in printed[1][:-1]] == [
            str(album / "photo1a.png"), str(album / "photo2.webp")
        ]  # fmt: skip
        assert f"made from {album / 'photo2.png'}" in printed[1][1]
        report = [
            # The sums of MS-SSIM depend on the number of threads in the last bits.
            {name: value for name, value in record.items() if not name.startswith(("seconds", "ms_ssim"))}
            | {"history": [(entry[0], entry[2]) for entry in record["history"]]}
            for record in (read_report(out) if command == "predict" else [])
        ]
        seen.append((read_files(out), printed, report))
    assert len(seen[0][0]) == PHOTOS * (1 if command == "encode" else 2)
    assert all(each == seen[0] for each in seen)


@pytest.mark.slow
def test_main_process_needs_no_torch(album, tmp_path):
    code = "import sys; from fastgs.cli.main import main; main(); print('torch' in sys.modules, file=sys.stderr)"
    photos = sorted(album.glob("photo?.png"))
    done = python("-c", code, "predict", *photos, *QUICK, "--workers", 2, "-o", tmp_path)
    assert done.stdout.count("\n") == PHOTOS and done.stderr.endswith("False\n")


@pytest.mark.slow
def test_a_bug_keeps_its_traceback(album, tmp_path):
    """A worker that meets a bug hands it to the first process."""
    code = "from fastgs.cli.processing import process_files; from test_cli_workers import break_down; import sys"
    code += "\nfrom fastgs.cli.console import Failures, Parser; from fastgs.io.places import Place"
    code += "\nfrom fastgs.cli.results import Results; from fastgs.jobs.sources import Source"
    code += "\nif __name__ == '__main__':"
    code += "\n    place = Place('.'); results = Results(Failures(Parser()), place)"
    code += "\n    process_files([[Source('a')], [Source('b')]], break_down, results, place, workers=2)"
    program = tmp_path / "program.py"
    program.write_text(code, encoding="utf-8")
    paths = os.pathsep.join(
        [str(Path(__file__).parent), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    )
    done = python(program, env=os.environ | {"PYTHONPATH": paths})
    assert done.returncode == 1 and done.stderr.rstrip().endswith("LookupError: a bug") and "break_down" in done.stderr


def break_down(paths, label):
    raise LookupError("a bug")


# Deaths and interruptions


def find_workers(process) -> list[int]:
    """Return the ids of the workers of a command, without the process that tracks resources."""
    return [pid for pid in children(process.pid) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc")
def test_the_image_of_a_killed_worker_is_done_by_another(album, tmp_path):
    out = tmp_path / "out"
    options = ("-k", "2000", "--iterations", "400", "--workers", "2")
    photos = sorted(album.glob("photo?.png"))
    with start("-m", "fastgs", "predict", *map(str, photos), *options, "-o", str(out)) as process:
        wait_until(lambda: list(out.glob("*.png")) or process.poll() is not None)
        os.kill(find_workers(process)[0], signal.SIGKILL)
        stdout, stderr = process.communicate(timeout=PATIENCE)
    assert (process.returncode, stderr) == (0, "")
    names = list(map(str, photos))
    assert [line.partition(" ->")[0] for line in stdout.splitlines()] == names
    assert [record["image"] for record in read_report(out)] == names


@pytest.mark.slow
def test_an_image_that_kills_its_process_is_set_aside(album, tmp_path):
    """A plugin ends the process at each image of one size."""
    (tmp_path / "fatal.py").write_text(
        "import os\nfrom fastgs.initializers import INITIALIZERS\n"
        "def initialize(image, num_gaussians, generator=None):\n"
        "    if image.shape[1] == 77:\n        os._exit(1)\n"
        "    return INITIALIZERS['grid'](image, num_gaussians, generator)\n",
        encoding="utf-8",
    )
    poison = tmp_path / "poison.png"
    Image.fromarray(data.coffee()[:77, :70]).save(poison)
    code = "from fastgs.initializers import INITIALIZERS; INITIALIZERS.declare('fatal', 'fatal:initialize')"
    code += "\nfrom fastgs.cli.main import main; import sys\nif __name__ == '__main__': sys.exit(main())"
    (tmp_path / "program.py").write_text(code, encoding="utf-8")
    out, photos = tmp_path / "out", sorted(album.glob("photo?.png"))
    options = (*QUICK, "--init", "fatal", "--workers", 2, "-o", out)
    done = python(tmp_path / "program.py", "predict", poison, *photos, *options)
    assert done.returncode == 1
    message = "its process was killed 3 times, perhaps for lack of memory; try fewer --workers"
    assert done.stderr == f"fastgs: error: {poison}: {message}\n"
    assert [record["image"] for record in read_report(out)] == list(map(str, photos))
    (line,) = [line for line in (out / "jobs.jsonl").read_text(encoding="utf-8").splitlines() if '"error"' in line]
    assert json.loads(line) == {"name": str(poison), "error": message}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc")
@pytest.mark.parametrize("to_all", [True, False])
@pytest.mark.parametrize("seconds", [0.0, 0.3, 5.0])  # before workers are ready, and while they fit
def test_an_interruption_ends_all_and_leaves_nothing_half_written(album, tmp_path, to_all, seconds):
    out = tmp_path / "out"
    arguments = ("predict", str(album), "-k", "100", "--seconds", "600", "--workers", "2", "-o", str(out))
    with start("-m", "fastgs", *arguments, start_new_session=True) as process:
        wait_until(lambda: len(find_workers(process)) == 2)
        time.sleep(seconds)
        processes = find_workers(process)
        if to_all:
            os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C in a terminal
        else:
            process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=PATIENCE)
    assert exit_code(process) == 130
    assert stderr.splitlines()[-1] == "fastgs: interrupted" and "Traceback" not in stderr
    assert not out.exists() and not any(map(alive, processes))


# The option and its default


@pytest.mark.parametrize(
    ("value", "reason"),
    [("0", "must be at least 1, got 0"), ("-2", "must be at least 1, got -2"), ("two", "invalid int")],
)
@pytest.mark.parametrize("command", ["predict", "encode"])
def test_wrong_number_is_one_line(album, out, run_cli, error_line, command, value, reason):
    assert run_cli(command, album, "-k", 9, "--workers", value, "-o", out) == 2
    assert error_line().startswith(f"fastgs {command}: error: argument --workers: {reason}") and not out.exists()


def test_default_depends_on_cores_images_and_memory(album, monkeypatch):
    few, many = ([Source(str(album / "photo0.png"))] * count for count in (3, 40))
    monkeypatch.setattr(workers.threads, "num_threads", lambda: 8)
    monkeypatch.setattr(workers, "available_memory", lambda: 10**12)
    assert [workers.choose_workers(paths, None, 100) for paths in ([], few, many[:6], many)] == [1, 1, 3, 8]
    monkeypatch.setattr(workers, "available_memory", lambda: None)  # not known
    assert workers.choose_workers(many, None, 100) == 8
    monkeypatch.setattr(workers, "available_memory", lambda: 2 * 10**9)
    assert workers.choose_workers(many, None, 100) == 3
    assert workers.choose_workers(many, 4000, 100) == 1 and workers.choose_workers(many, None, 10**7) == 1
    assert workers.choose_workers(many, None, None) == 3
    assert workers.choose_workers(many, 600, 100) == 2 > workers.choose_workers(many, 900, 100, networks=True)
    bad = [Source(str(album / name)) for name in ("missing.png", "photo1a.png")]
    assert workers.choose_workers(bad * 9, None, 100) == 3


def test_default_is_one_with_a_time_limit_or_on_a_gpu(album, monkeypatch):
    monkeypatch.setattr("fastgs.cli.predict.choose_workers", lambda *arguments: 7)
    given = {"workers": None, "seconds": None, "backend": "cpu", "size": None, "num_gaussians": 9}
    given |= {"init": None, "weights": None, "zoom": None, "tile": None}
    assert _count_workers(Namespace(**given), []) == 7
    assert _count_workers(Namespace(**given | {"seconds": 5.0}), []) == 1
    assert _count_workers(Namespace(**given | {"seconds": 5.0, "workers": 3}), []) == 3
    assert _count_workers(Namespace(**given | {"tile": 512}), []) == 1
    monkeypatch.setattr("fastgs.cli.predict.has_gpu", lambda backend: True)
    assert _count_workers(Namespace(**given | {"backend": "auto"}), []) == 1
    assert not workers.has_gpu("cpu") and not workers.has_gpu("reference")


def test_available_memory_is_that_of_the_machine_at_most():
    memory = workers.available_memory()
    assert memory is None or 0 <= memory < 10**15


@pytest.mark.slow
def test_one_bar_for_all_on_a_terminal(album, out, run_cli, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    assert run_cli("predict", album, *QUICK, "--workers", 2, "-o", out) == 1
    printed = capsys.readouterr()
    assert "of 7" in printed.err and "iteration" not in printed.err
    assert printed.out.count("\n") == PHOTOS


@pytest.mark.slow
def test_a_stack_is_one_image(album, out, run_cli):
    photos = sorted(album.glob("photo?.png"))[:2]
    assert run_cli("predict", *photos, *QUICK, "--stack", "--workers", 2, "-o", out) == 0
    (record,) = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert record["channels"] == 6
