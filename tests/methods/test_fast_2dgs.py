"""Fast-2DGS as published."""

import pytest
import torch
from method_data import HEIGHT, WIDTH, photo, some_gaussians
from seeds import seeded

from fastgs.fitting import covariance
from fastgs.methods import fast_2dgs
from fastgs.methods.schedules import reductions


@pytest.fixture(scope="module")
def image():
    return photo()


def test_plain_parametrization_has_no_activations():
    variables = fast_2dgs.Plain(some_gaussians(1, blend="normalized"))
    with torch.no_grad():
        variables.free["scales"].copy_(torch.tensor([[-2.0, 0.0]]))
        variables.free["rotations"].fill_(9.0)
        variables.free["means"].copy_(torch.tensor([[0.5, 1.25]]))
    means, scales, rotations, _ = variables.attributes()
    torch.testing.assert_close(scales, torch.tensor([[2.0, covariance.SMALLEST]]).double())
    assert rotations.item() == 9
    torch.testing.assert_close(means, torch.tensor([[0.5 * WIDTH, 1.25 * HEIGHT]]).double())


def test_fast_2dgs_draws_with_replacement_and_corrects_once(image, monkeypatch):
    networks = fast_2dgs._load_networks()
    assert networks.attribute.passes == 1
    drawn, sample = {}, fast_2dgs.sample
    monkeypatch.setattr(fast_2dgs, "sample", lambda density, *args: drawn.setdefault(args, sample(density, *args)))
    initial = fast_2dgs.initialize(image, 800, seeded())
    ((arguments, means),) = drawn.items()
    assert arguments[:2] == (800, "multinomial")
    pixels = {tuple(mean) for mean in means.floor().tolist()}
    assert len(pixels) < 790  # some more than once
    assert (initial.means - means).norm(dim=1).max() > 0.01


def test_draws_of_one_pixel_coincide_where_they_are_asked_to(image):
    def initial(**options):
        return fast_2dgs.initialize(image, 800, seeded(), **options)

    pixels = torch.unique(initial(attributes=False).means.floor(), dim=0)
    placed = initial(coincide=True, attributes=False).means
    assert torch.equal(torch.unique(placed, dim=0), pixels + 0.5)
    assert len(torch.unique(initial(coincide=True).means, dim=0)) == len(pixels) < 790
    assert len(torch.unique(initial().means, dim=0)) == 800


def test_rates_of_fast_2dgs_fall_on_a_plateau():
    """The 500 entries are those of 5000 steps: 0.7 for each 10 of them, or 100 steps, without a better one."""
    psnrs = [20 + min(0.01 * entry, 1.0) for entry in range(501)]

    def factor(entry):
        return fast_2dgs.schedule(entry / 500, psnrs[: entry + 1])

    assert [factor(entry) for entry in (0, 60, 109)] == [1, 1, 1]
    assert [factor(entry) for entry in (110, 120, 240)] == pytest.approx([0.7, 0.7**2, 0.7**14])
    assert factor(500) == pytest.approx(1e-5 / 2e-3)


def test_reductions_count_plateaus():
    assert reductions(0.0, [20.0], patience=0.1, threshold=0.0) == 0
    rising, flat = list(range(101)), [5.0] * 101
    assert reductions(1.0, rising, patience=0.1, threshold=0.0) == 0
    assert reductions(1.0, rising, patience=0.1, threshold=50.0) == 9  # 5 until the 51st, and 4 behind it
    assert reductions(1.0, flat, patience=0.1, threshold=0.0) == 10
    assert reductions(0.5, flat[:51], patience=0.1, threshold=0.0) == 5
    assert reductions(1.0, flat, patience=0.1, threshold=0.0, begin=0.6) == 4
    assert reductions(1.0, flat, patience=1e-9, threshold=0.0) == 100
