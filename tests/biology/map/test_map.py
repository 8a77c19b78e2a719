"""Genes and donors of a candidate, with planted truth."""

from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from scsw.biology.map.map_genes import map_genes
from scsw.biology.stages.cell_activity import cell_activity
from scsw.biology.stages.donor_scores import donor_scores
from scsw.cohort.read import read_cohort
from scsw.files import read_table, write_table
from scsw.scgpt.init import init
from scsw.scgpt.model import load_model
from scsw.scgpt.tokens.cohort_tokens import cohort_tokenizer
from scsw.settings import section_settings
from tests.tiny import COMPUTE, model_settings, write_cohort

FEW = {"n_controls": 20, "n_write_out_controls": 20}
MAP = section_settings("map", {"min_cells": 5, "matched_genes": 20, **FEW})
STATISTICS = section_settings("statistics", {"bootstrap": 300})
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("map")
    cohort = write_cohort(folder)
    init(cohort, folder / "init", model=model_settings(), seed=0)
    cells = read_cohort(cohort, ["test"])
    return SimpleNamespace(
        cohort=cohort,
        folder=folder / "init",
        model=load_model(folder / "init"),
        cells=cells,
        tokenizer=cohort_tokenizer(cells, folder / "init"),
    )


def candidates(*places):
    rows = [
        {"candidate_id": f"ffn_down.b{b}.r{r}.c{c}", "block": b, "row": r, "column": c, "weight": w}
        for b, r, c, w in places
    ]
    return pd.DataFrame(rows).assign(
        family="ffn_down", mean_hidden=0.0, rank=range(1, len(rows) + 1)
    )


def test_donors_are_averaged_over_their_cells(parts):
    family = candidates((1, 2, 4, 0.5))
    activity = cell_activity(parts.model, parts.tokenizer, family, COMPUTE, CPU)
    table = donor_scores(parts.cells, family, activity, "as measured")
    assert set(table["donor_id"]) == {f"test{i}" for i in range(12)}
    whole = table[table["cell_type"] == "all"]
    assert whole["n_cells"].sum() == len(parts.tokenizer)
    assert (table["adnc"] == 2).all() and (table["split"] == "test").all()


def test_the_step_writes_its_tables(parts, tmp_path):
    write_table(candidates((0, 3, 5, 0.1), (1, 2, 4, 0.2)), tmp_path / "candidates.parquet")
    map_genes(
        parts.folder,
        parts.cohort,
        tmp_path / "candidates.parquet",
        tmp_path / "map",
        settings=MAP,
        statistics=STATISTICS,
        compute=COMPUTE,
    )
    names = ("gene_scores", "control_units", "donor_scores", "thinned_effects", "axis_scores")
    for name in names:
        table = read_table(tmp_path / "map" / f"{name}.parquet")
        assert list(table.columns[:3]) == ["cohort", "arm", "seed"]
        assert len(table) or name == "axis_scores"  # made-up genes are in no axis
    donors = read_table(tmp_path / "map" / "donor_scores.parquet")
    assert set(donors["split"]) == {"discovery", "test"}
    scores = read_table(tmp_path / "map" / "control_scores.parquet").set_index("gene")
    units = read_table(tmp_path / "map" / "control_units.parquet")
    assert set(units["control"]) == set(scores.columns)
    genes = read_table(tmp_path / "map" / "gene_scores.parquet")
    own = genes["candidate_id"].eq("ffn_down.b0.r3.c5") & genes["view"].eq("read_in")
    assert genes.loc[own & genes["cell_type"].eq("all"), "gene"].tolist() == list(scores.index)


def test_a_family_without_candidates_gives_empty_tables(parts, tmp_path):
    write_table(candidates((0, 3, 5, 0.1)).head(0), tmp_path / "candidates.parquet")
    map_genes(
        parts.folder,
        parts.cohort,
        tmp_path / "candidates.parquet",
        tmp_path / "map",
        settings=MAP,
        statistics=STATISTICS,
        compute=COMPUTE,
    )
    for name in ("gene_scores", "control_units", "donor_scores"):
        table = read_table(tmp_path / "map" / f"{name}.parquet")
        assert list(table.columns[:3]) == ["cohort", "arm", "seed"] and table.empty
    assert read_table(tmp_path / "map" / "control_scores.parquet").columns.tolist() == ["gene"]
