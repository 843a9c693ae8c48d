"""Tasks of workers: many small images, one large one, and what comes back."""

from pathlib import Path

import pytest

from fastgs.cli import work
from fastgs.cli.console import Failures, Parser
from fastgs.cli.tasks import MOST, Tasks
from fastgs.cli.work import SECONDS_PER_TASK, Done, Item, Job, Result, Work
from fastgs.io.places import Place
from fastgs.jobs.sources import Source


def make_items(count):
    return [Item(number, [Source(f"{number}.png")], str(number), "", [], {}, False) for number in range(count)]


def numbers(task):
    return [item.number for item in task]


def take(tasks, seconds, done=None):
    """Take a task, of which items are done in so many seconds each; return their numbers."""
    task = tasks.popleft()
    tasks.done(task, [Result(None, seconds=seconds)] * len(task[:done]))
    return numbers(task)


def test_small_images_are_handed_over_together():
    tasks = Tasks(make_items(100), 2)
    assert take(tasks, SECONDS_PER_TASK / 10) == [0]
    assert take(tasks, SECONDS_PER_TASK / 3.5) == list(range(1, 11))
    assert take(tasks, SECONDS_PER_TASK) == [11, 12, 13]
    assert take(tasks, 600.0) == [14] and take(tasks, 0.0) == [15]
    assert len(take(tasks, 0.0)) == MOST
    assert [len(take(tasks, 0.0)) for _ in range(3)] == [26, 13, 7]  # the last ones are shared
    while tasks:
        take(tasks, 0.0)


def test_what_there_was_no_time_for_comes_next():
    tasks = Tasks(make_items(40), 2)
    take(tasks, 0.0)
    assert take(tasks, 600.0, done=1) == list(range(1, 21))
    assert take(tasks, 600.0) == [2] and take(tasks, 600.0) == [3]


def test_batches_stay_together():
    tasks = Tasks(make_items(5), 2, size=2)
    assert [take(tasks, seconds) for seconds in (600.0, 0.0, 0.0)] == [[0, 1], [2, 3], [4]] and not tasks


@pytest.mark.parametrize(("most", "done"), [(0.0, 1), (600.0, 3)])
def test_a_process_reports_when_its_time_is_over(tmp_path, monkeypatch, most, done):
    monkeypatch.setattr(work, "SECONDS_PER_TASK", most)

    def plan(sources, label):
        return Job([f"{sources[0].stem}.txt"], lambda folder: write(folder / f"{sources[0].stem}.txt"))

    def write(path: Path) -> Done:
        path.write_text("done", encoding="utf-8")
        return Done(path.name)

    failures = Failures(Parser())
    results = Work(plan, None, Place(str(tmp_path)), "", set(), failures, False).run_quietly(make_items(3))
    assert [each.text for each in results] == ["0.txt", "1.txt", "2.txt"][:done]
    assert sorted(path.name for path in tmp_path.iterdir()) == [each.text for each in results]
    assert all(each.seconds > 0 for each in results) and not failures
