"""Tests of logging: to wandb, by the real package offline, and without it; speed of training."""

import json
import os
import random
import struct
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning import Trainer
from optional import import_or_skip
from PIL import Image
from processes import PATIENCE
from safetensors.torch import load_file

from fastgs.training.callbacks.throughput import Throughput
from fastgs.training.callbacks.wandb import LogToWandb, psnr_curves
from fastgs.training.cli import main

wandb = import_or_skip("wandb")
Record = import_or_skip("wandb.proto.wandb_internal_pb2").Record

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
SMALL = [
    *("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false", "--trainer.max_epochs=2"),
    *("--data.crop=32", "--data.size=32", "--data.val_size=32"),
    *("--model.iterations=10", "--model.slots=2", "--model.val_counts=[2500, 10000]", "--model.val_iterations=2"),
]
LINE = "logging to files only"

pytestmark = pytest.mark.filterwarnings("ignore:LightningCLI's args", "ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for i in range(3):
        noise = np.random.default_rng(i).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{i}.png")
    return folder


@pytest.fixture(autouse=True)
def _fresh_wandb(tmp_path, monkeypatch):
    """Hide settings and logins of the person who runs the tests, and those that wandb has read before."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONSOLE", "off")  # pytest captures it
    wandb.teardown()
    yield
    wandb.teardown()


def arguments(folder, images, overlays=("wandb",)):
    names = ["position", *(f"overlays/{name}" for name in ("smoke", *overlays))]
    configs = [f"--config={CONFIGS / name}.yaml" for name in names]
    return ["fit", *configs, *SMALL, f"--trainer.default_root_dir={folder}", f"--data.train={images}",
            f"--data.val={images}"]  # fmt: skip


def read_records(path):
    """Read a .wandb file: a log in LevelDB's format of Protocol Buffers messages."""
    wandb.teardown()  # its service writes late
    data = path.read_bytes()
    position, message = 7, b""  # after the header
    while position + 7 <= len(data):
        if 2**15 - position % 2**15 < 7:  # a block of 32 KiB ends
            position += 2**15 - position % 2**15
        length, kind = struct.unpack_from("<HB", data, position + 4)
        message += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole message, or the end of one
            yield Record.FromString(message)
            message = b""


def messages(caplog):
    """Return the log messages of the project's own code."""
    return [record.getMessage() for record in caplog.records if record.name.startswith("fastgs.")]


def random_states():
    """Return the states of the global generators."""
    return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002


def check_files(folder, metrics):
    """Check everything that a run leaves when nothing goes to wandb."""
    assert len(metrics["val/psnr_10000_at_2"]) == 2
    assert min(metrics["train/images_per_second"]) > 0
    assert all(0 <= share <= 1 for share in metrics["train/waiting"])
    assert metrics["lr-AdamW"][0] > 0
    assert sorted(path.name for path in (folder / "panels").iterdir()) == [
        "epoch-0-0.png",
        "epoch-0-1.png",
        "epoch-1-0.png",
        "epoch-1-1.png",
    ]
    assert (folder / "last.ckpt").exists() and (folder / "weights.safetensors").exists()


@pytest.mark.slow
def test_offline_run_logs_metrics_panels_curves_and_weights(tmp_path, images, read_metrics, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_RUN_ID", "chosen")
    assert main(arguments(tmp_path, images)) == 0
    assert wandb.run is None  # the run is complete
    (run,) = (tmp_path / "wandb").glob("offline-run-*-chosen")
    written = list(read_records(run / "run-chosen.wandb"))

    history = {}
    for record in written:
        values = {".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for name, value in values.items():
            history.setdefault(name, []).append((values["trainer/global_step"], value))
    logged = read_metrics(tmp_path)
    for name in ("train/loss", "train/images_per_second", "train/waiting", "lr-AdamW", "val/entropy_2500",
                 *(f"val/psnr_{count}_at_{iteration}" for count in (2500, 10000) for iteration in (0, 2))):  # fmt: skip
        assert [value for _, value in history[name]] == pytest.approx(logged[name]), name
        assert len(history[name]) == 2 and history[name][0][0] < history[name][1][0], name

    # Each strip has seven pictures, and the first one also has the target of Stage I; none is of one colour.
    files = run / "files" / "media"
    for stem, count in (("0", 8), ("1", 7)):
        pictures = [Image.open(path) for path in (files / "images" / "panels").glob(f"{stem}_*.png")]
        assert len(pictures) == 2 == len(history[f"panels/{stem}.filenames"])
        assert pictures[0].size == (count * 260 - 4, 276)
        for left in range(0, count * 260, 260):
            assert np.ptp(np.asarray(pictures[0])[20:, left : left + 256], axis=(0, 1)).max() > 60
    assert not (tmp_path / "panels").exists()

    curves = [json.loads(path.read_text()) for path in (files / "table" / "val").glob("*.json")]
    final = [logged["val/psnr_2500_at_0"], logged["val/psnr_10000_at_2"]]
    points = [[(x, name) for x, name, _ in each["data"]] for each in curves]
    assert points == [[(0, "K = 2500"), (2, "K = 2500"), (0, "K = 10000"), (2, "K = 10000")]] * 2
    assert sorted([each["data"][0][2], each["data"][3][2]] for each in curves) == [
        pytest.approx(pair) for pair in sorted(zip(*final, strict=True))
    ]

    config = {item.key: item.value_json for record in written for item in record.config.update}
    assert config["learning_rate"] == "0.001"
    (weights,) = (record.artifact for record in written if record.artifact.type == "model")
    assert weights.name == "weights" and weights.finalize
    contents = {entry.path: Path(entry.local_path) for entry in weights.manifest.contents}
    assert {"weights.safetensors", "weights.json"} == set(contents)
    assert contents["weights.safetensors"].read_bytes() == (tmp_path / "weights.safetensors").read_bytes()


@pytest.mark.slow
def test_logging_changes_no_weights_and_needs_no_wandb(tmp_path, images, read_metrics, monkeypatch, caplog):
    """A run with all callbacks, but without wandb, gives the weights of a run without callbacks."""
    assert main(arguments(tmp_path / "plain", images, overlays=())) == 0
    generators = random_states()
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert main(arguments(tmp_path / "logged", images)) == 0
    assert messages(caplog) == [f"wandb is not installed (`pip install wandb`); {LINE}"]
    check_files(tmp_path / "logged", read_metrics(tmp_path / "logged"))
    assert random_states() == generators
    plain, logged = (load_file(tmp_path / name / "weights.safetensors") for name in ("plain", "logged"))
    assert plain.keys() == logged.keys() and all(torch.equal(plain[name], logged[name]) for name in plain)


@pytest.mark.slow
def test_missing_login_asks_nothing_on_terminal(tmp_path, images, read_metrics):
    """A run on a terminal could ask for the login and wait for an answer forever."""
    ours, theirs = pytest.importorskip("pty").openpty()  # Windows has none
    command = [sys.executable, str(ROOT / "train.py"), *arguments(tmp_path, images), "--trainer.max_epochs=1"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TERM": "dumb"}
    process = subprocess.Popen(command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, cwd=ROOT)
    os.close(theirs)
    watchdog = threading.Timer(PATIENCE, process.kill)
    watchdog.start()
    output = b"".join(iter(lambda: _read(ours), b"")).decode()
    watchdog.cancel()
    assert process.wait() == 0, output
    assert output.count(LINE) == 1 and "wandb has no login (`wandb login`, or WANDB_MODE=offline)" in output
    assert len(read_metrics(tmp_path)["val/psnr_10000_at_2"]) == 1


def _read(terminal):
    """Read from a terminal; return nothing once the other end is closed, which Linux reports as an error."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""


def test_unreachable_server_logs_offline(tmp_path, monkeypatch, caplog):
    begin = wandb.init

    def init(**settings):
        if settings["mode"] != "offline":
            raise wandb.errors.CommError("no such host\nand more")
        return begin(**settings)

    monkeypatch.setattr(wandb, "login", lambda **_: True)
    monkeypatch.setattr(wandb, "init", init)
    trainer = Trainer(default_root_dir=tmp_path, accelerator="cpu", logger=False)
    LogToWandb().setup(trainer, None, "fit")
    assert messages(caplog) == ["wandb cannot be reached (no such host); logging offline, upload by `wandb sync` later"]
    (logger,) = trainer.loggers
    logger.log_metrics({"train/loss": 1.5}, step=3)
    LogToWandb().teardown(trainer, None, "fit")
    assert trainer.loggers == []
    (path,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    assert any(item.value_json == "1.5" for record in read_records(path) for item in record.history.item)


def test_disabled_wandb_and_trial_runs_log_nothing(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    trainer = Trainer(default_root_dir=tmp_path, accelerator="cpu", logger=False)
    LogToWandb().setup(trainer, None, "fit")
    assert messages(caplog) == [f"wandb is disabled (WANDB_MODE); {LINE}"]
    LogToWandb().setup(Trainer(accelerator="cpu", fast_dev_run=True), None, "fit")
    assert len(messages(caplog)) == 1 and trainer.loggers == [] and not (tmp_path / "wandb").exists()


def test_psnr_curves_are_sorted_by_count_and_iteration():
    metrics = {"val/psnr_50000_at_20": 30.0, "val/psnr_50000_at_0": 20.0, "val/psnr_900_at_0": 10.0, "val/loss": 1.0}
    assert psnr_curves(metrics, "val") == {900: [(0, 10.0)], 50000: [(0, 20.0), (20, 30.0)]}
    assert psnr_curves(metrics, "test") == {}


def test_throughput_counts_steps_and_waiting(monkeypatch):
    """Steps take 3 s after 1 s of waiting; the time of validation and between epochs does not count."""
    now, logged = [0.0], {}
    monkeypatch.setattr("fastgs.training.callbacks.throughput.time.perf_counter", lambda: now[0])
    trainer = SimpleNamespace(log_every_n_steps=2, world_size=4)
    module = SimpleNamespace(log=lambda name, value, **_: logged.update({name: value}))
    batch = SimpleNamespace(images=range(6))
    throughput = Throughput()
    throughput.on_train_start(trainer, module)
    for pause in (throughput.on_train_epoch_start, throughput.on_validation_end, throughput.on_train_epoch_start):
        now[0] += 100
        pause(trainer, module)
        now[0] += 1
        throughput.on_train_batch_start(trainer, module, batch, 0)
        now[0] += 3
        throughput.on_train_batch_end(trainer, module, None, batch, 0)
        assert logged == {"train/images_per_second": 6 / 4 * 4, "train/waiting": 0.25}
