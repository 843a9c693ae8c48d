"""Tests of the network of zooming."""

import json

import pytest
import torch
from networks import disturbed
from seeds import seeded
from skimage import data

from fastgs.io.images import load_image
from fastgs.io.resampling import make_consistent, reduce
from fastgs.metrics.quality import psnr
from fastgs.models import ZoomNetwork, zoom
from fastgs.models.zoom import load_zoom, save_zoom


def network(seed=0, **arguments):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ZoomNetwork(**({"width": 6, "blocks": 2} | arguments)).eval()


def test_untrained_network_is_better_than_bicubic():
    target = load_image(data.coffee(), 256)
    small = reduce(target[None], 128, 128).clamp(0, 1)
    bicubic = torch.nn.functional.interpolate(small, (256, 256), mode="bicubic", antialias=True)
    with torch.no_grad():
        enlarged = network().render(small, 256, 256)
    assert psnr(enlarged[0], target) > psnr(bicubic[0], target) + 0.7
    assert psnr(reduce(enlarged, 128, 128)[0], small[0]) > 45


@pytest.mark.parametrize("size", [(90, 60), (71, 55)])
def test_tiles_have_no_seams(monkeypatch, size):
    """A large image is enlarged in tiles, and the result is that of one piece."""
    image = torch.rand(3, 45, 30, generator=seeded())
    trained = disturbed(network(), size=0.3)
    with torch.no_grad():
        whole = trained.render(image[None], *size)[0]
    assert not torch.allclose(whole, network().render(image[None], *size)[0], atol=0.05)  # it does something
    monkeypatch.setattr(zoom, "has_bfloat16", lambda: False)
    assert torch.allclose(trained.enlarge(image, *size), whole, atol=1e-4)
    monkeypatch.setattr(zoom, "TILE", 16)
    assert torch.allclose(trained.enlarge(image, *size), whole, atol=1e-4)


def test_bfloat16_changes_little():
    image = load_image(data.coffee(), 64)
    trained = disturbed(network(), size=0.1)
    with torch.no_grad():
        assert psnr(trained.enlarge(image, 128, 128), trained.render(image[None], 128, 128)[0]) > 45


def test_result_is_consistent_whatever_the_weights():
    small = torch.rand(2, 3, 20, 24, generator=seeded())
    with torch.no_grad():
        enlarged = disturbed(network(filter="area"), size=0.5).render(small, 50, 48)
    # All but a few hundredths of what was missing is made up, see `DAMPING`.
    assert (reduce(enlarged, 20, 24, "area") - small).abs().mean() < 0.03
    assert (make_consistent(enlarged, small, "area") - enlarged).abs().mean() < 0.03


def test_all_weights_get_gradients():
    small, trained = torch.rand(2, 3, 8, 8, generator=seeded()), disturbed(network(), size=0.1)
    trained.render(small, 20, 20).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in trained.parameters())


def test_weights_are_saved_and_loaded(tmp_path):
    trained = disturbed(network(filter="bilinear"))
    save_zoom(tmp_path / "sharp", trained, {"data": "noise"})
    loaded = load_zoom(tmp_path / "sharp.json")
    assert loaded.arguments == {"width": 6, "blocks": 2, "filter": "bilinear"} and not loaded.training
    state = loaded.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in trained.state_dict().items())
    info = json.loads((tmp_path / "sharp.json").read_text())
    (tmp_path / "sharp.json").write_text(json.dumps(info | {"network": {"width": 6, "blocks": 2}}))
    with pytest.raises(ValueError, match=r"sharp.json: network: expected just width"):
        load_zoom(tmp_path / "sharp")


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"^width: must be at least 1, got 0$"):
        ZoomNetwork(width=0)
    with pytest.raises(ValueError, match=r"^filter: expected one of"):
        ZoomNetwork(filter="box")
