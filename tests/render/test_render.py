"""Tests of `render` and `render_batch`: closed forms, sizes, batches and errors. test_cpu.py compares the backends."""

import math
from dataclasses import replace

import pytest
import torch

from fastgs.gaussians import Gaussians
from fastgs.render import rasterize, reference, render, render_batch

TENSORS = ("means", "scales", "rotations", "colors")
BLENDS = ("normalized", "sum")
# Precision and tolerance of each backend.
BACKENDS = pytest.mark.parametrize(
    ("backend", "dtype", "tolerance"), [("reference", torch.float64, 1e-13), ("cpu", torch.float32, 1e-5)]
)


def double_gaussians(count, height=11, width=13, seed=0, dtype=torch.float64, blend="normalized"):
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    return Gaussians(
        means=uniform(count, 2) * torch.tensor([width, height]),
        scales=0.5 + 2 * uniform(count, 2),
        rotations=7 * uniform(count),
        colors=uniform(count, 3),
        height=height,
        width=width,
        blend=blend,
    ).to(dtype)


def single(mean, scales, rotation=0.0, color=(1.0, 1.0, 1.0), height=1, width=1, dtype=torch.float64):
    tensors = ([mean], [scales], [rotation], [color])
    return Gaussians(*(torch.tensor(each, dtype=torch.float64).to(dtype) for each in tensors), height, width, "sum")


@BACKENDS
@pytest.mark.parametrize("blend", BLENDS)
@pytest.mark.parametrize("rotation", [0.0, 0.7, -2.0, 40.0])
def test_render_of_one_gaussian_matches_the_closed_form(backend, dtype, tolerance, blend, rotation):
    height, width, color = 15, 20, torch.tensor([0.2, -0.5, 1.5], dtype=torch.float64)
    mean, scales = torch.tensor([8.3, 6.1], dtype=torch.float64), torch.tensor([5.0, 2.0], dtype=torch.float64)
    gaussians = single(mean.tolist(), scales.tolist(), rotation, color.tolist(), height, width, dtype)
    image = render(gaussians, blend=blend, backend=backend)
    assert image.shape == (3, height, width)
    assert image.dtype == dtype

    # exp(-1/2 (x - mu)^T Sigma^-1 (x - mu)) with Sigma = R S^2 R^T, R by columns: the first axis, then the second.
    cosine, sine = math.cos(rotation), math.sin(rotation)
    turn = torch.tensor([[cosine, -sine], [sine, cosine]], dtype=torch.float64)
    precision = torch.linalg.inv(turn @ torch.diag(scales**2) @ turn.T)
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    offset = torch.stack([x, y], dim=-1).double() - mean
    d2 = torch.einsum("hwi,ij,hwj->hw", offset, precision, offset)
    weight = torch.exp(-0.5 * d2)
    expected = weight * color[:, None, None]
    if blend == "normalized":
        expected = expected / (weight + 1e-2)
    inside = d2 < 9
    assert 100 < inside.sum() < height * width  # the fade outside has a test of its own
    torch.testing.assert_close(image.double()[:, inside], expected[:, inside], rtol=0, atol=max(tolerance, 1e-12))


@BACKENDS
def test_weights_fade_from_3_to_3_5_standard_deviations(backend, dtype, tolerance):
    def weight(distance):
        """Render a Gaussian of scale 2 at a distance of the only pixel."""
        return render(single((0.5, 0.5 - 2 * distance), (2, 2), 0.3, dtype=dtype), backend=backend)[0, 0, 0].item()

    for distance, fade in [
        (0.0, 1),
        (2.9, 1),
        (3.0, 1),
        (math.sqrt((9 + 12.25) / 2), 0.5),
        (3.5, 0),
        (3.51, 0),
        (50, 0),
    ]:
        assert weight(distance) == pytest.approx(math.exp(-(distance**2) / 2) * fade, abs=tolerance)
    assert weight(3.51) == 0
    assert weight(3.45) > 0


@BACKENDS
@pytest.mark.parametrize("blend", BLENDS)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (7, 1), (5, 6)])
def test_render_of_no_gaussians_is_black(backend, dtype, tolerance, blend, height, width):
    nothing = double_gaussians(0, height, width, dtype=dtype)
    nothing = replace(nothing, colors=nothing.colors.requires_grad_())
    image = render(nothing, blend=blend, backend=backend)
    assert torch.equal(image, torch.zeros(3, height, width, dtype=dtype))
    image.sum().backward()


@BACKENDS
def test_gaussians_outside_the_canvas_reach_into_it(backend, dtype, tolerance):
    """With a Gaussian beyond each border, the image is a window of one that is rendered with a margin."""
    means = torch.tensor([[-4.0, 5.0], [14.0, 3.0], [6.0, -2.5], [3.0, 13.0], [500.0, 5.0]], dtype=torch.float64)
    gaussians = replace(double_gaussians(5, 9, 11), means=means, scales=torch.full((5, 2), 3.0, dtype=torch.float64))
    shifted = replace(gaussians, means=means + torch.tensor([8, 7]), height=9 + 14, width=11 + 16)
    image, larger = (render(each.to(dtype), backend=backend) for each in (gaussians, shifted))
    assert (image > 0).any()
    torch.testing.assert_close(image, larger[:, 7:-7, 8:-8], rtol=0, atol=max(tolerance, 1e-12))
    wholly_off = replace(gaussians, means=means - 400)
    assert torch.equal(render(wholly_off.to(dtype), backend=backend), torch.zeros(3, 9, 11, dtype=dtype))


@BACKENDS
def test_normalized_blend_of_one_colour_is_that_colour(backend, dtype, tolerance):
    """Only EPSILON mixes it with black, whatever the sum of weights."""
    gaussians = double_gaussians(300)
    color = torch.tensor([0.9, 0.4, 0.1], dtype=torch.float64)
    gaussians = replace(gaussians, colors=color.repeat(300, 1))
    image = render(gaussians.to(dtype), backend=backend).double()
    cover = render(replace(gaussians, colors=torch.ones_like(gaussians.colors)), blend="sum")
    assert (cover > 1).all()
    torch.testing.assert_close(image, color[:, None, None] * cover / (cover + 1e-2), rtol=0, atol=max(tolerance, 1e-12))


@BACKENDS
@pytest.mark.parametrize("blend", BLENDS)
def test_render_does_not_depend_on_the_order(backend, dtype, tolerance, blend):
    gaussians = double_gaussians(60, dtype=dtype)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    shuffled = replace(gaussians, **{name: getattr(gaussians, name)[order] for name in TENSORS})
    images = [render(each, blend=blend, backend=backend) for each in (gaussians, shuffled)]
    torch.testing.assert_close(*images, rtol=0, atol=max(tolerance, 1e-12))


@BACKENDS
@pytest.mark.parametrize("blend", BLENDS)
@pytest.mark.parametrize(("down", "across"), [(3, 3), (1, 5), (5, 3)])
def test_larger_images_sample_the_same_function(backend, dtype, tolerance, blend, down, across):
    """In an odd number of finer pixels, the middle one has the centre of the coarse pixel."""
    gaussians = double_gaussians(40, dtype=dtype)
    fine = render(gaussians, 11 * down, 13 * across, blend, backend)
    middle = fine[:, down // 2 :: down, across // 2 :: across]
    torch.testing.assert_close(middle, render(gaussians, blend=blend, backend=backend), rtol=0, atol=10 * tolerance)


@BACKENDS
@pytest.mark.parametrize(("height", "width"), [(22, 26), (5, 7), (1, 1), (100, 130)])
def test_other_sizes_scale_the_gaussians(backend, dtype, tolerance, height, width):
    """Rendering at (h, w) equals stretching the canvas, by two different factors."""
    gaussians = replace(double_gaussians(40), rotations=torch.zeros(40, dtype=torch.float64))
    stretch = torch.tensor([width / 13, height / 11], dtype=torch.float64)
    stretched = replace(
        gaussians, means=gaussians.means * stretch, scales=gaussians.scales * stretch, height=height, width=width
    )
    images = render(gaussians.to(dtype), height, width, backend=backend), render(stretched.to(dtype), backend=backend)
    torch.testing.assert_close(*images, rtol=0, atol=10 * tolerance)


@BACKENDS
def test_antialias_averages_over_each_pixel(backend, dtype, tolerance):
    gaussians = double_gaussians(40, 12, 20, dtype=dtype)
    image = render(gaussians, 4, 5, backend=backend, antialias=True)
    mean = render(gaussians, backend=backend).view(3, 4, 3, 5, 4).mean((2, 4))
    torch.testing.assert_close(image, mean, rtol=0, atol=max(tolerance, 1e-12))
    for height, width in [(12, 20), (30, 33)]:  # not smaller than the canvas
        images = [render(gaussians, height, width, backend=backend, antialias=each) for each in (False, True)]
        assert torch.equal(*images)


def test_antialias_samples_at_least_as_densely_as_the_canvas():
    """A pixel has 3 x 4 samples for 12 rows on 5 and 20 columns on 6; in a batch, the finest canvas sets the number."""
    one, other = double_gaussians(40, 12, 20), double_gaussians(40, 25, 7)
    for batch, rows, columns in (([one], 3, 4), ([other], 5, 2), ([other, one], 5, 4)):
        fine = render_batch(batch, 5 * rows, 6 * columns)
        mean = fine.view(len(batch), 3, 5, rows, 6, columns).mean((3, 5))
        torch.testing.assert_close(render_batch(batch, 5, 6, antialias=True), mean, rtol=0, atol=1e-12)


@BACKENDS
@pytest.mark.parametrize("blend", BLENDS)
def test_render_batch_equals_render_of_each(backend, dtype, tolerance, blend):
    batch = [double_gaussians(count, seed=count, dtype=dtype, blend=blend) for count in (5, 0, 1, 70, 0)]
    images = render_batch(batch, backend=backend)
    assert images.shape == (5, 3, 11, 13)
    for image, gaussians in zip(images, batch, strict=True):
        assert torch.equal(image, render(gaussians, backend=backend))


@BACKENDS
def test_render_batch_takes_different_canvases_with_a_size(backend, dtype, tolerance):
    batch = [double_gaussians(20, 11, 13, dtype=dtype), double_gaussians(30, 40, 9, dtype=dtype)]
    images = render_batch(batch, 8, 10, backend=backend)
    for image, gaussians in zip(images, batch, strict=True):
        assert torch.equal(image, render(gaussians, 8, 10, backend=backend))


def test_blend_is_that_of_the_gaussians_by_default():
    gaussians = double_gaussians(20, blend="sum")
    assert torch.equal(render(gaussians), render(gaussians, blend="sum"))
    assert torch.equal(render(gaussians, blend="normalized"), render(replace(gaussians, blend="normalized")))
    assert not torch.equal(render(gaussians), render(gaussians, blend="normalized"))


def test_backend_auto_keeps_the_precision():
    gaussians = double_gaussians(20)
    for dtype, backend in [(torch.float64, "reference"), (torch.float32, "cpu")]:
        image = render(gaussians.to(dtype))
        assert image.dtype == dtype
        assert torch.equal(image, render(gaussians.to(dtype), backend=backend))


@BACKENDS
@pytest.mark.parametrize("blend", BLENDS)
def test_gradients_reach_all_four_tensors(backend, dtype, tolerance, blend):
    gaussians = double_gaussians(30, dtype=dtype)
    tensors = {name: getattr(gaussians, name).requires_grad_() for name in TENSORS}
    render(replace(gaussians, **tensors), blend=blend, backend=backend).square().sum().backward()
    for tensor in tensors.values():
        assert tensor.grad is not None
        assert torch.isfinite(tensor.grad).all()
        assert (tensor.grad != 0).all()


REFUSALS = [
    (lambda g: render(g, height=0), "height, width: must be at least 1"),
    (lambda g: render(g, width=-4), "height, width: must be at least 1"),
    (lambda g: render(g, blend="max"), "blend: expected one of normalized, sum, got 'max'"),
    (lambda g: render(g, backend="metal"), "backend: expected one of auto, reference, cpu, cuda, got 'metal'"),
    (lambda g: render(g.to(torch.float64), backend="cpu"), "'cpu' takes float32 tensors on the CPU, got torch.float64"),
    (lambda g: render_batch([]), "gaussians: the batch is empty"),
    (lambda g: render_batch([g, replace(g, height=12)]), r"height: the sets differ \(11, 12\); use one"),
    (lambda g: render_batch([g, replace(g, width=9)]), r"width: the sets differ \(13, 9\); use one"),
    (lambda g: render_batch([g, replace(g, blend="sum")]), r"blend: the sets differ \(normalized, sum\); use one"),
    (lambda g: render_batch([g, g.to(torch.float64)]), "float64"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), REFUSALS)
def test_render_refuses_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call(double_gaussians(3, dtype=torch.float32))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_backend_cuda_is_refused_without_a_gpu():
    with pytest.raises(ValueError, match="backend: 'cuda'"):
        render(double_gaussians(3, dtype=torch.float32), backend="cuda")


@pytest.mark.parametrize("blend", BLENDS)
@pytest.mark.parametrize("pitch", [(1.0, 1.0), (0.7, 1.9)])
def test_reference_passes_gradcheck(blend, pitch):
    """Check a ragged batch of 4 + 0 + 2 Gaussians on 7 x 5 pixels, in float64.

    The outputs are a few random sums over all pixels, which any wrong derivative changes; checking every pixel takes 50
    times as long.
    """
    weights = torch.randn(4, 3 * 3 * 7 * 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    counts, pitches = [4, 0, 2], [(1.0, 1.0), (1.0, 1.0), pitch]
    tensors = [getattr(double_gaussians(6, 7, 5, seed=3), name).requires_grad_() for name in TENSORS]

    def sums(*tensors):
        return weights @ rasterize(*tensors, counts=counts, pitches=pitches, height=7, width=5, blend=blend).flatten()

    # Finite differences are wrong across the two kinks of the fade, so no pixel may be near one.
    pixels = torch.cartesian_prod(torch.arange(7) + 0.5, torch.arange(5) + 0.5).flip(1).double()
    means, scales, rotations, _ = (tensor.detach() for tensor in tensors)
    grid = torch.stack([pixels] * 4 + [pixels * torch.tensor([pitch[1], pitch[0]])] * 2)  # (6, P, 2)
    angle = torch.stack(
        [torch.cos(rotations), torch.sin(rotations), -torch.sin(rotations), torch.cos(rotations)], dim=1
    )
    d2 = (torch.einsum("kij,kpj->kpi", angle.view(6, 2, 2), grid - means[:, None]) / scales[:, None]).square().sum(2)
    assert min((d2 - kink).abs().min() for kink in (9.0, 12.25)) > 1e-4
    assert ((d2 > 9) & (d2 < 12.25)).any()

    assert torch.autograd.gradcheck(sums, tensors, eps=1e-7, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("blend", BLENDS)
def test_reference_does_not_depend_on_the_chunks(blend, monkeypatch):
    gaussians = double_gaussians(30)
    tensors = [getattr(gaussians, name).requires_grad_() for name in TENSORS]
    results = []
    for chunk in (1 << 22, 100, 1):  # all pixels at once, three, one
        monkeypatch.setattr(reference, "CHUNK", chunk)
        image = render(Gaussians(*tensors, 11, 13, blend))
        results.append([image, *torch.autograd.grad(image.square().sum(), tensors)])
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=1e-12, atol=1e-12)


def test_second_derivatives_are_those_of_the_reference_or_refused():
    """Kernels compute gradients outside of autograd: a second derivative would lack them, and nothing would tell."""
    leaves = [getattr(double_gaussians(4, dtype=torch.float32), name).clone().requires_grad_() for name in TENSORS]

    def slopes(backend, which):
        image = render(Gaussians(*leaves, 11, 13), backend=backend)
        (slope,) = torch.autograd.grad(image.sum(), leaves[which], create_graph=True)
        return slope

    for which in range(4):
        assert slopes("cpu", which).isfinite().all()  # first ones are given
        with pytest.raises(RuntimeError, match=r"^render: kernels have first derivatives only; use "):
            # What else depends on the means would hide that something is missing.
            (slopes("cpu", which).square().sum() + leaves[0].square().sum()).backward()
    small = [each.detach().double()[:2].requires_grad_() for each in leaves]

    def image(*tensors):
        return rasterize(*tensors, counts=[2], pitches=[(1.0, 1.0)], height=3, width=4, backend="reference").sum()

    assert torch.autograd.gradgradcheck(image, small, eps=1e-6, atol=1e-4)
