import json

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests

from scsw.biology.stages import STAGE_VARIABLES, stages
from scsw.biology.tables import STAGES
from scsw.errors import ScswError
from scsw.settings import section_settings

CLASSES = {"excitatory": ["L2/3 IT", "L5 IT"], "immune": ["Microglia-PVM"]}
CANDIDATES = ["c1", "c2"]
MODEL = {"cohort": "one", "arm": "real", "seed": 0}


@pytest.fixture
def donors():
    """Forty donors: 6 for training, 14 for discovery, 20 for test; one without a stage."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "donor_id": [f"D{i:02d}" for i in range(40)],
            "split": ["train"] * 6 + ["discovery"] * 14 + ["test"] * 20,
            "adnc": rng.integers(0, 4, 40),
            "braak": rng.integers(0, 7, 40),
            "thal": -1,
            "cerad": rng.integers(0, 4, 40),
            "cognition": rng.integers(0, 3, 40),
            "cps": rng.random(40),
            "age_death": rng.normal(85, 5, 40),
            "sex": rng.choice(["female", "male"], 40),
            "pmi": rng.normal(6, 1, 40),
            "pct_mito": rng.normal(1, 0.1, 40),
        }
    )
    table.loc[39, ["adnc", "braak", "cerad", "cognition"]] = -1
    return table


@pytest.fixture
def donor_scores(donors):
    """c1's contribution in excitatory cells grows with adnc; the rest is noise."""
    rng = np.random.default_rng(1)
    rows = []
    for candidate in CANDIDATES:
        for cell_class, types in CLASSES.items():
            for cell_type in ["all", *types]:
                contribution = rng.normal(size=len(donors))
                if (candidate, cell_class) == ("c1", "excitatory"):
                    contribution = contribution / 4 + donors["adnc"].to_numpy()
                rows.append(
                    donors.assign(
                        **MODEL,
                        candidate_id=candidate,
                        cell_class=cell_class,
                        cell_type=cell_type,
                        n_cells=50,
                        contribution=contribution,
                        spike=rng.normal(size=len(donors)),
                        median_genes=rng.normal(size=40),
                    )
                )
    return pd.concat(rows, ignore_index=True)


@pytest.fixture
def effects(donors):
    rng = np.random.default_rng(2)
    rows = [
        {**MODEL, "weight_set": weight_set, "candidate_id": candidate, "mode": mode, "scale": 0.0}
        | {"donor_id": donor, "cell_type": cell_type, "n_cells": int(rng.integers(15, 40))}
        | {"sum_d_nll": rng.random() * 60 - 10}
        for weight_set, candidate in [("candidate", "c1"), ("candidate", "c2"), ("random", "r1")]
        for mode in ("zero", "mean")
        for donor in donors.loc[donors["split"].eq("test"), "donor_id"]
        for cell_type in ["L2/3 IT", "L5 IT", "Microglia-PVM"]
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def run(tmp_path, write, make_verdicts, donor_scores, effects):
    def go(donor_scores=donor_scores, effects=effects, candidates=CANDIDATES, **given):
        listed = make_verdicts(dict.fromkeys(candidates, "not causal"))
        paths = write(donor_scores=donor_scores, effects=effects, verdicts=listed)
        settings = section_settings("stages", given)
        stages(*paths, tmp_path / "out", settings=settings, simulated=True)
        return pd.read_parquet(tmp_path / "out" / "stages.parquet")

    return go


def of(table, **keys):
    chosen = np.logical_and.reduce([table[name].eq(value) for name, value in keys.items()])
    return table[chosen]


def test_every_candidate_class_measure_and_stage_has_one_row(run):
    table = run()
    assert list(table.columns) == list(STAGES)
    assert len(table) == 2 * 2 * 3 * len(STAGE_VARIABLES)
    assert not table.duplicated(["candidate_id", "cell_class", "measure", "stage"]).any()
    assert set(table["status"]) == {"tested", "not tested"}
    untested = table[table["status"].eq("not tested")]
    assert untested["reason"].str.len().gt(0).all()
    assert untested[["p", "q", "beta"]].isna().all(axis=None)
    assert table.loc[table["status"].eq("tested"), ["p", "q", "beta"]].notna().all(axis=None)


def test_the_planted_slope_is_found_without_training_donors(run):
    table = run()
    primary = table[table["primary"]]
    assert set(zip(primary["measure"], primary["stage"], strict=True)) == {("contribution", "adnc")}
    best = primary.sort_values("q").iloc[0]
    assert (best["candidate_id"], best["cell_class"]) == ("c1", "excitatory")
    assert best["q"] < 1e-6 and best["beta"] > 0
    assert best["n_donors"] == 33  # 14 + 20 held out, one of them without a stage
    assert best["covariates"] == "median_genes+age_death"
    pruned = of(table, measure="effect_nll", stage="adnc", cell_class="excitatory")
    assert set(pruned["n_donors"]) == {19}  # test donors only


def test_values_of_training_donors_do_not_matter(run, donor_scores, tmp_path):
    run()
    before = (tmp_path / "out" / "stages.parquet").read_bytes()
    donor_scores.loc[donor_scores["split"].eq("train"), ["contribution", "spike"]] = 1e6
    run(donor_scores)
    assert (tmp_path / "out" / "stages.parquet").read_bytes() == before


def test_effect_nll_is_summed_over_the_cell_types_of_the_class(run, effects, donors):
    kept = effects[
        effects["candidate_id"].eq("c2")
        & effects["mode"].eq("zero")
        & effects["cell_type"].isin(CLASSES["excitatory"])
    ]
    sums = kept.groupby("donor_id")[["sum_d_nll", "n_cells"]].sum()
    rise = sums["sum_d_nll"] / sums["n_cells"]
    cps = donors.set_index("donor_id").loc[rise.index, "cps"]
    table = run(covariates=[])
    row = of(table, candidate_id="c2", cell_class="excitatory", measure="effect_nll", stage="cps")
    slope = np.polyfit(cps, rise / rise.std(ddof=1), 1)[0]
    assert row["beta"].item() == pytest.approx(slope)


def test_a_scale_sweep_counts_only_full_removal(run, effects):
    expected = run()
    sweep = effects.assign(scale=0.5, sum_d_nll=effects["sum_d_nll"] / 2)
    pd.testing.assert_frame_equal(run(effects=pd.concat([effects, sweep])), expected)


def test_q_families_are_one_stage_and_measure(run):
    table = run()
    for _, family in table[table["status"].eq("tested")].groupby(["stage", "measure"]):
        assert len(family) == 4
        np.testing.assert_allclose(family["q"], multipletests(family["p"], method="fdr_bh")[1])


def test_donors_with_few_cells_of_a_class_are_left_out(run, donor_scores):
    few = donor_scores["donor_id"].isin(["D10", "D11"]) & donor_scores["cell_class"].eq("immune")
    donor_scores.loc[few, "n_cells"] = 3
    table = of(run(donor_scores), measure="contribution", stage="adnc", candidate_id="c1")
    assert table.set_index("cell_class")["n_donors"].to_dict() == {"excitatory": 33, "immune": 31}


def test_effects_count_the_cells_that_were_pruned(run, effects):
    few = effects["donor_id"].isin(["D25", "D26", "D27"]) & effects["mode"].eq("zero")
    many = effects.assign(n_cells=30)
    many.loc[few, "n_cells"] = 5  # two types of the class: 10 cells
    table = of(run(effects=many), measure="effect_nll", stage="cps", cell_class="excitatory")
    assert set(table["n_donors"]) == {17}


def test_braak_is_primary_where_no_donor_has_adnc(run, donor_scores):
    table = run(donor_scores.assign(adnc=-1))
    primary = table[table["primary"]]
    assert set(primary["stage"]) == {"braak"} and set(primary["status"]) == {"tested"}
    assert set(of(table, stage="adnc")["status"]) == {"not tested"}


def test_no_staging_at_all_gives_rows_that_say_so(run, donor_scores):
    missing = dict.fromkeys(["adnc", "braak", "cerad", "cognition"], -1) | {"cps": np.nan}
    table = run(donor_scores.assign(**missing))
    assert set(table["status"]) == {"not tested"}
    assert table["reason"].str.startswith("no held-out donor has both").all()
    assert table["primary"].sum() == 4


@pytest.mark.parametrize("empty", ["donor_scores", "effects", "both"])
def test_empty_tables_give_rows_that_are_not_tested(run, donor_scores, effects, empty):
    scores = donor_scores if empty == "effects" else donor_scores.iloc[:0]
    pruned = effects if empty == "donor_scores" else effects.iloc[:0]
    if empty == "donor_scores":
        with pytest.raises(ScswError, match="class of the cell types"):
            run(scores, pruned)
        return
    table = run(scores, pruned)
    assert set(of(table, measure="effect_nll")["status"]) == {"not tested"}
    assert set(table["candidate_id"]) == set(CANDIDATES)


def test_no_candidate_gives_an_empty_typed_table(run):
    table = run(candidates=[])
    assert len(table) == 0 and list(table.columns) == list(STAGES)
    assert table["primary"].dtype == bool and table["reason"].dtype == "string"


def test_provenance_says_simulated(run, tmp_path):
    run()
    assert json.loads((tmp_path / "out" / "stages.provenance.json").read_text())["simulated"]
