"""Filters on the CPU: kernels give what the operators of torch give, for any shape and number of threads."""

import pytest
import torch
from seeds import seeded

from fastgs.initializers.filters import ALONE, measure_curvature, measure_structure, smooth

SHAPES = [(1, 1), (1, 9), (9, 1), (2, 2), (3, 50), (40, 7), (40, 8), (33, 65)]
FILTERS = {
    "smooth": lambda image: smooth(image, 1.0),
    "narrow": lambda image: smooth(image, 0.2),
    "wide": lambda image: smooth(image, 9.0),
    "curvature": measure_curvature,
    "structure": lambda image: torch.stack(measure_structure(image)),
}
EVERY_FILTER = pytest.mark.parametrize("apply", FILTERS.values(), ids=FILTERS)


@EVERY_FILTER
@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_kernels_do_what_operators_do(apply, height, width):
    """In double precision there are operators alone."""
    images = torch.rand(2, 3, height, width, generator=seeded())
    torch.testing.assert_close(apply(images), apply(images.double()).float(), rtol=2e-5, atol=2e-6)
    seen = images.transpose(2, 3).contiguous().transpose(2, 3)  # of another layout in memory
    assert torch.equal(apply(seen), apply(images))


@EVERY_FILTER
def test_any_number_of_threads_gives_the_same(apply):
    image = torch.rand(1, ALONE // 200 + 1, 201, generator=seeded())
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(apply(image))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(results[0], other) for other in results[1:])


def test_gradients_pass_operators():
    image = torch.rand(3, 8, 9, generator=seeded(), requires_grad=True)
    smooth(image, 1.0).sum().backward()
    assert image.grad is not None and image.grad.sum().item() == pytest.approx(image.numel(), rel=1e-4)
