"""Local web server for tests of downloads, which fails on demand."""

import http.server
import re
import threading
from contextlib import contextmanager


class Server(http.server.ThreadingHTTPServer):
    """Serves files by their names, in any folder, and records the requests.

    Attributes:
        files: Contents of the files by name.
        ranges: True if ranges are supported.
        lengths: True if responses have a Content-Length.
        claims: Function from start, end and size of the file to the Content-Range of a part; None leaves it out.
        most: Largest number of bytes of a part.
        cuts: Numbers of bytes after which the next responses break off.
        statuses: Status codes of the next responses.
        asked: Range header of each request.
        paths: Path of each request.
    """

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.ranges, self.lengths = dict(files), True, True
        self.claims = lambda start, end, size: f"bytes {start}-{end - 1}/{size}"
        self.most = 10**9
        self.cuts, self.statuses, self.asked, self.paths = [], [], [], []
        self.url = f"http://127.0.0.1:{self.server_port}/mirror"

    def handle_error(self, request, address):
        """Print nothing, as clients in tests close connections early."""


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
    """Run a server."""
    with Server(files) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
