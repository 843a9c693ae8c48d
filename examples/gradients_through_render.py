"""Train a small network through `fastgs.render`: it looks at a thumbnail and gives the Gaussians of the photo.

The loss is measured on the rendered image; autograd carries it back through the rasterizer into the network.

python examples/gradients_through_render.py assets/coffee.png --steps 300
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

import fastgs
from fastgs.io.images import load_image

ROWS, COLUMNS = 16, 24  # one Gaussian for each cell of this grid


class GridNetwork(nn.Module):
    """Convolutional network from a (3, ROWS, COLUMNS) thumbnail to one Gaussian for each of its pixels."""

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, channels, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(channels, 8, 3, padding=1),
        )

    def forward(self, thumbnail: Tensor, height: int, width: int) -> fastgs.Gaussians:
        """Return ROWS x COLUMNS Gaussians on a canvas of height x width pixels."""
        numbers = self.layers(thumbnail[None])[0].flatten(1).T  # (K, 8)
        y, x = torch.meshgrid(torch.arange(ROWS), torch.arange(COLUMNS), indexing="ij")
        centers = torch.stack([x, y], dim=-1).reshape(-1, 2) + 0.5
        cell = torch.tensor([width / COLUMNS, height / ROWS])
        return fastgs.Gaussians(
            means=(centers + torch.tanh(numbers[:, :2])) * cell,
            scales=0.5 * cell * torch.exp(torch.tanh(numbers[:, 2:4])),
            rotations=numbers[:, 4],
            colors=thumbnail.flatten(1).T + numbers[:, 5:],
            height=height,
            width=width,
        )


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--steps", type=int, default=300)
    arguments = parser.parse_args()

    torch.manual_seed(0)
    target = load_image(arguments.photo)
    _, height, width = target.shape
    thumbnail = functional.interpolate(target[None], size=(ROWS, COLUMNS), mode="area")[0]
    network = GridNetwork()
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for step in range(arguments.steps + 1):
        loss = functional.mse_loss(fastgs.render(network(thumbnail, height, width)), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % max(1, arguments.steps // 5) == 0:
            print(f"step {step}: {-10 * loss.log10().item():.2f} dB")


if __name__ == "__main__":
    main()
