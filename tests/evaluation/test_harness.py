"""Loop that measures, with tasks that cost nothing, and the scores that methods and codecs share."""

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from skimage import data

from fastgs.evaluation.harness import RecordFile, measure_tasks
from fastgs.evaluation.measuring import score
from fastgs.evaluation.records import Record, load_records
from fastgs.io.images import load_image
from fastgs.metrics.lpips import lpips


@dataclass(frozen=True, kw_only=True)
class Square(Record):
    FIELDS = ("number", "psnr", "ssim", "threads", "fastgs")
    MEASURED = ()

    number: int

    @property
    def task(self):
        return self.number

    @property
    def result(self):
        return f"{self.psnr:g} dB"


class Monitor:
    def __init__(self):
        self.errors, self.states, self.finished = [], [], []

    @contextmanager
    def guard(self, subject):
        try:
            yield
        except ValueError as error:
            self.errors.append((subject, str(error)))

    attempt = guard

    def advance(self, task, done, state):
        self.states.append((task, done, state))

    def finish(self, record):
        self.finished.append(record.number)


def square(task, *, progress=None):
    if task == 3:
        raise ValueError("no threes")
    if progress is not None:
        progress(0.5, "half")
        progress(7.0, "late")
    return Square(number=task, psnr=float(task**2), ssim=None, threads=1, fastgs="1")


def numbers(path: Path) -> list[int]:
    return [record.number for record in load_records(path, Square)]


def test_tasks_that_fail_leave_the_others_and_the_file_keeps_its_order(tmp_path):
    kept = {task: square(task) for task in (5, 9)}
    file, monitor = RecordFile(tmp_path / "r.json", kept, tasks=[4, 3, 9, 2]), Monitor()
    measure_tasks(file, [4, 3, 2], square, monitor)
    assert numbers(file.path) == [5, 4, 9, 2]
    assert monitor.errors == [(3, "no threes")]
    assert monitor.finished == [4, 2]


def test_progress_counts_tasks_and_never_passes_the_end_of_one(tmp_path):
    monitor = Monitor()
    measure_tasks(RecordFile(tmp_path / "r.json", {}, [2, 3, 4]), [2, 3, 4], square, monitor)
    assert monitor.states == [
        *((2, 0.5, "half"), (2, 1, "late"), (2, 1, "4 dB")),
        *((4, 2.5, "half"), (4, 3, "late"), (4, 3, "16 dB")),
    ]


def test_file_is_saved_after_each_record(tmp_path):
    path, seen = tmp_path / "r.json", []

    class Watching(Monitor):
        def finish(self, record):
            seen.append(numbers(path))

    measure_tasks(RecordFile(path, {}, [1, 2]), [1, 2], square, Watching())
    assert seen == [[1], [1, 2]]


@pytest.mark.slow
def test_lpips_where_weights_are_at_hand(tmp_path, monkeypatch):
    """The weights are random: they matter to the value, not to what is tested."""
    from torchvision.models import AlexNet_Weights, alexnet

    image = load_image(data.coffee()[:31, :40].copy())
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert lpips(image, image) is None
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(alexnet().state_dict(), tmp_path / "hub" / "checkpoints" / Path(AlexNet_Weights.DEFAULT.url).name)
    assert lpips(image, image) == 0
    assert lpips(1 - image, image) > 1e-6
    assert lpips(image[:, :30], image[:, :30]) is None
    assert score(image, image)["lpips"] == 0
