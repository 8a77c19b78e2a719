"""The step `verdict` on one tiny model: its tables agree with one another."""

import pytest

from scsw.files import read_table
from tests.superweight.steps import PRUNE, judged


def test_verdicts_of_the_model(tuned, searched, pruned, tmp_path):
    judged(tuned, searched, [pruned / "0.parquet", pruned / "1.parquet"], tmp_path)
    pairs, recovery = (read_table(tmp_path / f"{name}.parquet") for name in ("pairs", "recovery"))
    metrics = read_table(tmp_path / "metrics.parquet")
    whole = metrics[(metrics["by"] == "all") & (metrics["weight_set"] == "candidate")]
    assert len(whole) == 6 * (2 * whole["metric"].nunique() - 1)  # neighbours where zeroed
    assert (whole["effect_low"] <= whole["effect_high"]).all() and whole["n_donors"].eq(12).all()
    assert {"macro_f1", "ece", "gep_pearson", "neighbours_kept"} <= set(metrics["metric"])
    assert {"all", "cell_type", "region", "braak"} <= set(metrics["by"])
    assert len(pairs) == 15 and pairs["effect_joint"].notna().all()  # of six candidates
    pooled = recovery[recovery["scope"] == "all"].set_index("score")
    assert pooled["n"].eq(119).all() and pooled["spearman"].between(-1, 1).all()
    table = read_table(tmp_path / "verdicts.parquet")
    assert table["n_test_donors"].eq(12).all() and table["n_controls"].eq(119).all()
    assert table["effect_low"].le(table["effect_nll"]).all()
    zeroed = whole[(whole["mode"] == "zero") & (whole["metric"] == "nll")]
    rise = zeroed.set_index("candidate_id")["effect"].loc[table["candidate_id"]]
    assert rise.to_numpy() == pytest.approx(table["effect_nll"].to_numpy(), rel=1e-9)
    assert table["p"].between(1 / 120, 1).all()
    others = read_table(tmp_path / "family_effects.parquet")
    families = read_table(searched / "families.parquet")
    assert set(others["candidate_id"]) == set(families["candidate_id"])
    assert others["n_controls"].eq(PRUNE.n_family_controls).all() and len(others) == len(families)
    assert others["p"].between(1 / 5, 1).all() and others["q"].ge(others["p"]).all()
    named = others.set_index(["candidate_id", "module"])["effect_nll"]
    zeroed = metrics[(metrics["weight_set"] == "family") & (metrics["metric"] == "nll")]
    zeroed = zeroed.set_index(["candidate_id", "of"])["effect"].loc[named.index]
    assert zeroed.to_numpy() == pytest.approx(named.to_numpy(), rel=1e-9)
