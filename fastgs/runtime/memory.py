"""Memory of the machine, or of the container that this process runs in."""

from __future__ import annotations

from pathlib import Path


def available_memory() -> int | None:
    """Return how many bytes of memory processes may take without swapping; None if that is not known."""
    found = []
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        found += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
        group = Path("/sys/fs/cgroup")  # of a container, where it is seen as the root
        limit = (group / "memory.max").read_text(encoding="utf-8").strip()
        if limit != "max":
            used = int((group / "memory.current").read_text(encoding="utf-8"))
            fields = (line.split() for line in (group / "memory.stat").read_text(encoding="utf-8").splitlines())
            cached = sum(int(value) for name, value in fields if name == "inactive_file")  # given back when needed
            found.append(max(0, int(limit) - used + cached))
    except (OSError, ValueError, IndexError):  # another system, or no such group
        pass
    return min(found, default=None)
