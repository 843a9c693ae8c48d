"""The programs in benchmarks/ that measure photos."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize("name", ["oracles", "quality"])
def test_photos_that_are_not_there(name, tmp_path):
    """One line, and the results are left as they are."""
    results = FOLDER / "results" / f"{name}.json"
    before = results.read_bytes()
    command = [sys.executable, str(FOLDER / f"{name}.py"), str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"{name}.py: error: {tmp_path / 'none'}: ")
    assert "Traceback" not in done.stderr
    assert results.read_bytes() == before
