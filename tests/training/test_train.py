"""Tests of training through the real command line: configurations, killed and resumed runs, and wrong usage."""

import errno
import importlib
import inspect
import json
import os
import signal
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch.callbacks import Callback
from PIL import Image, ImageDraw
from processes import python
from safetensors.torch import load_file
from torch.nn.parallel import DistributedDataParallel

from fastgs.models.pretrained import load_weights
from fastgs.training import PositionStage
from fastgs.training.cli import main

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
OVERLAYS = CONFIGS / "overlays"

# Arguments on top of smoke.yaml: four epochs of two steps on the images of these tests.
SMALL = [
    *("--trainer.max_epochs=4", "--trainer.limit_train_batches=null", "--trainer.enable_progress_bar=false"),
    *("--trainer.enable_model_summary=false", "--data.crop=32", "--data.size=32", "--data.val_size=32"),
    *("--model.warmup_steps=2", "--model.val_counts=[2000]", "--model.val_iterations=2"),
]
POSITION = ["--model.iterations=10", "--model.slots=2"]
DONE = ("last.ckpt", "fit.yaml", "weights.safetensors", "weights.json")

pytestmark = pytest.mark.filterwarnings("ignore:LightningCLI's args", "ignore::DeprecationWarning")


class Killer(Callback):
    """Callback that kills the process in the middle of the third epoch."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (2, 0):
            self.end()

    def end(self):
        os.kill(os.getpid(), signal.SIGKILL)


class Stopper(Killer):
    """Callback that ends the run but not the process, which is quicker to test."""

    def end(self):
        raise RuntimeError("stopped")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Make a folder of four images of a disc in front of noise."""
    folder = tmp_path_factory.mktemp("images")
    for i in range(4):
        noise = np.random.default_rng(i).integers(0, 256, (48, 40, 3), dtype=np.uint8)
        image = Image.fromarray(noise)
        ImageDraw.Draw(image).ellipse((4, 4, 24 + 3 * i, 30), fill="orange")
        image.save(folder / f"{i}.png")
    return folder


def arguments(name, folder, images, *more, command="fit"):
    """Return the arguments for a configuration, with small images and networks."""
    small = [] if name == "finetune" else [f"--config={OVERLAYS / 'smoke.yaml'}", *SMALL]
    small += POSITION if name.endswith("position") else []
    data = ["predict"] if name == "finetune" else ["train", "val"]
    return [
        *(command, f"--config={CONFIGS / name}.yaml", *small, f"--trainer.default_root_dir={folder}"),
        *(f"--data.{key}={images}" for key in data),
        *map(str, more),
    ]


def train_py(arguments):
    """Run train.py in a process of its own, which can import the callbacks above."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, Path(__file__).parents[:2]))}
    return python(ROOT / "train.py", *arguments, cwd=ROOT, env=environment)


@pytest.fixture(scope="module")
def position(tmp_path_factory, images):
    """Run Stage I without interruption, and return its folder."""
    folder = tmp_path_factory.mktemp("position")
    assert main(arguments("position", folder, images)) == 0
    return folder


@pytest.fixture(scope="module")
def attribute(tmp_path_factory, images, position):
    """Run Stage II with averaged weights, without interruption, and return its folder."""
    folder = tmp_path_factory.mktemp("attribute")
    assert main([*arguments("attribute", folder, images, *averaged(position))]) == 0
    return folder


def averaged(position):
    return [f"--config={OVERLAYS / 'ema.yaml'}", f"--model.position_weights={position / 'weights'}"]


# Runs


def test_position_run_leaves_weights_log_and_targets(position):
    assert all((position / name).is_file() for name in DONE)
    training = json.loads((position / "weights.json").read_text())["training"]
    assert (training["stage"], training["epochs"], training["steps"]) == ("PositionStage", 4, 8)
    assert training["hyperparameters"]["width"] == 8 and training["data"]["train"]["images"] == 4
    assert training["data"]["train"]["files"] == [f"{index}.png" for index in range(4)]
    assert training["config"]["model"]["init_args"]["width"] == 8 and training["config"]["seed_everything"] == 0
    assert {"train/loss", "val/psnr_2000_at_2"} <= training["metrics"].keys()
    assert list((position / "logs").glob("*/metrics.csv")) and list((position / "targets").iterdir())
    state = torch.load(position / "last.ckpt", weights_only=True)["state_dict"]
    exported = load_weights(position / "weights").state_dict()
    assert all(torch.equal(state[f"networks.{name}"], tensor) for name, tensor in exported.items())


@pytest.mark.slow
def test_attribute_run_exports_averaged_weights(attribute, position):
    checkpoint = torch.load(attribute / "last.ckpt", weights_only=True)
    exported = load_weights(attribute / "weights").state_dict()
    assert all(torch.equal(checkpoint["state_dict"][f"networks.{name}"], each) for name, each in exported.items())
    now = checkpoint["current_model_state"]
    assert not all(torch.equal(now[f"networks.{name}"], tensor) for name, tensor in exported.items())
    for name, tensor in load_file(position / "weights.safetensors").items():
        # The position network is frozen; only averaging rounds it.
        assert torch.allclose(exported[name], tensor, rtol=1e-6, atol=0)
    records = [json.loads((each / "weights.json").read_text())["training"] for each in (attribute, position)]
    assert records[0]["position"] == records[1]


@pytest.mark.slow
def test_finetune_run_writes_report(attribute, images, tmp_path):
    options = [f"--model.weights={attribute / 'weights'}", "--model.counts=[50, 80]", "--model.iterations=3"]
    options += [f"--model.output={tmp_path}", "--trainer.accelerator=cpu", "--data.num_workers=0", "--data.val_size=48"]
    assert main(arguments("finetune", tmp_path, images, *options, command="test")) == 0
    assert len(json.loads((tmp_path / "report.json").read_text())) == 8 and (tmp_path / "test.yaml").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpus8", "nodes"])
def test_overlays_for_many_gpus_run_distributed(name, position, images, tmp_path, monkeypatch):
    """The environment is that of torchrun, with a single process on the CPU."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = {"RANK": 0, "LOCAL_RANK": 0, "GROUP_RANK": 0, "WORLD_SIZE": 1, "LOCAL_WORLD_SIZE": 1}
    for key, value in (ranks | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": 1}).items():
        monkeypatch.setenv(key, str(value))
    shared, make = [], DistributedDataParallel.__init__

    def spy(*given, broadcast_buffers=True, **settings):
        shared.append(broadcast_buffers)
        make(*given, broadcast_buffers=broadcast_buffers, **settings)

    monkeypatch.setattr(DistributedDataParallel, "__init__", spy)
    options = ["--config", OVERLAYS / f"{name}.yaml", "--trainer.accelerator=cpu", "--trainer.devices=1"]
    options += ["--trainer.num_nodes=1", "--trainer.max_epochs=1", f"--model.position_weights={position / 'weights'}"]
    try:
        assert main(arguments("attribute", tmp_path, images, *options)) == 0
        assert torch.distributed.is_initialized() and shared == [False]
    finally:
        torch.distributed.destroy_process_group()
    exported, frozen = (load_file(folder / "weights.safetensors") for folder in (tmp_path, position))
    assert all(torch.equal(exported[key], tensor) for key, tensor in frozen.items())


def test_every_configuration_is_tested():
    """Those of autoencoders, zooming, restoration, symbols and wandb have test files of their own."""
    others = ("autoencoder_", "zoom_", "restoration", "symbols")
    runs = {path.stem for path in CONFIGS.glob("*.yaml") if not path.stem.startswith(others)}
    assert runs == {"position", "attribute", "finetune", "base_position", "base_attribute"}
    assert {path.stem for path in OVERLAYS.glob("*.yaml")} == {"ema", "smoke", "gpus8", "nodes", "wandb"}


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_configurations_are_complete(path):
    """Each gives every argument of its stage and of its data; the command itself sets `targets`."""
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.stem == "finetune":  # reads no training images
        config.pop("data")
    for part in ("model", "data"):
        if part in config:
            module, _, name = config[part]["class_path"].rpartition(".")
            expected = inspect.signature(getattr(importlib.import_module(module), name)).parameters
            assert list(config[part]["init_args"]) == [key for key in expected if key != "targets"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["position", "attribute"])
def test_recipes_of_shipped_weights_run(name, position, images, tmp_path):
    """Each runs on four small images for an epoch."""
    small = arguments(f"base_{name}", tmp_path, images, "--trainer.max_epochs=1")
    if name == "attribute":
        small += [f"--model.position_weights={position / 'weights'}", "--data.repeat=1", "--model.passes=2"]
    assert main(small) == 0
    assert load_weights(tmp_path / "weights")


@pytest.mark.slow
def test_saved_configuration_repeats_run(position, tmp_path):
    done = main(["fit", f"--config={position / 'fit.yaml'}", f"--trainer.default_root_dir={tmp_path}"])
    assert done == 0
    assert_same_weights(tmp_path, position)


# Killed and resumed runs


def assert_same_weights(folder, other):
    """Compare weights and their records, except for the folder and the command."""
    assert (folder / "weights.safetensors").read_bytes() == (other / "weights.safetensors").read_bytes()
    records = [json.loads((each / "weights.json").read_text().replace(str(each), "")) for each in (folder, other)]
    for record in records:
        assert record["training"].pop("command").startswith("python train.py fit --config")
    assert records[0] == records[1]


@pytest.mark.slow
def test_killed_and_resumed_run_equals_uninterrupted(position, images, tmp_path):
    """The run is killed when some targets of the third epoch are written, and resumed from the end of the second."""
    command = arguments("position", tmp_path, images)
    done = train_py([*command, "--trainer.callbacks+=test_train.Killer"])
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["epoch"] == 1
    assert len(list((tmp_path / "targets").glob("*-0-1.safetensors"))) == 2
    assert main([*command, "--ckpt_path=last"]) == 0
    assert_same_weights(tmp_path, position)


@pytest.mark.slow
def test_stopped_and_resumed_run_with_averages_equals_uninterrupted(position, attribute, images, tmp_path):
    command = arguments("attribute", tmp_path, images, *averaged(position))
    with pytest.raises(RuntimeError, match="stopped"):
        main([*command, "--trainer.callbacks+=test_train.Stopper"])
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["epoch"] == 1
    assert main([*command, "--ckpt_path=last"]) == 0
    assert_same_weights(tmp_path, attribute)


@pytest.mark.slow
def test_full_disk_keeps_last_checkpoint(position, images, tmp_path, read_error, monkeypatch):
    write, written = Path.write_bytes, []

    def fill(path, content):
        if path.suffix == ".ckpt":
            written.append(path)
            if len(written) == 2:
                write(path, content[: len(content) // 2])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, content)

    command = arguments("position", tmp_path, images)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", fill)
        assert main(command) == 1
    assert read_error() == f"{tmp_path / 'last.ckpt'}: No space left on device"
    assert [path.name for path in tmp_path.glob("*.ckpt")] == ["last.ckpt"]
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["epoch"] == 0
    assert main([*command, "--ckpt_path", str(tmp_path / "last.ckpt")]) == 0
    assert_same_weights(tmp_path, position)


# Wrong usage, reported in one line; test_complaints.py tests what the parser refuses


@pytest.mark.slow
def test_checkpoint_of_another_network_is_refused(position, images, tmp_path, read_error):
    for name, options in {"position": ["--model.width=16"], "attribute": averaged(position)[1:]}.items():
        command = arguments(name, tmp_path, images, *options, "--ckpt_path", position / "last.ckpt")
        assert main(command) == 1
        assert read_error().startswith("--ckpt_path: is of another network than the model (it differs in networks.")


class Attack:
    """Object that makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.slow
@pytest.mark.parametrize("content", ["attack", "cut", "other", "absent"])
def test_bad_checkpoint_is_refused(position, images, tmp_path, read_error, content):
    path = tmp_path / "bad.ckpt"
    if content == "attack":
        torch.save({"state_dict": Attack(str(tmp_path / "owned")), "loops": {}}, path)
    elif content == "cut":
        path.write_bytes((position / "last.ckpt").read_bytes()[:5000])
    elif content == "other":
        torch.save([1, 2], path)
    command = arguments("position", tmp_path, images, "--ckpt_path", path, "--weights_only=false")
    assert main(command) == 1
    line = read_error()
    assert line.startswith(f"{path}: ") and line.endswith("check --ckpt_path")
    assert not (tmp_path / "owned").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "code", "message"),
    [
        ("position", "--data.train=nowhere", 1, "data.train: nowhere: no such folder"),
        ("position", "--data.train={tmp}", 1, "data.train: {tmp}: holds no image"),
        ("position", "--data.crop=64", 1, "data.crop: 64 pixels do not fit"),
        ("position", "--data.batch_size=9", 1, "data.batch_size: 9 is more than the 4 samples"),
        ("position", "--trainer.accelerator=cuda --trainer.devices=99", 1, ""),
        ("position", "--trainer.default_root_dir={tmp}/file", 1, "{tmp}/file"),
        ("position", "--config=nowhere.yaml", 2, "config: File does not exist"),
        ("attribute", "--model.position_weights=nowhere", 1, "nowhere: no such weights"),
        ("attribute", "--model.position_weights=null", 2, "model: fastgs.training.AttributeStage: "),
        ("finetune", "--model.weights=nowhere", 1, "nowhere: no such weights"),
    ],
)
def test_wrong_option_is_named(images, tmp_path, read_error, name, options, code, message):
    (tmp_path / "file").touch()
    command = "test" if name == "finetune" else "fit"
    options = options.format(tmp=tmp_path).split()
    assert main(arguments(name, tmp_path / "out", images, *options, command=command)) == code
    assert read_error().startswith(message.format(tmp=tmp_path))


def test_bug_keeps_its_traceback(images, tmp_path, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("a bug")

    monkeypatch.setattr(PositionStage, "training_step", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        main(arguments("position", tmp_path, images))
