"""Fixtures of the tests of training."""

import csv

import pytest

ERROR = "train.py: error: "


@pytest.fixture(autouse=True, scope="module")
def _single_thread(one_thread):
    """Use one thread here and in subprocesses, as the number of threads decides how sums are rounded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture
def read_error(capsys):
    """Return a function that reads the one line, without its prefix, with which a command of train.py failed."""

    def read():
        error = capsys.readouterr().err
        assert "Traceback" not in error and error.count(ERROR) == 1, error
        line = error.partition(ERROR)[2]
        assert line.count("\n") == 1 and line.endswith("\n")
        return line.removesuffix("\n")

    return read


@pytest.fixture(scope="session")
def read_metrics():
    """Return a function that reads the values of each metric from the CSV file of a run."""

    def read(folder, version=0):
        with (folder / "logs" / f"version_{version}" / "metrics.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return {name: [float(row[name]) for row in rows if row[name]] for name in rows[0]}

    return read
