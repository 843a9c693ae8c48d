"""Ablations: the same photos, numbers of Gaussians and fits, with one part of the method taken away at a time.

    python -m benchmarks.quality.ablations DATA --train PHOTOS

Some ablations use the shipped networks: without the position network Gaussians are placed by the density of the
curvature, without the attribute network they look as the heuristic makes them, and multinomial sampling replaces error
diffusion. For the others, both networks are trained anew, for a short time and for equally long: as they are; with the
published loss of densities in Stage I in place of the cross-entropy; and without FiLM's condition on K (they see
that of `fastgs.models.film.UNCONDITIONED_GAUSSIANS`, whatever K is). Each cell is a run of its own.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any, NamedTuple

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
from fastgs.io.images import find_images, load_image
from fastgs.models.feed_forward import LearnedInitializer
from fastgs.models.pretrained import load_weights, save_weights
from fastgs.training import AttributeStage, PositionStage
from fastgs.training.position import DensityLoss


class Parts(NamedTuple):
    """Parts of trained networks that are used.

    Attributes:
        position: True if the position network predicts the density.
        attribute: True if the attribute network corrects the attributes.
        sampling: Method of `fastgs.initializers.sampling.sample`.
    """

    position: bool = True
    attribute: bool = True
    sampling: str = "error_diffusion"


class Training(NamedTuple):
    """Variant of the short training.

    Attributes:
        loss: Loss of Stage I.
        conditioned: True if the networks are told K.
    """

    loss: DensityLoss = "cross_entropy"
    conditioned: bool = True


PARTS = {
    "all": Parts(),
    "without positions": Parts(position=False),
    "without attributes": Parts(attribute=False),
    "without both": Parts(position=False, attribute=False),
    "multinomial": Parts(sampling="multinomial"),
}
TRAININGS = {
    "short training": Training(),
    "MSE of densities": Training(loss="mse"),
    "without FiLM on K": Training(conditioned=False),
}


def initialize(
    networks: LearnedInitializer, image: Tensor, count: int, generator: torch.Generator, parts: Parts
) -> Gaussians:
    """Return K Gaussians on an image by some parts of the method."""
    chosen = LearnedInitializer(
        networks.position if parts.position else None,
        networks.attribute if parts.attribute else None,
        parts.sampling,
    )
    with torch.no_grad():  # in float32, unlike `initialize`, which computes in bfloat16 on CPUs that support it
        gaussians: Gaussians = chosen(image[None], [count], [generator])[0]
    return gaussians


def measure(
    name: str, start: Callable[[Tensor, int, torch.Generator], Gaussians], arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    """Fit all photos with all K from one kind of start, and return the records."""
    records = []
    cells = list(product(find_images(arguments.data), arguments.num_gaussians))
    for path, count in track(cells, description=name):
        image = load_image(path, arguments.size)
        initial = start(image, count, torch.Generator().manual_seed(arguments.seed))
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


def train(training: Training, arguments: argparse.Namespace) -> LearnedInitializer:
    """Train both stages, one after the other, for a short time."""
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
    loss, conditioned = training
    with tempfile.TemporaryDirectory() as folder:
        lightning.seed_everything(arguments.seed)
        still = FolderDataModule(arguments.train, crop=96, random_crop=False, flip=False, batch_size=4, num_workers=0)
        first = PositionStage(
            targets=f"{folder}/targets",
            slots=1,
            iterations=40,
            loss=loss,
            learning_rate=1e-3,
            conditioned=conditioned,
        )
        trainer(max_epochs=arguments.epochs).fit(first, still)
        save_weights(f"{folder}/position", first.networks, {})
        lightning.seed_everything(arguments.seed)
        moving = FolderDataModule(arguments.train, crop=128, batch_size=8, num_workers=0)
        second = AttributeStage(f"{folder}/position", conditioned=conditioned)
        trainer(max_epochs=-1, max_steps=arguments.steps).fit(second, moving)
    return second.networks.eval()


def print_means(records: list[dict[str, Any]], iterations: list[int]) -> None:
    """Print a line with the means of each variant and K."""
    for name, count in dict.fromkeys((each["variant"], each["num_gaussians"]) for each in records):
        chosen = [each for each in records if (each["variant"], each["num_gaussians"]) == (name, count)]
        cells = [f"{sum(each['psnr_init'] for each in chosen) / len(chosen):.2f} dB at once"] + [
            f"{sum(each['psnr'][str(number)] for each in chosen) / len(chosen):.2f} at {number}"
            for number in iterations
        ]
        print(f"{name:20s} K={count:<6d} {', '.join(cells)}")


def main() -> None:
    """Measure, print the means, and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", help="photos and folders of photos")
    parser.add_argument("--train", nargs="+", default=[], help="folders of other photos, for the short trainings")
    parser.add_argument("--weights", default="base", help="a name in checkpoints/, or a path")
    parser.add_argument("--num-gaussians", nargs="+", type=int, default=[10_000, 50_000])
    parser.add_argument("--iterations", nargs="+", type=int, default=[20, 100])
    parser.add_argument("--epochs", type=int, default=2, help="epochs of Stage I in the short trainings")
    parser.add_argument("--steps", type=int, default=300, help="steps of Stage II in the short trainings")
    parser.add_argument("--size", type=int, default=512, help="shorter side in pixels; the centre is cropped")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="ablations", help="name of the JSON file in benchmarks/results")
    arguments = parser.parse_args()

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    records = []
    networks = load_weights(arguments.weights)
    for name, parts in PARTS.items():
        records += measure(name, partial(initialize, networks, parts=parts), arguments)
    for name, training in TRAININGS.items() if arguments.train else ():
        networks = train(training, arguments)
        records += measure(name, partial(initialize, networks, parts=PARTS["all"]), arguments)
    print_means(records, arguments.iterations)
    settings = {key: value for key, value in vars(arguments).items() if key not in ("data", "train", "name")}
    print(write_results(arguments.name, settings, records))


if __name__ == "__main__":
    run(main)
