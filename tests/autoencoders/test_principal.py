"""Tests of the autoencoder that starts from principal components, and of the turns of its training images."""

import pytest
import torch
from networks import random_sets
from seeds import seeded

from fastgs.autoencoders.components import sensitivities, set_components
from fastgs.autoencoders.networks import ConvAutoencoder, PrincipalAutoencoder
from fastgs.autoencoders.pretrained import pixel_sets
from fastgs.splats import SplatDataset

pytestmark = pytest.mark.usefixtures("one_thread")

GRID = {"channels": 3, "rows": 4, "columns": 4, "width": 2}


def flat_sets(count, rank):
    """Return sets that lie in a subspace of few dimensions."""
    return (random_sets(count, rank) @ random_sets(rank, 48, seed=1) / rank).view(count, 16, 3)


def test_untrained_autoencoder_is_principal_components():
    """Sets in their subspace come back; the error of others is that of the exact decomposition."""
    sets = flat_sets(40, rank=6)
    network = PrincipalAutoencoder(latent=6, **GRID)
    network.set_components(sets, torch.ones(3))
    torch.testing.assert_close(network(sets), sets, atol=1e-5, rtol=0)
    torch.testing.assert_close(network.encode(sets).std(0), torch.ones(6), atol=1e-3, rtol=0)

    sets = random_sets(40, 16, 3) / 2
    network = PrincipalAutoencoder(latent=10, **GRID)
    network.set_components(sets, torch.ones(3))
    centred = (sets - sets.mean(0)).flatten(1)
    left = torch.linalg.svdvals(centred)[10:].square().sum()
    torch.testing.assert_close((network(sets) - sets).square().sum(), left, rtol=1e-2, atol=0)


def test_weighed_channels_are_reconstructed_better():
    sets, latent = random_sets(200, 16, 3), 16
    errors = []
    for weights in ([1.0, 1.0, 1.0], [100.0, 1.0, 1.0]):
        network = PrincipalAutoencoder(latent=latent, **GRID)
        network.set_components(sets, torch.tensor(weights))
        errors.append((network(sets) - sets).square().mean((0, 1)))
    assert errors[1][0] < 1e-3 < errors[0][0] and errors[1][1] > errors[0][1]


def test_fewer_images_than_latents_and_constant_sets_are_reconstructed():
    network = PrincipalAutoencoder(latent=9, **GRID)
    sets = random_sets(4, 16, 3)
    network.set_components(sets, torch.ones(3))
    torch.testing.assert_close(network(sets), sets, atol=1e-4, rtol=0)
    network.set_components(torch.full((4, 16, 3), 0.25), torch.ones(3))
    torch.testing.assert_close(network(sets * 0 + 0.25), sets * 0 + 0.25)
    assert network.encode(sets).isfinite().all()


def test_convolutions_reduce_error_of_components():
    sets = random_sets(64, 16, 3) / 2
    network = PrincipalAutoencoder(latent=4, **(GRID | {"width": 8}))
    network.set_components(sets, torch.ones(3))
    before = (network(sets) - sets).square().mean()
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(60):
        loss = (network(sets) - sets).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.95 * before
    # The components are not trained, but they are saved.
    assert {"components", "mean", "weights", "deviations"} <= network.state_dict().keys()
    assert "components" not in dict(network.named_parameters())


def test_sensitivities_are_derivatives_of_picture():
    scales = torch.tensor([0.5, 2.0, 0.0])
    sets = random_sets(500, 16, 3)
    found = sensitivities(sets, lambda each: each * scales, seeded())
    torch.testing.assert_close(found[:2], scales[:2], rtol=0.05, atol=0)
    assert 0 < found[2] < 0.01


def test_turns_of_training_images_depend_on_seed_epoch_and_index(splats_folder):
    still, turning = (SplatDataset(splats_folder, "train", turn=turn) for turn in (False, True))
    samples = [[turning[epoch, index] for epoch in range(8)] for index in range(3)]
    seen = set()
    for index, of_epochs in enumerate(samples):
        for epoch, sample in enumerate(of_epochs):
            symmetry = turning.symmetry(epoch, index)
            expected = still.batch(torch.tensor([index]), symmetry)
            assert torch.equal(sample.pixels, expected.pixels[0]) and torch.equal(sample.inputs, expected.inputs[0])
            seen.add(symmetry)
    assert len(seen) > 4
    again = SplatDataset(splats_folder, "train", turn=True)
    assert torch.equal(again[5, 1].inputs, samples[1][5].inputs)
    assert any(
        not torch.equal(SplatDataset(splats_folder, "train", turn=True, seed=1)[5, i].pixels, samples[i][5].pixels)
        for i in range(3)
    )


def test_components_include_turned_images(splats_folder):
    dataset = SplatDataset(splats_folder, "train", turn=True)
    network = PrincipalAutoencoder(channels=3, rows=16, columns=16, latent=5, width=2)
    set_components(network, dataset, lambda batch: pixel_sets(batch.pixels), lambda sets: sets)
    mean = network.mean.view(16, 16, 3)
    # Every image is seen in all its turns, so that the mean has all the symmetries.
    torch.testing.assert_close(mean, mean.flip(0), atol=1e-5, rtol=0)
    torch.testing.assert_close(mean, mean.transpose(0, 1), atol=1e-5, rtol=0)


def test_set_components_leaves_other_networks(splats_folder):
    network = ConvAutoencoder(channels=3, rows=16, columns=16, latent=5, width=2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    set_components(
        network, SplatDataset(splats_folder, "train"), lambda batch: pixel_sets(batch.pixels), lambda sets: sets
    )
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
