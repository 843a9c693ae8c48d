"""The command behind train.py: Lightning's, for all stages, with errors that say what to do."""

from __future__ import annotations

import json
import re
import shlex
import sys
import warnings
from argparse import _SubParsersAction
from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any, NoReturn

import torch
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.trainer.states import TrainerFn

from fastgs.io.images import ImageError
from fastgs.nearest import did_you_mean
from fastgs.training.callbacks.export import ExportWeights
from fastgs.training.checkpoint import CheckpointError
from fastgs.training.complaints import LONGEST, complaint

FAILED, WRONG_USAGE = 1, 2

# What Lightning warns of in every run, though it is meant so or does not matter.
_MEANT = (
    ".*exists and is not empty",  # a run is resumed
    ".*in eval mode at the start of training",  # batch normalization, see UNet
    ".*WeightAveraging callback with a model that overrides",  # networks of the size of the data, not sharded
    ".*is not supported by the model summary",
    ".*LeafSpec.* is deprecated",
)


class Parser(LightningArgumentParser):
    """Says what is wrong in one line, without the usage, which has hundreds; and takes no option by half its name."""

    reading = ""  # the configuration that is being read

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """End with one line on stderr."""
        parser = getattr(ex, "subcommand_parser", self)
        settings = [action.dest for action in parser._actions]
        if not self.exit_on_error:  # the parser of a class inside another parser, which will say where it is
            super().error(complaint(message, [*settings, "class_path", "init_args"]), ex)
        commands = [action for action in self._actions if isinstance(action, _SubParsersAction)]
        if commands and not set(commands[0].choices or ()) & set(self.args):
            known = list(commands[0].choices or ())
            given = self.args[0] if self.args and not self.args[0].startswith("-") else ""
            message = f"give one of the subcommands {', '.join(known)}"
            message += f" instead of {given}{did_you_mean(given, known)}" if given else ""
        self.exit(WRONG_USAGE, _line(f"{self.reading}{complaint(message, settings)}"))

    def parse_path(self, cfg_path: Any, *args: Any, **kwargs: Any) -> Any:
        """Name the file in what is wrong with it."""
        self.reading = f"{cfg_path}: "
        try:
            return super().parse_path(cfg_path, *args, **kwargs)
        except ValueError as error:  # of the text; jsonargparse ends with others itself
            self.error(f"cannot be read ({error})")
        finally:
            self.reading = ""


class KeepConfig(SaveConfigCallback):
    """Keeps the resolved configuration beside the checkpoints, whatever the logger: fit.yaml, test.yaml, ..."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write it, over the one of an earlier run."""
        path = Path(trainer.default_root_dir, f"{TrainerFn(stage).value}.yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.parser.save(self.config, path, skip_unset=False, overwrite=True, multifile=False)


class Command(LightningCLI):
    """Any stage on its data, by default folders of images; all that it leaves lies in `trainer.default_root_dir`."""

    def __init__(self, args: Sequence[str] | None = None) -> None:
        self.arguments = list(sys.argv[1:] if args is None else args)
        super().__init__(
            datamodule_class=LightningDataModule,
            subclass_mode_data=True,
            save_config_callback=KeepConfig,
            save_config_kwargs={"save_to_log_dir": False},
            trainer_defaults={
                "plugins": [{"class_path": "fastgs.training.checkpoint.AtomicCheckpointIO"}],
                "use_distributed_sampler": False,  # the samplers of the data module know the ranks
            },
            seed_everything_default=0,
            parser_class=Parser,
            auto_configure_optimizers=False,
            args=None if args is None else self.arguments,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Give every run its data, its checkpoint and its exported weights."""
        parser.set_defaults({"data": {"class_path": "fastgs.data.FolderDataModule"}})
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.set_defaults({"checkpoint.filename": "last", "checkpoint.save_on_train_epoch_end": True})
        parser.link_arguments("trainer.default_root_dir", "checkpoint.dirpath")
        parser.add_lightning_class_args(ExportWeights, "export")
        parser.link_arguments("trainer.default_root_dir", "model.init_args.targets", _targets)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Log to CSV files there, too, if no logger is given."""
        settings = self._get(self.config_init, "trainer")
        if settings.logger in (None, True):
            kwargs["logger"] = CSVLogger(settings.default_root_dir or ".", name="logs")
        try:
            return super().instantiate_trainer(**kwargs)
        except (TypeError, ValueError) as error:  # beside its own kind, Lightning raises these of wrong settings
            raise MisconfigurationException(f"trainer: {error}") from error

    def _set_seed(self) -> None:
        try:
            super()._set_seed()
        except ValueError as error:
            raise MisconfigurationException(f"seed_everything: {error}") from error

    def before_fit(self) -> None:
        """Tell the exported weights by which command and settings they are made."""
        settings = json.loads(self._parser("fit").dump(self.config["fit"], format="json"))
        command = shlex.join(["python", "train.py", *self.arguments])
        config = {name: _given(settings[name]) for name in ("seed_everything", "trainer", "model", "data")}
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, ExportWeights):
                callback.run = {"command": command, "config": config}

    def _parse_ckpt_path(self) -> None:
        """Leave the configuration as it is. Lightning would replace its model by that of the checkpoint, silently."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: by default those of the process.

    Returns:
        The exit code: 0 all good, 1 something failed that users can mend, 2 wrong usage; both said on stderr. What
        else goes wrong is a bug, and keeps its traceback.
    """
    for message in _MEANT:
        warnings.filterwarnings("ignore", message)
    try:
        Command(arguments)
    except SystemExit as stop:  # the way that the parser ends, and Lightning after Ctrl-C
        return stop.code if isinstance(stop.code, int) else FAILED
    except Exception as error:
        reason = _reason(error)
        if reason is None:
            raise
        sys.stderr.write(_line(reason))
        return FAILED
    return 0


def _given(settings: Any) -> Any:
    """Settings without those that are None, as many of Lightning's are."""
    if isinstance(settings, dict):
        return {name: _given(value) for name, value in settings.items() if value is not None}
    return settings


def _targets(folder: str | None) -> str:
    """Where a run keeps the targets of Stage I: they are its own, as they go on from visit to visit."""
    return str(Path(folder or ".", "targets"))


def _reason(error: BaseException) -> str | None:
    """What users are told of an error; None if it is not theirs to mend."""
    message = str(error)
    match error:
        case ValueError() if message.startswith("Does not validate") and error.__cause__:  # raised by a constructor
            return str(error.__cause__) if isinstance(error.__cause__, ValueError) else _reason(error.__cause__)
        case OSError():
            return f"{error.filename}: {error.strerror}" if error.filename else message
        case MisconfigurationException():
            return shorten(message, LONGEST, placeholder=" ...")
        case ImageError() | CheckpointError():
            return message
        case ValueError() if re.match(r"(data|model)\.\w+: ", message):
            return message
        case RuntimeError() if message.startswith("Error(s) in loading state_dict"):
            place = re.search(r'(?:size mismatch for |")([\w.]+)', message)
            differs = f" (it differs in {place[1]})" if place else ""
            return f"--ckpt_path: is of another network than the model{differs}; train with the fit.yaml beside it"
        case torch.OutOfMemoryError():
            return "not enough memory on the device; lower data.batch_size"
        case _:
            return None


def _line(message: str) -> str:
    return f"train.py: error: {' '.join(message.split())}\n"
