"""`fastgs info`: contents of a .fgs file, and the bits that each attribute takes."""

from __future__ import annotations

import argparse
import json
from itertools import accumulate, pairwise
from typing import Any

from fastgs.cli.coding import read_fgs
from fastgs.cli.console import FAILED, Failures, Parser, local, reporting, write
from fastgs.codec import SCHEMES, decode_arrays, read_frame
from fastgs.codec.frame import MAGIC
from fastgs.codec.restoration_entry import GAIN_UNIT


def declare(parser: Parser) -> None:
    """Declare the options of the subcommand."""
    parser.description = "Tell what is in a .fgs file, and how many of its bytes each attribute of the Gaussians takes."
    parser.add_argument("file", type=local, metavar="FILE", help="a .fgs file")
    parser.add_argument("--json", action="store_true", help="as JSON, with the bits of each attribute")
    parser.set_defaults(run=lambda arguments: _print_info(parser, arguments))


def _print_info(parser: Parser, arguments: argparse.Namespace) -> int:
    """Print what is in a file and return the exit code."""
    failures = Failures(parser)
    with reporting(arguments.file, failures):
        facts = _collect_facts(read_fgs(arguments.file))
        text = json.dumps(facts, indent=2) + "\n" if arguments.json else _format_facts(facts)
        with reporting("standard output", failures):
            write(text)
    return FAILED if failures else 0


def _collect_facts(data: bytes) -> dict[str, Any]:
    """Return the facts about a file that --json prints.

    Raises:
        FormatError: No encoder writes such a file.
    """
    frame = read_frame(data)
    gaussians = decode_arrays(data)
    return {
        "version": data[len(MAGIC)],
        "scheme": frame.scheme,
        "width": frame.width,
        "height": frame.height,
        "channels": gaussians.channels,
        "alpha": gaussians.alpha,
        "blend": gaussians.blend,
        "symbols": frame.symbols,
        "restoration": frame.restoration and [frame.restoration.model, *frame.restoration.gains],
        "layer_bytes": [len(layer) for layer in frame.layers],
        "num_gaussians": len(gaussians),
        "bytes": len(data),
        "bpp": 8 * len(data) / (frame.width * frame.height),
        "bits": SCHEMES[frame.scheme].bit_breakdown(frame),
    }


def _format_facts(facts: dict[str, Any]) -> str:
    """Return the facts as text, with a table of the bits by attribute."""
    layers = facts["layer_bytes"]
    of_layers = f" of {', '.join(map(str, layers))} bytes" if layers else ""
    rows = {
        "version": facts["version"],
        "scheme": facts["scheme"],
        "canvas": f"{facts['width']} x {facts['height']} pixels",
        "channels": f"{facts['channels']}{', the last is alpha' if facts['alpha'] else ''}",
        "blend": facts["blend"],
        "symbols": "model " + str(facts["symbols"]) if facts["symbols"] else "models of the file",
        "restoration": _format_restoration(facts["restoration"]),
        "layers": f"{len(layers)}{of_layers}",
        "Gaussians": facts["num_gaussians"],
        "bytes": facts["bytes"],
        "bpp": f"{facts['bpp']:.4f}",
    }
    lines = [f"{name:<11}  {value}" for name, value in rows.items()]
    return "\n".join([*lines, "", *_format_breakdown(facts["bits"], facts["num_gaussians"])]) + "\n"


def _format_restoration(entry: list[int] | None) -> str:
    """Return the network and the gains of a file that asks for restoration, or "none"."""
    if entry is None:
        return "none"
    model, *gains = entry
    return f"network {model}, gains {', '.join(f'{gain * GAIN_UNIT:.2f}' for gain in gains)}"


def _format_breakdown(bits: dict[str, int], count: int) -> list[str]:
    """Return the lines of the table; bytes are rounded so that their sum is the size of the file."""
    ends = [round(end / 8) for end in accumulate(bits.values(), initial=0)]
    sizes = [end - start for start, end in pairwise(ends)]
    total = sum(bits.values())
    lines = [f"{'attribute':<10}  {'bytes':>9}  {'share':>6}  {'bits per Gaussian':>17}"]
    for name, size, each in [*zip(bits, sizes, bits.values(), strict=True), ("total", ends[-1], total)]:
        per_gaussian = f"{each / count:.2f}" if count else "-"
        lines.append(f"{name:<10}  {size:>9}  {each / total:>6.1%}  {per_gaussian:>17}")
    return lines
