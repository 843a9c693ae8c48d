"""A page on this machine's own address, for its browser and nobody else."""

from __future__ import annotations

import webbrowser
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from typing_extensions import override

from fastgs.cli.console import announce, say_warning

HOST = "127.0.0.1"


def make_server(page: str) -> ThreadingHTTPServer:
    """Return a server of one page on a free port of the loopback address."""
    content = page.encode("utf-8", "replace")

    class Handler(BaseHTTPRequestHandler):
        """Answers requests for the page, and for nothing else."""

        def do_GET(self) -> None:
            self._answer(True)

        def do_HEAD(self) -> None:
            self._answer(False)

        def _answer(self, whole: bool) -> None:
            # Another name for this address is that of a website, which must not read what is shown here.
            name = self.headers.get("Host", "").rpartition(":")[0]
            if self.path != "/" or name not in (HOST, "localhost"):
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            if whole:
                self.wfile.write(content)

        @override
        def log_message(self, format: str, *arguments: object) -> None:
            """Print nothing."""

    return ThreadingHTTPServer((HOST, 0), Handler)


def serve(page: str, open_browser: bool) -> None:
    """Serve a page until the user ends it with Ctrl-C.

    Args:
        page: Text of the page.
        open_browser: True to open it in the browser.

    Raises:
        OSError: The address cannot be printed.
    """
    with make_server(page) as server:
        try:
            address = f"http://{HOST}:{server.server_address[1]}/"
            announce(f"{address}  Ctrl-C ends")
            if open_browser and not webbrowser.open(address):
                say_warning("no browser was found; open the address in one on this machine")
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            pass
