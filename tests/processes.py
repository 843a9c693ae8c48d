"""Helpers to start, watch and stop processes in tests."""

import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 900.0  # seconds until a hanging process fails its test; no test measures time by the clock


def python(*arguments, **options) -> subprocess.CompletedProcess:
    """Run Python with arguments in a process of its own, to its end."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, **options)


def start(*arguments, **options) -> subprocess.Popen:
    """Start a Python process that can be interrupted, even if this one ignores Ctrl-C, as background jobs do."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    with interruptible():
        return subprocess.Popen([sys.executable, *map(str, arguments)], **options)


@contextmanager
def interruptible():
    """Let Ctrl-C interrupt this process, even where it is ignored, as background jobs do, and what it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def exit_code(process: subprocess.Popen) -> int:
    """Return the exit code that a shell tells: 128 and the signal where one has ended the process.

    `python -m` ends itself by SIGINT, whatever the exit code, where an interruption met a string that `exec` ran, as
    numba and named tuples do (CPython's unhandled_keyboard_interrupt stays set).
    """
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def wait_until(condition) -> None:
    """Return as soon as a condition holds.

    Args:
        condition: Function that is asked every 2 ms.

    Raises:
        TimeoutError: The condition does not hold within PATIENCE.
    """
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.002)


def when(condition, act) -> threading.Thread:
    """Call `act`, in a thread of its own, as soon as a condition holds."""

    def watch():
        wait_until(condition)
        act()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def interrupt() -> None:
    """Interrupt this process as Ctrl-C does, from any thread."""
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


def children(pid: int) -> list[int]:
    """Return the ids of the processes that a process has started (Linux)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # ended meanwhile
            continue
        if int(fields[1]) == pid:
            found.append(int(path.parent.name))
    return found


def alive(pid: int) -> bool:
    """Tell whether a process runs (Linux)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
