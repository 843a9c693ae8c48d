"""Random Gaussians of every kind, and the comparison of a backend with the reference."""

import torch

from fastgs.gaussians import Gaussians
from fastgs.render import rasterize

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def random_tensors(count, height, width, seed=0, means=None, scales=None, channels=3):
    """Return random means, scales, rotations and colours.

    Means lie anywhere on the canvas, scales are log-uniform from 0.05 to 50 px, angles are in [-5, 5], and colours in
    [-0.2, 1.2]. `means` and `scales` can be functions that draw others from a function like `torch.rand`.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape):
        return torch.rand(*shape, generator=generator)

    return (
        uniform(count, 2) * torch.tensor([width, height]) if means is None else means(uniform),
        0.05 * 1000 ** uniform(count, 2) if scales is None else scales(uniform),
        10 * uniform(count) - 5,
        1.4 * uniform(count, channels) - 0.2,
    )


def gaussians_and_target(count, height, width, seed=0, blend="normalized", channels=3):
    """Return Gaussians of a few pixels and an image to fit them to, on the GPU if there is one."""
    means, scales, rotations, colors = random_tensors(
        count, height, width, seed, scales=lambda uniform: 0.3 + 2 * uniform(count, 2), channels=channels
    )
    target = torch.rand(channels, height, width, generator=torch.Generator().manual_seed(seed))
    return Gaussians(means, scales, rotations, colors, height, width, blend).to(DEVICE), target.to(DEVICE)


def render_with_gradients(tensors, height, width, blend, backend, counts=None, pitches=None):
    """Return images, and the gradients of a random linear function of them; `backend` is a name or a module."""
    counts = counts or [len(tensors[0])]
    tensors = [tensor.detach().requires_grad_() for tensor in tensors]
    batch = {"counts": counts, "pitches": pitches or [(1.0, 1.0)] * len(counts), "height": height, "width": width}
    if isinstance(backend, str):
        images = rasterize(*tensors, **batch, blend=blend, backend=backend)
    else:
        images = backend.rasterize(*tensors, **batch, normalized=blend == "normalized")
    upstream = torch.randn(images.shape, generator=torch.Generator().manual_seed(9)).to(images)
    return images.detach(), torch.autograd.grad((images * upstream).sum(), tensors)


def assert_equal_to_reference(tensors, height, width, blend, backend="cpu", value=2e-5, gradient=2e-4, **batch):
    """Compare values relative to the largest, and the gradient of each Gaussian relative to its norm.

    A gradient is a sum of terms of both signs, so one that is much smaller than the largest is compared relative to 1%
    of the largest.
    """
    images, gradients = render_with_gradients(tensors, height, width, blend, backend, **batch)
    doubles = [tensor.double() for tensor in tensors]
    images64, gradients64 = render_with_gradients(doubles, height, width, blend, "reference", **batch)
    assert (images - images64).abs().max() <= value * images64.abs().max()
    for name, ours, wanted in zip(("means", "scales", "rotations", "colors"), gradients, gradients64, strict=True):
        norms = wanted.flatten(1).norm(dim=1) if wanted.ndim > 1 else wanted.abs()
        errors = (ours - wanted).flatten(1).norm(dim=1) if wanted.ndim > 1 else (ours - wanted).abs()
        if len(norms):
            worst = (errors / (norms + 1e-2 * norms.max() + 1e-30)).max().item()
            assert worst <= gradient, f"{name}: {worst:.1e}"
