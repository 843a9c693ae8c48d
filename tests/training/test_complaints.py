"""Tests of wrong arguments and configurations of train.py: one line that names the mistake and what is similar."""

import logging
from pathlib import Path

import pytest

from fastgs.training.cli import main

CONFIGS = Path(__file__).parents[2] / "configs"

pytestmark = pytest.mark.filterwarnings("ignore:LightningCLI's args", "ignore::DeprecationWarning")

POSITION = "model: fastgs.training.PositionStage: "
CLASSES = "fastgs.data.FolderDataModule or fastgs.training.SymbolDataModule or fastgs.data.ZoomDataModule?"

# An argument, or the text of a configuration, which has line breaks; the exit code; and the beginning of the line.
WRONG = [
    ("--model.encoder=nonsense", 1, "encoder: 'nonsense' is none of those in https://smp.readthedocs.io/en/latest/enc"),
    ("--model.encoder=tu-hf-hub:a/b", 1, "encoder: 'tu-hf-hub:a/b' is none of those in https://smp.readthedocs.io/"),
    ("--model.encoder=resnet188", 1, "encoder: 'resnet188' is none of those in https://smp.readthedocs.io/en/latest/"
     "encoders.html; did you mean resnet18 or "),
    ("--model.encoder=tu-vit_base_patch16_224", 1, "encoder: 'tu-vit_base_patch16_224' cannot be built of depth 4 ("),
    ("--model.depth=9", 1, "encoder: 'tu-resnet18d' cannot be built of depth 9 ("),
    ("--model.width=-1", 1, "width: must be at least 1, got -1"),
    ("--model=PositionStag", 2, "model: there is no class PositionStag; did you mean fastgs.training.PositionStage "
     "or fastgs.training.RestorationStage?"),
    ("--model=fastgs.training.PositionModul", 2, "model: there is no class fastgs.training.PositionModul; did you "
     "mean fastgs.training.PositionStage?"),
    ("model:\n  class_path: fastgs.training.PositionModul\n", 2, "{file}: model: there is no class fastgs.training."
     "PositionModul; did you mean fastgs.training.PositionStage?"),
    ("--model=fastgs.data.FolderDataModule", 2, "model: fastgs.data.FolderDataModule is no LightningModule"),
    ("--data=fastgs.data.FolderDataModul", 2, "data: there is no class fastgs.data.FolderDataModul; "
     f"did you mean {CLASSES}"),
    ("data:\n  class_path: fastgs.dat.FolderDataModule\n", 2, "{file}: data: there is no class fastgs.dat.FolderDataMod"
     f"ule; did you mean {CLASSES}"),
    ("--model.widht=8", 2, f"{POSITION}there is no setting widht; did you mean width?"),
    ("model:\n  init_args:\n    widht: 8\n", 2, f"{{file}}: {POSITION}there is no setting widht; did you mean width?"),
    ("model:\n  class_pth: x\n", 2, f"{{file}}: {POSITION}there is no setting class_pth; did you mean class_path?"),
    ("--data.bacth_size=8", 2, "data: fastgs.data.FolderDataModule: there is no setting bacth_size; did you mean batc"),
    ("--model.loss=l3", 2, f"{POSITION}loss: expected 'cross_entropy' or 'mse'; got l3"),
    ("--model.loss=mes", 2, f"{POSITION}loss: expected 'cross_entropy' or 'mse'; got mes; did you mean mse?"),
    ("--model.learning_rate=fast", 2, f"{POSITION}learning_rate: expected float; got fast"),
    ("--model.val_counts=[a]", 2, f"{POSITION}val_counts: expected int; got a"),
    ("--optimizer=AdamW", 2, "there is no option --optimizer; --help says what there is"),
    ("--trainer.callbacks+=LearningRateMonitr", 2, "trainer.callbacks: there is no class LearningRateMonitr; did you me"
     "an lightning.pytorch.callbacks.LearningRateMonitor or "),
    ("trainer:\n  callbacks:\n  - class_path: EarlyStopping\n    init_args:\n      montor: x\n", 2, "{file}: trainer.ca"
     "llbacks: lightning.pytorch.callbacks.EarlyStopping: there is no setting montor; did you mean monitor?"),
    ("--trainer.logger=CSVLoger", 2, "trainer.logger: there is no class CSVLoger; did you mean lightning.pytorch.logger"
     "s.CSVLogger"),
    ("--trainer.plugins+=fastgs.training.checkpoint.AtomicCheckpoint", 2, "trainer.plugins: there is no class fastgs."
     "training.checkpoint.AtomicCheckpoint; did you mean fastgs.training.checkpoint.AtomicCheckpointIO or "),
    ("--trainer.max_epoch=2", 2, "there is no option --trainer.max_epoch; did you mean --trainer.max_epochs or "),
    ("trainer:\n  max_epoch: 2\n", 2, "there is no setting trainer.max_epoch; did you mean trainer.max_epochs or "),
    ("--trainer.max_epochs=many", 2, "trainer.max_epochs: expected int or null; got many"),
    ("--trainer.precision=bf16-mixd", 2, "trainer.precision: expected 64, 32, 16, 'transformer-engine', "),
    ("--trainer.strategy=ddpp", 1, "trainer: You selected an invalid strategy name: `strategy='ddpp'`"),
    ("--trainer.devices=many", 1, "trainer: `devices` selected with `CPUAccelerator` should be an int > 0."),
    ("--seed_everything=-5", 1, "seed_everything: -5 is not in bounds"),
    ("--ckpt_pat=x", 2, "there is no option --ckpt_pat; did you mean --ckpt_path?"),
    ("--modell.width=8", 2, "there is no option --modell; did you mean --model?"),
    ("trainerr:\n  max_epochs: 2\n", 2, "there is no setting trainerr; did you mean trainer?"),
    ("trainer: 3\n", 2, "trainer: expected settings by name"),
    ("trainer: [3\n", 2, "{file}: Problems parsing config: while parsing a flow sequence in line 1, column 10 did not"),
    ("trainer:\n  max_epochs: " + "9" * 5000 + "\n", 2, "{file}: cannot be read (Exceeds the limit (4300"),
    ("\udcff\n", 2, "{file}: cannot be read ('utf-8' codec can't decode byte 0xff"),
    ("a\nb\n", 2, "{file}: holds no settings by name"),
]  # fmt: skip


# Those that the fast selection of tests runs, one for each kind of mistake.
FAST = {
    "--model=PositionStag",
    "model:\n  init_args:\n    widht: 8\n",
    "--model.loss=mes",
    "--model.encoder=resnet188",
    "--trainer.max_epoch=2",
    "--trainer.devices=many",
    "trainer: [3\n",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "code", "line"),
    [pytest.param(*case, id=case[0][:50], marks=[] if case[0] in FAST else [pytest.mark.slow]) for case in WRONG],
)
def test_mistake_is_named_in_one_line(tmp_path, capsys, caplog, wrong, code, line):
    file = tmp_path / "wrong.yaml"
    if "\n" in wrong:
        file.write_bytes(wrong.encode("utf-8", "surrogateescape"))
        wrong = f"--config={file}"
    folder = f"--trainer.default_root_dir={tmp_path / 'out'}"
    caplog.set_level(logging.WARNING, "lightning")
    assert main(["fit", f"--config={CONFIGS / 'position.yaml'}", "--trainer.accelerator=cpu", folder, wrong]) == code
    *before, said = capsys.readouterr().err.splitlines()
    assert said.startswith(f"train.py: error: {line.format(file=file)}")
    assert len(said.removeprefix(f"train.py: error: {file}: ")) < 300 and "Namespace(" not in said
    assert not any("error" in each or "Traceback" in each for each in before)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "more"),
    [([], ""), (["fitt"], " instead of fitt; did you mean fit?"), (["--config=x.yaml"], ""), (["x"], " instead of x")],
)
def test_missing_subcommand_lists_subcommands(capsys, arguments, more):
    assert main(arguments) == 2
    known = "fit, validate, test, predict"
    assert capsys.readouterr().err == f"train.py: error: give one of the subcommands {known}{more}\n"
