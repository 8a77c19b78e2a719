import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from scsw.biology.stages.axes import AXIS_SCORES
from scsw.biology.stages.stages import STAGE_VARIABLES, stages
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
            "age_censored": np.arange(40) % 4 == 0,
            "is_reference": False,
            "apoe_e4": rng.integers(0, 3, 40),
            "apoe_e2": rng.integers(0, 2, 40),
            "assay_shares": '{"10x": 1.0}',
            "region": "all",
        }
    )
    table.loc[39, ["adnc", "braak", "cerad", "cognition"]] = -1
    return table


@pytest.fixture
def donor_scores(donors):
    """c1's contribution in excitatory cells grows with adnc; the rest is noise.

    Thinning changes nothing.
    """
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
    table = pd.concat(rows, ignore_index=True)
    return pd.concat([table.assign(depth=d) for d in ("as measured", "thinned")])


@pytest.fixture
def effects(donors):
    rng = np.random.default_rng(2)
    rows = [
        {**MODEL, "weight_set": weight_set, "candidate_id": candidate, "mode": mode, "scale": 0.0}
        | {
            "donor_id": donor,
            "cell_type": cell_type,
            "region": "MTG",
            "n_cells": int(rng.integers(15, 40)),
        }
        | {"sum_d_nll": rng.random() * 60 - 10}
        for weight_set, candidate in [("candidate", "c1"), ("candidate", "c2"), ("random", "r1")]
        for mode in ("zero", "mean")
        for donor in donors.loc[donors["split"].eq("test"), "donor_id"]
        for cell_type in ["L2/3 IT", "L5 IT", "Microglia-PVM"]
    ]
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def once():
    """Keep the table of the fixtures as they are, which many tests look at."""
    return {}


@pytest.fixture
def whole(run, once):
    if not once:
        once["table"] = run()
    return once["table"].copy()


@pytest.fixture
def run(tmp_path, write, make_verdicts, donor_scores, effects):
    def go(donor_scores=donor_scores, effects=effects, thin=None, candidates=CANDIDATES, **given):
        listed = make_verdicts(dict.fromkeys(candidates, "not causal"))
        own = effects["weight_set"].eq("candidate") & effects["mode"].eq("zero")
        own &= effects["scale"].eq(0)
        paths = write(
            donor_scores=donor_scores,
            effects=effects,
            thinned_effects=effects[own] if thin is None else thin,
            axis_scores=pd.DataFrame(columns=[*MODEL, *AXIS_SCORES]),
            verdicts=listed,
        )
        stages(
            *paths,
            tmp_path / "out",
            settings=section_settings("stages", given),
            statistics=section_settings("statistics", {"bootstrap": 200}),
            simulated=True,
        )
        return pd.read_parquet(tmp_path / "out" / "stages.parquet")

    return go


def of(table, **keys):
    chosen = np.logical_and.reduce([table[name].eq(value) for name, value in keys.items()])
    return table[chosen]


def test_every_candidate_class_measure_and_stage_has_one_row(whole):
    table = whole
    assert list(table.columns) == list(STAGES)
    by_class, by_type = 2 * len(STAGE_VARIABLES), 3
    assert len(table) == 2 * 2 * 3 * (by_class + by_type)
    keys = ["depth", "candidate_id", "cell_class", "cell_type", "measure", "stage"]
    assert not table.duplicated(keys).any()
    assert set(table["status"]) == {"tested", "not tested"}
    untested = table[table["status"].eq("not tested")]
    assert untested["reason"].str.len().gt(0).all()
    assert untested[["p", "q", "beta"]].isna().all(axis=None)
    assert table.loc[table["status"].eq("tested"), ["p", "q", "beta"]].notna().all(axis=None)


def test_the_planted_slope_is_found_without_training_donors(whole):
    table = whole
    primary = table[table["primary"]]
    assert set(zip(primary["measure"], primary["stage"], strict=True)) == {("contribution", "adnc")}
    best = primary.sort_values("q").iloc[0]
    assert (best["candidate_id"], best["cell_class"]) == ("c1", "excitatory")
    assert best["q"] < 1e-6 and best["beta"] > 0
    assert best["n_donors"] == 33  # 14 + 20 held out, one of them without a stage
    assert best["covariates"] == "median_genes+age_death"
    by_class = of(table, cell_class="excitatory", cell_type="all", depth="as measured")
    pruned = of(by_class, measure="effect_nll", stage="adnc")
    assert set(pruned["n_donors"]) == {19}  # test donors only


def test_values_of_training_donors_do_not_matter(run, donor_scores, tmp_path):
    few = {"candidates": ["c1"], "covariates": []}
    run(**few)
    before = (tmp_path / "out" / "stages.parquet").read_bytes()
    donor_scores.loc[donor_scores["split"].eq("train"), ["contribution", "spike"]] = 1e6
    run(donor_scores, **few)
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
    keys = {"candidate_id": "c2", "cell_class": "excitatory", "cell_type": "all"}
    row = of(table, **keys, measure="effect_nll", stage="cps", depth="as measured")
    slope = np.polyfit(cps, rise / rise.std(ddof=1), 1)[0]
    assert row["beta"].item() == pytest.approx(slope)


def test_a_scale_sweep_counts_only_full_removal(run, effects):
    few = {"candidates": ["c1"], "covariates": []}
    expected = run(**few)
    sweep = effects.assign(scale=0.5, sum_d_nll=effects["sum_d_nll"] / 2)
    pd.testing.assert_frame_equal(run(effects=pd.concat([effects, sweep]), **few), expected)


def test_q_families_are_one_stage_and_measure(whole):
    table = whole
    table["by_type"] = table["cell_type"].ne("all")
    keys = ["depth", "stage", "measure", "by_type"]
    for (*_, by_type), family in table[table["status"].eq("tested")].groupby(keys):
        assert len(family) == (6 if by_type else 4)
        np.testing.assert_allclose(family["q"], multipletests(family["p"], method="fdr_bh")[1])


def test_donors_with_few_cells_of_a_class_are_left_out(run, donor_scores):
    few = donor_scores["donor_id"].isin(["D10", "D11"]) & donor_scores["cell_class"].eq("immune")
    donor_scores.loc[few, "n_cells"] = 3
    keys = {"measure": "contribution", "stage": "adnc", "candidate_id": "c1"}
    table = of(run(donor_scores), **keys, depth="as measured", cell_type="all")
    assert table.set_index("cell_class")["n_donors"].to_dict() == {"excitatory": 33, "immune": 31}


def test_effects_count_the_cells_that_were_pruned(run, effects):
    few = effects["donor_id"].isin(["D25", "D26", "D27"]) & effects["mode"].eq("zero")
    many = effects.assign(n_cells=30)
    many.loc[few, "n_cells"] = 5  # two types of the class: 10 cells
    keys = {"cell_class": "excitatory", "cell_type": "all"}
    table = of(run(effects=many), measure="effect_nll", stage="cps", **keys)
    assert set(table["n_donors"]) == {17}


def test_braak_is_primary_where_no_donor_has_adnc(run, donor_scores):
    table = run(donor_scores.assign(adnc=-1))
    primary = table[table["primary"]]
    assert set(primary["stage"]) == {"braak"} and set(primary["status"]) == {"tested"}
    assert set(of(table, stage="adnc")["status"]) == {"not tested"}


def test_no_staging_at_all_gives_rows_that_say_so(run, donor_scores):
    missing = dict.fromkeys([*STAGE_VARIABLES], -1) | {"cps": np.nan}
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
    run(candidates=[])
    assert json.loads((tmp_path / "out" / "stages.provenance.json").read_text())["simulated"]


def test_an_effect_of_depth_alone_is_gone_when_adjusted_and_when_thinned(run, donor_scores):
    """Deeper sequencing in late stages raises the contribution; nothing else does."""
    rng = np.random.default_rng(3)
    measured = donor_scores["depth"].eq("as measured")
    depth_of = 1000 + 400 * donor_scores["adnc"] + rng.normal(0, 250, len(donor_scores))
    donor_scores["median_genes"] = np.where(measured, depth_of, 900.0)
    noise = rng.normal(0, 0.3, len(donor_scores))
    donor_scores["contribution"] = np.where(measured, depth_of / 400, 0) + noise
    tests = {"measure": "contribution", "stage": "adnc", "cell_type": "all"}
    table = of(run(donor_scores, candidates=["c1"]), **tests)
    raw = of(table, depth="as measured")
    assert (raw["p_unadjusted"] < 1e-3).all()
    assert (raw["q"] > 0.05).all() and raw["covariates"].str.contains("median_genes").all()
    unadjusted = of(run(donor_scores, candidates=["c1"], covariates=[]), **tests)
    assert (of(unadjusted, depth="as measured")["survives_thinning"] == "no").all()
    assert (of(unadjusted, depth="thinned")["q"] > 0.05).all()


def test_a_real_effect_survives_thinning(whole):
    best = whole.query("primary").sort_values("q").iloc[0]
    assert best["survives_thinning"] == "yes"


def test_the_detectable_slope_is_found_at_the_stated_power(whole):
    """Noncentral t: the power at the detectable slope, at the family's Bonferroni level."""
    row = whole.query("primary").iloc[0]
    critical = stats.t.isf(0.05 / 4 / 2, row["df"])
    power = stats.nct.sf(critical, row["df"], row["detectable"] / row["se"])
    assert power == pytest.approx(0.8, abs=0.02)


def test_reference_donors_are_left_out_even_where_their_genotype_is_known(run, donor_scores):
    donor_scores["is_reference"] = donor_scores["donor_id"].isin(["D10", "D30"])
    keys = {"stage": "apoe_e4", "measure": "spike", "cell_type": "all"}
    table = run(donor_scores, candidates=["c1"], covariates=[])
    assert set(of(table, **keys)["n_donors"]) == {32}


def test_censored_ages_are_counted(whole):
    row = whole.query("primary").iloc[0]
    assert row["n_age_censored"] == 8  # every fourth of D06 to D38


def test_several_regions_go_through_a_mixed_model(run, donor_scores, effects):
    one = of(donor_scores, candidate_id="c1", cell_class="excitatory")
    one = one.assign(cps=-1, thal=-1, cerad=-1, cognition=-1, apoe_e4=-1, apoe_e2=-1)
    regions = [one.assign(region=name) for name in ("all", "MTG", "A9")]
    regions[2]["contribution"] = regions[2]["contribution"] + 5.0
    own = effects[effects["cell_type"].isin(CLASSES["excitatory"])]
    pruned = [own, own.assign(region="A9", sum_d_nll=own["sum_d_nll"] * 1.1)]
    table = run(pd.concat(regions), pd.concat(pruned), candidates=["c1"], covariates=[])
    best = table.query("primary").sort_values("q").iloc[0]
    assert (best["candidate_id"], best["n_regions"], best["n_donors"]) == ("c1", 2, 33)
    assert best["null"].startswith("mixed-model") and best["q"] < 1e-6
    assert set(table["status"]) <= {"tested", "not tested", "not converged"}


def test_weights_of_one_hidden_unit_are_one_test(run, donor_scores, effects):
    names = {"c1": "ffn_down.b0.r1.c5", "c2": "ffn_down.b0.r2.c5"}
    scores = donor_scores.reset_index(drop=True)
    first = scores["candidate_id"].eq("c1")
    scores.loc[~first, ["contribution", "median_genes"]] = scores.loc[
        first, ["contribution", "median_genes"]
    ].to_numpy() * [-2, 1]
    tables = [t.assign(candidate_id=t["candidate_id"].map(names)) for t in (scores, effects)]
    table = run(*tables, candidates=list(names.values()))
    primary = table[table["primary"] & table["status"].eq("tested")]
    one, other = (primary[primary["candidate_id"].eq(name)] for name in names.values())
    assert other["p"].to_numpy() == pytest.approx(one["p"].to_numpy())
    expected = stats.false_discovery_control(one["p"])
    for own in (one, other):
        assert own["q"].to_numpy() == pytest.approx(expected)
    needed = stats.t.isf(0.05 / len(one) / 2, one["df"]) + stats.t.ppf(0.8, one["df"])
    assert one["detectable"].to_numpy() == pytest.approx(one["se"].to_numpy() * needed)
