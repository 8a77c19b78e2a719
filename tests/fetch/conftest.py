"""Settings of every fetch test: no account, no proxy, no pauses."""

import os

import pytest

from scsw.fetch import retry


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    for name in [n for n in os.environ if n.startswith(("AWS_", "SYNAPSE_", "CELLXGENE_"))]:
        monkeypatch.delenv(name)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.0)
