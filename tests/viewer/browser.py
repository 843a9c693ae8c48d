"""A browser without a window for tests, driven by the WebDriver protocol of chromedriver: JSON over HTTP.

Only a few commands are needed, so no library is.
"""

import base64
import io
import json
import re
import shutil
import subprocess
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import Image

OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--force-device-scale-factor=1",
    "--hide-scrollbars",
]
SECONDS = 240  # for a command, on a machine that is busy with other tests


def obstacle() -> str:
    """Return why there is no browser; an empty text if there is one."""
    for name in ("chromedriver", "chromium"):
        if shutil.which(name) is None:
            return f"needs {name} (Debian's packages chromium and chromium-driver)"
    return ""


@contextmanager
def open_browser(folder: Path, *options: str):
    """Start chromedriver and a browser with an empty profile in a folder; yield the browser."""
    driver = subprocess.Popen(
        ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, encoding="utf-8"
    )
    try:
        port = next(match[1] for line in driver.stdout if (match := re.search(r"on port (\d+)\.", line)))
        chrome = {
            "args": [*OPTIONS, *options, f"--user-data-dir={folder / 'profile'}"],
            "prefs": {"download.default_directory": str(folder)},
        }
        wanted = {"goog:chromeOptions": chrome, "goog:loggingPrefs": {"browser": "ALL"}}
        browser = Browser(f"http://127.0.0.1:{port}")
        browser.start({"capabilities": {"alwaysMatch": wanted}})
        try:
            yield browser
        finally:
            with suppress(OSError):
                browser.call("DELETE", "")
    finally:
        driver.terminate()
        driver.wait()


def _move(x, y, duration) -> dict:
    return {"type": "pointerMove", "x": round(x), "y": round(y), "duration": duration}


class Browser:
    """Browser window."""

    def __init__(self, server: str):
        self.address = f"{server}/session"

    def start(self, wanted) -> None:
        self.address += "/" + self.call("POST", "", wanted)["sessionId"]
        limits = {"script": 1000 * SECONDS, "pageLoad": 1000 * SECONDS}
        self.call("POST", "/timeouts", limits)

    def call(self, method, path, content=None):
        """Send a command and return its value; raise AssertionError with the browser's message if it fails."""
        data = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            value = json.load(error)["value"]
            raise AssertionError(f"{value['error']}: {value['message']}") from None

    def resize(self, width, height) -> None:
        """Give the page a size."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("POST", "/goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": size})

    def open(self, address) -> None:
        """Open an address, or a file with a fragment; a page that is open already is loaded again."""
        self.call("POST", "/url", {"url": "about:blank"})
        self.call("POST", "/url", {"url": address})

    def run(self, script, *arguments):
        """Run the body of a function in the page and return its result."""
        return self.call("POST", "/execute/sync", {"script": script, "args": arguments})

    def wait(self, condition) -> None:
        """Wait until an expression is true."""
        self.later(f"const look = () => ({condition}) ? done(1) : setTimeout(look, 10); look();")

    def later(self, script, *arguments):
        """Run the body of a function that calls `done` with its result."""
        body = "const done = arguments[arguments.length - 1]; " + script
        return self.call("POST", "/execute/async", {"script": body, "args": arguments})

    def press(self, *keys) -> None:
        """Press keys one after the other."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self.call("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def click(self, x, y) -> None:
        """Click at a place of the page."""
        self.drag([[(x, y)]])

    def drag(self, paths, kind="mouse") -> None:
        """Press pointers of a kind at once, move them along paths, and lift them."""
        fingers = []
        for number, (first, *rest) in enumerate(paths):
            actions = [_move(*first, 0), {"type": "pointerDown", "button": 0}]
            actions += [_move(*place, 50) for place in rest] + [{"type": "pointerUp", "button": 0}]
            name, parameters = f"{kind} {number}", {"pointerType": kind}
            fingers.append({"type": "pointer", "id": name, "parameters": parameters, "actions": actions})
        self.call("POST", "/actions", {"actions": fingers})

    def wheel(self, x, y, amount) -> None:
        """Turn the wheel at a place of the page."""
        turn = {"type": "scroll", "x": round(x), "y": round(y), "deltaX": 0, "deltaY": amount, "duration": 0}
        self.call("POST", "/actions", {"actions": [{"type": "wheel", "id": "wheel", "actions": [turn]}]})

    def screenshot(self) -> np.ndarray:
        """Return the page as (H, W, 3) values in [0, 1]."""
        file = io.BytesIO(base64.b64decode(self.call("GET", "/screenshot")))
        return np.asarray(Image.open(file).convert("RGB"), np.float32) / 255

    def complaints(self) -> list[str]:
        """Return what the browser has written to its console as errors."""
        return [
            entry["message"]
            for entry in self.call("POST", "/se/log", {"type": "browser"})
            if entry["level"] == "SEVERE"
        ]

    # What pages of fastgs have in common.

    def open_page(self, path: Path, fragment="") -> None:
        """Open a page and wait for its first picture."""
        self.open(path.as_uri() + fragment)
        self.wait("document.body.dataset.drawn === 'true'")
        self.rest()

    def rest(self) -> None:
        """Wait until everything is drawn."""
        self.wait("(v => !v || (!v.busy && !v.wanted && !v.pending && v.quality === 1))(window.fastgs?.viewer)")

    def encode(self, part) -> Image.Image:
        """Return a part of the open picture as the page writes it."""
        text = self.later(
            "fastgs.encode(arguments[0]).then((blob) => { const reader = new FileReader();"
            "reader.onload = () => done(reader.result); reader.readAsDataURL(blob); })",
            part,
        )
        return Image.open(io.BytesIO(base64.b64decode(text.partition(",")[2])))
