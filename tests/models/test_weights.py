"""Tests of weights on disk: saving, loading, and one line for every file that is not as it should be."""

import hashlib
import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from networks import SMALL, disturbed, initializer, position_network
from skimage import data
from torch import nn

import fastgs
from fastgs.io.weights import MAX_TENSORS
from fastgs.models import PositionNetwork
from fastgs.models.feed_forward import LearnedInitializer
from fastgs.models.pretrained import load_weights, save_weights

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pair")
    save_weights(folder / "small", initializer(), {"data": "noise"})
    return folder


@pytest.fixture
def saved(pair, tmp_path) -> Path:
    shutil.copytree(pair, tmp_path, dirs_exist_ok=True)
    return tmp_path / "small.safetensors"


def edit(path: Path, **changes) -> None:
    """Change entries of the JSON beside `path`."""
    path = path.with_suffix(".json")
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def rewrite(path: Path, change) -> None:
    """Change the tensors in `path`, and the digest in the JSON accordingly."""
    tensors = safetensors.torch.load_file(path)
    change(tensors)
    path.write_bytes(safetensors.torch.save(tensors))
    edit(path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def equal(first, second) -> bool:
    first, second = first.state_dict(), second.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("ending", ["", ".safetensors", ".json"])
def test_saved_networks_are_loaded(tmp_path, ending):
    networks = initializer()
    save_weights(tmp_path / f"deeper/v1.2{ending}", networks, {"data": "noise"})
    assert sorted(path.name for path in (tmp_path / "deeper").iterdir()) == ["v1.2.json", "v1.2.safetensors"]
    before = torch.random.get_rng_state()
    loaded = load_weights(tmp_path / f"deeper/v1.2{ending}")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert equal(loaded, networks) and not loaded.training and not loaded.attribute.unet.training
    assert next(loaded.parameters()).requires_grad
    info = json.loads((tmp_path / "deeper/v1.2.json").read_text())
    assert info["training"] == {"data": "noise"} and info["position"] == SMALL
    assert info["attribute"] == SMALL | {"passes": 2}


def test_position_network_alone_is_saved_and_loaded(tmp_path):
    save_weights(tmp_path / "position", LearnedInitializer(disturbed(position_network())), {})
    loaded = load_weights(tmp_path / "position")
    assert loaded.attribute is None and equal(loaded.position, disturbed(position_network()))


def test_unconditioned_networks_are_saved_and_loaded(tmp_path):
    save_weights(tmp_path / "small", LearnedInitializer(PositionNetwork(**SMALL, conditioned=False)), {})
    assert json.loads((tmp_path / "small.json").read_text())["position"] == SMALL | {"conditioned": False}
    loaded = load_weights(tmp_path / "small")
    assert not loaded.position.conditioned and loaded.position.arguments == SMALL | {"conditioned": False}


def test_networks_without_position_are_not_saved(tmp_path):
    with pytest.raises(ValueError, match="not written, since there is no position network"):
        save_weights(tmp_path / "small", LearnedInitializer(None), {})
    assert not list(tmp_path.iterdir())


def test_equal_weights_give_equal_bytes(tmp_path, saved):
    again = load_weights(saved)
    save_weights(tmp_path / "again", again, {"data": "noise"})
    for suffix in (".safetensors", ".json"):
        assert (tmp_path / f"again{suffix}").read_bytes() == saved.with_suffix(suffix).read_bytes()


def test_name_in_checkpoints_precedes_file_in_working_folder(tmp_path, saved, monkeypatch):
    monkeypatch.setattr("fastgs.io.weights.CHECKPOINTS", tmp_path)
    here = tmp_path / "here"
    save_weights(here / "small", initializer(seed=1), {})
    monkeypatch.chdir(here)
    assert equal(load_weights("small"), initializer())
    for path in ("./small", "small.json", here / "small"):
        assert equal(load_weights(path), initializer(seed=1))


def test_full_disk_leaves_old_pair(saved, monkeypatch):
    before = {path.name: path.read_bytes() for path in saved.parent.iterdir()}
    write = Path.write_bytes

    def fill(path, content):
        write(path, content[:1000])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill)
    with pytest.raises(OSError, match="No space left"):
        save_weights(saved, initializer(seed=1), {})
    assert {path.name: path.read_bytes() for path in saved.parent.iterdir()} == before


def test_networks_with_nan_are_not_saved(saved):
    before = saved.read_bytes()
    networks = initializer()
    networks.attribute.unet.head.weight.data[0, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match=rf"^{saved}: not written, since the weights hold NaN"):
        save_weights(saved, networks, {})
    assert saved.read_bytes() == before


def test_missing_files_are_named(tmp_path, saved, monkeypatch):
    monkeypatch.setattr("fastgs.io.weights.CHECKPOINTS", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"^nothing: no such weights; .* in checkpoints/ \(small\)$"):
        load_weights("nothing")
    monkeypatch.setattr("fastgs.io.weights.CHECKPOINTS", tmp_path / "empty")
    for missing in ("", "nothing", tmp_path, tmp_path / "nothing.safetensors"):
        message = f"^{missing}: no such weights; .* in checkpoints/ \\(none there yet\\)$"
        with pytest.raises(FileNotFoundError, match=message):
            load_weights(missing)
    saved.with_suffix(".json").unlink()
    with pytest.raises(FileNotFoundError, match=rf"^{saved.with_suffix('.json')}: no such file; it belongs to small"):
        load_weights(saved)


HEAD = "attribute.unet.head.weight"
OTHER_SIZE = SMALL | {"width": 9}
# Damages of a good pair and the messages on them; {stem} is the path without suffix.
DAMAGES = {
    "json cut": (lambda path: path.with_suffix(".json").write_text('{"format": '), "{stem}.json: not a readable JSON"),
    "json of bytes": (lambda path: path.with_suffix(".json").write_bytes(b"\xff\x00"), "{stem}.json: not a readable "),
    "json too deep": (lambda path: path.with_suffix(".json").write_text("[" * 10**6), "{stem}.json: not a readable "),
    "json of a number": (lambda path: path.with_suffix(".json").write_text("9" * 5000), "{stem}.json: not a readable "),
    "json of nan": (lambda path: edit(path, training=math.inf), "{stem}.json: not a readable JSON file (holds the num"),
    "json foreign": (lambda path: path.with_suffix(".json").write_text("[1]"), "{stem}.json: describes no weights"),
    "format": (lambda path: edit(path, format="pt"), "{stem}.json: describes no weights (is of the format 'pt')"),
    "version": (lambda path: edit(path, version="1"), "{stem}.json: is of version '1'; this fastgs reads version '2'"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-9]), "{stem}.safetensors: not a readable safetensors"),
    "empty": (lambda path: path.write_bytes(b""), "{stem}.safetensors: not a readable safetensors file"),
    "text": (lambda path: path.write_bytes(b"no weights at all"), "{stem}.safetensors: not a readable safetensors"),
    "one byte": (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"?"), "{stem}.safetensors: is not the file "),
    "other weights": (lambda path: save_weights(path.with_name("new"), initializer(1), {})
                      or path.with_name("new.safetensors").replace(path), "{stem}.safetensors: is not the file that "
                      "small.json describes"),
    "no digest": (lambda path: edit(path, sha256=None), "{stem}.safetensors: is not the file that small.json "),
    "lacking": (lambda path: rewrite(path, lambda tensors: tensors.pop(HEAD)), f"{{stem}}.safetensors: lacks {HEAD}"),
    "extra": (lambda path: rewrite(path, lambda tensors: tensors.update(more=torch.zeros(1))),
              "{stem}.safetensors: holds more, which the networks of small.json lack"),
    "shape": (lambda path: rewrite(path, lambda tensors: tensors.update({HEAD: torch.zeros(3)})),
              f"{{stem}}.safetensors: {HEAD}: expected torch.float32 of shape (32, 8, 3, 3), got torch.float32 of "
              "shape (3,)"),
    "type": (lambda path: rewrite(path, lambda tensors: tensors.update({HEAD: tensors[HEAD].half()})),
             f"{{stem}}.safetensors: {HEAD}: expected torch.float32"),
    "nan": (lambda path: rewrite(path, lambda tensors: tensors[HEAD].fill_(torch.nan)),
            f"{{stem}}.safetensors: {HEAD}: holds NaN"),
    "no position": (lambda path: edit(path, position=None), "{stem}.json: position: expected just encoder (str), "),
    "no attribute": (lambda path: edit(path, attribute=None), "{stem}.safetensors: holds attribute."),
    "other size": (lambda path: edit(path, position=OTHER_SIZE), "{stem}.safetensors: position.unet."),
    "more arguments": (lambda path: edit(path, position=SMALL | {"encoder_weights": "imagenet"}),
                       "{stem}.json: position: expected just encoder (str), depth (int), width (int), blocks (int), "),
    "fewer arguments": (lambda path: edit(path, position={"encoder": "resnet18"}), "{stem}.json: position: expected "),
    "argument of another type": (lambda path: edit(path, position=SMALL | {"blocks": True}), "{stem}.json: position: "),
    "impossible depth": (lambda path: edit(path, position=SMALL | {"depth": 9}), "{stem}.json: no network can "),
    "impossible width": (lambda path: edit(path, position=SMALL | {"width": -1}), "{stem}.json: no network can be "
                         "built from this (width: must be at least 1, got -1)"),
    "more blocks than are": (lambda path: edit(path, position=SMALL | {"blocks": 10**9}), "{stem}.json: no network can "
                             f"be built from this (it has more than {MAX_TENSORS} tensors)"),
    "encoder": (lambda path: edit(path, position=SMALL | {"encoder": "tu-resnet10tt"}), "{stem}.json: no network can "
                "be built from this (encoder: 'tu-resnet10tt' is none of those in https://smp.readthedocs.io/en/latest/"
                "encoders.html; did you mean tu-resnet10t or "),
    "encoder to download": (lambda path: edit(path, position=SMALL | {"encoder": "tu-hf-hub:some/one"}),
                            "{stem}.json: no network can be built from this (encoder: 'tu-hf-hub:some/one' is none of"),
}  # fmt: skip


SLOW = {"more blocks than are"}


@pytest.mark.parametrize(
    "damage", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in DAMAGES]
)
def test_damaged_files_are_reported_in_one_line(saved, damage):
    inflict, message = DAMAGES[damage]
    inflict(saved)
    with pytest.raises(ValueError, match="^" + re.escape(message.format(stem=saved.with_suffix("")))) as raised:
        load_weights(saved)
    assert "\n" not in str(raised.value)


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["resnext101_32x48d", "mit_b5", "tu-caformer_b36"])
def test_network_of_other_size_is_refused_before_it_is_built(saved, monkeypatch, encoder):
    """A description in a file may ask for billions of weights; none of them gets memory or a value."""
    edit(saved, position=SMALL | {"encoder": encoder})
    largest, register = 0, nn.Module.register_parameter

    def measured(module, name, parameter):
        nonlocal largest
        if parameter is not None and not parameter.is_meta:
            largest = max(largest, parameter.numel())
        return register(module, name, parameter)

    monkeypatch.setattr(nn.Module, "register_parameter", measured)
    with pytest.raises(ValueError, match=rf"^{saved}: (lacks )?position\.unet\."):
        load_weights(saved)
    assert largest < 100_000


def test_unreadable_file_is_named(saved, monkeypatch):
    """The refusal of the system is simulated, since root may read everything."""

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ValueError, match=rf"^{saved.with_suffix('.json')}: cannot be read \(Permission denied\)$"):
        load_weights(saved)


BASE = ROOT / "checkpoints" / "base.safetensors"


@pytest.mark.slow
@pytest.mark.skipif(not BASE.exists(), reason="needs the shipped weights")
def test_shipped_weights_beat_heuristic():
    photo = np.ascontiguousarray(data.chelsea()[:256, 100:356])
    learned, heuristic = (fastgs.Predictor(init)(photo, 2500, 0).psnr for init in ("learned", "curvature"))
    assert learned > heuristic + 2
