"""Fits to learn from: pictures of many kinds, at several K and numbers of steps, one JSON line each."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from typing_extensions import override

from benchmarks.quality.counts.drawn import TRAINING, Pixels, colored_noise, drawing, screenshot
from fastgs.fitting.options import FitOptions
from fastgs.methods.count_features import ImageFeatures
from fastgs.methods.count_model import SHARES, CountModel, State
from fastgs.methods.fastgs import CURVATURE
from fastgs.methods.steering import Steering
from fastgs.methods.wish import Wish

# Shares of the kinds; what photos are changed by is drawn in `_photo`.
KINDS = {"photo": 0.4, "screenshot": 0.2, "drawing": 0.15, "icon": 0.07, "gradient": 0.03, "noise": 0.15}
SIDES = (96, 112, 128, 128, 144, 160, 192, 256)
# Range of Gaussians per pixel where each kind has about 26 to 45 dB.
PER_PIXEL = {
    "photo": (0.0025, 0.15),
    "screenshot": (0.0012, 0.03),
    "drawing": (0.0004, 0.025),
    "icon": (0.0005, 0.015),
    "gradient": (0.0001, 0.003),
    "noise": (0.003, 0.4),
}
LEAST = 3  # Gaussians
COUNTS = 4  # fits of each picture
STEERED, BRANCHES = 2, 3  # steered fits of each picture, and series of rounds behind each
PROBE = 20  # steps of the short fit beside each of 200


def make(seed: int, photos: Sequence[Path]) -> tuple[str, Tensor]:
    """Return the kind and the (C, H, W) picture of a seed."""
    rng = np.random.default_rng(seed)
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    height, width = (int(each) for each in rng.choice(SIDES, 2))
    if rng.random() < 0.5:
        height = width
    pixels = _photo(rng, photos, height, width) if kind == "photo" else TRAINING[kind](rng, height, width)
    pixels = np.round(255 * pixels) / 255
    image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).float()
    if rng.random() < 0.08:  # gray
        image = image.mean(0, keepdim=True)
    elif rng.random() < 0.06:  # alpha, premultiplied
        mask = torch.from_numpy(drawing(rng, *image.shape[1:])[..., 0]).float()
        image = torch.cat([image * mask, mask[None]])
    return kind, image


def _photo(rng: np.random.Generator, photos: Sequence[Path], height: int, width: int) -> Pixels:
    """Return a crop of a photo: as it is, or reduced, blurred, compressed, noisy, or beside something drawn."""
    with Image.open(photos[int(rng.integers(len(photos)))]) as file:
        photo = file.convert("RGB")
    change = int(rng.integers(10))
    factor = float(rng.uniform(0.4, 1)) if change in (0, 1) else float(rng.uniform(1.2, 2)) if change == 2 else 1.0
    factor = max(factor, height / photo.height, width / photo.width) if min(photo.size) < 400 else factor
    factor = max(factor, 96 / min(photo.size))
    photo = photo.resize((round(photo.width * factor), round(photo.height * factor)), Image.Resampling.LANCZOS)
    height, width = min(height, photo.height), min(width, photo.width)
    top, left = int(rng.integers(photo.height - height + 1)), int(rng.integers(photo.width - width + 1))
    photo = photo.crop((left, top, left + width, top + height))
    if change == 3:
        buffer = io.BytesIO()
        photo.save(buffer, "JPEG", quality=int(rng.integers(20, 90)))
        photo = Image.open(buffer)
    pixels = np.asarray(photo, dtype=np.float64) / 255
    if change == 4:
        pixels = np.clip(pixels + 2 ** rng.uniform(-7, -3.5) * colored_noise(rng, height, width, 0.0), 0, 1)
    if change == 5:
        other = (screenshot if rng.random() < 0.6 else drawing)(rng, height, width)
        split = int(rng.integers(width // 5, width))
        pixels = np.concatenate([pixels[:, :split], other[:, split:]], axis=1)
    return pixels


def counts_of(seed: int, kind: str, pixels: int) -> list[int]:
    """Return numbers of Gaussians spread over the range of the kind."""
    rng = np.random.default_rng([seed, 1])
    places = (np.arange(COUNTS) + rng.random(COUNTS)) / COUNTS
    least, most = PER_PIXEL[kind]
    low, high = np.log(max(least, LEAST / pixels)), np.log(most)
    return [max(LEAST, round(pixels * float(np.exp(low + place * (high - low))))) for place in places]


def fits(seed: int, photos: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Fit the picture of a seed at several K."""
    kind, image = make(seed, photos)
    rng = np.random.default_rng([seed, 2])
    steps = 200 if rng.random() < 0.85 else int(rng.choice([20, 50, 100, 400]))
    for count in counts_of(seed, kind, image[0].numel()):
        record: dict[str, Any] = {"seed": seed, "kind": kind, "shape": list(image.shape), "count": count}
        result = CURVATURE(image, count, FitOptions(steps), seed=seed)
        record |= {"iterations": steps, "psnr": [round(entry.psnr, 4) for entry in result.history]}
        if steps == 200:
            record["probe"] = round(CURVATURE(image, count, FitOptions(PROBE), seed=seed).psnr, 4)
        yield record


class _Exploring(Steering):
    """Steering that stops changing the number of Gaussians at a random look."""

    frozen = 0

    def _next(self, count: int) -> int:
        return count if len(self.looks) > self.frozen else super()._next(count)


class _ExploringWish(Wish):
    """Wish whose fit is steered up to a random look, with rounds of random sizes behind it."""

    def __init__(self, *arguments: Any, rng: np.random.Generator) -> None:
        super().__init__(*arguments)
        self.frozen, self.rng, self.states = int(rng.integers(len(SHARES))), rng, list[tuple[State, int]]()

    @override
    def _make_steering(self, *arguments: Any) -> Steering:  # type: ignore[override]
        self.steering = _Exploring(*arguments)
        self.steering.frozen = self.frozen
        return self.steering

    @override
    def _next(self, state: State) -> int:
        missing = float(self.rng.normal(0, 0.05)) + (0.3 * (self._target_psnr - state.psnr) / 4)
        factor = 2 ** min(0.3, max(-0.3, missing))
        count = min(self._most, max(1, round(state.count * factor)))
        self.states.append((state, count))
        return count


def steered_fits(seed: int, photos: Sequence[Path], model: CountModel) -> Iterator[dict[str, Any]]:
    """Fit the picture of a seed to random PSNRs, as the model so far does, with some chance added."""
    kind, image = make(seed, photos)
    rng = np.random.default_rng([seed, 3])
    for target in rng.uniform(26, 43, STEERED):
        steps = 200 if rng.random() < 0.7 else int(rng.choice([20, 50, 100, 400]))
        wish = _ExploringWish(float(target), steps, ImageFeatures.of(image), model, rng=rng)
        result = wish.fit(CURVATURE, image, FitOptions(steps), seed=seed)
        rounds = []
        for branch in range(BRANCHES):
            wish.states.clear()
            corrected = wish.correct(result, FitOptions(steps), image.device, seed + branch, None)
            ends = [round(trial.psnr, 4) for trial in corrected.trials[1:]]
            rounds += [
                [list(astuple(state)), count, end] for (state, count), end in zip(wish.states, ends, strict=False)
            ]
        yield {
            **{"seed": seed, "kind": kind, "shape": list(image.shape), "count": len(result.gaussians)},
            **{"iterations": steps, "psnr": [round(result.psnr, 4)], "target": round(float(target), 2)},
            "looks": [[each.share, round(each.psnr, 4), each.count] for each in wish.steering.looks],
            "frozen": wish.frozen,
            "rounds": rounds,
        }


def collect(photos: Sequence[Path], output: Path, seeds: Iterable[int], model: CountModel | None) -> None:
    """Append the fits of seeds to a file, without those that it has.

    Args:
        photos: Photos to take crops of.
        output: File of JSON lines.
        seeds: Seeds of the pictures.
        model: Model to steer fits by; None for fits of given K.
    """
    done: set[int] = set()
    if output.is_file():
        done = {json.loads(line)["seed"] for line in output.read_text(encoding="utf-8").splitlines()}
    for seed in seeds:
        if seed not in done:
            records = fits(seed, photos) if model is None else steered_fits(seed, photos, model)
            lines = [json.dumps(record) for record in records]
            with output.open("a", encoding="utf-8") as file:
                file.write("".join(f"{line}\n" for line in lines))
