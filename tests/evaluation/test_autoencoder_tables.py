"""Tables and figures of autoencoders."""

from pathlib import Path

import numpy as np
from autoencoding import by_name, evaluate
from evaluating import run, save
from PIL import Image


def made_up(records: Path, path: Path, **autoencoders) -> Path:
    """Write records of autoencoders with some fields of their own."""
    known = by_name(records)
    rows = [{**known["conv, test"], "autoencoder": name, **fields} for name, fields in autoencoders.items()]
    return save(path, [known["splats, test"], *rows])


def cells(text: str) -> list[dict[str, list[str]]]:
    """Return the cells of every table by autoencoder."""
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("| latent")]
    rows = [[line.strip("| ").split(" | ") for line in block[2:]] for block in blocks]
    return [{row[1]: row[:1] + row[2:] for row in block} for block in rows]


def test_table_sorts_by_size_of_code_and_marks_the_best_of_each(autoencoder_records, tmp_path, capsys):
    output = made_up(
        autoencoder_records,
        tmp_path / "r.json",
        a={"latent": 16, "bytes_latent": 64, "psnr": 21.0, "ssim": 0.5, "probe_accuracy": 0.5},
        b={"latent": 4, "psnr": 30.0, "ssim": 0.9, "probe_accuracy": 1.0, "per_attribute": True},
        c={"latent": 16, "bytes_latent": 64, "psnr": 20.996, "ssim": 0.6, "probe_accuracy": None, "model": "deep"},
        d={"latent": 16, "bytes_latent": 64, "psnr": 19.0, "ssim": 0.4, "probe_accuracy": 0.25, "content": "pixels",
           "parameters": None},
    )  # fmt: skip
    assert run("table", output) == 0
    text = capsys.readouterr().out
    (table,) = cells(text)
    assert list(table) == ["splats", "b", "a", "c", "d"]
    ceiling, record = table["splats"], by_name(autoencoder_records)["splats, test"]
    assert ceiling[:3] == ["–", "no autoencoder", "–"]
    assert ceiling[3] == f"{record['psnr']:.2f}"
    assert ceiling[-2:] == ["2,048", "0.38"]
    anchored, losses = "conv, anchored splats", "0.1 × parameters + rendering"
    best = ["**30.00**", "**0.9000**", "**100.0%**"]
    assert table["b"] == ["4", f"{anchored}, one for each attribute", losses, *best, "16", "48.00"]
    assert table["a"] == ["16", anchored, losses, "**21.00**", "0.5000", "**50.0%**", "64", "12.00"]
    assert table["c"][1:6] == ["deep, anchored splats", losses, "**21.00**", "**0.6000**", "–"]
    assert table["d"][1:6] == ["conv, pixels", "pixels", "19.00", "0.4000", "25.0%"]
    assert text.startswith("bars, test split, mean of 4 images; best of each latent size in bold; ")
    assert f"where {record['chance']:.1%} is chance:\n" in text


def test_each_split_has_a_table(autoencoder_records, dataset, weights, tmp_path, capsys):
    assert evaluate(dataset, weights[0], output=tmp_path / "val.json", more=("--split", "val")) == 0
    capsys.readouterr()
    assert run("table", autoencoder_records, tmp_path / "val.json") == 0
    text = capsys.readouterr().out
    assert [len(table) for table in cells(text)] == [5, 3]
    assert text.index("bars, test split, ") < text.index("bars, val split, ")


def test_figures_have_a_line_for_each_kind_and_one_for_the_fits(autoencoder_records, tmp_path, capsys):
    output = made_up(autoencoder_records, tmp_path / "r.json", a={"latent": 16, "psnr": 20.0},
                     b={"latent": 64, "psnr": 22.0}, c={"latent": 16, "psnr": 18.0, "model": "deep"})  # fmt: skip
    assert run("table", output, "--output", tmp_path / "new") == 0
    names = ["table.md", "psnr-latent.png", "ssim-latent.png"]
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "new" / name) for name in names]
    picture = np.asarray(Image.open(tmp_path / "new" / "psnr-latent.png").convert("RGB"))
    for color in ((0, 0x72, 0xB2), (0xD5, 0x5E, 0), (102, 102, 102)):
        assert (picture == color).all(axis=2).sum() > 100, f"no line of {color}"


def test_records_without_autoencoders_have_no_figures(dataset, tmp_path):
    assert evaluate(dataset, output=tmp_path / "r.json") == 0
    assert run("table", tmp_path / "r.json", "--output", tmp_path / "new") == 0
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["table.md"]
