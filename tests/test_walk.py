"""The way of a photo from the command to its file."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

import fastgs
from fastgs.cli.main import main
from fastgs.fitting.fit import Fit
from fastgs.gaussians import Gaussians
from fastgs.io.images import save_image
from fastgs.io.picture import Picture
from fastgs.methods import Result

ROOT = Path(fastgs.__file__).parent
# Rooms whose files work together, so that a photo which has come in moves on in them.
CLOSED = ("io/", "initializers/", "fitting/")


class Walk:
    """Profiler that notes the files which read the photo, or get it and give back what became of it, or write it.

    Questions about the photo (what its PSNR is, which format holds it) are no part of its way.
    """

    def __init__(self) -> None:
        self._visits: list[str] = []  # one for each call, "" unless it belongs to the way
        self._running: list[tuple[int, list[Any]]] = []  # calls that have not ended, with their arguments

    @property
    def files(self) -> list[str]:
        """Return the files in the order in which they were entered."""
        return list(filter(None, self._visits))

    def __call__(self, frame: FrameType, event: str, value: Any) -> None:
        """Note a function at its start, and whether it belongs to the way at its end."""
        file = _file(frame)
        if file is None:
            return
        if event == "call":
            code = frame.f_code
            names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
            self._running.append((len(self._visits), [frame.f_locals.get(name) for name in names]))
            self._visits.append("")
        elif event == "return":
            number, given = self._running.pop()
            if _moves_on(frame, given, value) and _enters(frame, file):
                self._visits[number] = file


def _moves_on(frame: FrameType, given: list[Any], returned: Any) -> bool:
    """Return whether a call read the photo, made something of it, or wrote it; the photo itself is not asked."""
    if isinstance(frame.f_locals.get("self"), Picture | Result):
        return False
    made = isinstance(returned, Result | Fit | Gaussians) and any(map(_is_photo, given))
    wrote = returned is None and any(isinstance(each, Picture) for each in given)
    return isinstance(returned, Picture) or made or wrote


def _is_photo(value: object) -> bool:
    return isinstance(value, Picture | Result) or (isinstance(value, torch.Tensor) and value.shape == (3, 48, 64))


def _file(frame: FrameType) -> str | None:
    path = Path(frame.f_code.co_filename)
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else None


def _enters(frame: FrameType, file: str) -> bool:
    """Return whether a function was called from another file that does not stand in the same closed room."""
    caller = frame.f_back
    while caller is not None and _file(caller) is None:
        caller = caller.f_back
    before = None if caller is None else _file(caller)
    return before is not None and before != file and not before.startswith(CLOSED)


@pytest.mark.slow
def test_photo_enters_each_file_once_on_its_way_to_the_output(tmp_path: Path) -> None:
    save_image(tmp_path / "photo.png", torch.rand(3, 48, 64, generator=torch.Generator().manual_seed(0)))
    arguments = ["predict", tmp_path / "photo.png", "-k", 50, "--iterations", 2, "--output", tmp_path / "out"]
    walk = Walk()
    sys.setprofile(walk)
    try:
        code = main(list(map(str, arguments)))
    finally:
        sys.setprofile(None)
    assert code == 0
    assert walk.files == [
        "io/picture.py",
        "distributed/fit.py",
        "predictor.py",
        "methods/method.py",
        "initializers/from_density.py",
        "fitting/fit.py",
        "io/writing.py",
    ]
