"""A local server that speaks the part of the Synapse REST interface that `synapse get` needs."""

import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler

from tests.fetch.file_server import Faults, send_file, serving

REPO = "org.sagebionetworks.repo.model"


class Synapse:
    """What the server holds, what it was asked, and what goes wrong."""

    def __init__(self, token):
        self.token = token
        self.entities = {}
        self.refused = set()
        self.faults = Faults()
        self.asked = []
        self.ranges = []

    def add_file(self, synapse_id, name, content, parent=None, md5=None):
        self.entities[synapse_id] = {
            "kind": "FileEntity",
            "name": name,
            "parent": parent,
            "content": content,
            "handle": synapse_id.replace("syn", "9"),
            "md5": md5 or hashlib.md5(content).hexdigest(),
        }

    def add_folder(self, synapse_id, name):
        self.entities[synapse_id] = {"kind": "Folder", "name": name, "parent": "syn1"}

    def by_handle(self, handle):
        return next(e for e in self.entities.values() if e.get("handle") == handle)


def serve(synapse):
    """Run the server while the block runs; give its address."""
    return serving(type("Handler", (_Handler,), {"synapse": synapse}))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    synapse: Synapse

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.synapse.asked.append(self.path)
        if download := re.fullmatch(r"/download/(\d+)", self.path):
            entity = self.synapse.by_handle(download[1])
            self.synapse.ranges.append(self.headers.get("Range"))
            return send_file(self, entity["content"], self.synapse.faults)
        if not self._known():
            return self._json(401, {"reason": "invalid access token"})
        if self.path.startswith("/repo/v1/userProfile"):
            return self._json(200, {"userName": "tester", "ownerId": "1"})
        if entity := re.fullmatch(r"/repo/v1/entity/(syn\d+)(?:/version/3)?", self.path):
            if refusal := self._refusal(entity[1]):
                return self._json(*refusal)
            return self._json(200, self._entity(entity[1]))
        return self._json(404, {"reason": f"no such page {self.path}"})

    def do_POST(self):
        self.synapse.asked.append(self.path)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or "{}")
        if not self._known():
            return self._json(401, {"reason": "invalid access token"})
        if bundle := re.fullmatch(r"/repo/v1/entity/(syn\d+)(?:/version/3)?/bundle2", self.path):
            return self._bundle(bundle[1])
        if self.path == "/repo/v1/entity/children":
            found = [
                {"id": key, "name": e["name"], "type": f"{REPO}.{e['kind']}"}
                for key, e in self.synapse.entities.items()
                if e["parent"] == body["parentId"]
            ]
            return self._json(200, {"page": found, "nextPageToken": None})
        if self.path == "/file/v1/fileHandle/batch":
            return self._json(200, {"requestedFiles": [self._handle(body["requestedFiles"][0])]})
        return self._json(404, {"reason": f"no such page {self.path}"})

    def _known(self):
        return self.headers.get("Authorization") == f"Bearer {self.synapse.token}"

    def _entity(self, key):
        found = self.synapse.entities[key]
        entity = {
            "id": key,
            "name": found["name"],
            "etag": "e1",
            "concreteType": f"{REPO}.{found['kind']}",
            "parentId": found["parent"] or "syn1",
        }
        if found["kind"] == "FileEntity":
            entity["concreteType"] = f"{REPO}.FileEntity"
            entity |= {"dataFileHandleId": found["handle"], "versionNumber": 3}
        return entity

    def _file_handle(self, found):
        return {
            "id": found["handle"],
            "concreteType": f"{REPO}.file.S3FileHandle",
            "fileName": found["name"],
            "contentMd5": found["md5"],
            "contentSize": len(found["content"]),
            "contentType": "application/octet-stream",
            "bucketName": "b",
            "key": "k",
            "storageLocationId": 1,
        }

    def _refusal(self, key):
        if key in self.synapse.refused:
            return 403, {"reason": "You lack READ access to the requested entity."}
        if key not in self.synapse.entities:
            return 404, {"reason": f"Entity {key} is not found."}
        return None

    def _bundle(self, key):
        if refusal := self._refusal(key):
            return self._json(*refusal)
        found = self.synapse.entities[key]
        handles = [self._file_handle(found)] if found["kind"] == "FileEntity" else []
        bundle = {"entity": self._entity(key), "fileHandles": handles}
        bundle["annotations"] = {"id": key, "etag": "e1", "annotations": {}}
        restriction = {"hasUnmetAccessRequirement": False, "restrictionLevel": "OPEN"}
        return self._json(200, bundle | {"restrictionInformation": restriction})

    def _handle(self, asked):
        found = self.synapse.by_handle(asked["fileHandleId"])
        url = f"http://{self.headers['Host']}/download/{found['handle']}"
        handle = self._file_handle(found)
        return {"fileHandleId": found["handle"], "fileHandle": handle, "preSignedURL": url}

    def _json(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
