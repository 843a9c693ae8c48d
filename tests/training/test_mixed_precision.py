"""Training in float16, whose losses are scaled: gradients that overflow are left out until the scale fits."""

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins import MixedPrecision
from stages import fit, make, prepare

from fastgs.training import AttributeStage

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore:.*LeafSpec", "ignore:.*lr_scheduler")


class Watch(Callback):
    """Callback that notes the scale after each step, and can poison gradients."""

    def __init__(self, poison=False):
        self.scales, self.poison = [], poison

    def on_after_backward(self, trainer, stage):
        if self.poison:
            next(parameter for parameter in stage.parameters() if parameter.grad is not None).grad[0] = float("nan")

    def on_train_batch_end(self, trainer, *arguments):
        self.scales.append(trainer.precision_plugin.scaler.get_scale())


def float16(scale):
    """Return what `precision: 16-mixed` stands for on a GPU, for the CPU, from a scale of the loss on."""
    return MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=scale))


@pytest.mark.slow
def test_scale_that_overflows_is_lowered_and_training_goes_on(folder):
    stage, watch = make(AttributeStage, folder), Watch()
    before = [parameter.detach().clone() for parameter in stage.networks.attribute.parameters()]
    used = fit(stage, prepare(folder, 2, 2, val=None), epochs=24, callbacks=[watch], plugins=[float16(2.0**36)])
    assert watch.scales[0] == 2.0**35 and watch.scales[-1] == min(watch.scales) > 1
    assert watch.scales[-1] == watch.scales[-2]  # by now steps are taken
    assert torch.isfinite(used.callback_metrics["train/gradient_norm"])
    after = list(stage.networks.attribute.parameters())
    assert all(torch.isfinite(parameter).all() for parameter in after)
    assert any(not torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_run_that_diverges_at_any_scale_ends(folder):
    watch = Watch(poison=True)
    with pytest.raises(ValueError, match=r"^model\.learning_rate: the run diverged at step \d+; lower it$"):
        fit(
            make(AttributeStage, folder),
            prepare(folder, val=None),
            epochs=20,
            callbacks=[watch],
            plugins=[float16(8.0)],
        )
    assert watch.scales == [4.0, 2.0, 1.0]
