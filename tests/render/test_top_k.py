"""Tests of top-k blending: closed forms, ties, and agreement of the backends."""

import math

import pytest
import torch
from against_reference import random_tensors

from fastgs.gaussians import Gaussians
from fastgs.render import choose, rasterize, reference, render, render_batch

NAMES = ("means", "scales", "rotations", "colors")
BLENDS = pytest.mark.parametrize("blend", ["normalized", "sum"])
BACKENDS = pytest.mark.parametrize("backend", ["reference", "cpu"])  # in float64 and float32


@pytest.fixture(autouse=True)
def _one_thread():
    """Use one thread: more would only delay the many small operators of the reference."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def render_top_k(tensors, top_k, size, blend="normalized", backend="cpu", upstream=None, counts=None, pitches=None):
    """Return images, and the gradients of their product with `upstream`, by default random."""
    dtype = torch.float64 if backend == "reference" else torch.float32
    tensors = [tensor.detach().to(dtype).requires_grad_() for tensor in tensors]
    counts = counts or [len(tensors[0])]
    pitches = pitches or [(1.0, 1.0)] * len(counts)
    batch = {"counts": counts, "pitches": pitches, "height": size[0], "width": size[1]}
    images = rasterize(*tensors, **batch, blend=blend, backend=backend, top_k=top_k)
    if upstream is None:
        upstream = torch.randn(images.shape, generator=torch.Generator().manual_seed(9))
    return images.detach(), torch.autograd.grad((images * upstream).sum(), tensors)


def render_by_hand(tensors, top_k, size, blend):
    """Render (3, H, W) pixel by pixel and Gaussian by Gaussian."""
    image = torch.zeros(3, *size, dtype=torch.float64)
    means, scales, rotations, colors = (tensor.tolist() for tensor in tensors)
    for y in range(size[0]):
        for x in range(size[1]):
            pairs = []
            for k, ((mean_x, mean_y), (s1, s2), angle) in enumerate(zip(means, scales, rotations, strict=True)):
                dx, dy = x + 0.5 - mean_x, y + 0.5 - mean_y
                u = (math.cos(angle) * dx + math.sin(angle) * dy) / s1
                v = (math.cos(angle) * dy - math.sin(angle) * dx) / s2
                d2 = u * u + v * v
                pairs.append((-math.exp(-d2 / 2) * min(1, max(0, (3.5**2 - d2) / (3.5**2 - 3**2))), k))
            chosen = sorted(pairs)[:top_k]  # among equal weights the lower k
            total = 1 if blend == "sum" else 1e-2 - sum(weight for weight, _ in chosen)
            for channel in range(3):
                image[channel, y, x] = -sum(weight * colors[k][channel] for weight, k in chosen) / total
    return image


def clear_pixels(tensors, top_k, size, counts=None, pitches=None, relative=1e-4):
    """Return a mask (B, 1, H, W) of the pixels where rounding does not decide which Gaussians are blended.

    In the others, a weight differs from the smallest that is blended, but hardly.
    """
    counts = counts or [len(tensors[0])]
    masks = []
    images = zip(*(torch.split(tensor.double(), counts) for tensor in tensors), strict=True)
    for (means, scales, rotations, _), pitch in zip(images, pitches or [(1.0, 1.0)] * len(counts), strict=True):
        y, x = ((torch.arange(length) + 0.5) * step for length, step in zip(size, pitch, strict=True))
        weight = reference.weights(means, scales, rotations, torch.cartesian_prod(y, x).flip(1))
        least = weight.sort(1, descending=True).values[:, top_k - 1 : top_k] if top_k <= len(means) else weight[:, :0]
        near = ((weight - least).abs() < relative * least) & (weight != least) if least.numel() else weight < 0
        masks.append(~near.any(1).reshape(1, *size))
    return torch.stack(masks)


def assert_backends_agree(tensors, top_k, size, blend, value=2e-5, gradient=2e-4, least_clear=0.9, **batch):
    """Compare values and gradients over the pixels of `clear_pixels`, which must be nearly all."""
    mask = clear_pixels(tensors, top_k, size, **batch)
    assert mask.double().mean() >= least_clear
    upstream = torch.randn(len(mask), 3, *size, generator=torch.Generator().manual_seed(9)) * mask
    images, gradients = render_top_k(tensors, top_k, size, blend, "cpu", upstream, **batch)
    images64, gradients64 = render_top_k(tensors, top_k, size, blend, "reference", upstream, **batch)
    assert ((images - images64) * mask).abs().max() <= value * images64.abs().max()
    for name, ours, wanted in zip(NAMES, gradients, gradients64, strict=True):
        norms = wanted.reshape(len(wanted), -1).norm(dim=1)
        errors = (ours - wanted).reshape(len(wanted), -1).norm(dim=1)
        worst = (errors / (norms + 1e-2 * norms.max() + 1e-30)).max().item()
        assert worst <= gradient, f"{name}: {worst:.1e}"


@BACKENDS
@BLENDS
@pytest.mark.parametrize("top_k", [1, 2, 5, 11])
def test_top_k_matches_the_closed_form(backend, blend, top_k):
    """There are ties: Gaussians 8 to 11 are copies of 0 to 3 in other colours."""
    tensors = random_tensors(12, 7, 9, scales=lambda uniform: 0.5 + 3 * uniform(12, 2))
    for tensor in tensors[:3]:
        tensor[8:] = tensor[:4]
    image, _ = render_top_k(tensors, top_k, (7, 9), blend, backend)
    tolerance = 1e-12 if backend == "reference" else 1e-5
    torch.testing.assert_close(
        image[0].double(),
        render_by_hand([each.double() for each in tensors], top_k, (7, 9), blend),
        rtol=0,
        atol=tolerance,
    )
    everything, _ = render_top_k(tensors, None, (7, 9), blend, backend)
    assert (image - everything).abs().max() > 1e-2 or top_k == 11


@BACKENDS
@BLENDS
def test_only_blended_gaussians_have_gradients(backend, blend):
    """Two of three equal Gaussians are blended; the third has no effect."""
    one = (torch.tensor([[4.2, 3.9]]), torch.tensor([[2.0, 1.0]]), torch.tensor([0.4]))
    tensors = [*(tensor.repeat_interleave(3, 0) for tensor in one), torch.eye(3)]
    image, gradients = render_top_k(tensors, 2, (8, 9), blend, backend)
    first_two, gradients_of_two = render_top_k([tensor[:2] for tensor in tensors], None, (8, 9), blend, backend)
    torch.testing.assert_close(image, first_two, rtol=1e-5, atol=1e-6)
    for gradient, wanted in zip(gradients, gradients_of_two, strict=True):
        torch.testing.assert_close(gradient[:2], wanted, rtol=1e-4, atol=1e-5)
        assert (gradient[:2] != 0).any()
        assert (gradient[2] == 0).all()


CASES = {
    "mixed": random_tensors(300, 33, 47),
    "ordinary": random_tensors(300, 33, 47, scales=lambda uniform: 0.3 + 3 * uniform(300, 2)),
    "narrower than a pixel": random_tensors(300, 33, 47, scales=lambda uniform: 0.05 + 0.1 * uniform(300, 2)),
    "as large as the image": random_tensors(40, 33, 47, scales=lambda uniform: 20 * 5 ** uniform(40, 2)),
    "off the canvas": random_tensors(
        200, 33, 47, means=lambda uniform: 400 * uniform(200, 2) - 180, scales=lambda uniform: 80 * uniform(200, 2)
    ),
}


@BLENDS
@pytest.mark.parametrize("top_k", [1, 3, 10])
@pytest.mark.parametrize("case", CASES)
def test_top_k_backends_agree(case, top_k, blend):
    assert_backends_agree(CASES[case], top_k, (33, 47), blend)


@BLENDS
def test_top_k_backends_agree_on_many_gaussians_per_pixel(blend):
    tensors = random_tensors(3000, 16, 16, scales=lambda uniform: 0.5 + 5 * uniform(3000, 2))
    assert_backends_agree(tensors, 10, (16, 16), blend, least_clear=0.8)


@BLENDS
@pytest.mark.parametrize("top_k", [1, 4, 7])
def test_top_k_backends_agree_on_ties(top_k, blend):
    """Every Gaussian has two copies in other colours."""
    tensors = random_tensors(120, 21, 30, scales=lambda uniform: 1 + 3 * uniform(120, 2))
    tensors = [*(tensor[:40].repeat(3, *[1] * (tensor.ndim - 1)) for tensor in tensors[:3]), tensors[3]]
    assert_backends_agree(tensors, top_k, (21, 30), blend)


@BLENDS
def test_top_k_backends_agree_on_ragged_batches(blend):
    counts, pitches = [40, 0, 1, 100, 0, 5], [(1.0, 1.0), (1.0, 1.0), (0.5, 2.0), (1.3, 0.7), (1.0, 1.0), (0.9, 0.8)]
    tensors = random_tensors(146, 20, 27)
    assert_backends_agree(tensors, 4, (20, 27), blend, counts=counts, pitches=pitches)


@BLENDS
def test_top_k_backends_agree_for_every_width(blend):
    for width in range(1, 18):
        assert_backends_agree(random_tensors(12, 3, width, seed=width), 2, (3, width), blend, least_clear=0.6)


def test_top_k_backends_agree_on_rows_beyond_the_memory_for_lists():
    """Lists are then made for one row at a time."""
    assert_backends_agree(random_tensors(60, 5, 3000), 50, (5, 3000), "normalized")


@BLENDS
@BACKENDS
def test_top_k_of_all_gaussians_is_the_plain_rendering(backend, blend):
    """It is equal to the bit for all Gaussians of the image, and up to the order of sums for all in every pixel."""
    tensors = random_tensors(80, 40, 40, scales=lambda uniform: 0.5 + uniform(80, 2))
    image, gradients = render_top_k(tensors, None, (40, 40), blend, backend)
    for top_k in (80, 81, 10**9):
        same, same_gradients = render_top_k(tensors, top_k, (40, 40), blend, backend)
        assert torch.equal(same, image)
        assert all(torch.equal(*pair) for pair in zip(same_gradients, gradients, strict=True))
    ones = [*tensors[:3], torch.ones(80, 3)]
    assert not torch.equal(
        render_top_k(ones, 5, (40, 40), "sum", backend)[0], render_top_k(ones, None, (40, 40), "sum", backend)[0]
    )
    near, near_gradients = render_top_k(tensors, 60, (40, 40), blend, backend)
    torch.testing.assert_close(near, image, rtol=1e-5, atol=1e-6)
    for ours, wanted in zip(near_gradients, gradients, strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-4 * wanted.abs().max().item())


@BLENDS
def test_top_k_does_not_depend_on_the_number_of_threads(blend):
    results = []
    for number in (1, 2, 3):
        torch.set_num_threads(number)
        images, gradients = render_top_k(random_tensors(2000, 61, 45), 6, (61, 45), blend, counts=[700, 0, 1300])
        results.append([images, *gradients])
    for result in results[1:]:
        assert all(torch.equal(ours, first) for ours, first in zip(result, results[0], strict=True))


@BLENDS
def test_top_k_of_the_reference_passes_gradcheck(blend):
    tensors = random_tensors(9, 4, 5, seed=1, scales=lambda uniform: 1 + 2 * uniform(9, 2))
    assert clear_pixels(tensors, 3, (4, 5), relative=1e-4).all()
    tensors = [tensor.double().requires_grad_() for tensor in tensors]

    def images(*tensors):
        return rasterize(*tensors, counts=[7, 2], pitches=[(1.0, 1.0)] * 2, height=4, width=5, blend=blend, top_k=3)

    assert torch.autograd.gradcheck(images, tensors, eps=1e-7, atol=1e-7, rtol=1e-5)


def test_top_k_of_the_reference_does_not_depend_on_the_chunks(monkeypatch):
    tensors = random_tensors(30, 11, 13)
    image, gradients = render_top_k(tensors, 3, (11, 13), backend="reference")
    monkeypatch.setattr(reference, "CHUNK", 100)  # three pixels
    chunked, chunked_gradients = render_top_k(tensors, 3, (11, 13), backend="reference")
    torch.testing.assert_close(chunked, image, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(chunked_gradients, gradients, rtol=1e-12, atol=1e-12)


def test_top_k_keeps_improper_values_within_their_image():
    sound = random_tensors(20, 7, 9)
    wanted, _ = render_top_k([tensor[10:] for tensor in sound], 3, (7, 9))
    for which in range(4):
        for value in (math.nan, math.inf, -math.inf, 3e38, 0.0, -1.0, 2.0**63):
            tensors = [tensor.clone() for tensor in sound]
            tensors[which][:5] = value
            images, gradients = render_top_k(tensors, 3, (7, 9), counts=[10, 10])
            assert torch.equal(images[1:], wanted), (which, value)
            assert all(torch.isfinite(gradient[10:]).all() for gradient in gradients), (which, value)


def test_render_and_render_batch_take_top_k():
    tensors = random_tensors(80, 12, 20)
    gaussians = Gaussians(*tensors, 12, 20, "normalized")
    wanted, _ = render_top_k(tensors, 2, (12, 20))
    assert torch.equal(render(gaussians, top_k=2), wanted[0])
    assert torch.equal(render_batch([gaussians, gaussians], top_k=2)[1], wanted[0])
    few = Gaussians(*(tensor[:1] for tensor in tensors), 12, 20, "normalized")
    # Also if another image of the batch has no more Gaussians than that.
    assert torch.equal(render_batch([few, gaussians], top_k=2)[1], wanted[0])
    smaller = render(gaussians, 6, 10, antialias=True, top_k=2)
    torch.testing.assert_close(smaller, wanted[0].view(3, 6, 2, 10, 2).mean((2, 4)))
    black = Gaussians(*(tensor[:0] for tensor in tensors), 12, 20, "normalized")
    assert torch.equal(render(black, top_k=2), torch.zeros(3, 12, 20))


@pytest.mark.parametrize("top_k", [0, -3, 2.5])
def test_top_k_below_1_is_refused(top_k):
    with pytest.raises(ValueError, match=f"^top_k: expected an integer of at least 1, .* got {top_k}$"):
        render_top_k(random_tensors(5, 4, 4), top_k, (4, 4))


def test_top_k_is_refused_by_cuda_and_avoided_by_auto():
    with pytest.raises(ValueError, match=r"^top_k: 'cuda' blends all Gaussians, got 3; use 'auto' or 'reference'$"):
        render_top_k(random_tensors(5, 4, 4), 3, (4, 4), backend="cuda")
    assert choose(torch.device("cuda"), "auto", 3) == "cpu"
    assert choose(torch.device("cpu"), "auto", 3) == "cpu"
