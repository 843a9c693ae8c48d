"""Pages as files: they need nothing else, names cannot become markup, and mistakes are told in one line."""

import base64
import hashlib
import json
import re
import urllib.error
import urllib.request
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from processes import interrupt, interruptible, python, start, when

from fastgs.cli import serving
from fastgs.codec.symbol_models import LATEST, MODELS_OF_SYMBOLS
from fastgs.gaussians import Gaussians
from fastgs.io.checkpoints import CHECKPOINTS
from fastgs.io.samples import Samples
from fastgs.page import PagePicture, assemble, make_page, write_page
from fastgs.page.bundle import bundle

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
MAX_SIZE = 400_000  # bytes of a page without its data
EVIL = '</script><script>alert(1)</script><img src="http://example.com/x" onerror=alert(1)>&amp;{{data}}<!-- data -->'


class Page(HTMLParser):
    """Elements of a page with their attributes, and the text of scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self._open = [], {}, None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._open = dict(attrs).get("id", tag)

    def handle_endtag(self, tag):
        self._open = None

    def handle_data(self, data):
        if self._open is not None:
            self.texts[self._open] = self.texts.get(self._open, "") + data

    def all(self, tag):
        return [attributes for found, attributes in self.tags if found == tag]


@pytest.fixture
def picture(random_gaussians):
    return PagePicture("photo.safetensors", random_gaussians(30).arrays())


def test_page_loads_nothing(picture):
    page = Page(make_page([picture]))
    for tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            value = attributes.get(name) or ""
            assert value.startswith(("data:", "#")) or not value, (tag, name, value)
    assert {tag for tag, _ in page.tags} & {"link", "iframe", "object", "embed", "base"} <= {"link"}
    assert not re.search(r"url\(|@import", page.texts["style"])
    assert not re.search(
        r"\bfetch\(|XMLHttpRequest|WebSocket|importScripts|\beval\(|innerHTML|https?://", page.texts["script"]
    )


def test_policy_allows_the_script_and_the_style_of_the_page_only(picture):
    page = Page(make_page([picture]))
    (policy,) = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy
    for name in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(page.texts[name].encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy
    assert not [
        tag for tag, attributes in page.tags if any(name.startswith("on") or name == "style" for name in attributes)
    ]


def test_page_is_small(random_gaussians):
    count = 2_000
    page = make_page([PagePicture("a", random_gaussians(count).arrays())])
    assert len(page.encode()) - 4 * 8 * count * 4 / 3 < MAX_SIZE


def test_names_and_facts_are_text(random_gaussians):
    arrays = random_gaussians(5).arrays()
    picture = PagePicture(
        EVIL, arrays, facts={EVIL: EVIL}, bits={EVIL: 8}, original=Samples(np.zeros((3, 48, 64), "f4"))
    )
    for pictures in ([picture], [picture, picture]):
        text = make_page(pictures)
        page, plain = Page(text), Page(make_page([PagePicture("a", arrays)] * len(pictures)))
        extra = [tag for tag, _ in page.tags].count("script") - [tag for tag, _ in plain.tags].count("script")
        assert extra == len(pictures)  # the data of the originals
        assert len(page.all("img")) == len(plain.all("img"))
        assert page.all("img")[0]["alt"] == EVIL
        items = json.loads(page.texts["fastgs-items"])["items"]
        assert items[0]["name"] == EVIL and items[0]["facts"] == [[EVIL, EVIL]] and items[0]["bits"] == {EVIL: 8}
        assert set(re.findall(r"\{\{\w+\}\}", text)) == {"{{data}}"}  # of the names


def test_page_carries_the_arrays(random_gaussians):
    gaussians = random_gaussians(7, blend="sum")
    page = Page(make_page([PagePicture("a", gaussians.arrays())]))
    data = np.frombuffer(base64.b64decode(page.texts["gaussians-0"]), "<f4")
    fields = (gaussians.means, gaussians.scales, gaussians.rotations, gaussians.colors)
    assert np.array_equal(data, np.concatenate([field.numpy().ravel() for field in fields]))
    (item,) = json.loads(page.texts["fastgs-items"])["items"]
    assert (item["kind"], item["count"], item["blend"], item["channels"]) == ("arrays", 7, "sum", 3)


def test_file_is_carried_as_it_is_where_the_page_can_decode(tmp_path, monkeypatch, picture):
    folder = tmp_path / "viewer"
    folder.mkdir()
    for path in assemble.VIEWER.iterdir():
        if path.suffix in (".js", ".css", ".html"):
            (folder / path.name).write_bytes(path.read_bytes())
    (folder / "reader.js").write_text("export function decode(bytes) {\n  return bytes;\n}\n", encoding="utf-8")
    monkeypatch.setattr(assemble, "VIEWER", folder)
    page = Page(make_page([PagePicture("a.fgs", picture.gaussians, file=b"FGS...")]))
    assert base64.b64decode(page.texts["gaussians-0"]) == b"FGS..."
    assert json.loads(page.texts["fastgs-items"])["items"][0]["kind"] == "fgs"
    assert "start({ decode, inspect, setModel });" in page.texts["script"]
    (folder / "reader.js").unlink()
    page = Page(make_page([PagePicture("a.fgs", picture.gaussians, file=b"FGS...")]))
    assert json.loads(page.texts["fastgs-items"])["items"][0]["kind"] == "arrays"


def test_page_carries_the_weights_that_files_need(picture):
    assert {key: f"{name}.safetensors" for key, name in MODELS_OF_SYMBOLS.items()} == assemble.WEIGHTS
    weights = (CHECKPOINTS / assemble.WEIGHTS[LATEST]).read_bytes()
    arrays = PagePicture("a", picture.gaussians)
    file = PagePicture("a.fgs", picture.gaussians, file=b"FGS...")
    for pictures, takes_files in (([arrays], True), ([file], True), ([arrays, file], False)):
        page = Page(make_page(pictures, takes_files))
        assert base64.b64decode(page.texts[f"weights-{LATEST}"]) == weights
    assert "weights-" not in make_page([arrays], takes_files=False).split("<script>")[0]


def test_missing_weights_are_told(picture, monkeypatch, tmp_path):
    monkeypatch.setattr(assemble, "CHECKPOINTS", tmp_path)
    with pytest.raises(ValueError, match=r"symbols\.safetensors: a part of the page cannot be read \(No such file"):
        make_page([PagePicture("a", picture.gaussians)])


def test_bundle_follows_its_rule(tmp_path):
    (tmp_path / "folder").mkdir()
    sources = {
        "a.js": 'import { b, c as d } from "./folder/b.js";\nexport const a = b() + d;\nexport { b as e };\n',
        "folder/b.js": 'import * as all from "../c.js";\nconst c = all.c;\nexport function b() {}\nexport { c };\n',
        "c.js": "export const c = 1; // one\n",
    }
    for name, source in sources.items():
        (tmp_path / name).write_text(source, encoding="utf-8")
    text = bundle('import { a, e } from "./a.js";\nexport { c } from "./c.js";\na(e);\n', tmp_path)
    places = [text.index(f'modules["{name}"] = ') for name in ("c.js", "folder/b.js", "a.js", "entry")]
    assert places == sorted(places)
    assert 'const { b, c: d } = modules["folder/b.js"];' in text and 'const all = modules["c.js"];' in text
    assert "return { e: b, a };" in text and 'return { c: modules["c.js"].c };' in text
    assert not re.search(r"^(import|export)\b", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ('import x from "./b.js";\n', "is not of a form that pages take"),
        ("export default 1;\n", "is not of a form that pages take"),
        ('import { x } from "./missing.js";\n', "cannot be read"),
        ('import { x } from "./circle.js";\n', "in a circle"),
        ('const x = "</script>";\n', "cannot be in a page"),
    ],
)
def test_bundle_refuses_what_it_does_not_know(tmp_path, source, message):
    (tmp_path / "circle.js").write_text('import { y } from "./circle.js";\n', encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        bundle(source, tmp_path)


def test_page_is_written_whole_or_not_at_all(tmp_path, picture, monkeypatch, names):
    path = tmp_path / "page.html"
    path.write_text("before", encoding="utf-8")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        write_page(path, [picture])
    assert path.read_text(encoding="utf-8") == "before" and names(tmp_path) == ["page.html"]


def test_view_writes_a_page_of_files_of_every_kind(run_cli, tmp_path, photo_file, random_gaussians, capsys):
    random_gaussians(20).save(tmp_path / "some.safetensors")
    output = tmp_path / "page.html"
    arguments = [GOLDEN / "rgba.fgs", tmp_path / "some.safetensors", photo_file, "-k", 50, "--iterations", 2]
    assert run_cli("view", *arguments, "-o", output) == 0
    assert f"3 pictures -> {output}  {output.stat().st_size} bytes" in capsys.readouterr().out
    items = json.loads(Page(output.read_text(encoding="utf-8")).texts["fastgs-items"])["items"]
    assert [item["name"] for item in items] == ["rgba.fgs", "some.safetensors", "photo.png"]
    assert [item["count"] for item in items][1:] == [20, 50] and [item["alpha"] for item in items] == [
        True,
        False,
        False,
    ]
    assert [item["original"] for item in items] == [False, False, True]
    size = (GOLDEN / "rgba.fgs").stat().st_size
    assert items[0]["bytes"] == size == items[0]["layerBytes"][-1] and items[0]["layerCounts"][-1] == items[0]["count"]
    assert sum(items[0]["bits"].values()) == 8 * size


def test_view_compares_with_originals(run_cli, tmp_path, photo_file, random_gaussians, error_line):
    source, output = tmp_path / "photo.safetensors", tmp_path / "page.html"
    random_gaussians(20).save(source)
    for original in (photo_file, tmp_path):
        assert run_cli("view", source, "--original", original, "-o", output) == 0
        page = Page(output.read_text(encoding="utf-8"))
        data = base64.b64decode(page.texts["original-0"])
        assert data[:4] == b"\x89PNG"
    error = run_cli("view", GOLDEN / "waves.fgs", "--original", photo_file, "-o", output)
    assert error == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["missing.fgs", "-o", "a.html"], 1, "missing.fgs: no such file; check the name"),
        (["missing.safetensors", "-o", "a.html"], 1, "missing.safetensors: no such file"),
        (["missing.png", "-o", "a.html"], 1, "missing.png: "),
        (["bad.fgs", "-o", "a.html"], 1, "bad.fgs: is damaged"),
        (["new.fgs", "-o", "a.html"], 1, "new.fgs: is of version 9, and this fastgs reads up to version 3"),
        (["bad.safetensors", "-o", "a.html"], 1, "bad.safetensors: not a readable safetensors file"),
        (["waves.fgs", "-o", "a.txt"], 2, "argument -o/--output: expected a name that ends in .html, got a.txt"),
        (["waves.fgs", "-o", "nowhere/a.html"], 2, "argument -o/--output: nowhere: no such folder"),
        (["waves.fgs", "-o", "a.html", "--original", "no.png"], 2, "argument --original: no.png: no such file"),
        (["waves.fgs", "-o", "a.html", "--original", "."], 1, "waves.fgs: has no original in ."),
        (["waves.fgs", "-o", "a.html", "--original", "photo.png"], 1, "is 64 x 48 pixels and the canvas 90 x 60"),
        (["waves.fgs", "-o", "a.html", "-k", "0"], 2, "argument --num-gaussians: must be at least 1, got 0"),
    ],
)
def test_mistakes_are_told_in_one_line(run_cli, photo_file, monkeypatch, error_line, arguments, code, message, names):
    folder = photo_file.parent
    monkeypatch.chdir(folder)
    data = (GOLDEN / "waves.fgs").read_bytes()
    Path("waves.fgs").write_bytes(data)
    Path("bad.fgs").write_bytes(data[:50] + b"?" + data[51:])
    Path("new.fgs").write_bytes(data[:3] + b"\x09" + data[4:])
    Path("bad.safetensors").write_bytes(b"nothing")
    before = names(folder)
    assert run_cli("view", *arguments) == code
    assert message in error_line()
    assert names(folder) == before


def test_view_shows_the_files_that_can_be_read(run_cli, tmp_path, capsys):
    (tmp_path / "bad.fgs").write_bytes(b"FGS?")
    output = tmp_path / "page.html"
    assert run_cli("view", tmp_path / "bad.fgs", GOLDEN / "waves.fgs", "-o", output) == 1
    assert "bad.fgs" in capsys.readouterr().err
    (item,) = json.loads(Page(output.read_text(encoding="utf-8")).texts["fastgs-items"])["items"]
    assert item["name"] == "waves.fgs"


def test_view_of_a_file_imports_no_torch(tmp_path):
    code = "import sys; from fastgs.cli.main import main; print('code', main()); print('torch' in sys.modules)"
    done = python("-c", code, "view", GOLDEN / "waves.fgs", "-o", tmp_path / "a.html")
    assert done.stdout.splitlines()[-2:] == ["code 0", "False"], done.stderr


@pytest.mark.slow
def test_predict_and_encode_write_pages(run_cli, photo_file, tmp_path, names):
    out = tmp_path / "out"
    quick = ("-k", 60, "--iterations", 2, "--html")
    assert run_cli("predict", photo_file, *quick, "-o", out) == 0
    assert names(out) == ["photo.html", "photo.png", "photo.safetensors", "report.json"]
    assert json.loads(Page((out / "photo.html").read_text("utf-8")).texts["fastgs-items"])["items"][0]["original"]
    assert run_cli("encode", photo_file, *quick, "-o", tmp_path / "photo.fgs") == 0
    (item,) = json.loads(Page((tmp_path / "photo.html").read_text("utf-8")).texts["fastgs-items"])["items"]
    assert item["original"] and item["bytes"] == (tmp_path / "photo.fgs").stat().st_size


def test_result_in_a_notebook_is_a_small_page_over_a_picture(photo):
    from fastgs.predictor import Predictor

    result = Predictor()(photo, 40, 1)
    cell = Page(result._repr_html_())
    (frame,), (image,) = cell.all("iframe"), cell.all("img")
    assert image["src"].startswith("data:image/webp;base64,") and "allow-same-origin" not in frame["sandbox"]
    page = Page(frame["srcdoc"])
    assert json.loads(page.texts["fastgs-items"])["items"][0]["count"] == 40


def test_server_gives_the_page_and_nothing_else(picture):
    with serving.make_server(make_page([picture])) as server:
        import threading

        threading.Thread(target=server.serve_forever, daemon=True).start()
        host, port = server.server_address[:2]
        assert host == "127.0.0.1"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
            assert answer.read().decode() == make_page([picture])
        foreign = urllib.request.Request(f"http://127.0.0.1:{port}/", headers={"Host": f"example.com:{port}"})
        for request in (f"http://127.0.0.1:{port}/etc/passwd", f"http://127.0.0.1:{port}/../x", foreign):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(request)
        server.shutdown()


def test_serving_ends_with_an_interrupt(run_cli, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    with interruptible():
        when(lambda: opened, interrupt)
        assert run_cli("view", GOLDEN / "waves.fgs") == 0
    printed = capsys.readouterr()
    assert printed.out == f"{opened[0]}  Ctrl-C ends\n" and printed.err == ""


@pytest.mark.slow
def test_interrupted_command_leaves_no_traceback():
    process = start("-m", "fastgs", "view", GOLDEN / "waves.fgs", "--no-open")
    assert process.stdout.readline().startswith("http://127.0.0.1:")
    process.send_signal(2)
    _, errors = process.communicate()
    assert process.returncode == 0 and errors == ""


def test_previews_show_gray_alpha_and_channels(random_gaussians):
    import torch

    from fastgs.page.picture import to_image

    assert to_image(Samples(np.full((1, 2, 3), 0.5, np.float32))).mode == "L"
    assert to_image(Samples(np.full((4, 2, 3), 0.5, np.float32), True)).getpixel((0, 0)) == (255, 255, 255, 128)
    assert to_image(Samples(np.full((7, 2, 3), 0.5, np.float32))).mode == "RGB"
    gaussians = random_gaussians(4)
    gray = Gaussians(*(gaussians.means, gaussians.scales, gaussians.rotations), torch.rand(4, 2), 48, 64)
    assert isinstance(to_image(Samples(np.zeros((2, 4, 4), np.float32))), Image.Image)
    assert "gaussians-0" in make_page([PagePicture("a", gray.arrays())])
