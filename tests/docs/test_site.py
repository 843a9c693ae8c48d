"""The documentation builds as a website without a warning, where MkDocs is installed (`make docs` installs it)."""

import pytest
from markdown_files import ROOT
from processes import python

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not (ROOT / "mkdocs.yml").exists(), reason="needs the source tree")]


def test_site_builds_and_loads_nothing_from_elsewhere(tmp_path):
    for name in ("mkdocs", "mkdocstrings", "latex2mathml"):
        pytest.importorskip(name)
    done = python("-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site", cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    for path in (tmp_path / "site").rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert '<script src="http' not in text
        assert 'class="arithmatex"' not in text, path.name  # a formula that was not converted
        assert 'rel="stylesheet" href="http' not in text
