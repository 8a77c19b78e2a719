"""Settings that hold for every test."""

import os
import socket

import pytest

# Before any test module imports numpy, torch or matplotlib.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["MPLBACKEND"] = "Agg"


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Fail a test that tries to reach another machine; results must not depend on a server."""
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_local(address):
            raise AssertionError(f"the test tried to reach {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


def _is_local(address):
    return address[0] in ("localhost", "::1") or str(address[0]).startswith("127.")
