"""Fixtures of the tests of training."""

import csv
import re

import pytest
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.loggers import CSVLogger
from networks import initializer
from PIL import Image
from skimage import data as photos
from stages import SIZE, finetune

from fastgs.models.pretrained import save_weights

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


@pytest.fixture(scope="module")
def folder(tmp_path_factory, one_thread):
    """Make a folder with weights of networks whose corrections are not zero, and images/ with 8 different photos."""
    folder = tmp_path_factory.mktemp("stages")
    (folder / "images").mkdir()
    for index in range(8):
        corner = slice(40 + 30 * index, None, 2), slice(60 + 40 * index, None, 2)
        Image.fromarray(photos.coffee()[corner][:SIZE, :SIZE]).save(folder / "images" / f"{index}.png")
    save_weights(folder / "weights", initializer(), {})
    return folder


class Bar(RichProgressBar):
    """Progress bar that keeps its last description."""

    def on_test_batch_end(self, *arguments):
        self.description = self.test_progress_bar.description


@pytest.fixture(scope="module")
def refined(folder):
    """Refine 5 images of different sizes, and one that cannot be read; return metrics and the folder of the results."""
    (folder / "predict").mkdir()
    for index in range(5):
        Image.fromarray(photos.chelsea()[50:90, 100 : 130 + 3 * index]).save(folder / "predict" / f"{index}.png")
    (folder / "predict" / "2a.png").write_bytes(b"no image")
    bar, logger = Bar(), CSVLogger(folder / "logs", name="", version="")
    metrics = finetune(folder, folder / "refined", logger=logger, callbacks=[bar], enable_progress_bar=True)
    assert re.fullmatch(r"4\.png  K = 200  iteration 20  \d+\.\d\d dB", bar.description)
    return metrics, folder / "refined"
