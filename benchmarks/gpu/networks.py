"""Sections `networks` and `training`: times of the learned initialization and of its training."""

from __future__ import annotations

import math
from collections.abc import Iterator
from unittest import mock

import torch
from torch import Tensor

from benchmarks.gpu.scenes import Bench, Record, photos
from benchmarks.gpu.timing import Work, spread
from benchmarks.speed.training import Clock, watched
from fastgs.data import Batch
from fastgs.initializers import curvature
from fastgs.io.images import load_image
from fastgs.methods import WEIGHTS
from fastgs.models.attribute import STATE_CHANNELS, AttributeInputs
from fastgs.models.feed_forward import LearnedInitializer
from fastgs.models.pretrained import load_weights
from fastgs.render import cuda
from fastgs.training import AttributeStage
from fastgs.training.base import draw_count, generators


def parts(learned: LearnedInitializer, image: Tensor, count: int) -> dict[str, Work]:
    """Return the parts of the learned initialization of an image (3, H, W), and the whole."""
    assert learned.position is not None
    assert learned.attribute is not None
    position, attribute, images = learned.position, learned.attribute, image[None]
    number = torch.tensor([count], device=image.device)
    source = torch.Generator().manual_seed(0)
    prior = curvature.density(image, count)[None]
    densities = learned.densities(images, [count])
    placed = learned.place(images, densities, [count], [source])
    # Its values do not change the time.
    state = torch.rand(1, STATE_CHANNELS, *image.shape[1:], device=image.device)
    inputs = AttributeInputs(images, densities, images - 0.5, images.new_ones(1), state, number)
    return {
        "prior": lambda: curvature.density(image, count),
        "position network": lambda: position(images, prior, number),
        "place": lambda: learned.place(images, densities, [count], [source]),
        "attribute network, one pass": lambda: attribute(inputs),
        "corrections, all passes": lambda: learned.correct(images, densities, placed),
        "initialize": lambda: learned.initialize(image, count, source),
    }


def networks(bench: Bench) -> Iterator[Record]:
    """Yield the milliseconds of the parts of the learned initialization, by K and precision."""
    learned = load_weights(WEIGHTS).to(bench.device)
    _, image = photos(bench)[0]
    for count in bench.plan.counts:
        works = parts(learned, image.to(bench.device), count)
        for precision, half in (("float32", False), ("bf16", True)):
            with torch.no_grad(), torch.autocast(bench.device.type, torch.bfloat16, enabled=half):
                times = {part: spread(bench.timer.singles(work)) for part, work in works.items()}
            for part, found in times.items():
                kind = {"num_gaussians": count, "precision": precision, "part": part}
                yield {"size": bench.plan.side, **kind, **found}


def crops_of(bench: Bench) -> Tensor:
    """Cut random crops (B, 3, crop, crop) out of the photo."""
    crop = bench.plan.crop
    photo = load_image(bench.photo, max(bench.plan.side, crop))
    generator = torch.Generator().manual_seed(bench.seed)
    corners = torch.randint(photo.shape[1] - crop + 1, (bench.plan.crops, 2), generator=generator).tolist()
    return torch.stack([photo[:, top : top + crop, left : left + crop] for top, left in corners])


def training(bench: Bench) -> Iterator[Record]:
    """Yield the time of steps of Stage II; then the shares of their parts, waiting for the end of each."""
    crops = crops_of(bench).to(bench.device)
    batch = Batch(crops, torch.zeros(len(crops), dtype=torch.int64), torch.arange(len(crops)))
    clock = Clock()
    stage = AttributeStage(WEIGHTS).to(bench.device)
    parameters = [parameter for parameter in stage.parameters() if parameter.requires_grad]
    # A small learning rate, so that nothing diverges; the time of a step does not depend on it.
    optimizer = torch.optim.AdamW(parameters, lr=1e-6)

    def forward() -> Tensor:
        with torch.autocast(bench.device.type, torch.bfloat16):
            return stage.training_step(batch, 0)

    def descend() -> None:
        stage.on_before_optimizer_step(optimizer)
        optimizer.step()
        optimizer.zero_grad()

    def step() -> None:
        loss = forward()
        clock.timed("network_backward", loss.backward)()
        clock.timed("optimizer", descend)()

    side = bench.plan.crop
    placed = sum(draw_count(side, side, source) for source in generators(batch.seeds))
    settings = {"crops": len(crops), "side": side, "precision": "bf16", "gaussians": placed}
    with mock.patch.object(clock, "charge"), mock.patch.object(stage, "log"):  # outside a Trainer nothing is logged
        bench.timer.wall(step, 3)
        seconds = bench.timer.wall(step, bench.plan.training_steps) / 1e3
    rate = round(len(crops) / seconds, 2)
    yield {**settings, "seconds_per_step": round(seconds, 5), "images_per_second": rate}
    rasterizer = clock.timed_rasterizer(cuda.rasterize)
    with watched(clock), mock.patch.object(stage, "log"), mock.patch.object(cuda, "rasterize", rasterizer):
        step()
        clock.charge()
        clock.reset()
        bench.timer.wall(step, bench.plan.training_steps)
        clock.charge()
    elapsed = math.fsum(clock.seconds.values())
    shares = {f"share_{part}": round(taken / elapsed, 4) for part, taken in sorted(clock.seconds.items())}
    yield {**settings, "seconds_per_step": round(elapsed / bench.plan.training_steps, 5), **shares}
