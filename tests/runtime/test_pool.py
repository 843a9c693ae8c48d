"""Tasks in several processes: outcomes, deaths and interruptions."""

import os
import signal
import time
from collections import deque
from concurrent.futures import BrokenExecutor
from pathlib import Path

import pytest
from processes import alive, interrupt, interruptible, when

from fastgs.io.files import atomic_write
from fastgs.runtime import threads
from fastgs.runtime.pool import outcomes

pytestmark = pytest.mark.slow


def act(task):
    """Do what a task says, in any process."""
    match task:
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "fail":
            raise ValueError("no good")
        case "threads":
            return os.getpid(), threads.num_threads()
        case ("write", path):
            while True:
                with atomic_write(path) as temporary:
                    temporary.write_text("whole", encoding="utf-8")
        case Path():
            with atomic_write(task):
                task.with_suffix(".pid").write_text(str(os.getpid()), encoding="utf-8")
                time.sleep(600)
    return task


def collect(tasks, workers):
    found = {}
    for task, outcome in outcomes(deque(tasks), act, workers):
        try:
            found[task] = outcome()
        except (ValueError, BrokenExecutor) as error:
            found[task] = error
    return found


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_every_task_has_its_outcome(workers):
    found = collect([1, "fail", 2, 3], workers)
    assert found.pop("fail").args == ("no good",)
    assert found == {1: 1, 2: 2, 3: 3}


def test_threads_are_shared():
    (pid, count) = collect(["threads"], 2)["threads"]
    assert pid != os.getpid() and count == max(1, threads.num_threads() // 2)


@pytest.mark.parametrize("workers", [2, 3])
def test_a_death_is_the_outcome_of_one_task_alone(workers):
    found = collect([1, 2, "die", 3, 4, 5], workers)
    assert isinstance(found.pop("die"), BrokenExecutor)
    assert found == {number: number for number in (1, 2, 3, 4, 5)}


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_an_interruption_ends_workers_and_leaves_nothing_half_written(tmp_path):
    files = [tmp_path / "a.txt", tmp_path / "b.txt"]
    marks = [path.with_suffix(".pid") for path in files]
    watcher = when(lambda: all(mark.exists() and mark.read_text(encoding="utf-8") for mark in marks), interrupt)
    with interruptible(), pytest.raises(KeyboardInterrupt):
        collect(files, 2)
    watcher.join()
    assert sorted(tmp_path.iterdir()) == marks
    assert not any(alive(int(mark.read_text(encoding="utf-8"))) for mark in marks)


@pytest.mark.parametrize("workers", [1, 2])
def test_tasks_may_come_with_outcomes(workers):
    tasks, found = deque([1, 2]), []
    for task, outcome in outcomes(tasks, act, workers):
        found.append(outcome())
        if task < 20:
            tasks.append(task + 10)
    assert sorted(found) == [1, 2, 11, 12, 21, 22]


def test_what_is_not_asked_for_is_not_done(tmp_path):
    """A consumer that goes away ends the tasks."""
    running = outcomes(deque([1, tmp_path / "a.txt"]), act, 2)
    assert next(running)[1]() == 1
    running.close()
    assert not list(tmp_path.glob("*.txt"))  # it would be there if the task had been waited for


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.02, 0.03])
def test_a_worker_that_is_stopped_between_two_steps_of_a_write_removes_the_file(tmp_path, delay):
    running = outcomes(deque([1, ("write", tmp_path / "a.txt")]), act, 2)
    assert next(running)[1]() == 1
    time.sleep(delay)
    running.close()
    assert [path.name for path in tmp_path.iterdir()] in ([], ["a.txt"])
