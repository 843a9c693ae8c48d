"""Tests of the numba backend against the reference: values and gradients, extremes, threads, forks."""

import math
import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from against_reference import assert_equal_to_reference, random_tensors, render_with_gradients
from processes import PATIENCE, python

from fastgs.render import rasterize
from fastgs.runtime import threads

BLENDS = pytest.mark.parametrize("blend", ["normalized", "sum"])


@pytest.fixture(autouse=True)
def _restore_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


NEEDLES = torch.tensor([[0.05, 500.0], [500.0, 0.05]]).repeat(50, 1)
BROAD_AND_SHARP = torch.tensor([[0.05, 1.0], [300.0, 2.0], [2000.0, 900.0], [30.0, 30.0]])
CASES = {
    "mixed": random_tensors(300, 33, 47),
    "ordinary": random_tensors(300, 33, 47, scales=lambda uniform: 0.3 + 3 * uniform(300, 2)),
    "narrower than a pixel": random_tensors(300, 33, 47, scales=lambda uniform: 0.05 + 0.1 * uniform(300, 2)),
    "1 to 1000 times the image": random_tensors(40, 33, 47, scales=lambda uniform: 47 * 1000 ** uniform(40, 2)),
    "off the canvas": random_tensors(
        200,
        33,
        47,
        means=lambda uniform: 400 * uniform(200, 2) - 180,
        scales=lambda uniform: 0.5 + 80 * uniform(200, 2),
    ),
    "needles": random_tensors(100, 64, 80, scales=lambda _: NEEDLES),
    "few on a big canvas": random_tensors(4, 300, 700, seed=4, scales=lambda _: BROAD_AND_SHARP),
    "5000 on 16 x 16": random_tensors(
        5000,
        16,
        16,
        scales=lambda uniform: 0.5 + 5 * uniform(5000, 2),
    ),
}
SIZES = {"needles": (64, 80), "few on a big canvas": (300, 700), "5000 on 16 x 16": (16, 16)}
# The offset along a needle of 0.05 px is thousands of its widths, of which float32 keeps four decimals.
TOLERANCES = {"needles": {"value": 1e-4, "gradient": 4e-3}}


@BLENDS
@pytest.mark.parametrize("case", CASES)
def test_cpu_matches_the_reference(case, blend):
    height, width = SIZES.get(case, (33, 47))
    assert_equal_to_reference(CASES[case], height, width, blend, **TOLERANCES.get(case, {}))


@BLENDS
def test_cpu_matches_the_reference_for_every_width(blend):
    """Eight pixels are computed at a time; none may be missing at the right edge or spill into the next row."""
    for width in range(1, 21):
        assert_equal_to_reference(random_tensors(12, 3, width, seed=width), 3, width, blend)


@BLENDS
@pytest.mark.parametrize("pitch", [(0.37, 1.9), (1 / 3, 1 / 3), (7.0, 0.1)])
def test_cpu_matches_the_reference_at_other_pitches(blend, pitch):
    tensors = random_tensors(200, 25 * pitch[0], 31 * pitch[1], scales=lambda uniform: 0.2 + 5 * uniform(200, 2))
    assert_equal_to_reference(tensors, 25, 31, blend, pitches=[pitch])


@BLENDS
def test_cpu_matches_the_reference_on_ragged_batches(blend):
    """Neither rows nor Gaussians of one image affect another, with canvases of different sizes."""
    counts, pitches = [40, 0, 1, 100, 0], [(1.0, 1.0), (1.0, 1.0), (0.5, 2.0), (1.3, 0.7), (1.0, 1.0)]
    assert_equal_to_reference(random_tensors(141, 20, 27), 20, 27, blend, counts=counts, pitches=pitches)


@BLENDS
def test_cpu_matches_the_reference_on_one_pixel(blend):
    assert_equal_to_reference(random_tensors(50, 1, 1), 1, 1, blend)


def test_cpu_drops_no_gaussian():
    """100,000 Gaussians at one pixel centre have weight 1 there: the sum is exact, and each has a gradient."""
    count = 100_000
    one = (torch.tensor([[8.5, 7.5]]), torch.tensor([[3.0, 1.5]]), torch.tensor([0.5]), torch.ones(1, 3))
    stack = [each.repeat_interleave(count, 0) for each in one]
    images, gradients = render_with_gradients(stack, 16, 16, "sum", "cpu")
    assert (images[0, :, 7, 8] == count).all()
    for gradient in gradients:
        assert torch.equal(gradient, gradient[:1].expand_as(gradient))
        assert (gradient != 0).all()


@pytest.mark.parametrize("angle", [0.0, 1e-4, 0.02, math.pi / 4, math.pi / 2, 100.3])
def test_cpu_renders_extreme_ellipses(angle):
    """Scales are 0.05 to 60,000 px, centres up to 3.4 scales away: rounding may blur ellipses, but not lose them."""
    generator = torch.Generator().manual_seed(0)
    axes = torch.tensor([0.05, 0.3, 14, 1e3, 6e4])
    scales = torch.cartesian_prod(axes, axes).repeat(4, 1)
    along, across = 3.4 * scales.T * (2 * torch.rand(2, len(scales), generator=generator) - 1)
    direction = torch.tensor([math.cos(angle), math.sin(angle)])
    means = torch.rand(len(scales), 2, generator=generator) * torch.tensor([56, 40])
    means += along[:, None] * direction + across[:, None] * torch.tensor([-direction[1], direction[0]])
    tensors = means, scales, torch.full((len(scales),), angle), torch.ones(len(scales), 3)
    batch = {"counts": [1] * len(scales), "pitches": [(1.0, 1.0)] * len(scales), "height": 40, "width": 56}
    images = rasterize(*tensors, **batch, blend="sum", backend="cpu")
    wanted = rasterize(*(each.double() for each in tensors), **batch, blend="sum", backend="reference")
    assert (wanted.amax(dim=(1, 2, 3)) > 0.1).sum() > 30
    assert (images - wanted).abs().max() < 2e-2
    ordinary = scales.amax(1) < 1e4
    assert (images - wanted)[ordinary].abs().max() < 1e-3


@BLENDS
def test_cpu_does_not_depend_on_the_number_of_threads(blend):
    results = []
    for number in (1, 2, 3):
        torch.set_num_threads(number)
        images, gradients = render_with_gradients(
            random_tensors(2000, 61, 45), 61, 45, blend, "cpu", counts=[700, 0, 1300]
        )
        results.append([images, *gradients])
    for result in results[1:]:
        assert all(torch.equal(ours, first) for ours, first in zip(result, results[0], strict=True))


def test_cpu_takes_tensors_of_any_layout():
    tensors = random_tensors(50, 20, 24)
    table = torch.cat([tensor.reshape(50, -1) for tensor in tensors], dim=1)
    views = table[:, 0:2], table[:, 2:4], table[:, 4], table[:, 5:8]
    assert not any(view.is_contiguous() for view in views)
    image, gradients = render_with_gradients(tensors, 20, 24, "normalized", "cpu")
    again, gradients_again = render_with_gradients(views, 20, 24, "normalized", "cpu")
    assert torch.equal(image, again)
    assert all(torch.equal(ours, other) for ours, other in zip(gradients_again, gradients, strict=True))

    # The upstream gradient may be a view, too: here an expanded scalar and a transposed image.
    colors = tensors[3].requires_grad_()
    batch = {"counts": [50], "pitches": [(1.0, 1.0)], "height": 20, "width": 24, "backend": "cpu"}
    rasterize(*tensors[:3], colors, **batch).sum().backward()
    expanded, colors.grad = colors.grad, None
    rasterize(*tensors[:3], colors, **batch).transpose(2, 3).contiguous().sum().backward()
    torch.testing.assert_close(colors.grad, expanded)


def test_cpu_gives_gradients_to_tensors_that_need_them_only():
    means, scales, rotations, colors = random_tensors(50, 20, 24)
    _, wanted = render_with_gradients((means, scales, rotations, colors), 20, 24, "normalized", "cpu")
    scales.requires_grad_()
    batch = {"counts": [50], "pitches": [(1.0, 1.0)], "height": 20, "width": 24, "backend": "cpu"}
    image = rasterize(means, scales, rotations, colors, **batch)
    upstream = torch.randn(image.shape, generator=torch.Generator().manual_seed(9))
    for _ in range(2):  # the second time through the retained graph
        (gradient,) = torch.autograd.grad((image * upstream).sum(), [scales], retain_graph=True)
        assert torch.equal(gradient, wanted[1])


# In a forked child, operators of torch that use several threads hang (torch.cos of 500 numbers does, a product of as
# many does not). The rasterizer must not call any of them.
def _render_into(pipe):
    images, gradients = render_with_gradients(random_tensors(500, 40, 50), 40, 50, "normalized", "cpu")
    pipe.send([tensor.numpy() for tensor in (images, *gradients)])


class _Renderings(torch.utils.data.Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return render_with_gradients(random_tensors(500, 40, 50, seed=index), 40, 50, "normalized", "cpu")[0]


needs_fork = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")


@needs_fork
def test_cpu_renders_in_a_forked_child():
    torch.set_num_threads(2)
    images, gradients = render_with_gradients(random_tensors(500, 40, 50), 40, 50, "normalized", "cpu")
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_render_into, args=(sender,), daemon=True)
    child.start()
    try:
        assert receiver.poll(20), "the child hangs"
        for ours, theirs in zip((images, *gradients), receiver.recv(), strict=True):
            assert torch.equal(ours, torch.from_numpy(theirs))
        child.join(20)
        assert child.exitcode == 0
    finally:
        child.kill()


@needs_fork
def test_cpu_renders_in_a_data_loader():
    torch.set_num_threads(2)
    wanted = [_Renderings()[index] for index in range(3)]
    loader = torch.utils.data.DataLoader(
        _Renderings(), batch_size=None, num_workers=1, multiprocessing_context="fork", timeout=PATIENCE
    )
    for image, other in zip(loader, wanted, strict=True):
        assert torch.equal(image, other)


def test_cpu_renders_in_many_threads_at_once():
    torch.set_num_threads(2)

    def work(seed):
        return render_with_gradients(random_tensors(400, 60, 50, seed=seed), 60, 50, "normalized", "cpu")

    wanted = [work(seed) for seed in range(12)]
    with ThreadPoolExecutor(6) as pool:
        for (image, gradients), (image0, gradients0) in zip(pool.map(work, range(12)), wanted, strict=True):
            assert torch.equal(image, image0)
            assert all(torch.equal(ours, other) for ours, other in zip(gradients, gradients0, strict=True))


def test_reserved_restores_the_number_of_threads():
    """Two threads leave the context in the order in which they entered it, not nested."""
    torch.set_num_threads(2)
    ready, first_is_in, second_is_in, first_is_out = (threading.Event() for _ in range(4))

    def second():
        torch.set_num_threads(2)
        assert torch.get_num_threads() == 2
        ready.set()
        first_is_in.wait(10)
        with threads.reserved():
            second_is_in.set()
            first_is_out.wait(10)
        return torch.get_num_threads()

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(second)
        ready.wait(10)
        with threads.reserved():
            inside = threads.num_threads(), torch.get_num_threads()
            first_is_in.set()
            second_is_in.wait(10)
        first_is_out.set()
        assert inside == (2, 1)
        assert future.result() == 2
    assert torch.get_num_threads() == 2
    assert threads.num_threads() == 2


@pytest.mark.slow
def test_cpu_is_memory_safe_for_any_values():
    """With NaN, infinity or huge numbers in a tensor, the process survives, and other images are not affected."""
    code = """
import itertools, math, torch
from fastgs.render import rasterize
generator = torch.Generator().manual_seed(0)
sound = [torch.rand(shape, generator=generator) * 9 + 0.1 for shape in ((8, 2), (8, 2), (8,), (8, 3))]
batch = dict(pitches=[(1.0, 1.0), (0.3, 3.0)], height=7, width=9, backend="cpu")
wanted = rasterize(*(tensor[1:] for tensor in sound), counts=[3, 4], **batch)
values = [math.nan, math.inf, -math.inf, 3e38, -3e38, 1e-40, 0.0, -1.0, 1e10, 2.0**31, 2.0**63]
for which, value in itertools.product(range(4), values):
    for column in range(-1, 2 if which in (0, 1) else 0):
        tensors = [tensor.clone() for tensor in sound]
        tensors[which][0].view(-1)[slice(None) if column < 0 else column] = value
        tensors = [tensor.requires_grad_() for tensor in tensors]
        images = rasterize(*tensors, counts=[4, 4], **batch)
        images.sum().backward()
        assert torch.equal(images[1], wanted[1]), (which, value)
        for tensor, other in zip(tensors, sound):
            assert torch.isfinite(tensor.grad[4:]).all(), (which, value)
print("alive")
"""
    result = python("-c", code)
    assert (result.returncode, result.stdout) == (0, "alive\n"), result.stderr[-2000:]
