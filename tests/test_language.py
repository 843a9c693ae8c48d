"""Language of the repository: docstrings open as DESIGN says, so that strangers can read them."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("fastgs", "benchmarks", "tests", "examples", "docs")
BAD_OPENINGS = {"of", "what", "where", "whether", "how", "as", "see", "that", "which"}
BAD_ENTRIES = {"of", "as", "that", "which"}
SECTIONS = {"Args": BAD_ENTRIES, "Attributes": BAD_ENTRIES, "Raises": BAD_OPENINGS}
SECTION = re.compile(r"^([A-Z]\w+):\s*$")
ENTRY = re.compile(r"^[\w*`., ]+?(?: \([^)]*\))?: +(\w+)")


def python_files():
    for folder in FOLDERS:
        yield from sorted((ROOT / folder).rglob("*.py"))
    yield from sorted(ROOT.glob("*.py"))


def docstrings(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text is not None:
                yield getattr(node, "lineno", 1), text


def entries(text):
    """Yield the section and the first word of each entry of the sections Args, Attributes and Raises."""
    section = None
    for line in text.splitlines():
        if line and not line.startswith(" "):
            match = SECTION.match(line)
            section = match[1] if match else None
        elif section in SECTIONS and line.startswith("    ") and not line.startswith("     "):
            match = ENTRY.match(line.strip())
            if match:
                yield section, match[1]


def faults(path):
    for line, text in docstrings(path):
        first = re.match(r"\w*", text)[0]
        if first.lower() in BAD_OPENINGS:
            yield f"{path.relative_to(ROOT)}:{line}: docstring begins with {first!r}"
        for section, word in entries(text):
            if word.lower() in SECTIONS[section]:
                yield f"{path.relative_to(ROOT)}:{line}: an entry of {section} begins with {word!r}"


def test_docstrings_begin_with_a_verb_or_a_noun():
    found = [fault for path in python_files() for fault in faults(path)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ('"""Of a thing."""', 1),
        ('def f():\n    """See `g`."""', 1),
        ('def f(x):\n    """Return x.\n\n    Args:\n        x: of K Gaussians.\n        y: Scale.\n    """', 1),
        ('def f(x):\n    """Return x.\n\n    Args:\n        x, y: as for `g`.\n    """', 1),
        ('def f(x):\n    """Return x.\n\n    Raises:\n        ValueError: See `g`.\n    """', 1),
        (
            'def f(x):\n    """Return x.\n\n    Args:\n        x (int): Number,\n            as given.\n    """',
            0,
        ),
    ],
)
def test_faults_are_found(source, count, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "module.py").write_text(source, encoding="utf-8")
    assert len(list(faults(tmp_path / "module.py"))) == count
