"""Command behind train.py: Lightning's, for all stages, with errors that say what to do."""

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
from typing_extensions import override

from fastgs.io.images import ImageError
from fastgs.nearest import did_you_mean
from fastgs.runtime.plugins import load_plugins
from fastgs.training.callbacks.export import ExportWeights
from fastgs.training.checkpoint import CheckpointError
from fastgs.training.complaints import LONGEST, complaint

FAILED, WRONG_USAGE = 1, 2

# Warnings of Lightning that every run would show, though the cause is intended or does not matter.
_IGNORED_WARNINGS = (
    ".*exists and is not empty",  # a run is resumed
    ".*in eval mode at the start of training",  # batch normalization, see UNet
    ".*WeightAveraging callback with a model that overrides",  # networks of the size of the data, not sharded
    ".*is not supported by the model summary",
    ".*LeafSpec.* is deprecated",
)


class Parser(LightningArgumentParser):
    """Parser that reports errors in one line, without the usage (hundreds of lines), and takes no abbreviated option.

    Attributes:
        reading: Prefix of messages that names the configuration that is being read.
    """

    reading = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """End with one line on stderr."""
        parser = getattr(ex, "subcommand_parser", self)
        settings = [action.dest for action in parser._actions]
        if not self.exit_on_error:  # the parser of a class inside another parser, which will add the place
            super().error(complaint(message, [*settings, "class_path", "init_args"]), ex)
        commands = [action for action in self._actions if isinstance(action, _SubParsersAction)]
        if commands and not set(commands[0].choices or ()) & set(self.args):
            known = list(commands[0].choices or ())
            given = self.args[0] if self.args and not self.args[0].startswith("-") else ""
            message = f"give one of the subcommands {', '.join(known)}"
            message += f" instead of {given}{did_you_mean(given, known)}" if given else ""
        self.exit(WRONG_USAGE, _format_line(f"{self.reading}{complaint(message, settings)}"))

    def parse_path(self, cfg_path: Any, *args: Any, **kwargs: Any) -> Any:
        """Parse a configuration; errors name its file."""
        self.reading = f"{cfg_path}: "
        try:
            return super().parse_path(cfg_path, *args, **kwargs)
        except ValueError as error:  # the text cannot be parsed; jsonargparse handles other errors itself
            self.error(f"cannot be read ({error})")
        finally:
            self.reading = ""


class KeepConfig(SaveConfigCallback):
    """Callback that keeps the resolved configuration beside the checkpoints, whatever the logger: fit.yaml, ..."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write the configuration, over that of an earlier run."""
        path = Path(trainer.default_root_dir, f"{TrainerFn(stage).value}.yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.parser.save(self.config, path, skip_unset=False, overwrite=True, multifile=False)


class Command(LightningCLI):
    """Command that runs any stage on its data, by default folders of images.

    Everything that a run leaves lies in `trainer.default_root_dir`.
    """

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
        parser.link_arguments("trainer.default_root_dir", "model.init_args.targets", _targets_folder)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the trainer, which logs to CSV files in its default_root_dir if no logger is given."""
        settings = self._get(self.config_init, "trainer")
        if settings.logger in (None, True):
            kwargs["logger"] = CSVLogger(settings.default_root_dir or ".", name="logs")
        try:
            return super().instantiate_trainer(**kwargs)
        except (TypeError, ValueError) as error:  # Lightning raises these too for wrong settings
            raise MisconfigurationException(f"trainer: {error}") from error

    def _set_seed(self) -> None:
        try:
            super()._set_seed()
        except ValueError as error:
            raise MisconfigurationException(f"seed_everything: {error}") from error

    def before_fit(self) -> None:
        """Hand the command and the settings of the run to the export of weights."""
        settings = json.loads(self._parser("fit").dump(self.config["fit"], format="json"))
        command = shlex.join(["python", "train.py", *self.arguments])
        config = {name: _drop_none(settings[name]) for name in ("seed_everything", "trainer", "model", "data")}
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, ExportWeights):
                callback.run = {"command": command, "config": config}

    @override
    def _parse_ckpt_path(self) -> None:
        # Leaves the configuration as it is: Lightning would silently replace its model by that of the checkpoint.
        pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Arguments of the command; None takes those of the process.

    Returns:
        The exit code: 0 success, 1 a failure that users can mend, 2 wrong usage. Failures are reported on stderr. Any
        other exception is a bug and keeps its traceback.
    """
    for message in _IGNORED_WARNINGS:
        warnings.filterwarnings("ignore", message)
    for problem in load_plugins():
        sys.stderr.write(f"train.py: warning: {problem}\n")
    try:
        Command(arguments)
    except SystemExit as stop:  # raised by the parser, and by Lightning after Ctrl-C
        return stop.code if isinstance(stop.code, int) else FAILED
    except Exception as error:
        reason = _explain(error)
        if reason is None:
            raise
        sys.stderr.write(_format_line(reason))
        return FAILED
    return 0


def _drop_none(settings: Any) -> Any:
    """Drop settings that are None, as many of Lightning's are."""
    if isinstance(settings, dict):
        return {name: _drop_none(value) for name, value in settings.items() if value is not None}
    return settings


def _targets_folder(folder: str | None) -> str:
    """Return the folder for the targets of Stage I, one for each run, since they change from visit to visit."""
    return str(Path(folder or ".", "targets"))


def _explain(error: BaseException) -> str | None:
    """Return the message of an error that users can mend; None for others."""
    message = str(error)
    match error:
        case ValueError() if message.startswith("Does not validate") and error.__cause__:  # raised by a constructor
            return str(error.__cause__) if isinstance(error.__cause__, ValueError) else _explain(error.__cause__)
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


def _format_line(message: str) -> str:
    return f"train.py: error: {' '.join(message.split())}\n"
