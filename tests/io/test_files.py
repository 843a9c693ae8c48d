"""JSON from untrusted files is refused in one line; files are whole or not there, wherever a write is interrupted."""

import ast
import json
import sys
from pathlib import Path

import pytest

import fastgs
from fastgs.io.files import MAX_INTEGER, atomic_write, parse_json

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
def test_parse_json_refuses_improper_content(content, reason):
    with pytest.raises(ValueError, match=f"^{reason}") as raised:
        parse_json(content)
    assert "\n" not in str(raised.value)


def test_parse_json_accepts_content_of_fastgs():
    item = {"name": "caf\udce9.png", "seed": MAX_INTEGER - 1, "psnr": [-1e-300, None, True]}
    assert parse_json(json.dumps(item)) == item
    assert parse_json("\ufeff[1]".encode()) == [1]  # the byte order mark of some editors


def test_parse_json_is_the_only_json_parser_of_the_package():
    """`sorted_header` alone, in the same file, parses JSON that the package has just written."""
    for path in Path(fastgs.__file__).parent.rglob("*.py"):
        calls = [
            ast.unparse(node.func)
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call)
        ]
        assert "json.loads" not in calls or path.name in ("files.py", "cli.py"), path


class Interruption:
    """Trace function that raises KeyboardInterrupt before one line of Python, as a signal does.

    Args:
        number: Number of lines before it.
    """

    def __init__(self, number):
        self.left = number

    def __call__(self, frame, event, argument):
        self.left -= event == "line"  # an exception at other events skips the frame's own handlers, as no signal does
        if self.left < 0:
            raise KeyboardInterrupt
        return self


def write(path):
    with atomic_write(path) as temporary:
        temporary.write_text("whole", encoding="utf-8")


def test_an_interruption_between_any_two_lines_leaves_nothing_half_written(tmp_path):
    path = tmp_path / "a.txt"
    for number in range(1000):
        before, is_ended = sys.gettrace(), False
        sys.settrace(Interruption(number))
        try:
            write(path)
            is_ended = True
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        left = {each.name: each.read_text(encoding="utf-8") for each in tmp_path.iterdir()}
        if is_ended:
            break
        assert left in ({}, {"a.txt": "whole"}), number
        path.unlink(missing_ok=True)
    assert is_ended and number > 50
    assert left == {"a.txt": "whole"}
