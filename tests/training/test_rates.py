"""Learning rates for the batch of all devices together."""

import math
from types import SimpleNamespace

import pytest
import stages

from fastgs.training import PositionStage


@pytest.mark.parametrize(
    ("rate_batch", "devices", "accumulate", "factor"),
    [(None, 8, 1, 1.0), (4, 1, 1, 1.0), (4, 8, 1, math.sqrt(8)), (4, 2, 2, 2.0), (16, 1, 1, 0.5)],
)
def test_rate_grows_with_the_root_of_the_batch(folder, rate_batch, devices, accumulate, factor):
    stage = stages.make(PositionStage, folder, rate_batch=rate_batch)
    stage._trainer = SimpleNamespace(
        datamodule=SimpleNamespace(batch_size=4), world_size=devices, accumulate_grad_batches=accumulate
    )
    assert stage._scale_rate() == pytest.approx(factor * stage.learning_rate)


def test_rate_batch_must_be_positive(folder):
    with pytest.raises(ValueError, match=r"^model\.rate_batch: must be at least 1, got 0"):
        stages.make(PositionStage, folder, rate_batch=0)
