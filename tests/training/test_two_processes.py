"""Tests of two processes, which do what one does."""

import json
import os
import signal
import subprocess
import sys

import pytest
import stages
import torch
from processes import PATIENCE
from safetensors.torch import load_file

from fastgs.training import AttributeStage, PositionStage

pytestmark = [pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore:.*LeafSpec"), pytest.mark.slow]


@pytest.fixture(scope="module")
def two_ranks(folder, refined):
    """Train and refine with two processes, and return the folder with their results."""
    command = [sys.executable, stages.__file__, str(folder)]
    helpers = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True, env=helpers) as process:
        try:
            _, stderr = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # both processes
            raise
    assert process.returncode == 0, stderr[-3000:]
    return folder


def test_two_ranks_match_one_process(folder, two_ranks):
    stages.train_both(folder, "one")
    for stage in (PositionStage, AttributeStage):
        names = [f"{stage.__name__}-{name}.safetensors" for name in ("one-0", "two-0", "two-1")]
        one, first, second = (load_file(two_ranks / name) for name in names)
        start = stages.make(stage, folder).networks.state_dict()
        moved = max((start[name] - value).abs().max().item() for name, value in one.items())
        difference = max((first[name] - value).abs().max().item() for name, value in one.items())
        assert all(torch.equal(first[name], value) for name, value in second.items())
        # Sums over images have another order, and Adam's first steps divide by numbers that may be close to zero.
        assert difference < 1e-4 < 1e-2 < moved


def test_two_ranks_refine_every_image_once(refined, two_ranks):
    metrics, output = refined
    other = two_ranks / "refined-two"
    assert sorted(path.name for path in other.iterdir()) == sorted(path.name for path in output.iterdir())
    for path in output.glob("*.safetensors"):
        assert path.read_bytes() == (other / path.name).read_bytes()
    reports = [json.loads((each / "report.json").read_text()) for each in (output, other)]
    one, two = ([(each["image"], each["num_gaussians"], each["psnr"]) for each in report] for report in reports)
    assert one == two
    gathered = json.loads((two_ranks / "metrics-two.json").read_text())
    assert gathered.keys() == metrics.keys()
    for name in gathered:
        assert "second" in name or gathered[name] == pytest.approx(metrics[name], abs=1e-3)
