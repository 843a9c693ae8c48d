"""The viewer's JavaScript reads and draws files as Python does."""

import json
import math
import re
import shutil
import subprocess
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from damage import damage
from made_files import KINDS, LEARNED, make_file, to_learned
from node_reader import VIEWER, find_reason_to_skip, read_array, read_files, run_node
from processes import PATIENCE

import fastgs
from fastgs.codec import SCHEMES, FormatError, decode, encode, read_frame
from fastgs.codec.cut_layer import decode_cut_layers
from fastgs.codec.frame import write_frame
from fastgs.codec.layer import decode_layers
from fastgs.codec.symbol_models import LATEST
from fastgs.fitting.covariance import covariances
from fastgs.gaussians import Gaussians
from fastgs.io.checkpoints import CHECKPOINTS
from fastgs.io.samples import Samples
from fastgs.page import PagePicture, make_page
from fastgs.page.assemble import WEIGHTS
from fastgs.page.bundle import bundle

GOLDEN = sorted((Path(__file__).parents[1] / "golden").glob("*.fgs"))
NAMES = ("means", "scales", "rotations", "colors")
BASELINES = ("gaussianimage", "gaussianimage-plus")

needs_node = pytest.mark.skipif(bool(find_reason_to_skip()), reason=find_reason_to_skip() or "node runs")


def assert_same_symbols(data: bytes, result: dict) -> None:
    """Check that the symbols, the steps and the mixing of all layers, one that is cut included, are those of Python."""
    frame = read_frame(data, partial=True)
    if frame.scheme in BASELINES:
        expected = SCHEMES[frame.scheme]._read(frame).symbols.numpy()
        assert np.array_equal(read_array(result["layers"][0]["symbols"], np.int32, *expected.shape), expected)
        return
    canvas = (frame.height, frame.width)
    if frame.whole:
        layers = decode_layers(frame.layers, canvas, frame.channels, frame.symbols)
    else:
        layers, has_color = decode_cut_layers(frame.layers, frame.cut, canvas, frame.channels, frame.symbols)
        assert np.array_equal(read_array(result["hasColor"], np.bool_, *has_color.shape), has_color)
    assert len(layers) == len(result["layers"])
    for layer, read in zip(layers, result["layers"], strict=True):
        assert np.array_equal(read_array(read["symbols"], np.int32, *layer.symbols.shape), layer.symbols)
        steps = {name: value for name, value in vars(layer.steps).items() if value is not None}
        assert read["steps"] == steps
        assert read["mixing"] == (None if layer.mixing is None else layer.mixing.ravel().tolist())


def assert_same_gaussians(expected: Gaussians, result: dict) -> None:
    """Check that attributes are those of Python, but for the rounding of 32-bit floating point.

    Positions of the scheme "fastgs" are exact. Its other attributes are rounded from 64 bits, so a last digit may
    differ where mathematical functions do. The other schemes compute in 32 bits; their axes follow from covariances.
    """
    facts = ("width", "height", "blend", "alpha", "channels")
    assert [result[name] for name in facts] == [getattr(expected, name) for name in facts]
    assert result["numGaussians"] == len(expected)
    arrays = {name: read_array(result[name], np.float32, *getattr(expected, name).shape) for name in NAMES}
    if expected.blend == "normalized":
        assert np.array_equal(arrays["means"], expected.means.numpy())
        for name in ("scales", "rotations"):
            np.testing.assert_array_max_ulp(arrays[name], getattr(expected, name).numpy(), maxulp=1)
        # Of a cut file, colours that are guessed are those of an image that was rendered in 32 bits, of all colours.
        largest = max(1.0, float(expected.colors.abs().max())) if len(expected) else 1.0
        tolerance = 1e-12 if result["whole"] else 1e-5 * largest
        np.testing.assert_allclose(arrays["colors"], expected.colors.numpy(), rtol=2e-7, atol=tolerance)
        if "hasColor" in result:
            known = np.flatnonzero(read_array(result["hasColor"], np.bool_, -1))
            np.testing.assert_allclose(arrays["colors"][known], expected.colors[known].numpy(), rtol=2e-7, atol=1e-12)
        return
    # In 64 bits, where the squares of damaged scales do not overflow.
    read = (torch.from_numpy(arrays[name].astype(np.float64)) for name in ("scales", "rotations"))
    difference = covariances(*read) - covariances(expected.scales.double(), expected.rotations.double())
    assert (difference.abs() <= 1e-5 * expected.scales.double().amax(1, keepdim=True).square()).all()
    size = max(expected.width, expected.height)
    np.testing.assert_allclose(arrays["means"], expected.means.numpy(), rtol=2e-7, atol=2e-7 * size)
    np.testing.assert_allclose(arrays["colors"], expected.colors.numpy(), rtol=2e-7, atol=1e-7)


def assert_same_facts(data: bytes, facts: dict) -> None:
    """Check the facts about a file, and where its bits go."""
    frame, bits = read_frame(data), SCHEMES[read_frame(data).scheme].bit_breakdown(read_frame(data))
    assert (facts["scheme"], facts["bytes"], sum(facts["bits"].values())) == (frame.scheme, len(data), 8 * len(data))
    assert facts["symbols"] == frame.symbols
    assert facts["layerBytes"] == [len(layer) for layer in frame.layers] and facts["version"] == data[3]
    assert facts["bpp"] == 8 * len(data) / (frame.width * frame.height)
    # A file without layers takes no bits for attributes. Sums of logarithms may round to the next bit.
    assert all(
        abs(facts["bits"].get(name, 0) - value) <= (2 if name == "header" else 1) for name, value in bits.items()
    )


def assert_read_alike(files: list[bytes]) -> None:
    """Check that whole files are read as Python reads them."""
    results = read_files([{"bytes": data, "symbols": True, "facts": True} for data in files])
    for data, result in zip(files, results, strict=True):
        assert "error" not in result, result
        assert_same_symbols(data, result)
        assert_same_gaussians(decode(data), result)
        assert_same_facts(data, result["facts"])


def decode_or_refuse(data: bytes, partial: bool) -> Gaussians | None:
    """Return the Gaussians of a file; None if it is refused."""
    try:
        return decode(data, partial)
    except FormatError:
        return None


def psnr(image: np.ndarray, expected: np.ndarray) -> float:
    """Return the PSNR of an image, in dB."""
    error = float(np.mean((image.astype(np.float64) - expected) ** 2))
    return math.inf if error == 0 else -10 * math.log10(error)


def assert_drawn_alike(files: list[bytes], antialias: bool) -> None:
    """Check that images of several sizes are those of Python."""
    sizes = [(64, 48), (150, 31), (20, 17)]
    options = [[*size, antialias] for size in sizes]
    for data, result in zip(files, read_files([{"bytes": each, "sizes": options} for each in files]), strict=True):
        gaussians = decode(data)
        for (width, height), image in zip(sizes, result["images"], strict=True):
            backend = "cpu" if antialias else "reference"
            expected = fastgs.render(gaussians, height, width, backend=backend, antialias=antialias).numpy()
            colors = read_array(image["colors"], np.float32, height, width, gaussians.channels).transpose(2, 0, 1)
            assert psnr(colors, expected) > 90
            pixels = read_array(image["pixels"], np.uint8, height, width, 4).transpose(2, 0, 1)
            straight = Samples(expected, gaussians.alpha).straight()
            if not gaussians.alpha:
                straight = np.concatenate([straight, np.ones_like(straight[:1])])
            chosen = {2: [0, 0, 0, 1], 4: [0, 1, 2, 3]}.get(len(straight), [0, 1, 2, -1])
            visible = straight[-1] > 0.5 / 255
            difference = np.abs(pixels - np.rint(255 * straight[chosen]))
            # Colours of what is nearly transparent have few digits.
            assert psnr(pixels / 255 * visible, straight[chosen] * visible) > 50 and difference[-1].max() <= 1


@pytest.fixture(scope="module")
def fitted(photo) -> dict[str, bytes]:
    """Return files of short fits: of all channels that are usual, and of the schemes of papers."""
    alpha = torch.linspace(0, 1.5, 64).clamp(max=1).expand(1, 48, 64)
    images = {
        "rgb": (photo, False),
        "gray": (photo[:1], False),
        "gray-alpha": (torch.cat([photo[:1] * alpha, alpha]), True),
        "rgba": (torch.cat([photo * alpha, alpha]), True),
        "channels": (torch.cat([photo, 1 - photo]), False),
    }
    files = {
        name: encode(image, alpha=alpha, num_gaussians=60, iterations=5).data for name, (image, alpha) in images.items()
    }
    files["learned"] = to_learned(files["rgb"])
    return files | {name: encode(photo, scheme=name, num_gaussians=40, iterations=8).data for name in BASELINES}


@needs_node
def test_golden_files_are_read_as_in_python():
    assert_read_alike([path.read_bytes() for path in GOLDEN])


@needs_node
def test_small_files_of_every_kind_are_read_as_in_python():
    assert_read_alike([make_file(seed, most=20) for seed in range(len(KINDS) + 1)])


@needs_node
@pytest.mark.slow
def test_fitted_files_are_read_as_in_python(fitted):
    assert_read_alike(list(fitted.values()))


@needs_node
@pytest.mark.slow
def test_many_files_are_read_as_in_python():
    assert_read_alike([make_file(seed) for seed in range(200)])


@needs_node
def test_files_of_the_learned_model_are_read_as_in_python():
    """Layers without Gaussians, or of a few, and hundreds within a pixel are among them."""
    files = [make_file(seed, most, LEARNED) for most in (2, 40, 300) for seed in range(0, 16, 4)]
    assert {data[3] for data in files} == {3}
    assert_read_alike(files)


@needs_node
@pytest.mark.slow
def test_many_files_of_the_learned_model_are_read_as_in_python():
    assert_read_alike([make_file(seed, 300, LEARNED) for seed in range(60)])


@pytest.mark.slow
@needs_node
def test_beginnings_of_files_are_read_as_in_python():
    files = [path.read_bytes() for path in GOLDEN if path.stem in ("vector", "rgba", "channels", "gaussianimage")]
    files += [make_file(seed, 60, LEARNED) for seed in (3, 9)]
    cuts = [data[:length] for data in files for length in range(0, len(data) + 1, max(1, len(data) // 30))]
    results = read_files([{"bytes": data, "partial": True, "symbols": True} for data in cuts])
    coarse = begun = 0
    for data, result in zip(cuts, results, strict=True):
        expected = decode_or_refuse(data, partial=True)
        assert ("error" in result) == (expected is None), result
        if expected is not None:
            assert_same_symbols(data, result)
            assert_same_gaussians(expected, result)
            coarse += not result["whole"]
            begun += len(result.get("layers", ())) > result["numLayers"]
    assert coarse > begun > 20
    assert all("error" in result for result in read_files([{"bytes": data[:-1]} for data in files]))


@needs_node
@pytest.mark.parametrize("convert", [bytes, to_learned], ids=["version 1", "version 3"])
def test_first_layers_are_read_as_if_the_others_were_cut_off(convert):
    data = convert((Path(__file__).parents[1] / "golden" / "vector.fgs").read_bytes())
    frame = read_frame(data)
    whole, *some = read_files([{"bytes": data, "layers": layers} for layers in (3, 1, 2)])
    assert whole["whole"] and [each["numLayers"] for each in some] == [1, 2]
    for each in some:
        # The header still tells of three layers.
        end = len(data) - sum(len(layer) + 2 + (1 + (len(layer) > 127)) for layer in frame.layers[each["numLayers"] :])
        assert_same_gaussians(decode(data[:end], partial=True), each)


@needs_node
@pytest.mark.slow
def test_damaged_files_are_refused_or_read_as_in_python(fitted):
    files = [*(make_file(seed, most=60) for seed in range(28)), *(path.read_bytes() for path in GOLDEN)]
    files += [fitted[name] for name in BASELINES]
    rng = np.random.default_rng(0)
    damaged = [(damage(files[each % len(files)], each % 8, rng), bool(each // 8 % 2)) for each in range(2000)]
    # One process: it ends if anything but FgsError is thrown, and its time is limited.
    jobs = [{"bytes": data, "partial": partial, "facts": not partial} for data, partial in damaged]
    results = read_files(jobs)
    read = 0
    for (data, partial), result in zip(damaged, results, strict=True):
        expected = decode_or_refuse(data, partial)
        assert ("error" in result) == (expected is None), result
        if expected is None:
            assert re.fullmatch(r"The file .*\.", result["error"])
        else:
            assert_same_gaussians(expected, result)
            read += 1
    assert read > 200


def add_checksum(header: bytes) -> bytes:
    """Return a header with its checksum."""
    return header + (zlib.crc32(header) & 0xFFFF).to_bytes(2, "little")


@needs_node
def test_messages_say_what_is_wrong():
    data = (Path(__file__).parents[1] / "golden" / "vector.fgs").read_bytes()
    header = write_frame(read_frame(data))[:3]
    messages = {
        "not a .fgs file": b"\x89PNG" + data[4:],
        "version 4.*update fastgs-viewer": header + b"\x04" + data[4:],
        "model 9 of symbols.*update fastgs-viewer": add_checksum(header + bytes([3, 0, 4, 9, 64, 48, 0])),
        "header makes no sense": add_checksum(header + bytes([3, 0, 4, 0, 64, 48, 0])),
        "cut short": data[:-1],
        "follow its end": data + b"?",
        "checksum of its header": data[:5] + bytes([data[5] ^ 1]) + data[6:],
        "checksum of layer 3 of 3": data[:-5] + bytes([data[-5] ^ 1]) + data[-4:],
    }
    for words, result in zip(messages, read_files([{"bytes": each} for each in messages.values()]), strict=True):
        assert re.search(words, result["error"]), result


@needs_node
@pytest.mark.parametrize("antialias", [False, True])
def test_images_of_golden_files_are_those_of_python(antialias):
    assert_drawn_alike([path.read_bytes() for path in GOLDEN], antialias)


@needs_node
@pytest.mark.slow
@pytest.mark.parametrize("antialias", [False, True])
def test_images_of_fitted_files_are_those_of_python(fitted, antialias):
    assert_drawn_alike(list(fitted.values()), antialias)


@needs_node
@pytest.mark.slow
def test_tests_of_the_viewer_pass():
    run_node("--test", cwd=VIEWER)


def test_package_has_the_version_and_the_licence_of_the_project():
    root = VIEWER.parent
    package = json.loads((VIEWER / "package.json").read_text(encoding="utf-8"))
    project = (root / "pyproject.toml").read_text(encoding="utf-8")
    assert f'\nversion = "{package["version"]}"\n' in project
    assert (VIEWER / "LICENSE").read_bytes() == (root / "LICENSE").read_bytes()


@pytest.mark.skipif(shutil.which("npm") is None or bool(find_reason_to_skip()), reason="npm is not installed")
@pytest.mark.slow
def test_npm_package_reads_files_of_the_learned_model(tmp_path):
    shutil.copytree(VIEWER, tmp_path / "viewer", ignore=shutil.ignore_patterns("node_modules"))
    shutil.copytree(CHECKPOINTS, tmp_path / "checkpoints", ignore=shutil.ignore_patterns("[!s]*"))
    command = [str(shutil.which("npm")), "pack", "--offline", "--cache", str(tmp_path / "cache")]
    subprocess.run(command, cwd=tmp_path / "viewer", check=True, capture_output=True, timeout=PATIENCE)
    (archive,) = (tmp_path / "viewer").glob("*.tgz")
    assert not (tmp_path / "viewer" / WEIGHTS[LATEST]).exists()
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path / "node_modules", filter="data")
    (tmp_path / "node_modules" / "package").rename(tmp_path / "node_modules" / "fastgs-viewer")
    shutil.rmtree(tmp_path / "checkpoints")
    (tmp_path / "photo.fgs").write_bytes(make_file(1, 40, LEARNED))
    (tmp_path / "read.mjs").write_text(
        'import { readFileSync } from "node:fs";\n'
        'import { decode, loadModels } from "fastgs-viewer";\n'
        "await loadModels();\n"
        'console.log(decode(readFileSync("photo.fgs")).numGaussians);\n',
        encoding="utf-8",
    )
    done = run_node("read.mjs", cwd=tmp_path)
    assert int(done.stdout) == len(decode((tmp_path / "photo.fgs").read_bytes()))


def test_files_of_the_viewer_are_installed_with_the_package():
    """Every module that the viewer imports matches a pattern of package-data."""
    patterns = ("*.js", "*.css", "*.html", "*.json", "*.md", "*.d.ts", "codec/*.js")
    project = (VIEWER.parent / "pyproject.toml").read_text(encoding="utf-8")
    assert f'"fastgs.viewer" = {json.dumps(list(patterns))}' in project
    modules = [path for path in VIEWER.rglob("*.js") if not {"test", "node_modules"} & set(path.parts)]
    assert modules and all(path.parent in (VIEWER, VIEWER / "codec") for path in modules)


@needs_node
def test_pages_read_files_of_the_learned_model_with_the_weights_that_they_carry(tmp_path):
    """The parts of a page that need no browser run in a script of Node, with the elements of the page by their ids."""
    data = make_file(3, 40, LEARNED)
    page = make_page([PagePicture("a.fgs", decode(data).arrays(), file=data)])
    elements = re.findall(r'<script type="application/octet-stream;base64" id="([\w-]+)">([^<]*)<', page)
    assert [name for name, _ in elements] == [f"weights-{LATEST}", "gaussians-0"]
    entry = (
        'import { readGaussians, readWeights } from "./data.js";\n'
        'import { decode, setModel } from "./reader.js";\n'
        "for (const [number, weights] of readWeights()) setModel(number, weights);\n"
        'console.log(readGaussians({ kind: "fgs", layerCounts: [] }, 0, decode).numGaussians);\n'
    )
    document = (
        f"const elements = {json.dumps([{'id': name, 'textContent': text} for name, text in elements])};\n"
        "globalThis.document = {\n"
        "  getElementById: (id) => elements.find((element) => element.id === id),\n"
        '  querySelectorAll: () => elements.filter((element) => element.id.startsWith("weights-")),\n'
        "};\n"
    )
    (tmp_path / "page.cjs").write_text(document + bundle(entry, VIEWER), encoding="utf-8")
    assert int(run_node(tmp_path / "page.cjs").stdout) == len(decode(data))
