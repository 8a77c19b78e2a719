"""Against a stand-in of the server on this machine; the real one is never asked."""

import http.server
import importlib
import json
import socket
import threading
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from requests.adapters import HTTPAdapter

from scsw.biology.enrich.gene_set_download import download_gene_sets
from scsw.biology.gene_sets import read_gmt
from scsw.errors import ScswError

TEXT = "Second set\t\tTP53,1.0\tAPP,1.0\tAPP,1.0\t\nFirst set\tabout\tMAPT\tAPOE\nOne\t\tAPP\n"


class Enrichr(http.server.BaseHTTPRequestHandler):
    """Answers the two addresses that gseapy asks, as Enrichr does."""

    def do_GET(self):
        url = urlsplit(self.path)
        if url.path == "/Enrichr/datasetStatistics":
            found = json.dumps(
                {"statistics": [{"libraryName": "Small_2024"}, {"libraryName": "X"}]}
            )
        else:
            assert url.path == "/Enrichr/geneSetLibrary"
            found = TEXT if parse_qs(url.query)["libraryName"] == ["Small_2024"] else ""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(found.encode())

    def log_message(self, *args):
        """Say nothing."""


class Redirected(HTTPAdapter):
    """Sends what is meant for Enrichr to another address."""

    def __init__(self, address):
        super().__init__()
        self.address = address

    def send(self, request, **options):
        request.url = request.url.replace("https://maayanlab.cloud", self.address)
        return super().send(request, **options)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Let through connections to this machine only."""
    connect = socket.socket.connect

    def guarded(self, address):
        assert address[0] == "127.0.0.1", f"the test tried to reach {address}"
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture
def server(monkeypatch, tmp_path):
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Enrichr)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    session = requests.Session()
    session.mount("https://maayanlab.cloud", Redirected(f"http://127.0.0.1:{running.server_port}"))
    client = importlib.import_module("gseapy.enrichr")  # gseapy.enrichr is a function too
    monkeypatch.setattr(client, "retry", lambda: session)
    monkeypatch.setattr(client, "DEFAULT_CACHE_PATH", str(tmp_path / "cache"))
    yield running
    running.shutdown()
    running.server_close()


def test_a_library_becomes_a_gmt_file_with_its_source(server, tmp_path):
    out = tmp_path / "sets" / "small.gmt"
    download_gene_sets("Small_2024", out)
    assert read_gmt(out) == {
        "First set": ["APOE", "MAPT"], "One": ["APP"], "Second set": ["APP", "TP53"],
    }  # fmt: skip
    assert "Enrichr library Small_2024 (Human), downloaded 20" in out.read_text()
    record = json.loads((out.parent / "gene-sets-small.provenance.json").read_text())
    assert record["source"] == "https://maayanlab.cloud/Enrichr"
    assert record["parameters"] == {"library": "Small_2024", "organism": "Human"}
    assert record["n_sets"] == 3 and record["versions"]["gseapy"]


@pytest.mark.parametrize(
    ("library", "organism", "said"),
    [
        ("Absent", "Human", "gave no library Absent for Human"),
        ("X", "Human", "(gave no library X|sent no gene set)"),
        ("Small_2024", "Dragon", "Invalid organism"),
    ],
)
def test_a_library_that_is_not_there_is_refused(server, tmp_path, library, organism, said):
    out = tmp_path / "x.gmt"
    with pytest.raises(ScswError, match=said):
        download_gene_sets(library, out, organism=organism)
    assert not out.exists()


def test_without_a_network_the_message_says_what_to_do(server, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(ScswError, match="copy the GMT file"):
        download_gene_sets("Small_2024", tmp_path / "x.gmt")


def test_a_name_that_is_no_gmt_file_is_refused(tmp_path):
    with pytest.raises(ScswError, match="no name of a GMT file"):
        download_gene_sets("Small_2024", tmp_path / "x.txt")
