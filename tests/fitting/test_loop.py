"""The loop of the optimization, with a descent that takes notes."""

from __future__ import annotations

import torch

from fastgs.fitting.densification import Edit
from fastgs.fitting.loop import optimize
from fastgs.fitting.options import FitOptions


class Notes:
    """Stands for a descent and for a strategy."""

    events, grows = (0.35, 0.5), False

    def __init__(self) -> None:
        self.written = []

    def steps(self, factors) -> None:
        self.written.append([round(factor, 3) for factor in factors])

    def edit(self, *arguments):
        if isinstance(arguments[0], int):
            return Edit(torch.ones(1, dtype=torch.bool), None)
        self.written.append("edit")
        return None


def run(interval: int, **limits) -> tuple[list, list]:
    notes, seen = Notes(), []

    def observe(iteration: int, last: bool, growing: bool) -> int:
        seen.append(iteration)
        return 0 if len(seen) > 9 else interval - iteration % interval

    target = torch.zeros(1, 1, 1)
    options = FitOptions(**limits)
    optimize(notes, lambda share: share, options, observe, target=target, densification=notes)
    return notes.written, seen


def test_steps_are_taken_at_once_between_events_and_looks():
    written, seen = run(4, iterations=10)
    assert written == [[0.0, 0.1, 0.2, 0.3], "edit", [0.4], "edit", [0.5, 0.6, 0.7], [0.8, 0.9]]
    assert seen == [0, 4, 5, 8, 10]


def test_steps_are_taken_one_by_one_where_seconds_count():
    written, seen = run(4, iterations=10, seconds=1000.0)
    assert [each for each in written if each != "edit"] == [[step / 10] for step in range(9)]
    assert seen == list(range(10))
