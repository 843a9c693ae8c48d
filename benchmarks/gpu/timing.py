"""Timers: on a GPU by its events, elsewhere by the host's clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import torch
from typing_extensions import override

Work = Callable[[], object]

SECONDS = 0.2  # duration of a measurement of single calls, within the limits below
FEWEST, MOST = 10, 200  # calls
GRAPH_CALLS = 20  # calls in one graph, so that the time of its launch is negligible


class Timer(Protocol):
    """Timer of work on one device."""

    def singles(self, work: Work) -> list[float]:
        """Return the milliseconds of each of several calls, launched without waiting in between, after a warm-up."""

    def replays(self, work: Work) -> list[float]:
        """Return the milliseconds of calls in a replayed CUDA graph; they must not wait for the device."""

    def wall(self, work: Work, calls: int) -> float:
        """Return the mean milliseconds of a call by the host's clock, until the device is done, without a warm-up."""


class DeviceTimer(Timer):
    """Timer of the current CUDA device."""

    @override
    def singles(self, work: Work) -> list[float]:
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

    @override
    def replays(self, work: Work) -> list[float]:
        for _ in range(2):  # compiles the kernels, which is impossible during a capture
            work()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(GRAPH_CALLS):
                work()
        return [milliseconds / GRAPH_CALLS for milliseconds in self.singles(graph.replay)]

    @override
    def wall(self, work: Work, calls: int) -> float:
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(calls):
            work()
        torch.cuda.synchronize()
        return (time.perf_counter() - start) * 1e3 / calls


class HostTimer(Timer):
    """Timer of the CPU. It makes one call without a warm-up, since it only serves to test programs."""

    @override
    def singles(self, work: Work) -> list[float]:
        return [self.wall(work, 1)]

    @override
    def replays(self, work: Work) -> list[float]:
        return self.singles(work)

    @override
    def wall(self, work: Work, calls: int) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            work()
        return (time.perf_counter() - start) * 1e3 / calls


def spread(milliseconds: list[float]) -> dict[str, float | int]:
    """Return median, 10th and 90th percentile, and number of measurements, as part of a record."""
    ordered = sorted(milliseconds)

    def at(share: float) -> float:
        return round(ordered[round(share * (len(ordered) - 1))], 5)

    return {"milliseconds": at(0.5), "p10": at(0.1), "p90": at(0.9), "runs": len(ordered)}
