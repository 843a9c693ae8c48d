"""Options of a fit: what is refused, and how far along a run is."""

import math

import pytest

from fastgs.fitting.losses import LOSSES
from fastgs.fitting.options import FitOptions

REFUSALS = [
    ({"iterations": -1}, "iterations: must be at least 0, got -1"),
    ({"iterations": 2.5}, "iterations: expected an integer, got 2.5"),
    ({"iterations": True}, "iterations: expected an integer, got True"),
    ({"seconds": 0}, "seconds: must be more than 0 and finite, got 0"),
    ({"seconds": -0.5}, "seconds: must be more than 0 and finite, got -0.5"),
    ({"seconds": math.nan}, "seconds: must be more than 0 and finite, got nan"),
    ({"target_psnr": math.inf}, "target_psnr: must be finite, got inf"),
    ({"loss": "l3"}, r"loss: expected one of mse, .*, got 'l3'"),
    ({"backend": "metal"}, "backend: expected one of"),
]


@pytest.mark.parametrize(("change", "message"), REFUSALS)
def test_fit_options_refuse_wrong_values(change, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        FitOptions(**change)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (FitOptions(10), 0.3),
        (FitOptions(0), 1.0),
        (FitOptions(2), 1.0),
        (FitOptions(seconds=4.0), 0.5),
        (FitOptions(10, seconds=4.0), 0.5),
        (FitOptions(4, seconds=8.0), 0.75),
        (FitOptions(4, seconds=0.1), 1.0),
    ],
)
def test_progress_follows_the_nearer_limit(options, expected):
    assert options.progress(3, 2.0) == expected


def test_default_iterations_count_only_without_another_limit():
    assert FitOptions().or_iterations(7).iterations == 7
    assert FitOptions(5).or_iterations(7).iterations == 5
    assert FitOptions(seconds=1.0).or_iterations(7).iterations is None


def test_loss_is_a_name_or_a_callable():
    assert FitOptions(loss="l1").loss_function() is LOSSES["l1"]
    assert FitOptions(loss=max).loss_function() is max
