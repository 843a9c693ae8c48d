"""Helpers of the tests of autoencoders: weights as if they were trained, and records by name."""

from pathlib import Path

import torch
from evaluating import load, run

from fastgs.autoencoders.networks import build_autoencoder
from fastgs.autoencoders.pretrained import TrainedAutoencoder, save_autoencoder, set_shape
from fastgs.splats import read_index
from fastgs.splats.channels import ATTRIBUTES

SMALL = ("-k", 64, "--size", 16, "--workers", 1)


def save_weights(
    path: Path, dataset: Path, content="splats", parameters="anchored", split=False, latent=6, seed=0, kind="deep"
) -> Path:
    """Write the weights of an autoencoder that was not trained, with notes on a training, and return the path."""
    index = read_index(dataset)
    rows, columns, channels = set_shape(content, index.num_gaussians, index.size, index.size)
    groups = [each.stop - each.start for each in ATTRIBUTES[parameters].values()] if split else [channels]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_autoencoder(kind, groups, latent, rows=rows, columns=columns, width=1, batch_norm=False)
    normalization = index.normalizations[parameters] if content == "splats" else None
    autoencoder = TrainedAutoencoder(content, network.eval(), index.size, index.size, normalization)
    training = {"seed": 3, "hyperparameters": {"parameter_weight": 0.1, "rendering_weight": 1.0}}
    save_autoencoder(path, autoencoder, training)
    return path


def evaluate(dataset, *autoencoders, output, more=()) -> int:
    given = ("--autoencoders", *autoencoders) if autoencoders else ()
    return run("splats", "evaluate", dataset, *given, "--output", output, *more)


def by_name(path: Path) -> dict[str, dict]:
    """Return records by autoencoder and split."""
    return {f"{record['autoencoder']}, {record['split']}": record for record in load(path)}
