"""Progress bars of all subcommands, on stderr where that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fastgs.fitting.options import DEFAULT_ITERATIONS

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn, TaskID

    from fastgs.fitting.fit import HistoryEntry


@contextmanager
def fit_progress(
    label: str, iterations: int | None, seconds: float | None
) -> Iterator[Callable[[HistoryEntry], None] | None]:
    """Show a progress bar of a fit on stderr, with iteration and PSNR.

    Args:
        label: Text in front of the bar.
        iterations: Number of iterations of the fit; None if it has no such limit.
        seconds: Time limit of the fit; None if it has none. If both are None, the fit has the default iterations.

    Yields:
        Callback that moves the bar; None if stderr is not a terminal.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

    if iterations is None and seconds is None:
        iterations = DEFAULT_ITERATIONS
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[state]}"))
    with _make_bar(*columns, TimeElapsedColumn()) as bar:
        task = bar.add_task(label, total=None, state="starting")  # no total: the bar pulses

        def advance(entry: HistoryEntry) -> None:
            shares = [entry.iteration / iterations if iterations else 0, entry.seconds / seconds if seconds else 0]
            state = f"iteration {entry.iteration}  {entry.psnr:.2f} dB"
            bar.update(task, total=1, completed=min(1, max(shares)), state=state)

        yield advance


@contextmanager
def batch_progress(total: int) -> Iterator[Callable[[float, str], None]]:
    """Show a progress bar of several fits on stderr, if it is a terminal.

    Args:
        total: Number of fits.

    Yields:
        Function that moves the bar, given the number of fits that are done, with fractions, and a text.
    """
    if not sys.stderr.isatty():
        yield lambda done, state: None
        return
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}", markup=False))
    # On a terminal, rich prints results above the bar.
    with _make_bar(*columns, TimeRemainingColumn(), redirect_stdout=sys.stdout.isatty()) as bar:
        task = bar.add_task(f"0 of {total}", total=total, state="starting")

        def advance(done: float, state: str) -> None:
            bar.update(task, description=f"{int(done)} of {total}", completed=done, state=state)

        yield advance


@contextmanager
def download_progress(name: str) -> Iterator[Callable[[str, int, int], None]]:
    """Show a progress bar of a download on stderr, if it is a terminal, with megabytes and their rate.

    Args:
        name: Name of what is downloaded.

    Yields:
        Function that moves the bar, given an action, the bytes that are done and their total.
    """
    if not sys.stderr.isatty():
        yield lambda action, done, total: None
        return
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with _make_bar(*columns, TimeRemainingColumn()) as bar:
        tasks: dict[str, TaskID] = {}

        def advance(action: str, done: int, total: int) -> None:
            if action not in tasks:
                for task in tasks.values():
                    bar.update(task, visible=False)
                # The bar begins at the bytes that are there already, which must not count for the rate.
                tasks[action] = bar.add_task(f"{name}: {action}", total=total, completed=done)
            bar.update(tasks[action], completed=done)

        yield advance


def _make_bar(*columns: ProgressColumn, redirect_stdout: bool = False) -> Progress:
    from rich.console import Console
    from rich.progress import Progress

    # Results go to stdout, which the bar must not redirect to stderr where the two are different.
    return Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=redirect_stdout)
