"""Second process of a command, which compiles kernels while the first one imports libraries and compiles others.

Without it, the first command on a machine imports torch on one core, and compiles on one core afterwards. It is started
by commands alone, where the cache lacks kernels and there is a second core; it ends with the command at the latest. If
it cannot start or dies, the command compiles everything itself.

    compiler_process.start("fastgs.cli.kernels", ("fit", 3))
    ...
    compiler_process.stop()

It runs `python -m fastgs.runtime.compiler_process FOLDER MODULE ARGUMENTS...`, for the kernels that MODULE's function
`list_kernels` returns.
"""

from __future__ import annotations

import atexit
import hashlib
import importlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from fastgs.runtime import division, threads
from fastgs.runtime.folders import PACKAGE, cache_folder
from fastgs.runtime.lazy import importing, load


class _Process:
    """The process, seen from the first one."""

    def __init__(self, module: str, arguments: Sequence[str]) -> None:
        folder = os.environ.get("NUMBA_CACHE_DIR")
        self._folder = tempfile.TemporaryDirectory(prefix="fastgs-", ignore_cleanup_errors=True)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, self._folder.name, module, *arguments],
                stdin=subprocess.PIPE,  # it ends when this pipe does, however this process ends
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=os.environ | ({"NUMBA_CACHE_DIR": os.path.abspath(folder)} if folder else {}),
                cwd=PACKAGE.parent,  # not the user's folder, from which `-m` would import
            )
        except BaseException:
            self._folder.cleanup()
            raise
        division.current = division.Division(Path(self._folder.name), lambda: self._process.poll() is None)

    def stop(self) -> None:
        """End the process, and remove what it shares with this one."""
        division.current = None
        self._process.kill()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._folder.cleanup()


_running: _Process | None = None


def is_wanted() -> bool:
    """Tell whether `start` may start the process."""
    processes = sys.modules.get("multiprocessing.process")
    if processes is not None and processes.parent_process() is not None:
        return False  # workers have the other cores
    # Where numba is there, the kernels may be, too: in the memory of this process.
    return _running is None and threads.num_threads() > 1 and "numba" not in sys.modules and bool(sys.executable)


def start(module: str, arguments: Sequence[object]) -> None:
    """Start the process, unless that is done, or would not help.

    Args:
        module: Module whose `list_kernels` returns (place of a kernel, its types as text) of what will be needed.
        arguments: Arguments of that function, as text.
    """
    global _running
    if not is_wanted():
        return
    texts = [str(each) for each in arguments]
    marker = _marker([module, *texts])
    with suppress(OSError):  # no folder can be written to, or no process can be started
        if marker.exists():
            return
        marker.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=marker.parent).close()
        _running = _Process(module, texts)
        atexit.register(stop)


def stop() -> None:
    """End the process if there is one."""
    global _running
    process, _running = _running, None
    if process is not None:
        atexit.unregister(stop)
        process.stop()


def _marker(words: Iterable[str]) -> Path:
    """Return the file that says that the cache has the kernels: of this package and numba, for this computer."""
    numba = importlib.util.find_spec("numba")
    files = sorted(PACKAGE.glob("*/*.py")) + ([] if numba is None or numba.origin is None else [Path(numba.origin)])
    stamps = [(str(file), (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files]
    text = repr((list(words), sys.version, platform.node(), stamps))
    folder = Path(os.environ.get("NUMBA_CACHE_DIR") or cache_folder())
    return folder / "complete" / hashlib.sha256(text.encode()).hexdigest()[:16]


def main(folder: str, module: str, *arguments: str) -> None:
    """Compile the kernels that the first process has not taken.

    Args:
        folder: Folder of the division of work.
        module: Module with the list of kernels.
        arguments: Arguments of its function.
    """
    threading.Thread(target=_exit_with_input, args=(folder,), daemon=True).start()
    division.current = division.Division(Path(folder))
    marker = _marker([module, *arguments])
    with importing():
        from numba.core.sigutils import normalize_signature

    for place, types in importlib.import_module(module).list_kernels(*arguments):
        kernel = load(place)
        with suppress(division.TakenError):
            kernel.compile(normalize_signature(types)[0])  # type: ignore[no-untyped-call]
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()


def _exit_with_input(folder: str) -> None:
    """End this process when the first one ends; one that was killed has left the folder."""
    with suppress(OSError):
        os.read(0, 1)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
