"""`--engine ray` and Ray Data on a local cluster of two workers; skipped where Ray is not installed."""

import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest
from optional import import_or_skip
from PIL import Image
from processes import PATIENCE, alive, children, python, start, wait_until
from skimage import data

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="SIGKILL")]
ray = import_or_skip("ray")
ROOT = Path(__file__).parents[2]
OPTIONS = ("-k", "300", "--iterations", "40")


@pytest.fixture(scope="module")
def album(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("album")
    for number in range(12):
        crop = data.coffee()[20 * number : 20 * number + 60, 60:130]
        Image.fromarray(np.ascontiguousarray(crop)).save(folder / f"photo{number:02d}.png")
    return folder


@pytest.fixture(scope="module")
def plain(album, tmp_path_factory) -> dict[str, bytes]:
    """Return the files of a run without Ray."""
    out = tmp_path_factory.mktemp("plain") / "out"
    assert python("-m", "fastgs", "predict", album, *OPTIONS, "-o", out).returncode == 0
    return read_files(out)


def read_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".png", ".safetensors")}


def find_workers(pid: int, title: bytes = b"ray::_Worker") -> list[int]:
    """Return the processes of workers, by their title, among all that a process has started."""
    found, below = [], children(pid)
    while below:
        each = below.pop()
        below += children(each)
        if title in (Path(f"/proc/{each}/cmdline").read_bytes() if alive(each) else b""):
            found.append(each)
    return found


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc")
def test_a_killed_worker_changes_nothing(album, plain, tmp_path):
    out = tmp_path / "out"
    command = ("predict", str(album), *OPTIONS, "--engine", "ray", "--workers", "2", "-o", str(out))
    with start("-m", "fastgs", *command) as process:
        wait_until(lambda: len(list(out.glob("*.png"))) > 2 or process.poll() is not None)
        victims = find_workers(process.pid)
        os.kill(victims[0], signal.SIGKILL)
        stdout, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, stderr
    assert len(victims) == 2 and stdout.count(" -> ") == 12
    assert read_files(out) == plain
    assert sorted(path.name for path in out.iterdir()) == sorted([*plain, "jobs.jsonl", "report.json"])


def test_urls_in_and_out(album, plain, tmp_path):
    place = f"file://{tmp_path}/out"
    done = python(
        "-m", "fastgs", "predict", f"file://{album}", *OPTIONS, "--engine", "ray", "--workers", "2", "-o", place
    )
    assert done.returncode == 0, done.stderr
    assert read_files(tmp_path / "out") == plain


# Gets the code of the page, writes what it wrote as files.
DRIVER = """
import sys
import numpy as np
import ray
import fastgs

if __name__ == "__main__":
    ray.init(num_cpus=2, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    exec(sys.argv[1])
    for row in ray.data.read_parquet("gaussians").take_all():
        assert row["error"] == ""
        arrays = {name: np.stack(row[name]).astype(np.float32) for name in ("means", "scales", "rotations", "colors")}
        facts = {name: row[name] for name in ("height", "width", "blend", "alpha")}
        gaussians = fastgs.Gaussians.from_arrays(fastgs.definition.GaussianArrays(**arrays, **facts))
        gaussians.save(row["path"].rpartition("/")[2].replace(".png", ".safetensors"))
"""


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc")
def test_the_pipeline_of_the_guide_survives_a_killed_worker(album, plain, tmp_path):
    page = (ROOT / "docs" / "guides" / "clusters.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(import ray\n.*?)^```$", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "photos").symlink_to(album)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with start("-c", DRIVER, code, cwd=tmp_path, env=environment) as process:
        wait_until(lambda: len(find_workers(process.pid, b"ray::MapWorker")) == 2 or process.poll() is not None)
        victims = find_workers(process.pid, b"ray::MapWorker")
        os.kill(victims[0], signal.SIGKILL)
        _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, stderr
    found = read_files(tmp_path)
    assert found == {name: content for name, content in plain.items() if name.endswith(".safetensors")}


def test_a_cluster_that_is_not_there_is_one_line(album, tmp_path):
    command = ("-m", "fastgs", "predict", album, *OPTIONS, "--engine", "ray", "-o", tmp_path / "out")
    done = python(*command, env=os.environ | {"RAY_ADDRESS": "127.0.0.1:1"})
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("fastgs predict: error: argument --engine: cannot connect to a Ray")
