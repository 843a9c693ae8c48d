"""Train a classifier on a dataset of Gaussians instead of pixels.

The dataset comes from images in one folder for each class, or from CIFAR-10:

fastgs download cifar10
fastgs splats make data/cifar10 --num-gaussians 256 --output data/splats
python examples/splats_classifier.py data/splats --epochs 10
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from fastgs.splats import SplatDataset


class SetClassifier(nn.Module):
    """Classifier of sets: the same layers for each Gaussian, and the mean and maximum over all of them."""

    def __init__(self, channels: int, classes: int, width: int = 128) -> None:
        super().__init__()
        self.each = nn.Sequential(nn.Linear(channels, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.all = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, classes))

    def forward(self, sets: Tensor) -> Tensor:
        """Map (B, K, C) channels to (B, classes) logits."""
        features = self.each(sets)
        return self.all(torch.cat([features.mean(1), features.amax(1)], dim=1))


@torch.no_grad()
def accuracy(network: nn.Module, loader: DataLoader) -> float:
    """Return the share of images that are classified correctly."""
    hits = [(network(inputs).argmax(1) == labels).float() for inputs, _, labels in loader]
    return float(torch.cat(hits).mean())


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("splats", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=64)
    arguments = parser.parse_args()

    torch.manual_seed(0)
    # "plain" channels have the centre on the canvas, which a set needs; see fastgs.splats.channels.
    train = SplatDataset(arguments.splats, "train", parameters="plain", layout="set")
    test = SplatDataset(arguments.splats, "test", parameters="plain", layout="set")
    train_loader = DataLoader(train, batch_size=arguments.batch_size, shuffle=True)
    test_loader = DataLoader(test, batch_size=256)
    print(f"{len(train)} images of {len(train.labels)} classes, {train.num_gaussians} Gaussians each")

    network = SetClassifier(channels=train[0].inputs.shape[1], classes=len(train.labels))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    for epoch in range(arguments.epochs):
        for inputs, _, labels in train_loader:
            loss = functional.cross_entropy(network(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch + 1}: accuracy {accuracy(network, test_loader):.3f} on test images")


if __name__ == "__main__":
    main()
