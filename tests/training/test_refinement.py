"""Tests of the refinement of predicted Gaussians over a folder of images."""

import csv
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data as photos
from stages import COUNTS, finetune

import fastgs
from fastgs.data import FolderDataModule
from fastgs.io.images import load_image
from fastgs.metrics.quality import psnr
from fastgs.models.pretrained import load_weights
from fastgs.training import FinetuneStage

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore:.*LeafSpec")


def test_refinement_improves_psnr_and_reports_it(folder, refined):
    metrics, output = refined
    records = json.loads((output / "report.json").read_text())
    expected = [(f"{index}.png", count) for index in range(5) for count in COUNTS]
    assert [(Path(record["image"]).name, record["num_gaussians"]) for record in records] == expected
    assert sorted(path.name for path in output.iterdir()) == sorted(
        [*(f"{index}-{count}.safetensors" for index in range(5) for count in COUNTS), "report.json"]
    )
    networks = load_weights(folder / "weights")
    for record in records:
        image = load_image(record["image"])
        k = record["num_gaussians"]
        gaussians = fastgs.Gaussians.load(output / f"{Path(record['image']).stem}-{k}.safetensors")
        assert len(gaussians) == k and (record["height"], record["width"]) == image.shape[1:]
        assert psnr(fastgs.render(gaussians), image) == pytest.approx(record["psnr"], abs=1e-3)
        assert [entry[0] for entry in record["history"]] == [0, 10, 20]
        assert (record["psnr_init"], record["psnr"]) == (record["history"][0][2], record["history"][-1][2])
        assert record["seconds_init"] > 0 and record["seconds_fit"] > 0 and record["iterations"] == 20
        again = networks.initialize(image, k, torch.Generator().manual_seed(record["seed"]))
        assert psnr(fastgs.render(again), image) == pytest.approx(record["psnr_init"], abs=1e-3)
    for count in COUNTS:
        curve = [metrics[f"test/psnr_{count}_at_{iteration}"] for iteration in (0, 10, 20)]
        assert curve[0] + 2 < curve[1] < curve[2]
        finals = [record["psnr"] for record in records if record["num_gaussians"] == count]
        assert curve[2] == pytest.approx(np.mean(finals), abs=1e-3)
        with open(folder / "logs" / "metrics.csv", encoding="utf-8") as file:
            rows = [(int(row["step"]), float(row[f"test/psnr_{count}"])) for row in csv.DictReader(file)
                    if row[f"test/psnr_{count}"]]  # fmt: skip
        assert rows == [(10 * i, pytest.approx(value, abs=1e-3)) for i, value in enumerate(curve)]
    assert metrics["test/seconds_100"] > 0 and metrics["test/images_per_second"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"counts": []}, "model.counts: "),
        ({"counts": [100, 0]}, "model.counts: "),
        ({"iterations": -1}, "model.iterations: must be at least 0, got -1"),
        ({"loss": "l3"}, "model.loss: expected one of mse, "),
    ],
)
def test_wrong_argument_is_named(folder, arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        FinetuneStage(str(folder / "weights"), **arguments)


def test_missing_weights_are_named(tmp_path):
    with pytest.raises((OSError, ValueError), match="nowhere"):
        FinetuneStage(str(tmp_path / "nowhere"))


def test_unusable_output_is_named(folder, refined, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ValueError, match=r"^model.output: cannot write to .*file "):
        finetune(folder, tmp_path / "file")


def test_images_of_one_name_and_too_few_images_are_refused(folder, tmp_path):
    shutil.copy(folder / "weights.safetensors", tmp_path)
    shutil.copy(folder / "weights.json", tmp_path)
    (tmp_path / "predict").mkdir()
    for name in ("same.jpg", "same.png"):
        Image.fromarray(photos.chelsea()[:20, :20]).save(tmp_path / "predict" / name)
    with pytest.raises(ValueError, match=r"^data.predict: .*same.png and .*same.jpg would give files of one name"):
        finetune(tmp_path, tmp_path / "out")
    data = FolderDataModule(predict=str(tmp_path / "predict"))
    data.setup("test")
    data.trainer = SimpleNamespace(world_size=3)
    with pytest.raises(ValueError, match=r"^data.predict: 2 images are too few for 3 devices"):
        data.test_dataloader()
