"""A local server with the addresses of Hugging Face that huggingface_hub asks for."""

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote

from tests.fetch.file_server import Faults, send_file, serving

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Repository:
    """One repository: its files, which of them git keeps outside, and what goes wrong.

    `sent` holds the bytes that are sent in place of a file's own; `gated` closes the files but not
    their list, as the real server does. Faults concern the bodies of files alone.
    """

    files: dict
    name: str = "lab/scGPT"
    commit: str = COMMIT
    large: tuple = ("best_model.pt",)
    sent: dict = field(default_factory=dict)
    gated: bool = False
    faults: Faults = field(default_factory=Faults)
    hold_at: int | None = None
    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    asked: list = field(default_factory=list)

    def started_at(self, name):
        """Return the first byte of each request for a file's content."""
        return [start for asked, start in self.asked if asked == name]


def serve_repository(repository):
    """Serve a repository while the block runs; give the address."""
    return serving(type("Handler", (_Handler,), {"held": repository}))


def git_id(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    held: Repository

    def log_message(self, *_):
        pass

    def do_GET(self):
        held, path = self.held, unquote(self.path.partition("?")[0])
        if path.startswith("/large/"):
            return self._file(path.removeprefix("/large/"))
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            return self._list(found[1], found[2])
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if not found or found[1] != held.name or found[3] not in held.files:
            return self._refuse(404, "EntryNotFound")
        if held.gated:
            return self._refuse(403, "GatedRepo")
        if found[2] != held.commit:
            return self._refuse(404, "RevisionNotFound")
        if found[3].rpartition("/")[2] not in held.large:
            return self._file(found[3])
        self.send_response(302)
        self.send_header("Location", f"/large/{found[3]}")
        self.send_header("Content-Length", "0")
        return self.end_headers()

    do_HEAD = do_GET

    def _list(self, name, revision):
        held = self.held
        if name != held.name:
            return self._refuse(401, "RepoNotFound")
        if revision not in (None, "main", held.commit):
            return self._refuse(404, "RevisionNotFound")
        siblings = []
        for path, content in held.files.items():
            told = {"rfilename": path, "size": len(content), "blobId": git_id(content)}
            if path.rpartition("/")[2] in held.large:
                sha256 = hashlib.sha256(content).hexdigest()
                told["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 130}
            siblings.append(told)
        told = {"id": name, "modelId": name, "sha": held.commit, "siblings": siblings}
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        return self.wfile.write(body)

    def _file(self, path):
        held = self.held
        start = re.match(r"bytes=(\d+)", self.headers.get("Range", "bytes=0"))
        held.asked.append((path, int(start[1])))
        content = held.sent.get(path, held.files[path])
        if held.hold_at is None or path.rpartition("/")[2] not in held.large:
            return send_file(self, content, held.faults)
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: held.hold_at])
        self.wfile.flush()
        held.reached.set()
        held.released.wait(60)
        self.close_connection = True
        return None

    def _refuse(self, status, code):
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", "0")
        return self.end_headers()
