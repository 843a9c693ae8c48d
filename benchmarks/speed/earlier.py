"""Packages of earlier commits, each in a process of its own, for comparisons in turns with the package of today.

A commit is checked out into a temporary folder as a worktree of git, which is removed afterwards. A process there runs
a script, which answers each request, a line of JSON on its input, by a line of JSON on its output, and which may use no
more of fastgs than the oldest commit has. Each version compiles kernels of its own, so first answers take longer.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks.environment import UnavailableError

ROOT = Path(__file__).parents[2]
# Signals that would end this process at once, without a chance to clean up. Ctrl-C is an exception anyway.
ENDING = (signal.SIGTERM, signal.SIGHUP)

Ask = Callable[[dict[str, Any]], dict[str, Any]]


def resolve(commit: str, repository: Path = ROOT) -> str:
    """Return the full hash of a commit.

    Args:
        commit: Name of the commit in any way that git knows.
        repository: Folder of the repository.

    Raises:
        UnavailableError: There is no git, no repository, or no such commit in it; one line.
    """
    try:
        if _git(repository, "rev-parse", "--git-dir").returncode:
            raise UnavailableError(f"{commit}: {repository} is no repository of git; clone the project")
        name = _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}")
        if not name.returncode:
            return name.stdout.strip()
        is_shallow = _git(repository, "rev-parse", "--is-shallow-repository").stdout.strip() == "true"
    except FileNotFoundError:
        raise UnavailableError(f"{commit}: git is not installed, and has the earlier commits") from None
    advice = "the clone is shallow; `git fetch --unshallow` brings the history" if is_shallow else "see `git log`"
    raise UnavailableError(f"{commit}: no such commit; {advice}")


@contextmanager
def checked_out(commit: str, repository: Path = ROOT) -> Iterator[Path]:
    """Yield a temporary folder with the files of a commit, which is removed at the end, also of an interrupted program.

    Args:
        commit: Name of the commit in any way that git knows.
        repository: Folder of the repository.

    Raises:
        UnavailableError: The commit cannot be checked out; one line.
    """
    name = resolve(commit, repository)
    with _ending_in_order(), tempfile.TemporaryDirectory(prefix="fastgs-earlier-") as folder:
        place = Path(folder) / name[:12]
        try:
            added = _git(repository, "worktree", "add", "--quiet", "--detach", str(place), name)
            if added.returncode:
                raise UnavailableError(f"{commit}: git cannot check it out: {_last_line(added.stderr)}")
            yield place
        finally:
            # Twice, as git locks what it was adding when it was killed.
            _git(repository, "worktree", "remove", "--force", "--force", str(place))


@contextmanager
def started(script: Path, root: Path = ROOT) -> Iterator[Ask]:
    """Yield a function that asks a process, which is ended afterwards.

    Args:
        script: Program of the process.
        root: Folder of the repository whose package it imports.

    Yields:
        Function that sends a request and returns the answer. It raises UnavailableError, of one line, if there is none.
    """
    environment = os.environ | {"PYTHONPATH": str(root)}
    # Its text, as the folder of a script would come before that of the package. In a session of its own, for Ctrl-C to
    # reach this process alone.
    command = [sys.executable, "-c", script.read_text(encoding="utf-8")]
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as errors,
        subprocess.Popen(
            command,
            cwd=root,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        requests, answers = process.stdin, process.stdout

        def ask(request: dict[str, Any]) -> dict[str, Any]:
            try:
                print(json.dumps(request), file=requests, flush=True)
                answer = answers.readline()
            except BrokenPipeError:
                answer = ""
            if not answer:
                errors.seek(0)
                raise UnavailableError(f"{root}: {script.name} ended without an answer: {_last_line(errors.read())}")
            answered: dict[str, Any] = json.loads(answer)
            return answered

        try:
            yield ask
        finally:
            process.kill()
            with suppress(BrokenPipeError):  # of a request that a dead process has not taken
                requests.close()


def _git(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run git without hooks, which are of the user's own work."""
    command = ["git", "-C", str(repository), "-c", f"core.hooksPath={os.devnull}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1]


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """Let signals that end this process raise SystemExit within this context."""

    def stop(number: int, _: object) -> None:
        sys.exit(128 + number)

    before = [signal.signal(number, stop) for number in ENDING]
    try:
        yield
    finally:
        for number, handler in zip(ENDING, before, strict=True):
            signal.signal(number, handler)
