"""Reading of .fgs files by the viewer's JavaScript, in a process of Node."""

import base64
import json
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

import numpy as np
from processes import PATIENCE

VIEWER = Path(__file__).parents[2] / "viewer"
OLDEST = 20  # version of Node that package.json asks for

NODE = shutil.which("node")


@lru_cache(maxsize=1)
def find_reason_to_skip() -> str:
    """Return why the tests cannot run here; empty if they can."""
    if NODE is None:
        return "node is not installed"
    version = subprocess.run([NODE, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return "" if int(version[1:].split(".")[0]) >= OLDEST else f"node is of version {version}, older than {OLDEST}"


def run_node(*arguments, **options) -> subprocess.CompletedProcess:
    """Run Node to its end, which must be a success."""
    options = {"capture_output": True, "text": True, "timeout": PATIENCE, "encoding": "utf-8"} | options
    done = subprocess.run([str(NODE), *map(str, arguments)], **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def read_files(jobs: list[dict]) -> list[dict]:
    """Read files in one process; return what was read of each, or its error.

    Args:
        jobs: Bytes and options of each file, see read_files.mjs.
    """
    lines = [json.dumps(job | {"bytes": base64.b64encode(job["bytes"]).decode()}) for job in jobs]
    done = run_node(Path(__file__).parent / "read_files.mjs", input="".join(line + "\n" for line in lines))
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) == len(jobs)
    return results


def read_array(text: str, dtype, *shape: int) -> np.ndarray:
    """Return an array of a result."""
    return np.frombuffer(base64.b64decode(text), dtype).reshape(shape)
