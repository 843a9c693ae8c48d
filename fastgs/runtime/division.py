"""Division of kernels between processes that compile at the same time: each is compiled by the one that takes it first.

Without a division, which is the usual case, each process compiles whatever its cache lacks.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PATIENCE = 60.0  # seconds that a process waits for a kernel of another one before it compiles that itself
POLL = 0.002  # seconds


class TakenError(Exception):
    """A kernel that another process compiles."""


class Division:
    """Folder in which two processes tell each other which kernels they compile.

    Args:
        folder: Existing folder, the same for both.
        is_alive: Function that tells whether the other process runs; None if this one does not wait for it.
    """

    def __init__(self, folder: Path, is_alive: Callable[[], bool] | None = None) -> None:
        self._folder = folder
        self._is_alive = is_alive

    def take(self, kernel: str) -> bool:
        """Take a kernel, or wait until the other process has compiled it.

        Returns:
            True if this process has to compile it, False if it may be in the cache now.

        Raises:
            TakenError: The other process compiles it, and this one does not wait.
        """
        path = self._path(kernel)
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            if self._is_alive is None:
                raise TakenError(kernel) from None
            deadline = time.monotonic() + PATIENCE
            while not path.with_suffix(".done").exists() and self._is_alive() and time.monotonic() < deadline:
                time.sleep(POLL)
            return False
        except OSError:  # the folder is gone
            pass
        return True

    def finish(self, kernel: str) -> None:
        """Tell that a kernel is in the cache."""
        with suppress(OSError):  # the folder is gone, and nobody waits
            self._path(kernel).with_suffix(".done").touch()

    def _path(self, kernel: str) -> Path:
        return self._folder / hashlib.sha256(kernel.encode()).hexdigest()[:32]


current: Division | None = None  # of this process
