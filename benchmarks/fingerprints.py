"""Fingerprints of what the commands make of a few photos, equal before and after a change that changes no result.

    python -m benchmarks.fingerprints PHOTO... --output before.json
    ... the change ...
    python -m benchmarks.fingerprints PHOTO... --against before.json

Only commands are used, so modules may move. Fingerprints are SHA-256, and the last bits of floats differ from one kind
of CPU to another, so both runs must be on the same machine.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
COUNTS, INITS, ITERATIONS = (500, 3000), ("curvature", "learned"), (0, 30)
ONE_THREAD = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def run(*arguments: object) -> None:
    """Run another Python with one thread.

    Raises:
        SystemExit: It fails; the message is its output.
    """
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | ONE_THREAD, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def digests(folder: Path, pattern: str) -> dict[str, str]:
    """Return the SHA-256 of files by name, in hexadecimal.

    Raises:
        SystemExit: There is no such file.
    """
    paths = sorted(folder.glob(pattern))
    if not paths:
        raise SystemExit(f"{folder}: holds no {pattern}")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def fingerprints(photos: list[Path], work: Path) -> dict[str, str]:
    """Return the fingerprints of fits, networks, the codec, datasets of splats and autoencoders by name."""
    found: dict[str, str] = {}

    def note(kind: str, folder: Path, pattern: str) -> None:
        found.update({f"{kind}/{name}": digest for name, digest in digests(folder, pattern).items()})

    for count in COUNTS:
        for init in INITS:
            for iterations in ITERATIONS:
                kind = f"{init}-{count}-{iterations}"
                options = ("-k", count, "--init", init, "--iterations", iterations, "--size", 256, "--seed", 0)
                run("-m", "fastgs", "predict", *photos, *options, "--output", work / kind)
                note(kind, work / kind, "*.safetensors")
    run("-m", "fastgs", "encode", *photos, "-k", 800, "--size", 256, "-o", work / "files")
    note("files", work / "files", "*.fgs")
    splats = work / "splats"
    tiny = ("-k", 64, "--size", 16, "--crops", 8, "--workers", 1)
    run("-m", "fastgs", "splats", "make", *photos, *tiny, "--output", splats)
    note("splats", splats, "*")
    config = ROOT / "configs" / "autoencoder_conv.yaml"
    small = ("--data.batch_size=8", "--data.val_batch_size=8", "--model.latent=16", "--trainer.max_epochs=2")
    more = (
        "--trainer.accelerator=cpu",
        f"--data.folder={splats}",
        f"--trainer.default_root_dir={work / 'autoencoder'}",
    )
    run("train.py", "fit", f"--config={config}", *small, "--trainer.check_val_every_n_epoch=1", *more)
    note("autoencoder", work / "autoencoder", "weights.safetensors")
    return found


def main() -> None:
    """Make fingerprints, and write or compare them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="+", metavar="PHOTO")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.add_argument("--against", type=Path, help="JSON file to compare with")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        found = fingerprints([path.resolve() for path in arguments.photos], Path(work))
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if arguments.against:
        before = json.loads(arguments.against.read_text(encoding="utf-8"))
        changed = sorted(name for name in before.keys() | found.keys() if before.get(name) != found.get(name))
        if changed:
            raise SystemExit(f"{len(changed)} of {len(before)} differ: {', '.join(changed)}")
        print(f"all {len(found)} are equal")


if __name__ == "__main__":
    main()
