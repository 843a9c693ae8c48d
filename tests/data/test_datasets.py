"""The registry of datasets: what `fastgs download` and the commands that read datasets by name take from it."""

import subprocess
import sys
from pathlib import Path

import pytest

from fastgs.cli import download as download_command
from fastgs.cli import main as cli
from fastgs.cli.console import Parser
from fastgs.cli.download import locate
from fastgs.data.datasets import DATASETS, Dataset, Part, image_folders
from fastgs.runtime.registry import Registry


def test_folders_of_registered_datasets():
    assert {name: dataset.folder for name, dataset in DATASETS.items()} == {
        "div2k": Path("data/DIV2K_valid_HR"),
        "kodak": Path("data/kodak"),
        "cifar10": Path("data/cifar10"),
    }
    counts = {part.name: part.count for dataset in DATASETS.values() for part in dataset.parts.values()}
    assert counts == {"DIV2K_train_HR": 800, "DIV2K_valid_HR": 100, "kodak": 24, "cifar10": 60_000}
    assert image_folders() == ["div2k", "kodak"]


@pytest.mark.parametrize(("name", "arguments"), [("div2k", "div2k --split valid"), ("kodak", "kodak")])
def test_missing_dataset_is_told_with_the_command_that_fetches_it(tmp_path, monkeypatch, capsys, name, arguments):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        locate(Parser(prog="test"), name)
    folder = DATASETS[name].folder
    assert capsys.readouterr().err == (
        f"test: error: argument DATA: {name} is not at {folder}; get it with `fastgs download {arguments}`\n"
    )
    folder.mkdir(parents=True)
    assert locate(Parser(), name) == folder
    assert locate(Parser(), name, []) == Path(name)


def test_other_dataset_is_downloaded_by_name(tmp_path, monkeypatch, capsys):
    def download(folder, url="official", keep_archive=False, progress=None):
        (folder / "flowers" / url).mkdir(parents=True)
        return folder / "flowers"

    datasets = Registry("dataset", DATASETS)
    monkeypatch.setattr(download_command, "DATASETS", datasets)
    datasets.register("flowers", Dataset("tulips", "Free to use.", {"all": Part("flowers", 7, download)}))
    assert cli.main(["download", "flowers", "--output", str(tmp_path)]) == 0
    assert capsys.readouterr() == (f"{tmp_path / 'flowers'}  7 images\n", "Free to use.\n")
    assert cli.main(["download", "flowers", "--output", str(tmp_path), "--url", "mirror"]) == 0
    assert sorted(path.name for path in (tmp_path / "flowers").iterdir()) == ["mirror", "official"]
    capsys.readouterr()
    assert cli.main(["download", "--help"]) == 0
    assert "flowers: tulips." in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_registry_imports_no_heavy_libraries():
    code = "import sys, fastgs.data.datasets; print({'lightning', 'torchvision'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
