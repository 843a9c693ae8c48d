"""Tests of the cache of compiled kernels."""

import os
import shutil
import time
from pathlib import Path

import pytest
from processes import python

import fastgs
from fastgs.runtime import kernel_cache
from fastgs.runtime.kernel_cache import digest, remove_old

FILES = {
    "mix_kernels.py": "from fastgs.deeper.more_kernels import tune\nfrom fastgs.constants import SIZE\n",
    "deeper/more_kernels.py": "from fastgs.deeper import limits\n",
    "deeper/limits.py": "from fastgs.far import AWAY\n",
    "constants.py": "SIZE = 3\n",
    "far.py": "AWAY = 1\n",
    "other_kernels.py": "",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Return a folder that stands for the package, with FILES in it."""
    monkeypatch.setattr(kernel_cache, "PACKAGE", tmp_path)
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    digest.cache_clear()
    yield tmp_path
    digest.cache_clear()


@pytest.mark.parametrize(("name", "matters"), [(name, name not in ("far.py", "other_kernels.py")) for name in FILES])
def test_name_changes_with_every_file_that_a_kernel_is_made_of(package, name, matters):
    before = digest(package / "mix_kernels.py")
    with (package / name).open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    digest.cache_clear()
    assert (digest(package / "mix_kernels.py") != before) == matters


def test_folders_of_old_versions_are_removed(tmp_path):
    now = time.time()
    for name, days in (("old", kernel_cache.DAYS_KEPT + 1), ("young", kernel_cache.DAYS_KEPT - 1)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (now - days * 86400,) * 2)
    remove_old(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["young"]


CODE = """
import logging
logging.basicConfig(level=logging.INFO)
import numpy as np
from fastgs.runtime import kernel_cache
from fastgs.render.cpu_kernels import _count_planes
print(_count_planes(3), sum(_count_planes.stats.cache_hits.values()), str(kernel_cache.cache_folder()))
"""


@pytest.mark.slow
def test_environments_share_compiled_kernels(tmp_path):
    """Two copies of the package in different places, one folder of the user."""
    places = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"), str(tmp_path / "cache"))
    hits = []
    for name in ("one", "two"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(Path(fastgs.__file__).parent, tmp_path / name / "fastgs", ignore=ignored)
        environment = {**os.environ, **places, "PYTHONPATH": str(tmp_path / name)}
        environment.pop("NUMBA_CACHE_DIR", None)
        result = python("-c", CODE, cwd=tmp_path / name, env=environment)
        assert result.returncode == 0, result.stderr
        hits.append(int(result.stdout.split()[1]))
        assert "compiling kernels" in result.stderr or hits[-1]
    assert hits == [0, 1]


STEPS = """
import sys
import numpy as np
from fastgs.render.cpu_kernels import _count_planes
print(_count_planes(3), "numba.np.arraymath" in sys.modules)
if sys.argv[1:]:
    from fastgs.initializers.filter_kernels import smooth
    lines, smoothed = np.ones((1, 5, 9), np.float32), np.zeros((1, 5, 9), np.float32)
    smooth(lines, np.full(3, 1 / 3, np.float32), smoothed, 0, 5)
    print(bool(np.allclose(smoothed, 1)), "numba.np.arraymath" in sys.modules)
"""


@pytest.mark.slow
def test_processes_prepare_for_compiling_only_when_they_compile(tmp_path):
    """A kernel is compiled; then it is loaded and another one, which allocates memory, is compiled; then both load."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}

    def run(*arguments):
        result = python("-c", STEPS, *arguments, env=environment)
        assert result.returncode == 0, result.stderr
        return result.stdout.splitlines()

    planes = run()[0].split()[0]
    assert run("more") == [f"{planes} False", "True True"]
    assert run("more") == [f"{planes} False", "True False"]
