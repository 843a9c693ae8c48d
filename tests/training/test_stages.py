"""Tests of the stages of both networks: losses, training, validation, and resumed runs."""

import math

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from stages import SIZE, fit, make, prepare, trainer

import fastgs
from fastgs.initializers.from_density import gaussians_at
from fastgs.initializers.sampling import project, sample
from fastgs.io.images import load_image
from fastgs.metrics.quality import psnr
from fastgs.training import AttributeStage, PositionStage, base, position

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore:.*LeafSpec")


class Losses(Callback):
    """Callback that keeps a metric of each step."""

    def __init__(self, name):
        self.name, self.values = name, []

    def on_train_batch_end(self, trainer, *arguments):
        self.values.append(trainer.callback_metrics[self.name].item())


# Training


class Poison(Callback):
    """Callback that makes the gradient NaN, as in a run that diverges."""

    def on_after_backward(self, trainer, stage):
        next(parameter for parameter in stage.parameters() if parameter.grad is not None).grad[0] = float("nan")


def test_diverged_run_ends_with_finite_weights(folder):
    stage = make(AttributeStage, folder)
    with pytest.raises(ValueError, match=r"^model\.learning_rate: the run diverged at step 0; lower it$"):
        fit(stage, prepare(folder), callbacks=[Poison()])
    assert all(torch.isfinite(parameter).all() for parameter in stage.parameters())


@pytest.mark.parametrize("change", [{"random_crop": True}, {"flip": True}, {"repeat": 2}])
def test_position_stage_refuses_images_that_change(change, folder):
    data = prepare(folder)
    for name, value in change.items():
        setattr(data, name, value)
    with pytest.raises(ValueError, match=rf"^data\.{next(iter(change))}: "):
        fit(make(PositionStage, folder), data)


def test_cross_entropy_is_smallest_at_target():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 5, generator=generator)
    log_densities = logits.flatten(1).log_softmax(1).view_as(logits)
    targets = log_densities.exp()

    def loss(logits):
        return position.density_loss(logits.flatten(1).log_softmax(1).view_as(logits), targets, "cross_entropy")

    least = loss(logits)
    assert least == pytest.approx(base.relative_entropy(log_densities).mean().item(), abs=1e-6) and least < 0
    assert all(loss(logits + 0.3 * torch.randn(2, 4, 5, generator=generator)) > least for _ in range(10))
    assert loss(torch.zeros(2, 4, 5)) == pytest.approx(0, abs=1e-6)  # the uniform density


def test_mse_compares_densities_scaled_to_maximum_of_1():
    predictions, targets = torch.tensor([[[0.25, 0.75]]]), torch.tensor([[[0.5, 0.5]]])
    loss = position.density_loss(predictions.log(), targets, "mse")
    assert loss == pytest.approx(((1 / 3 - 1) ** 2 + 0) / 2)


@pytest.mark.parametrize(("height", "width"), [(512, 512), (256, 128)])
def test_counts_are_log_uniform_by_area(height, width):
    generator = torch.Generator().manual_seed(0)
    counts = np.sort([base.draw_count(height, width, generator) for _ in range(2000)])
    equivalents = counts * 512**2 / (height * width)
    expected = np.log(equivalents / 2_500) / np.log(100_000 / 2_500)
    distance = np.abs(expected - (np.arange(2000) + 0.5) / 2000).max()  # statistic of Kolmogorov and Smirnov
    assert distance < 1.63 / 2000**0.5  # at the 1 % level


@pytest.mark.slow
def test_position_stage_learns_fixed_targets(folder, monkeypatch):
    """Targets are dark places, where no heuristic puts Gaussians; the loss comes 70 % of the way to its minimum."""

    def dark(self, batch, i, count, slot, visit):
        density = (1.05 - batch.images[i].mean(0)).pow(4)
        places = sample(density, count, generator=torch.Generator().manual_seed(int(batch.indices[i])))
        log_density = (density / density.sum()).log()[None]
        goals[i] = position.density_loss(log_density, project(places, SIZE, SIZE)[None], "cross_entropy").item()
        return gaussians_at(places, batch.images[i], density)

    goals = [0.0, 0.0]
    monkeypatch.setattr(PositionStage, "_optimize", dark)
    losses = Losses("train/loss")
    fit(make(PositionStage, folder, slots=1, anchor=0.0), prepare(folder, 2, 2, val=None), epochs=60,
        callbacks=[losses])  # fmt: skip
    start, goal = losses.values[0], np.mean(goals)
    assert np.mean(losses.values[-5:]) < goal + 0.3 * (start - goal) < start - 0.2


@pytest.mark.slow
def test_attribute_stage_overfits_two_images(folder):
    stage, data = make(AttributeStage, folder), prepare(folder, 2, 2, val=None)

    def quality():
        scores = []
        for index, count in ((0, 60), (0, 240), (1, 60), (1, 240)):
            target = load_image(folder / "images2" / f"{index}.png")
            gaussians = stage.networks.initialize(target, count, torch.Generator().manual_seed(7))
            scores.append(psnr(fastgs.render(gaussians), target))
        return np.mean(scores)

    before, frozen = quality(), {name: value.clone() for name, value in stage.networks.position.state_dict().items()}
    fit(stage, data, epochs=60)
    assert quality() > before + 1.5
    after = stage.networks.position.state_dict()
    assert all(torch.equal(after[name], value) for name, value in frozen.items())


@pytest.mark.slow
def test_targets_continue_from_visit_to_visit(folder, tmp_path, monkeypatch):
    starts = []

    def spy(image, start, *arguments, **options):
        starts.append(start)
        return optimize(image, start, *arguments, **options)

    optimize = position.optimize
    monkeypatch.setattr(position, "optimize", spy)
    stage = make(PositionStage, folder, tmp_path, iterations=100, learning_rate=0.0)
    fit(stage, prepare(folder, 2, 2, val=None), epochs=4)
    assert len(starts) == 8
    gains = []
    for index in (0, 1):
        image = load_image(folder / "images2" / f"{index}.png")
        first, second = [[stage.store.load(index, slot, visit) for slot in (0, 1)] for visit in (0, 1)]
        for before, after in zip(first, second, strict=True):
            assert len(before) == len(after)  # K belongs to image and slot, whatever the epoch
            assert any(torch.equal(start.means, before.means) for start in starts[4:])
            assert not torch.equal(before.means, after.means)
            gains.append(psnr(fastgs.render(after), image) - psnr(fastgs.render(before), image))
        assert len(first[0]) != len(first[1])
    assert np.mean(gains) > 0


# Validation


@pytest.mark.parametrize("stage", [PositionStage, AttributeStage])
def test_validation_logs_psnr_and_entropy(folder, stage):
    made = make(stage, folder, val_counts=[10_000, 50_000])
    names = {f"val/{name}_{k}{at}" for k in (10_000, 50_000)
             for name, at in (("entropy", ""), ("psnr", "_at_0"), ("psnr", "_at_10"))}  # fmt: skip
    during = fit(made, prepare(folder, 2, 2)).callback_metrics
    assert names == {name for name in during if name.startswith("val/")}
    assert all(math.isfinite(value) for value in during.values())
    data = prepare(folder, 2)
    (after,) = trainer().validate(made, data, verbose=False)
    assert after == pytest.approx({name: during[name].item() for name in names}, rel=1e-5)
    assert all(after[f"val/psnr_{k}_at_10"] > after[f"val/psnr_{k}_at_0"] + 1 for k in (10_000, 50_000))

    k = round(50_000 * SIZE**2 / 512**2)
    with torch.no_grad():
        expected = [
            psnr(fastgs.render(made.networks(image[None], [k], [torch.Generator().manual_seed(seed)])[0]), image)
            for image, _, seed in (data.datasets["val"][0], data.datasets["val"][1])
        ]
    assert after["val/psnr_50000_at_0"] == pytest.approx(np.mean(expected), rel=1e-5)


# Interrupted runs


class PowerCut(Callback):
    """Callback that ends the run in the middle of its fourth epoch."""

    def on_train_batch_start(self, trainer, stage, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (3, 1):
            raise RuntimeError("power cut")


@pytest.mark.slow
@pytest.mark.parametrize("stage", [PositionStage, AttributeStage])
def test_resumed_run_reaches_same_weights(folder, tmp_path, stage):
    data = {"folder": folder, "count": 4, "batch_size": 2, "val": None}
    whole = make(stage, folder, tmp_path / "whole")
    fit(whole, prepare(**data), epochs=5)
    keep = ModelCheckpoint(tmp_path, filename="last")
    with pytest.raises(RuntimeError, match="power cut"):
        fit(make(stage, folder, tmp_path / "broken"), prepare(**data), epochs=5, callbacks=[keep, PowerCut()])
    resumed = make(stage, folder, tmp_path / "broken")
    used = fit(resumed, prepare(**data), tmp_path / "last.ckpt", epochs=5)
    assert used.global_step == 10
    expected = whole.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in resumed.state_dict().items())
    start = make(stage, folder).state_dict()
    assert any(not torch.equal(value, expected[name]) for name, value in start.items())
