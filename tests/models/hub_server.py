"""A hub on 127.0.0.1, as far as downloading goes: HEAD and GET of `/<repo>/resolve/<revision>/<file>`."""

from __future__ import annotations

import hashlib
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub:
    """What it serves, how it misbehaves, and what it was asked.

    `cut` answers of large files end after that many bytes, once per entry. `status` is the answer to everything
    where it is set. `wrong_hash` makes it announce a hash that the bytes don't have.
    """

    def __init__(self, files):
        self.files = files
        self.status = None
        self.cut = []
        self.wrong_hash = False
        self.asked = []
        self.endpoint = ""

    def sent(self, method="GET"):
        return [path for m, path, _ in self.asked if m == method]


@contextmanager
def serving(files):
    """`files`: "repo/resolve/revision/name" -> bytes."""
    hub = Hub(files)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(hub):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            """Keeps the test's output clean."""

        def do_HEAD(self):
            self.answer("HEAD")

        def do_GET(self):
            self.answer("GET")

        def answer(self, method):
            hub.asked.append((method, self.path, dict(self.headers)))
            data = hub.files.get(self.path.lstrip("/"))
            status = hub.status or (404 if data is None else 200)
            if status != 200:
                self.send_response(status)
                if status in (401, 403):
                    self.send_header("X-Error-Code", "GatedRepo")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_file(method, data)

        def send_file(self, method, data):
            begin = 0
            if self.headers.get("Range"):
                begin = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            digest = hashlib.sha256(data).hexdigest()
            if hub.wrong_hash:
                digest = digest[::-1]
            large = self.path.endswith(".safetensors")
            self.send_response(206 if begin else 200)
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("ETag", f'"{digest if large else digest[:40]}"')
            if large:
                self.send_header("X-Linked-Etag", f'"{digest}"')
                self.send_header("X-Linked-Size", str(len(data)))
            self.send_header("Content-Length", str(len(data) - begin))
            self.end_headers()
            if method == "GET":
                body = data[begin:]
                if large and hub.cut:
                    body = body[: hub.cut.pop(0)]
                    self.close_connection = True
                self.wfile.write(body)

    return Handler
