"""The programs in benchmarks/ that measure photos."""

import runpy
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize("name", ["oracles", "quality"])
def test_photos_that_are_not_there(name, tmp_path, monkeypatch):
    """One line, and the results are left as they are."""
    results = FOLDER / "results" / f"{name}.json"
    before = results.read_bytes()
    monkeypatch.setattr(sys, "argv", [f"{name}.py", str(tmp_path / "none")])
    monkeypatch.syspath_prepend(FOLDER.parent)
    with pytest.raises(SystemExit) as stop:
        runpy.run_module(f"benchmarks.quality.{name}", run_name="__main__", alter_sys=False)
    # Python prints it, and ends with exit code 1.
    assert stop.value.code.startswith(f"{name}.py: error: {tmp_path / 'none'}: ") and "\n" not in stop.value.code
    assert results.read_bytes() == before
