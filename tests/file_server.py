"""A web server of our own for tests of downloads, which fails as it is told to."""

import http.server
import re
import threading
from contextlib import contextmanager


class Server(http.server.ThreadingHTTPServer):
    """Serves files by their names, in any folder, and remembers what it was asked for.

    Attributes:
        files: contents by name.
        ranges: whether ranges are understood.
        lengths: whether the length of a response is said.
        claims: of the Content-Range of a part, by its start, its end and the size of the file; None leaves it out.
        most: bytes of a part, however many were asked for.
        cuts: after how many bytes each of the next responses breaks off.
        statuses: what the next requests are answered with.
        asked: the Range header of each request.
        paths: the path of each request.
    """

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.ranges, self.lengths = dict(files), True, True
        self.claims = lambda start, end, size: f"bytes {start}-{end - 1}/{size}"
        self.most = 10**9
        self.cuts, self.statuses, self.asked, self.paths = [], [], [], []
        self.url = f"http://127.0.0.1:{self.server_port}/mirror"

    def handle_error(self, request, address):
        """Quiet: clients here leave as they please."""


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        asked = self.headers["Range"]
        self.server.asked.append(asked)
        self.server.paths.append(self.path)
        if self.server.statuses:
            return self.send_error(self.server.statuses.pop(0))
        content = self.server.files.get(self.path.rpartition("/")[2])
        if content is None:
            return self.send_error(404)
        match = re.match(r"bytes=(\d+)-$", asked or "") if self.server.ranges else None
        start, size = int(match[1]) if match else 0, len(content)
        if start and start >= size:
            return self.send_error(416)
        end = min(size, start + self.server.most) if match else size
        self.send_response(206 if match else 200)
        if self.server.lengths:
            self.send_header("Content-Length", str(end - start))
        if match and (claim := self.server.claims(start, end, size)):
            self.send_header("Content-Range", claim)
        self.end_headers()
        if self.server.cuts:
            end = min(end, start + self.server.cuts.pop(0))
        self.wfile.write(content[start:end])
        return None

    def log_message(self, *arguments):
        pass


@contextmanager
def serving(files):
    """A server that runs."""
    with Server(files) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
