"""Checkpoints of a run in progress: whole or absent, and no code in them is ever run."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from fastgs.io.files import atomic_write


class CheckpointError(ValueError):
    """Error of a checkpoint that cannot be used; one line that begins with the file and says what to do."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes and reads checkpoints as files of `torch.save`, on a local or shared disk.

    Lightning's own class writes to the system's temporary folder and moves the file from there, which to another disk
    is a copy: killed or out of space in the middle of it, it leaves half a checkpoint in place of the last good one. It
    does not report that a file may not be written, and it runs code that is hidden in a file if told to.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Replace `path` by the checkpoint, or leave it as it is.

        Raises:
            OSError: The folder is not writable or the disk is full; the error names the file.
        """
        path, buffer = Path(path), io.BytesIO()
        # The checkpoint goes through memory, since torch's own writer does not say why it could not write.
        torch.save(checkpoint, buffer)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as temporary:
                temporary.write_bytes(buffer.getbuffer())
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint, of tensors and plain values alone, whatever `weights_only` says.

        Raises:
            CheckpointError: The file is missing, unreadable, cut off or no checkpoint.
        """
        if not Path(path).is_file():
            raise CheckpointError(f"{path}: no such checkpoint; check --ckpt_path")
        try:
            checkpoint = torch.load(path, map_location=map_location, weights_only=True)
        except (RuntimeError, OSError, EOFError, pickle.UnpicklingError) as error:
            raise CheckpointError(
                f"{path}: cannot be read, is cut off, or is no checkpoint of a run; check --ckpt_path"
            ) from error
        if not isinstance(checkpoint, dict) or not {"state_dict", "loops"} <= checkpoint.keys():
            raise CheckpointError(f"{path}: is no checkpoint of a run; check --ckpt_path")
        return checkpoint
