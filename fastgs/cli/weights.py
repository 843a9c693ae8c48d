"""Digests of the weights that results depend on, by which `--resume` notices other ones."""

from __future__ import annotations

from collections.abc import Iterable

from fastgs.cli.console import Parser
from fastgs.io.checkpoints import CHECKPOINTS, sha256_of


def digest_weights(parser: Parser, names: Iterable[str]) -> list[str]:
    """Return the SHA-256 of weights in checkpoints/ by their names; end with one line if they cannot be read."""
    try:
        return [sha256_of(CHECKPOINTS / f"{name}.safetensors") for name in names]
    except FileNotFoundError as error:
        parser.error(f"{error.filename}: no such weights; install fastgs again")
    except ValueError as error:
        parser.error(str(error))
