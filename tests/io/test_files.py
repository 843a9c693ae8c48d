"""JSON of strangers: one reader for all, which refuses in one line what Python takes, or fails at in its own way."""

import ast
import json
from pathlib import Path

import pytest

import fastgs
from fastgs.io.files import MAX_INTEGER, parse_json

BAD = {
    "cut": (b"[", "Expecting value"),
    "deep": (b"[" * 100_000, "is nested too deeply"),
    "digits": (b"9" * 5000, "holds an integer of 5000 digits"),
    "large": (str(MAX_INTEGER).encode(), "holds an integer of 20 digits"),
    "nan": (b"[NaN]", "holds the number NaN"),
    "infinite": (b"[-1e999]", "holds the number -1e999"),
    "twice": (b'[{"b": 1, "a": 2, "a": 3}]', "names 'a' twice"),
    "bytes": (b'["\xff"]', "'utf-8' codec can't decode"),
    "wide": ('["a"]'.encode("utf-16"), "'utf-8' codec can't decode"),
    "half": (b'["\\ud800"]', "holds half a character"),
}


@pytest.mark.parametrize(("content", "reason"), BAD.values(), ids=list(BAD))
def test_what_no_json_of_ours_holds(content, reason):
    with pytest.raises(ValueError, match=f"^{reason}") as raised:
        parse_json(content)
    assert "\n" not in str(raised.value)


def test_what_json_of_ours_may_hold():
    item = {"name": "caf\udce9.png", "seed": MAX_INTEGER - 1, "psnr": [-1e-300, None, True]}
    assert parse_json(json.dumps(item)) == item
    assert parse_json("\ufeff[1]".encode()) == [1]  # as some editors write it


def test_nothing_else_reads_json():
    """But for what was written in the same breath."""
    for path in Path(fastgs.__file__).parent.rglob("*.py"):
        calls = [
            ast.unparse(node.func)
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call)
        ]
        assert "json.loads" not in calls or path.name in ("files.py", "cli.py"), path
