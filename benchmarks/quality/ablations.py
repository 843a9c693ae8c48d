"""What each part of the method is worth: the same photos, K and fits, with one part taken away at a time.

    python -m benchmarks.quality.ablations DATA --train PHOTOS

"parts" are taken from the shipped networks: without the position network Gaussians are placed by the density of the
curvature, without the attribute network they look as the heuristic has them; and multinomial sampling in place of error
diffusion. "training" trains both networks anew, for a short time and for equally long: as they are; Stage I with the
published loss of densities in place of the cross-entropy; and both networks without FiLM's condition on K (they see the
condition of `UNCONDITIONED`, whatever K is). Each cell is a run of its own of so many iterations.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import product
from typing import Any
from unittest import mock

import lightning
import torch
from rich.progress import track
from torch import Tensor

from benchmarks.environment import run, write_results
from fastgs.data import FolderDataModule
from fastgs.fitting.densification import relocation
from fastgs.fitting.fit import fit
from fastgs.fitting.options import FitOptions
from fastgs.gaussians import Gaussians
from fastgs.initializers import curvature
from fastgs.initializers.sampling import sample
from fastgs.io.images import find_images, load_image
from fastgs.models import attribute, position
from fastgs.models import feed_forward as learned
from fastgs.models.feed_forward import LearnedInitializer
from fastgs.models.film import density_condition
from fastgs.models.pretrained import load_weights, save_weights
from fastgs.training import AttributeStage, PositionStage
from fastgs.training.position import DensityLoss

UNCONDITIONED = 10_000  # Gaussians at 512 x 512
REFERENCE_SIZE = 512, 512

# Parts of the shipped networks that are used: positions, attributes; and the sampling.
PARTS = {
    "all": (True, True, "error_diffusion"),
    "without positions": (False, True, "error_diffusion"),
    "without attributes": (True, False, "error_diffusion"),
    "without both": (False, False, "error_diffusion"),
    "multinomial": (True, True, "multinomial"),
}
# Networks that are trained here: the loss of Stage I, and whether they are told K.
TRAININGS: dict[str, tuple[DensityLoss, bool]] = {
    "short training": ("cross_entropy", True),
    "MSE of densities": ("mse", True),
    "without FiLM on K": ("cross_entropy", False),
}


@contextmanager
def condition(told: bool) -> Iterator[None]:
    """While this lasts, networks are told K, or always the same."""

    def constant(num_gaussians: Tensor, height: int, width: int) -> Tensor:
        return density_condition(torch.full_like(num_gaussians, UNCONDITIONED), *REFERENCE_SIZE)

    with ExitStack() as stack:
        if not told:
            for module in (position, attribute):
                stack.enter_context(mock.patch.object(module, "density_condition", constant))
        yield


def start(
    networks: LearnedInitializer, image: Tensor, count: int, generator: torch.Generator, parts: tuple[bool, bool, str]
) -> Gaussians:
    """K Gaussians on an image by some parts of the method."""
    positions, attributes, method = parts
    images, counts = image[None], [count]
    with torch.no_grad(), mock.patch.object(learned, "sample", partial(sample, method=method)):
        density = networks.log_densities(images, counts).exp() if positions else curvature.density(image, count)[None]
        (placed,) = networks.place(images, density, counts, [generator])
        return networks.correct(images, density, [placed])[-1][0] if attributes else placed


def measure(
    name: str, initialize: Callable[[Tensor, int, torch.Generator], Gaussians], arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    """Fits of all photos for all K from one kind of start."""
    records = []
    cells = list(product(find_images(arguments.data), arguments.num_gaussians))
    for path, count in track(cells, description=name):
        image = load_image(path, arguments.size)
        initial = initialize(image, count, torch.Generator().manual_seed(arguments.seed))
        fits = {}
        for iterations in arguments.iterations:
            moves = relocation(initial, torch.Generator().manual_seed(arguments.seed))
            fits[iterations] = fit(image, initial, FitOptions(iterations), densification=moves).history
        records.append(
            {
                "variant": name,
                "image": path.name,
                "num_gaussians": count,
                "psnr_init": round(fits[arguments.iterations[0]][0].psnr, 4),
                "psnr": {str(iterations): round(history[-1].psnr, 4) for iterations, history in fits.items()},
            }
        )
    return records


def train(loss: DensityLoss, told: bool, arguments: argparse.Namespace) -> LearnedInitializer:
    """Both stages, one after the other, for a short time."""
    trainer = partial(
        lightning.Trainer,
        devices=1,
        accelerator="cpu",
        precision="bf16-mixed",
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    with tempfile.TemporaryDirectory() as folder, condition(told):
        lightning.seed_everything(arguments.seed)
        still = FolderDataModule(arguments.train, crop=96, random_crop=False, flip=False, batch_size=4, num_workers=0)
        first = PositionStage(targets=f"{folder}/targets", slots=1, iterations=40, loss=loss, learning_rate=1e-3)
        trainer(max_epochs=arguments.epochs).fit(first, still)
        save_weights(f"{folder}/position", first.networks, {})
        lightning.seed_everything(arguments.seed)
        moving = FolderDataModule(arguments.train, crop=128, batch_size=8, num_workers=0)
        second = AttributeStage(f"{folder}/position")
        trainer(max_epochs=-1, max_steps=arguments.steps).fit(second, moving)
    return second.networks.eval()


def main() -> None:
    """Measure, print the means, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", help="photos and folders of photos")
    parser.add_argument("--train", nargs="+", default=[], help="folders of other photos, for the short trainings")
    parser.add_argument("--weights", default="base", help="a name in checkpoints/, or a path")
    parser.add_argument("--num-gaussians", nargs="+", type=int, default=[10_000, 50_000])
    parser.add_argument("--iterations", nargs="+", type=int, default=[20, 100])
    parser.add_argument("--epochs", type=int, default=2, help="of Stage I in the short trainings")
    parser.add_argument("--steps", type=int, default=300, help="of Stage II in the short trainings")
    parser.add_argument("--size", type=int, default=512, help="shorter side; centre crop")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="ablations", help="of the JSON file in benchmarks/results")
    arguments = parser.parse_args()

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    records = []
    networks = load_weights(arguments.weights)
    for name, parts in PARTS.items():
        records += measure(name, partial(start, networks, parts=parts), arguments)
    for name, (loss, told) in TRAININGS.items() if arguments.train else ():
        networks = train(loss, told, arguments)
        with condition(told):
            records += measure(name, partial(start, networks, parts=PARTS["all"]), arguments)
    for name, count in dict.fromkeys((each["variant"], each["num_gaussians"]) for each in records):
        chosen = [each for each in records if (each["variant"], each["num_gaussians"]) == (name, count)]
        cells = [f"{sum(each['psnr_init'] for each in chosen) / len(chosen):.2f} dB at once"] + [
            f"{sum(each['psnr'][str(iterations)] for each in chosen) / len(chosen):.2f} at {iterations}"
            for iterations in arguments.iterations
        ]
        print(f"{name:20s} K={count:<6d} {', '.join(cells)}")
    settings = {key: value for key, value in vars(arguments).items() if key not in ("data", "train", "name")}
    print(write_results(arguments.name, settings, records))


if __name__ == "__main__":
    run(main)
