"""Every method on a small photo, and what makes each the method that it claims to be."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import skimage.data
import torch
from torch.nn import functional

from fastgs import covariance
from fastgs.descent import AutogradDescent
from fastgs.fitting import fit
from fastgs.gaussians import Gaussians
from fastgs.methods import METHODS, fast_2dgs, gaussianimage, gaussianimage_plus, image_gs, instant_gi
from fastgs.methods.plateau import reductions
from fastgs.metrics import ssim_loss
from fastgs.render import rasterize, reference

PEERS = [name for name in METHODS if not name.startswith("fastgs")]
HEIGHT, WIDTH = 48, 64


@pytest.fixture(scope="module")
def image():
    pixels = skimage.data.chelsea()[100 : 100 + HEIGHT, 150 : 150 + WIDTH]
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).float() / 255


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def some_gaussians(count=20, blend="sum", seed=0):
    uniform = torch.rand(count, 8, generator=seeded(seed), dtype=torch.float64)
    means = uniform[:, :2] * torch.tensor([WIDTH, HEIGHT])
    scales, rotations = 0.6 + 4 * uniform[:, 2:4], 6 * uniform[:, 4] - 3
    return Gaussians(means, scales, rotations, uniform[:, 5:] - 0.2, HEIGHT, WIDTH, blend)


def canvas(blend="sum", **tensors):
    """Gaussians of the given tensors, the others at some value."""
    count = len(next(iter(tensors.values())))
    defaults = {"means": torch.full((count, 2), 5.0), "scales": torch.ones(count, 2), "rotations": torch.zeros(count)}
    return Gaussians(
        **{**defaults, "colors": torch.zeros(count, 3), **tensors}, height=HEIGHT, width=WIDTH, blend=blend
    )


# What all have in common


def test_the_peers():
    names = "gaussianimage-cholesky gaussianimage-rs gaussianimage-plus image-gs-gradient image-gs-saliency"
    assert [*names.split(), "instant-gi-dither", "fast-2dgs"] == PEERS


@pytest.mark.parametrize("name", PEERS)
def test_gives_what_was_asked_for_and_repeats_itself(name, image):
    first, second = (METHODS[name](image, 60, iterations=12, seed=3) for _ in range(2))
    assert len(first.fit.gaussians) == 60
    assert first.fit.gaussians.blend == METHODS[name].blend
    assert torch.isfinite(first.fit.image).all()
    for tensor in ("means", "scales", "rotations", "colors"):
        assert torch.equal(getattr(first.fit.gaussians, tensor), getattr(second.fit.gaussians, tensor))
    other = METHODS[name](image, 60, iterations=0, seed=4)
    assert not torch.equal(other.initial.means, first.initial.means)


@pytest.mark.parametrize("name", PEERS)
def test_gives_what_was_asked_for_however_little_that_is(name, image):
    for count, budget in (
        (1, {"iterations": 0}),
        (2, {"iterations": 1}),
        (3, {"seconds": 0.01}),
        (1, {"iterations": 7}),
    ):
        assert len(METHODS[name](image, count, **budget).fit.gaussians) == count


@pytest.mark.parametrize("name", PEERS)
def test_psnr_rises(name, image):
    history = METHODS[name](image, 60, iterations=60).fit.history
    # That is all that GaussianImage can do at its rates, which are for 50,000 steps.
    assert history[-1].psnr > history[0].psnr + 0.2


ADAM, ADAMW = torch.optim.Adam, torch.optim.AdamW
ADAM_DEFAULTS = {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0}
ADAN_DEFAULTS = {"betas": (0.98, 0.92, 0.99), "eps": 1e-8, "weight_decay": 0.0}
TRAITS = {
    "gaussianimage-cholesky": ("sum", None, 50_000, gaussianimage.Cholesky, "Adan", ADAN_DEFAULTS, {1e-3}),
    "gaussianimage-rs": ("sum", None, 50_000, gaussianimage.RotationScale, "Adan", ADAN_DEFAULTS, {1e-3}),
    "gaussianimage-plus": (
        "sum", None, 50_000, gaussianimage_plus.Covariance, "Adam", ADAM_DEFAULTS | {"eps": 1e-15}, {0.018},
    ),
    "image-gs-gradient": (
        "normalized", 10, 10_000, image_gs.InverseScale, "Adam", ADAM_DEFAULTS, {5e-4, 2e-3, 5e-3},
    ),
    "image-gs-saliency": (
        "normalized", 10, 10_000, image_gs.InverseScale, "Adam", ADAM_DEFAULTS, {5e-4, 2e-3, 5e-3},
    ),
    "instant-gi-dither": ("sum", None, 50_000, instant_gi.ClampedScale, "Adan", ADAN_DEFAULTS, {1e-3}),
    "fast-2dgs": (
        "normalized", 10, 5_000, fast_2dgs.Plain, "AdamW", ADAM_DEFAULTS | {"weight_decay": 0.05}, {2e-3},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PEERS)
def test_traits(name, image):
    blend, top, iterations, parametrization, optimizer, settings, rates = TRAITS[name]
    method = METHODS[name]
    assert (method.blend, method.recipe.top, method.iterations) == (blend, top, iterations)
    assert method.recipe.parametrization is parametrization
    assert "arXiv" in method.source
    descent = AutogradDescent(parametrization(some_gaussians(blend=blend)), image.double(), method.recipe, "reference")
    descent.step(0.5)
    assert type(descent._optimizer).__name__ == optimizer
    for group in descent._optimizer.param_groups:
        assert {setting: group[setting] for setting in settings} == settings
        assert group["lr"] == 0.5 * method.recipe.rates(0.1)[group["name"]]
    assert {group["lr"] for group in descent._optimizer.param_groups} == {0.5 * rate for rate in rates}


@pytest.mark.parametrize("name", PEERS)
def test_parametrization_makes_the_gaussians_that_it_was_given(name):
    given = some_gaussians(blend=METHODS[name].blend)
    variables = METHODS[name].recipe.parametrization(given)
    assert tuple(variables.free) == variables.NAMES
    made = variables.gaussians()
    # Axes may swap, so the ellipses are compared.
    ellipses = [covariance.covariances(each.scales, each.rotations) for each in (made, given)]
    torch.testing.assert_close(*ellipses, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(made.means, given.means, rtol=0, atol=1e-4)
    assert torch.equal(made.colors, given.colors)


def at(schedule, *shares):
    return [schedule(share, [20.0]) for share in shares]


@pytest.mark.parametrize("name", ["gaussianimage-cholesky", "gaussianimage-rs", "gaussianimage-plus"])
def test_rates_halve_at_20000_and_40000_of_50000_steps(name):
    assert at(METHODS[name].recipe.schedule, 0, 0.399, 0.4, 0.799, 0.8, 1) == [1, 1, 0.5, 0.5, 0.25, 0.25]


def test_rates_of_instant_gi_halve_at_every_10000_steps():
    schedule = METHODS["instant-gi-dither"].recipe.schedule
    assert at(schedule, 0, 0.199, 0.2, 0.4, 0.6, 0.8) == [1, 1, 0.5, 0.25, 0.125, 0.0625]


def counts_over_a_run(name, image, count, iterations):
    """Number of Gaussians after each event of a fit."""
    counts = []
    method = METHODS[name]
    strategy = method.densification(count, image[0].numel(), iterations, seeded())

    class Watched:
        events, grows = strategy.events, strategy.grows

        def edit(self, event, target, descent):
            edit = strategy.edit(event, target, descent)
            counts.append(int(edit.keep.sum()) + len(edit.added))
            return edit

    initial = method.initialize(image, method.start(count), seeded())
    assert len(initial) == -(-count // 2)
    result = fit(image, initial, iterations=iterations, recipe=method.recipe, densification=lambda _: Watched())
    assert len(result.gaussians) == count
    return list(zip(strategy.events, counts, strict=True))


# Covariances


def draw_conics(means, matrices, colors, normalized):
    """The reference's image, from covariances."""
    y, x = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
    dx, dy = x.reshape(-1, 1) - means[:, 0], y.reshape(-1, 1) - means[:, 1]
    xx, xy, yy = matrices.unbind(1)
    d2 = (yy * dx**2 - 2 * xy * dx * dy + xx * dy**2) / (xx * yy - xy**2)
    fade = (reference.CUTOFF**2 - d2) / (reference.CUTOFF**2 - reference.FADE_START**2)
    weights = torch.exp(-0.5 * d2) * fade.clamp(0, 1)
    image = weights @ colors
    return (image / (weights.sum(1, keepdim=True) + reference.EPSILON) if normalized else image).T


def draw_axes(means, matrices, colors, normalized, backend):
    return rasterize(
        means, *covariance.axes(matrices), colors, counts=[len(means)], pitches=[(1.0, 1.0)], height=HEIGHT,
        width=WIDTH, blend="normalized" if normalized else "sum", backend=backend,
    )[0].flatten(1)  # fmt: skip


def circles_and_others():
    """Covariances of which the first is a circle, and the others ever less so."""
    apart = torch.tensor([0, 1e-12, 1e-8, 1e-6, 1e-4, 1e-2, 0.3, 1.0, 2.0, 3.0], dtype=torch.float64)
    scales = torch.stack([2 + 0 * apart, 2 + apart], dim=1)
    return covariance.covariances(scales, torch.linspace(-1.4, 1.5, len(apart), dtype=torch.float64))


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize(
    ("dtype", "backend", "tolerance"), [(torch.float64, "reference", 1e-6), (torch.float32, "cpu", 2e-3)]
)
def test_gradients_through_axes_are_those_of_conics(dtype, backend, tolerance, normalized):
    matrices = circles_and_others()
    given = some_gaussians(len(matrices))
    upstream = torch.randn(3, HEIGHT * WIDTH, generator=seeded(), dtype=torch.float64)
    inputs = [tensor.clone().requires_grad_() for tensor in (given.means, matrices, given.colors)]
    wanted = draw_conics(*inputs, normalized)
    wanted_gradients = torch.autograd.grad((wanted * upstream).sum(), inputs)
    inputs = [tensor.to(dtype).requires_grad_() for tensor in (given.means, matrices, given.colors)]
    drawn = draw_axes(*inputs, normalized, backend)
    torch.testing.assert_close(drawn.double(), wanted, rtol=0, atol=tolerance)
    for ours, theirs in zip(
        torch.autograd.grad((drawn * upstream.to(dtype)).sum(), inputs), wanted_gradients, strict=True
    ):
        for row, wanted_row in zip(ours.double(), theirs, strict=True):
            assert (row - wanted_row).norm() < tolerance * (wanted_row.norm() + theirs.norm() / len(theirs))


def test_gradcheck_of_rendered_covariances():
    given, matrices = some_gaussians(3), circles_and_others()[[0, 6, 9]]
    upstream = torch.randn(3, HEIGHT * WIDTH, generator=seeded(), dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda matrices: (draw_axes(given.means, matrices, given.colors, True, "reference") * upstream).sum(),
        matrices.requires_grad_(),
        atol=1e-4,
    )


def test_axes_of_what_is_no_covariance():
    """They are thin, and neither they nor their gradients are NaN."""
    matrices = torch.tensor([[1.0, 2.0, 1.0], [-1.0, 0.0, -2.0], [0.0, 0.0, 0.0], [4.0, 0.0, 0.0]], requires_grad=True)
    scales, rotations = covariance.axes(matrices)
    thin = torch.tensor([[3**0.5, 1e-3], [1e-3, 1e-3], [1e-3, 1e-3], [2, 1e-3]])
    torch.testing.assert_close(scales, thin)
    (scales.sum() + rotations.sum()).backward()
    assert torch.isfinite(matrices.grad).all()


def test_covariances_and_axes_are_inverse():
    matrices = circles_and_others()[5:]
    torch.testing.assert_close(covariance.covariances(*covariance.axes(matrices)), matrices)


# GaussianImage


def test_cholesky_is_as_published():
    variables = gaussianimage.Cholesky(some_gaussians(1))
    with torch.no_grad():
        variables.free["means"].copy_(torch.tensor([[0.3, -0.7]]))
        variables.free["cholesky"].copy_(torch.tensor([[0.7, -0.4, 0.2]]))
    means, scales, rotations, _ = variables.attributes()
    factor = torch.tensor([[1.2, 0.0], [-0.4, 0.7]], dtype=torch.float64)  # the variables plus 0.5, 0, 0.5
    (xx, xy), (_, yy) = factor @ factor.T
    torch.testing.assert_close(covariance.covariances(scales, rotations)[0], torch.stack([xx, xy, yy]))
    expected = torch.tensor([[0.5 * WIDTH * (math.tanh(0.3) + 1), 0.5 * HEIGHT * (math.tanh(-0.7) + 1)]])
    torch.testing.assert_close(means, expected.double())


def test_rotation_and_scale_are_as_published():
    variables = gaussianimage.RotationScale(some_gaussians(1))
    with torch.no_grad():
        variables.free["scales"].copy_(torch.tensor([[0.7, -1.5]]))
        variables.free["rotations"].fill_(0.4)
    _, scales, rotations, _ = variables.attributes()
    torch.testing.assert_close(scales, torch.tensor([[1.2, 1.0]]).double())
    torch.testing.assert_close(rotations, torch.tensor([2 * math.pi / (1 + math.exp(-0.4))]).double())


@pytest.mark.parametrize("name", ["gaussianimage-cholesky", "gaussianimage-rs"])
def test_random_starts_are_uniform_in_the_variables(name, image):
    method = METHODS[name]
    initial = method.initialize(image, 4000, seeded())
    variables = method.recipe.parametrization(initial).free
    positions = initial.means / torch.tensor([WIDTH, HEIGHT])
    for uniform in (
        positions,
        initial.colors,
        variables.get("cholesky"),
        variables.get("scales"),
        variables.get("rotations"),
    ):
        if uniform is not None:
            assert -1e-3 < uniform.min() < 0.01
            assert 0.99 < uniform.max() < 1.001
            assert (uniform.mean(0) - 0.5).abs().max() < 0.03


def test_clamped_error():
    target = torch.tensor([0.5, 0.5, 0.0, 1.0, 0.5])
    rendered = torch.tensor([-0.5, 1.5, -3.0, 0.6, 0.0], requires_grad=True)
    loss = gaussianimage.clamped_mse(rendered, target)
    assert loss.item() == pytest.approx(functional.mse_loss(rendered.detach().clamp(0, 1), target).item())
    loss.backward()
    # None beyond what can be shown, but from black, where GaussianImage++ begins.
    torch.testing.assert_close(rendered.grad, torch.tensor([0, 0, 0, 2 * -0.4 / 5, 2 * -0.5 / 5]))


# GaussianImage++


def test_half_of_what_is_missing_joins_at_every_tenth(image):
    counts = [45, 53, 57, 59, 60, 60, 60, 60, 60]
    expected = list(zip([tenth / 10 for tenth in range(1, 10)], counts, strict=True))
    assert counts_over_a_run("gaussianimage-plus", image, 60, 20) == expected
    assert counts_over_a_run("gaussianimage-plus", image, 900, 10)[-2:] == [(0.8, 899), (0.9, 900)]


def test_filter():
    assert gaussianimage_plus.filter_variance(512, 768, 2500) == pytest.approx(512 * 768 / (9 * math.pi * 2500))
    assert gaussianimage_plus.filter_variance(512, 768, 20) == 300


def test_filter_is_in_the_start(image):
    filtered = gaussianimage_plus.filter_variance(HEIGHT, WIDTH, 30)
    initial = gaussianimage_plus.initialize(image, 30, seeded())
    variances = covariance.covariances(initial.scales, initial.rotations)[:, ::2]
    assert ((variances > filtered - 1e-3) & (variances < filtered + 1 + 1e-3)).all()
    assert not initial.colors.any()


class Still:
    """A descent that stands still."""

    def __init__(self, gaussians, image):
        self.gaussians = lambda: gaussians
        self.image = lambda: image


def test_additions_are_black_and_where_the_error_is_largest(image):
    rendered = image.clone()
    worst = [(3, 5), (40, 60), (20, 30)]  # rows and columns
    for place, (row, column) in enumerate(worst):
        rendered[:, row, column] = (image[:, row, column] + 0.5 - 0.05 * place).where(image[:, row, column] < 0.5, 0.0)
    before = gaussianimage_plus.initialize(image, 3, seeded())
    strategy = gaussianimage_plus.DistortionDriven(9, seeded())
    keep, added = strategy.edit(0, image, Still(before, rendered))
    assert keep.all() and len(added) == 3
    assert {(row + 0.5, column + 0.5) for row, column in worst} == {(y, x) for x, y in added.means.tolist()}
    assert not added.colors.any()
    variances = covariance.covariances(added.scales, added.rotations)[:, ::2]
    least = 0.5 + gaussianimage_plus.filter_variance(HEIGHT, WIDTH, 6)
    assert ((variances > least - 1e-2) & (variances < least + 1 + 1e-2)).all()
    assert len(strategy.edit(8, image, Still(before, rendered)).added) == 6


def test_what_is_no_covariance_is_replaced(image):
    before = canvas(scales=torch.tensor([[2.0, 1.0], [2.0, covariance.SMALLEST], [0.5, 0.4]]))
    keep, added = gaussianimage_plus.DistortionDriven(3, seeded()).edit(
        8, image, Still(before, torch.zeros_like(image))
    )
    assert keep.tolist() == [True, False, True]
    assert len(added) == 1


def test_more_additions_than_pixels():
    tiny = torch.rand(3, 2, 3, generator=seeded())
    assert len(METHODS["gaussianimage-plus"](tiny, 40, iterations=12).fit.gaussians) == 40


# Image-GS


@pytest.mark.parametrize("name", ["image-gs-gradient", "image-gs-saliency"])
def test_an_eighth_joins_four_times(name, image):
    assert counts_over_a_run(name, image, 60, 20) == [(0.05, 38), (0.1, 46), (0.15, 54), (0.2, 60)]
    assert counts_over_a_run(name, image, 3, 20) == [(0.05, 3), (0.1, 3), (0.15, 3), (0.2, 3)]


def test_additions_are_drawn_by_the_error_and_coloured_with_it(image):
    rendered = image.clone()
    rendered[:, 10:14, 20:24] = 0
    before = image_gs.by_gradient(image, 8, seeded())
    keep, added = image_gs.ErrorGuided(16, seeded()).edit(0, image, Still(before, rendered))
    assert keep.all() and len(added) == 2
    columns, rows = added.means.long().unbind(1)
    assert ((rows >= 10) & (rows < 14) & (columns >= 20) & (columns < 24)).all()
    torch.testing.assert_close(added.colors, image[:, rows, columns].T)  # the target less black
    assert torch.equal(added.scales, torch.full((2, 2), 5.0))
    nothing_wrong = image_gs.ErrorGuided(16, seeded()).edit(0, image, Still(before, image))
    assert len(nothing_wrong.added) == 2


def test_errors_of_larger_images_are_against_a_blurred_target():
    noise = torch.rand(3, 400, 401, generator=seeded())
    assert torch.equal(image_gs._less_noise(noise[:, :399, :399]), noise[:, :399, :399])
    assert image_gs._less_noise(noise).std() < 0.7 * noise.std()


def test_starts_of_image_gs(image):
    initial = image_gs.by_gradient(image, 500, seeded())
    assert len({tuple(mean) for mean in initial.means.tolist()}) == 500  # without replacement
    assert torch.equal(initial.scales, torch.full((500, 2), 5.0))
    assert not initial.rotations.any()
    columns, rows = initial.means.long().unbind(1)
    assert torch.equal(initial.colors, image[:, rows, columns].T)


def test_gradient_density_is_the_squared_gradient_and_three_tenths_of_anything():
    steps = torch.zeros(3, 20, 40)
    steps[:, :, 10:] = 0.2
    steps[:, :, 30:] = 0.6  # twice as high: four times the density
    density = image_gs.gradient_density(steps)
    assert density.sum().item() == pytest.approx(1)
    least = 0.3 / density.numel()
    assert density[5, 20].item() == pytest.approx(least)
    assert (density[5, 30] - least).item() == pytest.approx(4 * (density[5, 10] - least).item(), rel=1e-4)


def test_inverse_scales_are_as_published():
    variables = image_gs.InverseScale(some_gaussians(1, blend="normalized"))
    with torch.no_grad():
        variables.free["inverse_scales"].copy_(torch.tensor([[0.25, -1e-9]]))
        variables.free["means"].copy_(torch.tensor([[0.5, 0.25]]))
    means, scales, _, _ = variables.attributes()
    torch.testing.assert_close(scales, torch.tensor([[4.0, HEIGHT + WIDTH]]).double())
    torch.testing.assert_close(means, torch.tensor([[0.5 * WIDTH, 0.25 * HEIGHT]]).double())


def test_loss_of_image_gs(image):
    rendered = image.roll(1, dims=2)
    expected = (rendered - image).abs().mean() + 0.1 * ssim_loss(rendered, image)
    torch.testing.assert_close(METHODS["image-gs-gradient"].recipe.loss(rendered, image), expected)


def test_rates_of_image_gs_fall_once_to_a_tenth():
    """1000 entries, as of 10,000 steps: PSNRs rise until a third of the run."""
    psnrs = [20 + min(0.05 * entry, 16.0) for entry in range(1001)]

    def factor(entry):
        return image_gs.schedule(entry / 1000, psnrs[: entry + 1])

    assert [factor(entry) for entry in (0, 100, 320, 419)] == [1, 1, 1, 1]
    assert [factor(entry) for entry in (421, 700, 1000)] == [0.1, 0.1, 0.1]


# Instant-GI


def test_clamped_scales_are_as_published():
    variables = instant_gi.ClampedScale(canvas(scales=torch.tensor([[0.5, 2.0]])))
    variables.attributes().scales.sum().backward()
    assert torch.equal(variables.free["scales"].grad, torch.ones(1, 2))
    with torch.no_grad():
        variables.free["scales"].copy_(torch.tensor([[0.2, 3.0]]))
    assert torch.equal(variables.attributes().scales, torch.tensor([[0.5, 3.0]]))


def test_ellipse_of_a_triangle():
    """The conic of least squares through vertices and midpoints, A x^2 + B x y + C y^2 = 1 around the centroid."""
    for seed in range(5):
        vertices = np.random.default_rng(seed).normal(size=(3, 2))
        vertices -= vertices.mean(0)
        x, y = np.concatenate([vertices, (vertices + np.roll(vertices, 1, axis=0)) / 2]).T
        a, b, c = np.linalg.lstsq(np.stack([x * x, x * y, y * y], axis=1), np.ones(6), rcond=None)[0]
        ellipse = np.linalg.inv([[a, b / 2], [b / 2, c]])
        np.testing.assert_allclose(ellipse, instant_gi.SEMI_AXES * vertices.T @ vertices / 3)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 60, 61, 1000])
def test_triangles_are_as_many_as_asked_for_and_fill_the_canvas(count, image):
    triangles = instant_gi.triangulate(instant_gi.gradient.density(image), count, seeded())
    assert triangles.shape == (count, 3, 2)
    covered = instant_gi._areas(triangles).sum() / 2
    assert covered <= HEIGHT * WIDTH * (1 + 1e-9)
    if count > 5:  # fewer leave no room for the corners
        assert covered > 0.99 * HEIGHT * WIDTH


def test_missing_triangles_come_of_halving_the_largest(image, monkeypatch):
    import scipy.spatial

    whole = scipy.spatial.Delaunay
    monkeypatch.setattr(
        scipy.spatial, "Delaunay", lambda points: SimpleNamespace(simplices=whole(points).simplices[:7])
    )
    triangles = instant_gi.triangulate(instant_gi.gradient.density(image), 40, seeded())
    assert len(triangles) == 40
    one = np.array([[[0.0, 0.0], [4.0, 0.0], [0.0, 1.0]]])
    halves = instant_gi._halves(one)
    np.testing.assert_allclose(instant_gi._areas(halves), [2, 2])
    assert [2.0, 0.5] in halves.reshape(-1, 2).tolist()  # the middle of the longest side


def test_start_of_instant_gi(image):
    initial = instant_gi.initialize(image, 400, seeded())
    assert (initial.scales >= 0.5).all()
    columns, rows = initial.means.long().unbind(1)
    assert torch.equal(initial.colors, image[:, rows, columns].T)
    # Ellipses cover the canvas about once, so that colours add up to the image.
    assert 0.8 < 2 * math.pi * initial.scales.prod(1).sum().item() / (HEIGHT * WIDTH) < 1.6
    error = (rasterized(initial) - image).square().mean()
    assert error < 0.5 * image.var()


def rasterized(gaussians):
    return rasterize(
        gaussians.means, gaussians.scales, gaussians.rotations, gaussians.colors, counts=[len(gaussians)],
        pitches=[(1.0, 1.0)], height=HEIGHT, width=WIDTH, blend=gaussians.blend,
    )[0]  # fmt: skip


# Fast-2DGS


def test_fast_2dgs_has_no_activations():
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
    networks = fast_2dgs._networks()
    assert networks.attribute.passes == 1
    drawn, sample = {}, fast_2dgs.sample
    monkeypatch.setattr(fast_2dgs, "sample", lambda density, *args: drawn.setdefault(args, sample(density, *args)))
    initial = fast_2dgs.initialize(image, 800, seeded())
    ((arguments, means),) = drawn.items()
    assert arguments[:2] == (800, "multinomial")
    pixels = {tuple(mean) for mean in means.floor().tolist()}
    assert len(pixels) < 790  # some more than once
    assert (initial.means - means).norm(dim=1).max() > 0.01


def test_rates_of_fast_2dgs_fall_on_a_plateau():
    """500 entries, as of 5000 steps: 0.7 for each 10 of them, or 100 steps, without a better one."""
    psnrs = [20 + min(0.01 * entry, 1.0) for entry in range(501)]

    def factor(entry):
        return fast_2dgs.schedule(entry / 500, psnrs[: entry + 1])

    assert [factor(entry) for entry in (0, 60, 109)] == [1, 1, 1]
    assert [factor(entry) for entry in (110, 120, 240)] == pytest.approx([0.7, 0.7**2, 0.7**14])
    assert factor(500) == pytest.approx(1e-5 / 2e-3)


def test_reductions():
    assert reductions(0.0, [20.0], patience=0.1, threshold=0.0) == 0
    rising, flat = list(range(101)), [5.0] * 101
    assert reductions(1.0, rising, patience=0.1, threshold=0.0) == 0
    assert reductions(1.0, rising, patience=0.1, threshold=50.0) == 9  # 5 until the 51st, and 4 behind it
    assert reductions(1.0, flat, patience=0.1, threshold=0.0) == 10
    assert reductions(0.5, flat[:51], patience=0.1, threshold=0.0) == 5
    assert reductions(1.0, flat, patience=0.1, threshold=0.0, begin=0.6) == 4
    assert reductions(1.0, flat, patience=1e-9, threshold=0.0) == 100
