"""A local stand-in of Google Drive that gdown reaches as a proxy, with its own certificate.

gdown asks fixed addresses of https://drive.google.com, so it is pointed here by HTTPS_PROXY, and
trusts this server's certificate by REQUESTS_CA_BUNDLE.
"""

import contextlib
import datetime
import re
import ssl
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.fetch.file_server import Faults, send_file, serving

FOLDER = "1" + "folderOfOneModel" + "x" * 16
_HOSTS = ("drive.google.com", "drive.usercontent.google.com")


@dataclass
class Drive:
    """One public folder: its files, and what goes wrong when one is sent.

    Files longer than `unchecked` bytes come after a page that asks for a confirmation.
    """

    files: dict
    closed: bool = False
    unchecked: int = 1000
    faults: Faults = field(default_factory=Faults)
    asked: list = field(default_factory=list)

    def id(self, name):
        return f"1file{sorted(self.files).index(name)}" + "x" * 27

    def started_at(self, name):
        """Return the first byte of each request for a file's content."""
        return [start for asked, start in self.asked if asked == name]


@contextlib.contextmanager
def serve_drive(drive, folder):
    """Serve while the block runs; give the environment with which gdown comes here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate = _write_certificate(folder)
    context.load_cert_chain(certificate, folder / "key.pem")
    pages = type("Pages", (_Pages,), {"held": drive})
    handler = type("Proxy", (_Proxy,), {"context": context, "pages": pages})
    with serving(handler) as address:
        yield {"HTTPS_PROXY": address, "REQUESTS_CA_BUNDLE": str(certificate)}


class _Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    context: ssl.SSLContext
    pages: type

    def log_message(self, *_):
        pass

    def do_CONNECT(self):
        if self.path.partition(":")[0] not in _HOSTS:
            return self.send_error(502)
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        with self.context.wrap_socket(self.connection, server_side=True) as secured:
            self.pages(secured, self.client_address, self.server)
        return None


class _Pages(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    held: Drive

    def log_message(self, *_):
        pass

    def do_GET(self):
        held, url = self.held, urlsplit(self.path)
        (wanted,) = parse_qs(url.query)["id"]
        if url.path == "/embeddedfolderview":
            return self._page(self._listing(), 404 if held.closed or wanted != FOLDER else 200)
        names = {held.id(name): name for name in held.files}
        if wanted not in names:
            return self._page("no such file", 404)
        name = names[wanted]
        if url.path == "/uc" and len(held.files[name]) > held.unchecked:
            return self._page(
                '<form id="download-form" action="https://drive.usercontent.google.com/download" '
                f'method="get"><input type="hidden" name="id" value="{wanted}">'
                '<input type="hidden" name="confirm" value="t"></form>'
            )
        start = re.match(r"bytes=(\d+)", self.headers.get("Range", "bytes=0"))
        held.asked.append((name, int(start[1])))
        self.attachment = name
        return send_file(self, held.files[name], held.faults, etag=f"etag-{name}")

    def send_response(self, *args):
        super().send_response(*args)
        if name := getattr(self, "attachment", None):
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Disposition", f'attachment; filename="{name}"')

    def _listing(self):
        links = [
            f'<a href="https://drive.google.com/file/d/{self.held.id(name)}/view?usp=drive_web">'
            f"<div>{name}</div></a>"
            for name in self.held.files
        ]
        return "<html><head><title>a model</title></head>" + "".join(links) + "</html>"

    def _page(self, text, status=200):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _write_certificate(folder):
    """Write a certificate for Drive's hosts that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a test's own server")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(h) for h in _HOSTS]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    path = folder / "certificate.pem"
    path.write_bytes(certificate.public_bytes(pem))
    key_bytes = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(key_bytes)
    return path
