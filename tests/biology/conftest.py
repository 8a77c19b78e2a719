"""Small tables in the layout of docs/outputs.md, made up for these tests."""

import socket

import numpy as np
import pandas as pd
import pytest

FIRST, SECOND = "ffn_down.b1.r17.c41", "ffn_down.b0.r3.c5"


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a network connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


@pytest.fixture
def make_scores():
    """Gene scores from candidate → view → z-scores of `genes`; scores are z plus `offset`."""

    def make(z_of, genes, *, cohort="one", seed=0, offset=100.0):
        tables = [
            pd.DataFrame(
                {
                    "cohort": cohort,
                    "arm": "real",
                    "seed": seed,
                    "candidate_id": candidate,
                    "view": view,
                    "decoder": "GEP" if view == "write_out" else "",
                    "cell_type": "all",
                    "gene": list(genes),
                    "n_cells": 50,
                    "detection_rate": 0.5,
                    "mean_bin": 20.0,
                    "score": np.asarray(z, float) + (offset if view == "read_in" else 0.0),
                    "z": np.asarray(z, float),
                    "p": 0.5,
                    "q": 0.9,
                    "null": "matched genes",
                }
            )
            for candidate, views in z_of.items()
            for view, z in views.items()
        ]
        return pd.concat(tables, ignore_index=True)

    return make


@pytest.fixture
def make_verdicts():
    """Verdicts from candidate → verdict, best first."""

    def make(verdict_of, *, cohort="one", seed=0):
        return pd.DataFrame(
            {
                "cohort": cohort,
                "arm": "real",
                "seed": seed,
                "rank": np.arange(1, len(verdict_of) + 1),
                "candidate_id": list(verdict_of),
                "causal": [verdict.startswith("causal") for verdict in verdict_of.values()],
                "verdict": list(verdict_of.values()),
            }
        ).astype({"seed": "int64", "rank": "int64", "causal": bool})

    return make


@pytest.fixture
def write(tmp_path):
    """Write tables as Parquet and return their paths."""

    def save(**tables):
        paths = []
        for name, table in tables.items():
            paths.append(tmp_path / f"{name}.parquet")
            table.to_parquet(paths[-1], index=False)
        return paths if len(paths) > 1 else paths[0]

    return save
