"""The recipes of CONTRIBUTING.md, applied to a copy of the package and used."""

import os
import re
import shutil

import pytest
from markdown_files import ROOT, blocks
from processes import python

PAGE = ROOT / "CONTRIBUTING.md"

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not PAGE.exists(), reason="needs the source tree")]

USE = """
import torch
from fastgs import Predictor
from fastgs.codec import SCHEMES, decode, encode
from fastgs.cli.main import main
from fastgs.data.datasets import DATASETS
from fastgs.fitting.options import FitOptions
from fastgs.methods import METHODS

image = torch.rand(3, 24, 32)
assert len(Predictor(init="center")(image, 50, 2, loss="huber").gaussians) == 50
assert len(METHODS["steady"](image, 50, FitOptions(iterations=2)).gaussians) == 50
assert len(decode(encode(image, scheme="half", num_gaussians=20, iterations=2).data)) == 20
assert DATASETS["leaves"].parts["all"].count == 2
for command in ("predict", "encode", "evaluate", "download"):
    assert main([command, "--help"]) == 0
"""


def apply(patch, folder):
    """Apply a patch whose hunks have no line numbers: what a hunk removes must be there exactly once."""
    for section in re.split(r"^--- ", patch, flags=re.MULTILINE)[1:]:
        header, *hunks = re.split(r"^@@.*\n", section, flags=re.MULTILINE)
        path = folder / re.search(r"^\+\+\+ b/(\S+)", header, re.MULTILINE)[1]
        for hunk in hunks:
            lines = hunk.splitlines()
            before = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("+"))
            after = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("-"))
            if header.startswith("/dev/null"):
                path.write_text(after, encoding="utf-8")
                continue
            text = path.read_text(encoding="utf-8")
            assert text.count(before) == 1, f"{path.name}: {before}"
            path.write_text(text.replace(before, after), encoding="utf-8")


def test_recipes_are_a_file_or_a_function_and_one_line():
    for patch in blocks(PAGE, "diff"):
        files = re.split(r"^--- ", patch, flags=re.MULTILINE)[1:]
        *new, registry = files
        assert len(new) <= 1
        assert not re.search(r"^-", "".join(part.partition("@@")[2] for part in files), re.MULTILINE)
        assert len(re.findall(r"^\+(?!\+)", registry, re.MULTILINE)) == 1


def test_recipes_apply_and_work(tmp_path):
    shutil.copytree(ROOT / "fastgs", tmp_path / "fastgs", ignore=shutil.ignore_patterns("__pycache__"))
    patches = blocks(PAGE, "diff")
    assert len(patches) == 5
    for patch in patches:
        apply(patch, tmp_path)
    scheme, *_ = blocks(ROOT / "docs" / "guides" / "scheme.md", "python")
    scheme = scheme.replace("register_scheme(Half(), code=200)", "SCHEME = Half()")
    # Inside the package, names come from the modules that hold them.
    scheme = scheme.replace("import fastgs\n", "import fastgs\nfrom fastgs.codec.scheme import Encoded\n")
    scheme = scheme.replace("from fastgs.codec import Encoded, FormatError, Frame, register_scheme\n", "")
    scheme = scheme.replace("import write_frame", "import FormatError, Frame, write_frame")
    (tmp_path / "fastgs" / "codec" / "half.py").write_text(scheme, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = python("-c", USE, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("center", "steady", "half", "leaves"):
        assert name in done.stdout, name
