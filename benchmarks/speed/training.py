"""Throughput of training: images per second of both stages, and the share of each part of a step.

    python -m benchmarks.speed.training DATA --steps 10 --precision bf16-mixed

The stages run in the Trainer, with untrained networks of the default size. Each moment is counted once, for the
innermost of these parts: data (loading with --num-workers 0, else waiting for it), network forward and backward (the
latter with everything between network and rasterizer), rasterizer forward and backward (including those of fits and of
the network's own renderings), placing (heuristic density, sampling, first attributes), targets (the rest of the fits of
Stage I, and their files), optimizer, and other. On a GPU, the clock waits for the end of each part, so that the shares
are right; the whole is a little faster without that.
"""

from __future__ import annotations

import argparse
import functools
import logging
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.profilers import Profiler
from torch import Tensor
from typing_extensions import override

from benchmarks.environment import run, write_results
from fastgs.data import FolderDataModule
from fastgs.initializers import curvature
from fastgs.models import AttributeNetwork, PositionNetwork
from fastgs.models.feed_forward import LearnedInitializer
from fastgs.models.pretrained import save_weights
from fastgs.render import cpu, reference
from fastgs.training import AttributeStage, PositionStage, position
from fastgs.training.targets import TargetStore

WARMUP = 2  # first steps, which compile and allocate, and are not counted
CASES = [("attribute", 128, 8), ("attribute", 256, 4), ("position", 224, 4)]  # stage, side of the crops, batch size
ITERATIONS = 150  # of the fits of Stage I

# Parts of a step, by the end of the name that the profiler of the Trainer has for an action.
ACTIONS = {
    "train_dataloader_next": "data",
    "Strategy.training_step": "other",
    "Strategy.backward": "network_backward",
    ".optimizer_step": "optimizer",
    ".optimizer_zero_grad": "optimizer",
    ".configure_gradient_clipping": "optimizer",
}


class Clock:
    """Clock that adds up the seconds of each part. Parts may be nested; the time counts for the innermost."""

    def __init__(self) -> None:
        self.stack = ["other"]
        self.reset()

    def reset(self) -> None:
        """Set all times to zero, within the current parts."""
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.mark = time.perf_counter()

    def enter(self, part: str) -> None:
        """Begin a part."""
        self.charge()
        self.stack.append(part)

    def leave(self) -> None:
        """End the innermost part."""
        self.charge()
        self.stack.pop()

    def charge(self) -> None:
        """Add the time since the last event to the innermost part."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds[self.stack[-1]] += now - self.mark
        self.mark = now

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that is counted as a part."""

        @functools.wraps(function)
        def wrapper(*arguments: Any, **options: Any) -> Any:
            self.enter(part)
            try:
                return function(*arguments, **options)
            finally:
                self.leave()

        return wrapper

    def timed_rasterizer(self, rasterize: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """Return a rasterizer that is counted as two parts, forward and backward.

        The backward pass is timed by two identities around it, whose own backward passes begin and end the part.
        """

        class Begin(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
                return tuple(tensor.view_as(tensor) for tensor in tensors)

            @staticmethod
            def backward(ctx: Any, *gradients: Any) -> Any:
                self.leave()
                return gradients

        class End(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, image: Tensor) -> Tensor:
                return image.view_as(image)

            @staticmethod
            def backward(ctx: Any, *gradients: Any) -> Any:
                self.enter("rasterizer_backward")
                return gradients

        forward = self.timed("rasterizer_forward", rasterize)

        @functools.wraps(rasterize)
        def wrapper(
            means: Tensor, scales: Tensor, rotations: Tensor, colors: Tensor, *arguments: Any, **options: Any
        ) -> Tensor:
            tensors = Begin.apply(means, scales, rotations, colors)
            result: Tensor = End.apply(forward(*tensors, *arguments, **options))
            return result

        return wrapper


class ClockProfiler(Profiler):
    """Profiler that reports the actions of the Trainer to the clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    @override
    def start(self, action_name: str) -> None:
        # An action that is not a part itself belongs to the part that it lies in.
        parts = [part for ending, part in ACTIONS.items() if action_name.endswith(ending)]
        self.clock.enter(parts[0] if parts else self.clock.stack[-1])

    @override
    def stop(self, action_name: str) -> None:
        self.clock.leave()


class Steps(Callback):
    """Callback that keeps the times from the end of the warm-up to the end of the last step."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.ends: list[float] = []

    @override
    def on_train_batch_end(self, trainer: lightning.Trainer, *arguments: Any) -> None:
        self.clock.charge()
        self.ends.append(self.clock.mark)
        if len(self.ends) == WARMUP:
            self.clock.reset()
        if len(self.ends) == trainer.max_steps:
            self.seconds = dict(self.clock.seconds)


def watched(clock: Clock) -> ExitStack:
    """Time the parts that the Trainer does not know of, until the returned context is closed."""
    places: list[tuple[Any, str, str]] = [
        (PositionNetwork, "forward", "network_forward"),
        (AttributeNetwork, "forward", "network_forward"),
        (LearnedInitializer, "place", "placing"),
        (curvature, "densities", "placing"),
        (position, "optimize", "targets"),
        (position, "project", "targets"),
        (TargetStore, "load", "targets"),
        (TargetStore, "save", "targets"),
    ]
    stack = ExitStack()
    for owner, name, part in places:
        stack.enter_context(mock.patch.object(owner, name, clock.timed(part, getattr(owner, name))))
    for backend in (cpu, reference):
        stack.enter_context(mock.patch.object(backend, "rasterize", clock.timed_rasterizer(backend.rasterize)))
    return stack


def measure(
    data: Sequence[str], name: str, side: int, batch: int, steps: int, precision: Any, workers: int
) -> dict[str, Any]:
    """Train for some steps, and return a record.

    Args:
        data: Folders of photos.
        name: Stage, "position" or "attribute".
        side: Side of the crops in pixels.
        batch: Batch size.
        steps: Number of steps that are counted.
        precision: Precision of the Trainer.
        workers: Number of processes that load images.
    """
    torch.manual_seed(0)
    clock = Clock()
    counted = Steps(clock)
    moving = name == "attribute"  # Stage I keeps its targets from epoch to epoch
    module = FolderDataModule(
        list(data), crop=side, random_crop=moving, flip=moving, batch_size=batch, num_workers=workers
    )
    trainer = lightning.Trainer(
        max_steps=WARMUP + steps,
        devices=1,
        precision=precision,
        callbacks=[counted],
        profiler=ClockProfiler(clock),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with tempfile.TemporaryDirectory() as folder, watched(clock):
        stage: lightning.LightningModule
        if name == "position":
            stage = PositionStage(targets=folder, iterations=ITERATIONS)
        else:
            save_weights(Path(folder) / "position", LearnedInitializer(PositionNetwork()), {})
            stage = AttributeStage(str(Path(folder) / "position"))
        trainer.fit(stage, module)
    elapsed = counted.ends[-1] - counted.ends[WARMUP - 1]
    images = steps * batch
    return {
        "stage": name,
        "side": side,
        "batch": batch,
        "seconds_per_step": round(elapsed / steps, 4),
        "images_per_second": round(images / elapsed, 3),
        "megapixels_per_second": round(images * side**2 / 1e6 / elapsed, 4),
        "shares": {part: round(seconds / elapsed, 4) for part, seconds in sorted(counted.seconds.items())},
    }


def main() -> None:
    """Measure, print, and write benchmarks/results/NAME.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", help="folders of photos")
    parser.add_argument(
        "--steps", type=int, default=10, help="number of steps that are counted, for each stage and size"
    )
    parser.add_argument("--precision", default="bf16-mixed", help="precision of the Trainer")
    parser.add_argument("--num-workers", type=int, default=0, help="number of processes that load images")
    parser.add_argument("--name", default="training", help="name of the JSON file in benchmarks/results")
    arguments = parser.parse_args()

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    records = []
    for name, side, batch in CASES:
        record = measure(arguments.data, name, side, batch, arguments.steps, arguments.precision, arguments.num_workers)
        shares = ", ".join(f"{part} {share:.1%}" for part, share in record["shares"].items())
        print(f"{name} {batch} x {side} x {side}: {record['images_per_second']} images/s ({shares})", flush=True)
        records.append(record)
    settings = {key: value for key, value in vars(arguments).items() if key not in ("data", "name")}
    settings |= {"iterations": ITERATIONS, "warmup": WARMUP}
    settings["device"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    print(write_results(arguments.name, settings, records))


if __name__ == "__main__":
    run(main)
