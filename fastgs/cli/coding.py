"""Common parts of commands that read or write Gaussians: the place of outputs, and reading of files."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from fastgs.cli.console import Parser, make_folder
from fastgs.codec.frame import MAGIC
from fastgs.definition import GaussianArrays
from fastgs.runtime.lazy import importing

OUTPUT = "-o/--output"

FGS, GAUSSIANS = ".fgs", ".safetensors"  # suffixes

MAX_BYTES = 1 << 28  # largest file that is read; no encoder writes as many bytes


def output_folder(parser: Parser, output: Path, several: bool, suffixes: Collection[str]) -> Path | None:
    """Return the folder for outputs that are named after their inputs, or None if `output` is the one file to write.

    The command exits with one line if neither is possible. For several inputs, a missing folder is made; the folder of
    a single output file must exist.

    Args:
        parser: Parser that reports what is wrong.
        output: Value of the option.
        several: True if there is or may be more than one input.
        suffixes: Suffixes of output files, in lower case.
    """
    is_file = output.suffix.lower() in suffixes
    if output.is_dir() or (several and not is_file):
        make_folder(parser, output, OUTPUT)
        return output
    if several:
        parser.error(f"argument {OUTPUT}: several files go to a folder, got {output}")
    if not is_file:
        named = f"ends in {next(iter(suffixes))}" if len(suffixes) == 1 else "is an image by its suffix, such as .png"
        parser.error(f"argument {OUTPUT}: expected a folder that exists or a name that {named}, got {output}")
    if not output.parent.is_dir():
        parser.error(f"argument {OUTPUT}: {output.parent}: no such folder")
    make_folder(parser, output.parent, OUTPUT)
    return None


def read_fgs(path: Path, most: int | None = None) -> bytes:
    """Return the bytes of a .fgs file; of another file, only the first few.

    Args:
        path: Path of the file.
        most: Number of bytes to read from its beginning, at most; None for all.

    Raises:
        ValueError: The file cannot be read; the message says why in one line.
    """
    try:
        with path.open("rb") as file:
            most = MAX_BYTES + 1 if most is None else most
            data = file.read(min(most, len(MAGIC)))
            if data == MAGIC:
                data += file.read(min(most, MAX_BYTES + 1) - len(MAGIC))
    except FileNotFoundError as error:
        raise ValueError("no such file; check the name") from error
    except IsADirectoryError as error:
        raise ValueError("is a folder; name a .fgs file in it") from error
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror or error})") from error
    if len(data) > MAX_BYTES:
        raise ValueError(f"is larger than {MAX_BYTES >> 20} MiB, as no .fgs file is")
    return data


def read_safetensors(path: Path) -> GaussianArrays:
    """Return the Gaussians of a file of `fastgs predict`.

    Raises:
        ValueError: The file cannot be read; the message says why in one line.
    """
    with importing():
        from fastgs.gaussians import Gaussians  # deferred: brings in torch
    try:
        return Gaussians.load(path).arrays()
    except FileNotFoundError as error:
        raise ValueError("no such file; check the name") from error
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror or error})") from error
