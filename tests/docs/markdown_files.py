"""Markdown files of the repository, and the blocks of code in them."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[2]

NOT_RUN = "<!-- not run"
BLOCK = re.compile(rf"({NOT_RUN}[^\n]*-->\n)?^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def pages():
    """Return the paths of the README, of docs/ and of the other pages for readers."""
    names = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
    folders = ("docs", "benchmarks", "checkpoints", "assets", "fastgs")
    found = [ROOT / name for name in names]
    return [*found, *sorted(path for folder in folders for path in (ROOT / folder).rglob("*.md"))]


def blocks(path, language):
    """Return the blocks of code in one language that are to be run."""
    text = path.read_text(encoding="utf-8")
    return [code for not_run, name, code in BLOCK.findall(text) if name == language and not not_run]


def commands(path):
    """Return the commands in the shell blocks of a page, each as a list of arguments."""
    found = []
    for block in blocks(path, "sh"):
        if "\\Scripts\\" in block:  # of Windows
            continue
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words:
                found.append(words)
    return found
