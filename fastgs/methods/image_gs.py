"""Image-GS (Zhang et al., SIGGRAPH 2025, arXiv 2407.01866): content-adaptive starts, more Gaussians at errors.

Constants are those of cfgs/default.yaml and model.py of github.com/NYU-ICL/image-gs, read in the copies that
sachmata/image-gs and nc-thu/image-gs have of it. What differs: positions come from one draw of the mixture with the
uniform density, as in the paper, where the code draws the two shares apart; Adam keeps what it remembers of the
Gaussians that stay when others are added, where the code starts a new one; the plateau is one of the PSNR alone, where
the code also asks for the SSIM; and a run is not ended early. Saliency is a spectral residual, not EML-Net, whose
weights are not at hand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from fastgs.fitting.densification import Edit
from fastgs.fitting.losses import LOSSES
from fastgs.fitting.optimizer import Descent, OptimizationConfig
from fastgs.fitting.parametrization import Attributes, Parametrization
from fastgs.gaussians import Gaussians
from fastgs.initializers import saliency
from fastgs.initializers.filters import mix_with_uniform, smooth
from fastgs.initializers.sampling import sample
from fastgs.methods.method import Method
from fastgs.methods.schedules import reductions

ITERATIONS = 10_000
TOP_K = 10  # number of Gaussians that a pixel is blended of
RATES = {"means": 5e-4, "inverse_scales": 2e-3, "rotations": 2e-3, "colors": 5e-3}
INITIAL_SCALE = 5.0  # pixels
UNIFORM = 0.3  # share of the positions that are drawn uniformly; `initializers.saliency` has the same
POWER = 2.0  # exponent of the norm of the gradient (model.py; 1 in the paper) and of the error
INITIAL_RATIO = 0.5  # share of the Gaussians at the start
ADD_STEPS, ADD_TIMES = 500, 4  # steps between additions, and their number
DECAY, DECAY_TIMES = 0.1, 1  # the rates fall by that factor so many times
CHECK_STEPS = 1_000  # steps without an improvement
THRESHOLD = 0.1  # dB that count as an improvement; 100 times `decay_threshold`


class InverseScale(Parametrization):
    """Centres in units of the canvas, and inverse scales `1 / |v|` in pixels, none longer than two sides of it."""

    NAMES = ("means", "inverse_scales", "rotations", "colors")

    @override
    def _split(self, gaussians: Gaussians) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        free = {
            "means": gaussians.means / self._canvas_size(gaussians.means),
            "inverse_scales": 1 / gaussians.scales,
            "rotations": gaussians.rotations.detach().clone(),
            "colors": gaussians.colors.detach().clone(),
        }
        return free, {}

    @override
    def attributes(self) -> Attributes:
        means = self.free["means"] * self._canvas_size(self.free["means"])
        scales = 1 / self.free["inverse_scales"].abs().clamp(min=1 / sum(self.canvas))
        return Attributes(means, scales, self.free["rotations"], self.free["colors"])


def gradient_density(image: Tensor) -> Tensor:
    """Return the (H, W) density: the squared norm of Sobel's gradient, plus the uniform share; it sums to 1."""
    from scipy.ndimage import sobel  # deferred: slow to import

    planes = image.detach().cpu().numpy()
    squared = sum(sobel(plane, axis) ** 2 for plane in planes for axis in (0, 1))
    return mix_with_uniform(torch.from_numpy(squared), POWER / 2, UNIFORM)


def _make_circles(image: Tensor, means: Tensor, colors: Tensor) -> Gaussians:
    """Make circles of the initial scale at (K, 2) positions."""
    means = means.to(image)
    scales, rotations = torch.full_like(means, INITIAL_SCALE), means.new_zeros(len(means))
    return Gaussians(means, scales, rotations, colors, image.shape[1], image.shape[2])


def _sample_colors(image: Tensor, means: Tensor) -> Tensor:
    """Return the (K, C) colours of a (C, H, W) image in the pixels of (K, 2) positions."""
    columns, rows = means.long().to(image.device).unbind(1)
    return image[:, rows, columns].T.contiguous()


def _initialize(
    density: Callable[[Tensor], Tensor], image: Tensor, num_gaussians: int, generator: torch.Generator | None
) -> Gaussians:
    means = sample(density(image), num_gaussians, "without_replacement", generator)
    return _make_circles(image, means, _sample_colors(image, means))


def by_gradient(image: Tensor, num_gaussians: int, generator: torch.Generator | None = None) -> Gaussians:
    """Place Gaussians by `gradient_density`."""
    return _initialize(gradient_density, image, num_gaussians, generator)


def by_saliency(image: Tensor, num_gaussians: int, generator: torch.Generator | None = None) -> Gaussians:
    """Place Gaussians by `fastgs.initializers.saliency.density`."""
    return _initialize(saliency.density, image, num_gaussians, generator)


@dataclass
class ErrorGuided:
    """Adds a quarter of the missing Gaussians at 5, 10, 15 and 20 % of the run, where the error is, in its colours.

    Attributes:
        num_gaussians: K at the end.
        generator: Random generator of the places.
        events: Shares of the run at which it acts, see `fastgs.fitting.densification.Densification`.
        grows: True: Gaussians are missing until the last event.
    """

    num_gaussians: int
    generator: torch.Generator | None = None
    events: ClassVar[Sequence[float]] = tuple(ADD_STEPS * (time + 1) / ITERATIONS for time in range(ADD_TIMES))
    grows: ClassVar[bool] = True

    def edit(self, event: int, target: Tensor, descent: Descent) -> Edit:
        """Add Gaussians where the error is."""
        there = len(descent.gaussians())
        missing = self.num_gaussians - there
        count = min(missing, math.ceil((self.num_gaussians - initial(self.num_gaussians)) / ADD_TIMES))
        residual = _denoise(target) - descent.image().clamp(0, 1)
        density = mix_with_uniform(residual.abs().mean(0), POWER, 0.0)
        means = sample(density, count, "without_replacement", self.generator)
        keep = torch.ones(there, dtype=torch.bool, device=target.device)
        return Edit(keep, _make_circles(target, means, _sample_colors(residual, means)))


def _denoise(target: Tensor) -> Tensor:
    """Return the image that errors are measured against: from 400 pixels a side (the root of H W), blurred a little.

    Their kernel has an odd number of taps, at least 3 and about one for every 400 pixels, and torchvision's sigma.
    """
    taps = int(math.sqrt(target.shape[1] * target.shape[2]) // 400)
    if not taps:
        return target
    taps = max(3, taps) | 1
    return torch.stack([smooth(plane, 0.3 * ((taps - 1) * 0.5 - 1) + 0.8) for plane in target])


def initial(num_gaussians: int) -> int:
    """Return the number of Gaussians that a run of K starts with."""
    return math.ceil(INITIAL_RATIO * num_gaussians)


def schedule(progress: float, psnrs: Sequence[float]) -> float:
    """Return a tenth once a tenth of the run has not gained 0.1 dB, counted from when all Gaussians are there."""
    begin = ErrorGuided.events[-1]
    times = reductions(progress, psnrs, patience=CHECK_STEPS / ITERATIONS, threshold=THRESHOLD, begin=begin)
    return float(DECAY ** min(times, DECAY_TIMES))


_IMAGE_GS = partial(
    Method,
    source="arXiv 2407.01866, github.com/NYU-ICL/image-gs",
    iterations=ITERATIONS,
    optimization=OptimizationConfig(
        InverseScale, torch.optim.Adam, lambda _: RATES, schedule, LOSSES["l1+ssim"], top_k=TOP_K
    ),
    densification=lambda num_gaussians, _pixels, _steps, generator: ErrorGuided(num_gaussians, generator),
    start=initial,
)
GRADIENT = _IMAGE_GS(initialize=by_gradient)
SALIENCY = _IMAGE_GS(initialize=by_saliency)
