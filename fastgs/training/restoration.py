"""Trains the network of restoration together with the Gaussians whose images it corrects.

An encoder that knows the network fits Gaussians to what the network leaves to them. So the Gaussians of all files are
variables of the training, too: each step renders those of one file, and moves them and the network downhill. Noise
stands for the rounding that they will undergo. The Gaussians are not kept: an encoder finds them anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from fastgs.codec.channels import BASIS
from fastgs.codec.restoration import (
    AREA_SCALE,
    AREA_SHIFT,
    DEVIATION_SCALE,
    FORMAT,
    GRAY,
    LEAST_VARIANCE,
    PLANES,
    VERSION,
)
from fastgs.codec.symbols import AREA, COLOR, U, V, X, Y
from fastgs.definition import CHANNELS
from fastgs.io.weights import write_pair
from fastgs.models.restoration import FOLD, RestorationNetwork
from fastgs.render import rasterize
from fastgs.training.base import TrainedStage
from fastgs.training.pairs import Pair, PairDataModule, PairFolder

# Averages of Adam for Gaussians, each of which is seen once in an epoch.
BETAS = (0.9, 0.98)
_LEAST_RATIO = 1e-12  # under the root, whose slope is infinite at 0

# In validation: steps from one look of the network to the next, and the share of the steps in which the rate rises.
LOOK = 10
RISE = 0.1


class RestorationStage(TrainedStage):
    """Trains `RestorationNetwork` and the Gaussians of its files.

    Args:
        width: Number of channels of the layers.
        depth: Number of layers.
        learning_rate, weight_decay, warmup_steps: Arguments of `TrainedStage`, for the network.
        symbol_rate: Learning rate of the Gaussians at its peak, in units of their symbols.
        noise: Width of the uniform noise of the Gaussians, in units of their symbols; 1 is that of plain rounding.
        val_iterations: Steps in which the Gaussians of validation files are adapted to the network.

    Raises:
        ValueError: An argument is out of range; one line that begins with the argument.
    """

    DATA = PairDataModule

    def __init__(
        self,
        width: int = 30,
        depth: int = 6,
        learning_rate: float = 6e-4,
        weight_decay: float = 0.0,
        warmup_steps: int = 100,
        symbol_rate: float = 0.1,
        noise: float = 0.8,
        val_iterations: int = 30,
    ) -> None:
        super().__init__(learning_rate, weight_decay, warmup_steps)
        if symbol_rate < 0 or noise < 0 or val_iterations < 1:
            name, value = ("symbol_rate", symbol_rate) if symbol_rate < 0 else ("noise", noise)
            name, value = (name, value) if value < 0 else ("val_iterations", val_iterations)
            raise ValueError(f"model.{name}: must be at least {int(name == 'val_iterations')}, got {value}")
        self.save_hyperparameters()
        self.symbol_rate = symbol_rate
        self.noise = noise
        self.val_iterations = val_iterations
        self.network = RestorationNetwork(PLANES, width, depth)
        self.symbols = nn.ParameterList()

    @override
    def setup(self, stage: str) -> None:
        super().setup(stage)
        if stage == "fit" and not len(self.symbols):
            pairs = self._pairs("train")
            self.symbols.extend(nn.Parameter(torch.from_numpy(each)) for each in pairs.symbols)

    @override
    def export(self, path: Path, training: dict[str, Any]) -> None:
        info = {"format": FORMAT, "version": VERSION, "network": self.network.arguments, "training": training}
        write_pair(path, {name: weights.half() for name, weights in self.network.state_dict().items()}, info)

    @override
    def configure_optimizers(self) -> Any:
        configured = super().configure_optimizers()
        (group,) = configured["optimizer"].param_groups
        schedule = configured["lr_scheduler"]["scheduler"].lr_lambdas[0]
        network = {**group, "params": list(self.network.parameters())}
        symbols = {**network, "params": list(self.symbols), "lr": self.symbol_rate, "weight_decay": 0.0, "betas": BETAS}
        for each, rate in ((network, self.learning_rate), (symbols, self.symbol_rate)):
            each["lr"] = each["initial_lr"] = rate
        optimizer = torch.optim.AdamW([network, symbols])
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    @override
    def configure_gradient_clipping(self, optimizer: Any, gradient_clip_val: Any = None, *_: Any, **__: Any) -> None:
        # The network's alone: rates of Adam do not depend on the length of the other gradients.
        if gradient_clip_val is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), gradient_clip_val)

    def training_step(self, batch: Pair, batch_idx: int) -> Tensor:
        """Return the squared error of the restored image over that of the rendering, which counts as a constant."""
        symbols = self.symbols[batch.index]
        generator = torch.Generator().manual_seed(batch.seed)
        noise = (torch.rand(symbols.shape, generator=generator) - 0.5).to(symbols) * self.noise
        image = _even(batch.image)
        planes = draw_planes(symbols + noise, self._units("train", batch.index), *batch.image.shape[1:])
        drawn, restored = self._restore(planes)
        error, plain = (restored - image).square().mean(), (drawn.detach() - image).square().mean()
        self.log("train/gain", 10 * (plain / error.detach()).log10(), prog_bar=True, batch_size=1)
        return error / plain

    def validation_step(self, batch: Pair, batch_idx: int) -> None:
        """Log the PSNR after Gaussians were adapted to the network, and its gain over those adapted without one."""
        # `Trainer.validate` is in inference mode, in which nothing can be optimized, and no tensor made in it.
        with torch.inference_mode(False), torch.enable_grad():
            image = batch.image.clone()
            symbols = torch.from_numpy(self._pairs("val").symbols[batch.index]).to(image)
            units = self._units("val", batch.index)
            psnr, plain = (self._adapt(symbols, units, image, restores) for restores in (True, False))
        for name, value in {"psnr": psnr, "gain": psnr - plain}.items():
            self.log(f"val/{name}", value, batch_size=1, sync_dist=True, on_epoch=True, prog_bar=True)

    def _adapt(self, symbols: Tensor, units: Tensor, image: Tensor, restores: bool) -> float:
        """Fit Gaussians to an image less what the network adds to them, and return the PSNR with that added."""
        variables = symbols.clone().requires_grad_()
        optimizer = torch.optim.Adam([variables], self.symbol_rate, BETAS)
        target, size = _even(image), image.shape[1:]
        correction = torch.zeros_like(target)
        for step in range(self.val_iterations + 1):
            progress = step / self.val_iterations
            drawn = draw_planes(variables, units, *size)
            if restores and (step % LOOK == 0 or step == self.val_iterations):
                with torch.no_grad():
                    rendered, restored = self._restore(drawn)
                    correction = restored - rendered
            errors = drawn[:CHANNELS] + GRAY + correction - target
            if step == self.val_iterations:
                break
            optimizer.param_groups[0]["lr"] = self.symbol_rate * min(1.0, (progress + 0.01) / RISE) * (1 - progress)
            optimizer.zero_grad()
            (gradient,) = torch.autograd.grad(errors.square().sum(), variables)
            variables.grad = gradient
            optimizer.step()
        clamped = (errors.detach() + target).clamp(0, 1) - target
        return float(-10 * clamped.square().mean().log10())

    def _restore(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the (3, H, W) image of (PLANES, H, W) planes of even sides, and the restored one."""
        drawn = planes[:CHANNELS] + GRAY
        return drawn, drawn + self.network(planes[None])[0]

    def _pairs(self, name: str) -> PairFolder:
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        pairs: PairFolder = data.datasets[name]
        return pairs

    def _units(self, name: str, index: int) -> Tensor:
        return torch.from_numpy(self._pairs(name).units[index]).to(self.device)


def draw_planes(symbols: Tensor, units: Tensor, height: int, width: int) -> Tensor:
    """Return the inputs of the network, as `fastgs.codec.restoration.draw_planes`, differentiable in the symbols.

    Args:
        symbols: (N, 8) symbols in floating point, see `fastgs.codec.symbols`.
        units: (N, 8) units of the symbols.
        height: Height of the canvas in pixels.
        width: Width of the canvas in pixels.

    Returns:
        (PLANES, H, W), H and W rounded down to even numbers.
    """
    values = symbols * units
    area, u, v = values[:, AREA], values[:, U], values[:, V]
    ratio = (u * u + v * v + _LEAST_RATIO).sqrt()
    scales = torch.stack([0.5 * (area + ratio), 0.5 * (area - ratio)], dim=1).exp()
    # Not as a product of matrices, which mixed precision would round.
    colors = (values[:, COLOR:, None] * torch.from_numpy(BASIS).to(values)).sum(1)
    luma = colors.mean(1, keepdim=True)
    planes = rasterize(
        values[:, [X, Y]],
        scales,
        0.5 * torch.atan2(v, u),
        torch.cat([colors, area[:, None], luma * luma], dim=1),
        counts=[len(values)],
        pitches=[(1.0, 1.0)],
        height=height,
        width=width,
    )[0]
    planes = _even(planes)
    drawn, areas, squares = planes.split([CHANNELS, 1, 1])
    variance = (squares - drawn.mean(0, keepdim=True) ** 2).clamp(min=0)
    deviations = float(DEVIATION_SCALE) * (variance + float(LEAST_VARIANCE)).sqrt()
    return torch.cat([drawn - GRAY, float(AREA_SCALE) * areas + float(AREA_SHIFT), deviations])


def _even(planes: Tensor) -> Tensor:
    """Return planes without the last row or column of an odd side."""
    height, width = (side // FOLD * FOLD for side in planes.shape[1:])
    return planes[:, :height, :width]
