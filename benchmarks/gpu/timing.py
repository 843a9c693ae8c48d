"""How long work takes: on a GPU by its own events, elsewhere by the host's clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import torch

Work = Callable[[], object]

SECONDS = 0.2  # spent on a measurement of single calls, as far as the two numbers below allow
FEWEST, MOST = 10, 200
GRAPH_CALLS = 20  # in one graph, so that its launch does not count


class Timer(Protocol):
    """Measures work on one device."""

    def singles(self, work: Work) -> list[float]:
        """Milliseconds of each of several calls, launched without waiting in between; after a warm-up."""

    def replays(self, work: Work) -> list[float]:
        """Milliseconds of a call within a replayed graph of calls; none of them may wait for the device."""

    def wall(self, work: Work, calls: int) -> float:
        """Milliseconds of a call by the host's clock, over several and until all is done; without a warm-up."""


class DeviceTimer:
    """On the current CUDA device."""

    def singles(self, work: Work) -> list[float]:
        """See `Timer`."""
        for _ in range(3):
            work()
        once = self.wall(work, 1)
        runs = min(MOST, max(FEWEST, int(SECONDS * 1e3 / once)))
        events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(runs)]  # type: ignore[no-untyped-call]
        for start, end in events:
            start.record()
            work()
            end.record()
        torch.cuda.synchronize()
        return [start.elapsed_time(end) for start, end in events]

    def replays(self, work: Work) -> list[float]:
        """See `Timer`."""
        for _ in range(2):  # compiles, which a capture could not
            work()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(GRAPH_CALLS):
                work()
        return [milliseconds / GRAPH_CALLS for milliseconds in self.singles(graph.replay)]

    def wall(self, work: Work, calls: int) -> float:
        """See `Timer`."""
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(calls):
            work()
        torch.cuda.synchronize()
        return (time.perf_counter() - start) * 1e3 / calls


class HostTimer:
    """On the CPU, where a call ends when it is done: one call, no warm-up, since it is only there to try programs."""

    def singles(self, work: Work) -> list[float]:
        """See `Timer`."""
        return [self.wall(work, 1)]

    def replays(self, work: Work) -> list[float]:
        """See `Timer`."""
        return self.singles(work)

    def wall(self, work: Work, calls: int) -> float:
        """See `Timer`."""
        start = time.perf_counter()
        for _ in range(calls):
            work()
        return (time.perf_counter() - start) * 1e3 / calls


def spread(milliseconds: list[float]) -> dict[str, float | int]:
    """Median, 10th and 90th percentile, and number of the measurements, as part of a record."""
    ordered = sorted(milliseconds)

    def at(share: float) -> float:
        return round(ordered[round(share * (len(ordered) - 1))], 5)

    return {"milliseconds": at(0.5), "p10": at(0.1), "p90": at(0.9), "runs": len(ordered)}
