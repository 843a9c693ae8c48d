"""Comparison of autoencoders on splats with the same networks on pixels, by the commands that users have.

    python -m benchmarks.quality.autoencoders PHOTOS --work output/autoencoders

It makes the dataset, trains and evaluates, and writes benchmarks/results/autoencoders.json and
assets/autoencoders.png. PHOTOS is a folder of photos; the 32 x 32 crops of one photo are all in the same split, so no
network has seen the photos of the test split. What is done already is not done again.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from benchmarks.environment import RESULTS

ROOT = Path(__file__).parents[2]


class Run(NamedTuple):
    """Training of an autoencoder.

    Attributes:
        config: Configuration, configs/autoencoder_NAME.yaml.
        changes: Options of the command line that change it.
    """

    config: str
    changes: tuple[str, ...] = ()


NARROW = ("--model.width", "16")
RENDERING = ("--model.parameter_weight", "0", "--model.rendering_weight", "1")

# The best autoencoder and the same network on pixels, variants that lack one of its parts, and three common networks.
RUNS = {
    "anchored": Run("anchored"),
    "pixels": Run("pixels"),
    "plain": Run("anchored", ("--data.parameters", "plain")),
    "anchored-conv": Run("conv", (*NARROW, *RENDERING, "--data.parameters", "anchored")),
    "pixels-conv": Run("conv", (*NARROW, *RENDERING, "--model.content", "pixels")),
    "conv-rendering": Run("conv", (*NARROW, *RENDERING)),
    "conv": Run("conv", NARROW),
    "conv-each": Run("conv", (*NARROW, "--model.per_attribute", "true")),
    "deep": Run("deep"),
    "resnet": Run("resnet", NARROW),
}


def run(*command: object) -> None:
    """Run a command.

    Raises:
        CalledProcessError: The command fails.
    """
    print("$", *command, flush=True)
    subprocess.run([str(part) for part in command], cwd=ROOT, check=True)


def train(name: str, work: Path, latent: int, epochs: int) -> Path:
    """Train one autoencoder, unless that has been done, and return the path of its weights."""
    weights = work / f"{name}-{latent}"
    if not weights.with_suffix(".safetensors").exists():
        config, changes = RUNS[name]
        folder = work / "runs" / f"{name}-{latent}"
        shutil.rmtree(folder, ignore_errors=True)
        run(
            sys.executable, "train.py", "fit", "--config", f"configs/autoencoder_{config}.yaml",
            "--data.folder", work / "splats", "--trainer.default_root_dir", folder, "--trainer.max_epochs", epochs,
            "--trainer.check_val_every_n_epoch", epochs, "--model.latent", latent, *changes,
        )  # fmt: skip
        for suffix in (".json", ".safetensors"):
            shutil.copy(folder / f"weights{suffix}", weights.with_suffix(suffix))
    return weights


def main() -> None:
    """Make the dataset, train all autoencoders, and measure them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--work", type=Path, default=Path("output/autoencoders"))
    parser.add_argument("--crops", type=int, default=16, help="number of crops of each photo")
    parser.add_argument("--iterations", type=int, default=10, help="number of iterations of the fits")
    parser.add_argument("--latents", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS))
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    command = (sys.executable, "-m", "fastgs", "splats")
    run(
        *command, "make", arguments.photos.resolve(), "--num-gaussians", 1024, "--size", 32,
        "--crops", arguments.crops, "--iterations", arguments.iterations, "--output", work / "splats",
    )  # fmt: skip
    evaluate = (*command, "evaluate", work / "splats", "--output", RESULTS / "autoencoders.json", "--autoencoders")
    for latent in sorted(arguments.latents):
        weights = [train(name, work, latent, arguments.epochs) for name in arguments.runs]
        run(*evaluate, *weights)
    with tempfile.TemporaryDirectory() as pictures:
        run(*evaluate, *weights, "--pictures", pictures)
        shutil.copy(Path(pictures, "splats-test.png"), ROOT / "assets" / "autoencoders.png")


if __name__ == "__main__":
    main()
