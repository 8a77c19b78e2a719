"""A local server of files that understands byte ranges and can be told to fail."""

import contextlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Faults:
    """What the next answers do wrong, one entry each; none left: all goes well.

    An entry is a status such as 503, or ``("cut", n)``: the connection breaks after n bytes.
    """

    def __init__(self, *entries):
        self.entries = list(entries)

    def next(self):
        return self.entries.pop(0) if self.entries else None


def send_file(handler, content, faults, etag=None, ranges=True):
    """Answer a GET or HEAD for `content`, as a whole or from the byte that was asked for."""
    fault = None if handler.command == "HEAD" else faults.next()
    if isinstance(fault, int):
        handler.send_response(fault)
        handler.send_header("Content-Length", "0")
        return handler.end_headers()
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", handler.headers.get("Range", ""))
    start, stop = 0, len(content)
    if wanted and ranges:
        start, stop = int(wanted[1]), min(int(wanted[2] or stop) + 1, stop)
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
    else:
        handler.send_response(200)
    handler.send_header("Content-Length", str(stop - start))
    if etag:
        handler.send_header("ETag", f'"{etag}"')
    handler.end_headers()
    if handler.command == "HEAD":
        return None
    if fault:
        handler.wfile.write(content[start : min(stop, start + fault[1])])
        handler.wfile.flush()
        handler.close_connection = True
        return None
    return handler.wfile.write(content[start:stop])


class Files:
    """Files by path of their address, what was asked for, and what goes wrong."""

    def __init__(self, files, faults=(), etags=None, ranges=True):
        self.files, self.faults = files, Faults(*faults)
        self.etags, self.ranges = etags or {}, ranges
        self.asked = []

    def started_at(self):
        """Return the first byte of each GET for a file."""
        return [
            int(re.match(r"bytes=(\d+)", r or "bytes=0")[1]) for m, r in self.asked if m == "GET"
        ]


def serve_files(files):
    """Serve files while the block runs; give the address."""
    return serving(type("Handler", (_Handler,), {"held": files}))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    held: Files

    def log_message(self, *_):
        pass

    def do_GET(self):
        path = self.path.partition("?")[0]
        content, held = self.held.files.get(path, 404), self.held
        held.asked.append((self.command, self.headers.get("Range")))
        if isinstance(content, int):
            self.send_response(content)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        return send_file(self, content, held.faults, held.etags.get(path), held.ranges)

    do_HEAD = do_GET


@contextlib.contextmanager
def serving(handler):
    """Run a server while the block runs; give its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
