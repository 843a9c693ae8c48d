"""The effort of the encoder: what it changes, what is refused, and what the default is worth."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fastgs.codec import SCHEMES, choose_scheme, decode, encode, fastgs_encoder
from fastgs.codec.effort import DEFAULT_EFFORT, EFFORTS, Effort
from fastgs.io.images import load_image
from fastgs.metrics.quality import psnr
from fastgs.render import render

COFFEE = Path(__file__).parents[2] / "assets" / "coffee.png"


@pytest.fixture(scope="module")
def coffee() -> torch.Tensor:
    """Return the photo of a cup of coffee, (3, 192, 192) in [0, 1]."""
    return load_image(COFFEE, 192)


def test_more_effort_is_more_work():
    assert sorted(EFFORTS) == [*range(1, 10)] and DEFAULT_EFFORT in EFFORTS
    efforts = [EFFORTS[effort] for effort in sorted(EFFORTS)]
    work = [(each.starts, each.iterations, each.rounds, each.sweeps) for each in efforts]
    assert work == sorted(set(work))
    assert all(list(column) == sorted(column) for column in zip(*work, strict=True))
    assert choose_scheme().iterations == EFFORTS[DEFAULT_EFFORT].iterations


@pytest.mark.parametrize(
    ("effort", "message"),
    [
        (0, "effort: must be at least 1, got 0"),
        (10, "effort: must be from 1 to 9, got 10"),
        ("x", "effort: expected an integer, got 'x'"),
        (2.5, "effort: expected an integer, got 2.5"),
        (True, "effort: expected an integer, got True"),
    ],
)
def test_wrong_effort_is_refused(photo, effort, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        encode(photo, num_gaussians=5, effort=effort)


@pytest.mark.parametrize("scheme", [name for name in SCHEMES if name != "fastgs"])
def test_scheme_without_efforts_takes_none(photo, scheme):
    with pytest.raises(ValueError, match=f"^effort: the scheme '{scheme}' has none; give iterations$"):
        encode(photo, num_gaussians=5, effort=3, scheme=scheme)


def test_steps_are_those_of_the_effort_unless_given(photo):
    steps = [
        encode(photo, num_gaussians=9, **options).history[-1].iteration for options in ({"effort": 1}, {"effort": 2})
    ]
    assert steps == [EFFORTS[1].iterations, EFFORTS[2].iterations]
    both = encode(photo, num_gaussians=9, effort=2, iterations=3)
    assert both.history[-1].iteration == 3 and both.data != encode(photo, num_gaussians=9, effort=9, iterations=0).data


@pytest.mark.slow
@pytest.mark.parametrize("effort", sorted(EFFORTS))
def test_files_of_all_efforts_keep_the_size(photo, effort):
    size = 1.5 * photo[0].numel() / 8
    encoded = encode(photo, bpp=1.5, effort=effort)
    assert 0.97 * size <= len(encoded.data) <= size
    assert torch.equal(render(decode(encoded.data)), render(encoded.gaussians))


def test_file_repeats_for_a_seed(photo):
    first, again, other = (encode(photo, bpp=1.0, effort=2, seed=seed).data for seed in (3, 3, 4))
    assert first == again != other


@pytest.mark.slow
def test_default_is_as_good_as_many_steps(coffee):
    """It has 35.58 dB; before there were efforts, 1000 steps gave 35.26."""
    encoded = encode(coffee, bpp=0.8)
    assert psnr(render(encoded.gaussians), coffee) > 35.4


@pytest.mark.slow
def test_quality_grows_with_effort(coffee):
    qualities = [psnr(render(encode(coffee, bpp=0.8, effort=effort).gaussians), coffee) for effort in (1, 4, 7)]
    assert qualities[1] > qualities[0] + 0.3 and qualities[2] > qualities[1] + 0.1


def test_best_of_several_starts_is_kept(photo):
    """The first start is that of the seed, the second that of the next one, and so on."""
    size = photo[0].numel() // 4
    starts = [
        fastgs_encoder.encode(photo, 60, False, Effort(3, 1, starts=number), seed, size, None, restores=False)[0]
        for number, seed in ((1, 5), (1, 6), (2, 5))
    ]
    first, second, both = ([written.data for written in each] for each in starts)
    assert sorted(first + second) == sorted(both)


def test_next_start_aims_at_the_bytes_whose_steps_end_where_they_began(photo, monkeypatch):
    """Rounds that end with steps twice as fine had too few Gaussians, by the fourth root of two."""
    aims, usual = [], fastgs_encoder.fit

    def fit(*arguments):
        aims.append(arguments[6])
        return usual(*arguments)

    def alternate(image, start, *_, **__):
        return replace(start, coarseness=start.coarseness / 2)

    monkeypatch.setattr(fastgs_encoder, "fit", fit)
    monkeypatch.setattr(fastgs_encoder, "alternate", alternate)
    size = photo[0].numel() // 4
    fastgs_encoder.encode(photo, 60, False, Effort(3, 1, starts=3), 0, size, None, restores=False)
    assert aims == pytest.approx([size, 2**0.25 * size, 2**0.5 * size], abs=1)
