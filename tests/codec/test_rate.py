"""The search for a number of Gaussians, with schemes whose files and images are known."""

import math
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from fastgs.codec.rate import RateError, encode_to_psnr, encode_to_size
from fastgs.codec.scheme import Encoded
from fastgs.gaussians import Gaussians
from fastgs.metrics.quality import psnr
from fastgs.render import render


@dataclass
class FakeScheme:
    """Scheme of files of given sizes in bytes and images of given PSNRs in dB, by the number of Gaussians.

    Attributes:
        counts: Numbers of Gaussians that were asked for.
    """

    size: object
    quality: object = None
    bits: float = 40.0
    name: str = "fastgs"
    counts: list[int] = field(default_factory=list)

    def encode(self, image, num_gaussians, **_options):
        self.counts.append(num_gaussians)
        level = 10 ** (-self.quality(num_gaussians) / 20) if self.quality else 0.5
        middle = torch.tensor([[image.shape[2] / 2, image.shape[1] / 2]])
        flat = Gaussians(middle, torch.full((1, 2), 1e4), torch.zeros(1), torch.full((1, 3), level), *image.shape[1:])
        return Encoded(bytes(self.size(num_gaussians)), flat, [])


def make_image(height, width):
    image = torch.zeros(3, height, width)
    image[:, 0, 0] = 1
    return image


@pytest.mark.parametrize("bits", [10.0, 40.0, 160.0])
@pytest.mark.parametrize("size", [200, 1_000, 50_000])
def test_size_is_reached_from_any_first_guess(bits, size):
    scheme = FakeScheme(lambda count: 40 + 5 * count, bits=bits)  # with a header that K does not change
    found = encode_to_size(scheme, make_image(8, 8), size)
    assert 0.97 * size <= len(found.data) <= size and len(scheme.counts) <= 6


@pytest.mark.parametrize(("first", "calls"), [(1.001, 2), (1.0, 1), (0.971, 1), (0.969, 2)])
def test_first_file_is_accepted_from_97_to_100_percent(first, calls):
    scheme = FakeScheme(lambda count: round(first * 10 * count), bits=80.0)
    found = encode_to_size(scheme, make_image(200, 200), 20_000)
    assert 0.97 * 20_000 <= len(found.data) <= 20_000 and len(scheme.counts) == calls


@pytest.mark.parametrize("bits", [60.0, 160.0, 800.0])  # the first files are larger or smaller
def test_largest_file_that_fits_is_taken_where_sizes_leap(bits):
    scheme = FakeScheme(lambda count: 150 * (1 + count // 10), bits=bits)
    assert len(encode_to_size(scheme, make_image(200, 200), 1_000).data) == 900


def test_no_more_gaussians_than_pixels_are_tried():
    cheap = FakeScheme(lambda count: 40 + count, bits=0.5)
    assert len(encode_to_size(cheap, make_image(8, 8), 60).data) == 60 and max(cheap.counts) == 64
    poor = FakeScheme(lambda count: count, quality=lambda count: 20 - 1 / count)
    with pytest.raises(RateError):
        encode_to_psnr(poor, torch.zeros(3, 8, 8), 30)
    assert max(poor.counts) == 64


@pytest.mark.parametrize(
    ("sizes", "counts"),
    [
        # A straight line through the origin and the last file leads to 164 and 20; both are bounded by known files.
        ({20: 120, 164: 8_201, 21: 980}, [20, 164, 21]),
        ({100: 5_000, 20: 120, 99: 980}, [100, 20, 99]),
    ],
)
def test_trials_lie_between_known_files(sizes, counts):
    scheme = FakeScheme(sizes.__getitem__, bits=8 * 1_000 / counts[0])
    encode_to_size(scheme, make_image(200, 200), 1_000)
    assert scheme.counts == counts


def test_size_below_the_smallest_file_is_an_error():
    with pytest.raises(RateError, match=r"^30 bytes are too few for this image: the smallest file .* has 45$"):
        encode_to_size(FakeScheme(lambda count: 40 + 5 * count), make_image(8, 8), 30)


@pytest.mark.parametrize(("more", "calls"), [(-0.05, 2), (0.0, 1), (0.2, 1), (0.3, 2)])
def test_first_image_is_accepted_up_to_a_quarter_of_a_db_above_the_target(more, calls):
    black = torch.zeros(3, 100, 100)
    scheme = FakeScheme(lambda count: count, quality=lambda count: 10 + 3.3 * math.log2(count))
    target = psnr(render(scheme.encode(black, 40).gaussians), black) - more
    scheme.counts.clear()
    found = encode_to_psnr(scheme, black, target)
    assert target <= psnr(render(found.gaussians), black) <= target + 0.25
    assert len(scheme.counts) == calls and np.sign(len(found.data) - 40) == (calls == 2) * -np.sign(more)


@pytest.mark.parametrize("target", [12.0, 20.0, 27.0])
def test_target_psnr_is_reached(target):
    scheme = FakeScheme(lambda count: count, quality=lambda count: 10 + 3.3 * math.log2(count))
    found = encode_to_psnr(scheme, torch.zeros(3, 8, 8), target)
    reached = psnr(render(found.gaussians), torch.zeros(3, 8, 8))
    assert target <= reached and len(scheme.counts) <= 8
    assert reached <= target + 1.7  # one Gaussian more, where they are few


def test_target_psnr_beyond_the_best_file_is_an_error():
    scheme = FakeScheme(lambda count: count, quality=lambda count: 20 - 1 / count)
    with pytest.raises(RateError, match=r"^30 dB were not reached; the best file that was found has (19|20)\.\d\d dB$"):
        encode_to_psnr(scheme, torch.zeros(3, 8, 8), 30)
