"""Pages of the documentation: links lead somewhere, commands parse, code runs, and names of the API exist."""

import importlib
import re
import shutil
import unicodedata

import pytest
from markdown_files import ROOT, blocks, commands, pages
from PIL import Image
from processes import python

from fastgs.cli.main import _parser

DOCS = ROOT / "docs"
LINK = re.compile(r"\[[^\]]*\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]*))?\)")
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
INCLUDE = re.compile(r"<!-- include: (\S+) -->")
NAME = re.compile(r"(?<![\w./-])fastgs(?:\.[A-Za-z_]\w*)+(?![\w/])")
# Names of kinds of files, and of the group of entry points.
FORMATS = {
    "fastgs.autoencoder",
    "fastgs.count",
    "fastgs.fitted",
    "fastgs.plugins",
    "fastgs.restoration",
    "fastgs.symbols",
    "fastgs.weights",
    "fastgs.zoom",
}

pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="needs the source tree")

# Runs the blocks of each page in one namespace, as a reader would type them.
RUNNER = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from markdown_files import blocks
for path in sys.argv[2:]:
    print("page", path, flush=True)
    namespace = {"__name__": "page"}
    for number, block in enumerate(blocks(Path(path), "python")):
        module = type(sys)("page")
        module.__dict__.update(namespace)
        namespace = module.__dict__
        sys.modules["page"] = module
        exec(compile(block, f"{path}, block {number + 1}", "exec"), namespace)
"""


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def anchors(path):
    """Return the anchors of the headings of a page, as GitHub and Python-Markdown make them."""
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    found = set()
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        plain = unicodedata.normalize("NFKD", heading.replace("`", ""))
        plain = re.sub(r"[^\w\s-]", "", plain).strip().lower()
        found.add(re.sub(r"[-\s]+", "-", plain))
    return found


@pytest.mark.parametrize("path", pages(), ids=name_of)
def test_links_lead_somewhere(path):
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    for target, anchor in LINK.findall(text):
        file = (path.parent / target).resolve() if target else path
        assert file.exists(), f"{name_of(path)}: {target}"
        included = INCLUDE.search(file.read_text(encoding="utf-8")) if file.suffix == ".md" else None
        if included:
            file = (file.parent / included[1]).resolve()
        if anchor:
            assert anchor in anchors(file), f"{name_of(path)}: {target}#{anchor}"


def test_pages_are_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    listed = re.findall(r": (\S+\.md)$", navigation, re.MULTILINE)
    assert sorted(listed) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


@pytest.mark.parametrize("path", [ROOT / "README.md", DOCS / "index.md"], ids=name_of)
def test_guides_and_concepts_are_found_from_the_front_page(path):
    text = path.read_text(encoding="utf-8")
    linked = {(path.parent / target).resolve() for target, _ in LINK.findall(text) if target}
    wanted = {page.resolve() for folder in ("guides", "concepts") for page in (DOCS / folder).glob("*.md")}
    # The file format is linked where it is written.
    wanted.discard((DOCS / "concepts/format.md").resolve())
    assert sorted(each.name for each in wanted - linked) == []


def test_model_card_describes_all_weights():
    weights = ROOT / "checkpoints"
    card = (weights / "MODEL_CARD.md").read_text(encoding="utf-8")
    described = re.findall(r"^# Model card: (.*)$", card, re.MULTILINE)
    assert sorted(described) == sorted(path.stem for path in weights.glob("*.json"))


@pytest.mark.parametrize("path", sorted((DOCS / "api").glob("*.md")), ids=name_of)
def test_names_of_the_api_exist(path):
    for name in re.findall(r"^::: (\S+)$", path.read_text(encoding="utf-8"), re.MULTILINE):
        module, _, attribute = name.rpartition(".")
        assert getattr(importlib.import_module(module), attribute).__doc__, name


def exists(name):
    """Return whether a dotted name is a module, or something in one."""
    module, rest = name, []
    while not any((ROOT / f"{module.replace('.', '/')}{end}").exists() for end in (".py", "/__init__.py")):
        module, _, last = module.rpartition(".")
        rest.insert(0, last)
    found = importlib.import_module(module)
    for part in rest:
        if part in getattr(found, "__annotations__", {}):  # a field, which has no value in a class
            return True
        if not hasattr(found, part):
            return False
        found = getattr(found, part)
    return True


@pytest.mark.slow
def test_dotted_names_in_code_pages_and_configurations_exist():
    """Recipes of CONTRIBUTING, which name what they add, are applied by a test of their own."""
    files = [*(ROOT / "fastgs").rglob("*.py"), *(ROOT / "configs").rglob("*.yaml"), *pages()]
    for path in files:
        text = FENCE.sub("", path.read_text(encoding="utf-8"))
        for name in set(NAME.findall(text)) - FORMATS:
            assert exists(name), f"{name_of(path)}: {name}"


@pytest.mark.parametrize("path", [each for each in pages() if commands(each)], ids=name_of)
def test_commands_parse(path, capsys):
    for words in commands(path):
        if words[0] == "fastgs" and "..." not in " ".join(words):
            _parser().parse_args(words[1:])
        for config in re.findall(r"configs/\S+\.yaml", " ".join(words)):
            assert (ROOT / config).exists(), words


@pytest.mark.slow
def test_code_runs(tmp_path):
    """It runs in a process of its own, since pages register things."""
    (tmp_path / "assets").mkdir()
    shutil.copytree(ROOT / "checkpoints", tmp_path / "checkpoints")
    with Image.open(ROOT / "assets" / "coffee.png") as photo:
        photo.resize((96, 64)).save(tmp_path / "assets" / "coffee.png")
    found = [str(path) for path in pages() if path.is_relative_to(DOCS) and blocks(path, "python")]
    assert len(found) > 3
    done = python("-c", RUNNER, ROOT / "tests" / "docs", *found, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
