import json

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy.stats import kstest, linregress, t

from scsw.biology.stages.stage_slope import stage_slope

COVARIATES = ["median_genes", "age_death", "sex", "pmi", "pct_mito"]


def make_donors(n, *, slope=0.5, seed=0):
    rng = np.random.default_rng(seed)
    stage = rng.integers(0, 4, n)
    return pd.DataFrame(
        {
            "adnc": stage,
            "contribution": slope * stage + rng.normal(size=n),
            "median_genes": rng.normal(2000, 300, n),
            "age_death": rng.normal(85, 6, n),
            "sex": rng.choice(["female", "male"], n),
            "pmi": rng.normal(6, 2, n),
            "pct_mito": rng.normal(1, 0.2, n),
        }
    )


def fit(donors, covariates=(), donors_per_term=10, min_donors=10):
    return stage_slope(
        donors, "contribution", "adnc", covariates,
        donors_per_term=donors_per_term, min_donors=min_donors,
    )  # fmt: skip


def larger_error(fitted, term="adnc"):
    """The t-test with the larger of statsmodels' classical and HC3 error: se, p, interval."""
    se = max(fitted.bse[term], fitted.HC3_se[term])
    reach = t.ppf(0.975, fitted.df_resid) * se
    beta = fitted.params[term]
    return se, 2 * t.sf(abs(beta / se), fitted.df_resid), [beta - reach, beta + reach]


def test_slope_alone_is_that_of_linregress_in_standard_deviations():
    donors = make_donors(30)
    result = fit(donors)
    y = donors["contribution"] / donors["contribution"].std(ddof=1)
    expected = linregress(donors["adnc"], y)
    assert result["beta"] == pytest.approx(expected.slope)
    fitted = smf.ols("y ~ adnc", donors.assign(y=y)).fit()
    assert [result["se"], result["p"]] == pytest.approx(larger_error(fitted)[:2])
    assert result["p"] >= expected.pvalue * (1 - 1e-9)
    assert result["status"] == "tested"
    assert result["covariates"] == result["reason"] == ""


def test_adjusted_slope_is_that_of_the_statsmodels_formula():
    donors = make_donors(80)
    result = fit(donors, COVARIATES)
    donors["y"] = donors["contribution"] / donors["contribution"].std(ddof=1)
    expected = smf.ols(
        "y ~ adnc + median_genes + age_death + C(sex) + pmi + pct_mito", donors
    ).fit()
    assert result["covariates"] == "+".join(COVARIATES)
    assert result["beta"] == pytest.approx(expected.params["adnc"])
    _, p, interval = larger_error(expected)
    assert result["p"] == pytest.approx(p)
    assert [result["beta_low"], result["beta_high"]] == pytest.approx(interval)


def test_donors_of_a_rare_stage_that_vary_more_do_not_pass_too_often():
    """As where late donors have fewer cells. The classical error alone lets 27 % pass."""
    rng = np.random.default_rng(4)
    classical, found = [], []
    for _ in range(200):
        stage = np.r_[np.zeros(17), np.full(3, 3)]
        values = rng.normal(size=20) * np.where(stage > 0, 3.0, 1.0)
        donors = pd.DataFrame({"adnc": stage, "contribution": values})
        found.append(fit(donors)["p"])
        classical.append(linregress(stage, values).pvalue)
    assert np.mean(np.array(classical) <= 0.05) > 0.2
    assert np.mean(np.array(found) <= 0.05) < 0.13


def test_a_donor_that_is_fitted_exactly_leaves_the_classical_error():
    donors = make_donors(30).assign(pmi=np.r_[np.zeros(29), 1.0])
    result = fit(donors, ["pmi"])
    donors["y"] = donors["contribution"] / donors["contribution"].std(ddof=1)
    assert result["se"] == pytest.approx(smf.ols("y ~ adnc + pmi", donors).fit().bse["adnc"])


@pytest.mark.parametrize(
    ("n", "kept"),
    [(10, ""), (29, "median_genes"), (30, "median_genes+age_death"), (60, "+".join(COVARIATES))],
)
def test_covariates_are_dropped_from_the_end_until_donors_suffice(n, kept):
    result = fit(make_donors(n), COVARIATES)
    assert result["covariates"] == kept
    for name in set(COVARIATES) - set(kept.split("+")):
        assert f"{name} (fewer than 10 donors per term)" in result["reason"]


def test_unusable_covariates_are_left_out_and_named():
    donors = make_donors(80)
    donors.loc[[3, 5], "sex"] = "unknown"
    donors.loc[7, "age_death"] = np.nan
    donors["pct_mito"] = 1.0
    donors["pmi"] = 50 + 2 * donors["median_genes"] - 3 * donors["adnc"]
    result = fit(donors, COVARIATES)
    assert result["covariates"] == "median_genes"
    assert result["n_donors"] == 80  # a covariate goes, not a donor
    for text in (
        "sex (missing for 2 donors)",
        "age_death (missing for 1 donor)",
        "pct_mito (the same in all donors)",
        "pmi (a linear combination",
    ):
        assert text in result["reason"]


def test_a_covariate_missing_only_for_donors_without_a_stage_is_kept():
    donors = make_donors(40)
    donors.loc[:4, "adnc"] = -1
    donors.loc[:4, "pmi"] = np.nan
    result = fit(donors, ["pmi"])
    assert (result["n_donors"], result["covariates"]) == (35, "pmi")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"adnc": -1}, "no held-out donor has both contribution and adnc"),
        ({"adnc": np.nan}, "no held-out donor"),
        ({"contribution": np.nan}, "no held-out donor"),
        ({"adnc": 3}, "all 20 donors have adnc 3"),
        ({"contribution": 0.25}, "contribution is the same in all 20 donors"),
    ],
)
def test_what_cannot_be_tested_says_why(change, said):
    result = fit(make_donors(20).assign(**change))
    assert result["status"] == "not tested"
    assert said in result["reason"]
    assert np.isnan([result[name] for name in ("beta", "beta_low", "beta_high", "p")]).all()


@pytest.mark.parametrize("others", [2, 3])
def test_one_or_two_donors_make_no_slope(others):
    donors = make_donors(20).assign(adnc=[3] * others + [2] * (20 - others))
    result = fit(donors)
    assert result["status"] == ("tested" if others == 3 else "not tested")
    assert ("2 of 20 donors have another adnc" in result["reason"]) == (others == 2)


@pytest.mark.parametrize(("per_term", "fewest"), [(10, 5), (5, 10)])
def test_too_few_donors_are_not_tested(per_term, fewest):
    donors = make_donors(9)
    result = fit(donors, donors_per_term=per_term, min_donors=fewest)
    assert result["status"] == "not tested"
    assert "9 donors" in result["reason"] and "10 are needed" in result["reason"]


def test_p_is_uniform_without_an_effect():
    p = [fit(make_donors(24, slope=0.0, seed=s), COVARIATES)["p"] for s in range(200)]
    assert kstest(p, "uniform").pvalue > 0.01


@pytest.mark.parametrize("covariates", [[], ["median_genes"]])
def test_p_is_uniform_with_shuffled_stages(covariates):
    """Depth drives the measure and follows the donors' order, the shuffled stage does not."""
    donors = make_donors(30, slope=0.8)
    donors["contribution"] += donors["median_genes"] / 200
    rng = np.random.default_rng(4)
    p = [
        fit(donors.assign(adnc=rng.permutation(donors["adnc"])), covariates)["p"]
        for _ in range(300)
    ]
    assert kstest(p, "uniform").pvalue > 0.01


def test_the_interval_covers_the_planted_slope():
    """`beta` is per standard deviation of the measure, of which each draw has its own."""
    covered = []
    for seed in range(200):
        donors = make_donors(30, slope=0.5, seed=seed)
        result, sd = fit(donors), donors["contribution"].std(ddof=1)
        covered.append(result["beta_low"] * sd <= 0.5 <= result["beta_high"] * sd)
    assert 0.91 <= np.mean(covered) <= 0.985


def with_assays(donors, seed=5):
    rng = np.random.default_rng(seed)
    share = rng.choice([0.0, 0.25, 1.0], len(donors))
    shares = [json.dumps({"3' v3": 1 - x, "multiome": x}) for x in share]
    return donors.assign(assay_shares=shares), share


def test_assay_enters_as_shares():
    donors, share = with_assays(make_donors(60))
    donors["contribution"] += 3 * share
    result = fit(donors, ["assay", "age_death"])
    assert result["covariates"] == "assay+age_death"
    donors["y"] = donors["contribution"] / donors["contribution"].std(ddof=1)
    expected = smf.ols("y ~ adnc + share + age_death", donors.assign(share=share)).fit()
    assert result["p"] == pytest.approx(larger_error(expected)[1])


def test_an_assay_of_many_levels_counts_a_term_for_each():
    donors = make_donors(40).assign(assay_shares=[f'{{"v{i % 4}": 1.0}}' for i in range(40)])
    result = fit(donors, ["median_genes", "assay", "sex"])
    assert result["covariates"] == "median_genes+sex"
    assert "assay (fewer than 10 donors per term)" in result["reason"]
    one = fit(donors.assign(assay_shares='{"v3": 1.0}'), ["assay"])
    assert "assay (the same in all donors)" in one["reason"]
    none = fit(donors.assign(assay_shares='{"": 1.0}'), ["assay"])
    assert "assay (missing for 40 donors)" in none["reason"]


def two_regions(n=40, *, slope=0.5, seed=0, between=1.0):
    rng = np.random.default_rng(seed)
    donors = make_donors(n, slope=slope, seed=seed).assign(donor_id=[f"D{i:02d}" for i in range(n)])
    donors["contribution"] = slope * donors["adnc"] + between * rng.normal(size=n)
    tables = [donors.assign(region=name) for name in ("A9", "MTG")]
    both = pd.concat(tables, ignore_index=True)
    both["contribution"] += 2.0 * both["region"].eq("A9") + rng.normal(0, 0.5, len(both))
    return both


def test_a_balanced_mixed_model_is_the_regression_of_donor_means():
    """Closed form: every donor in every region, so that REML's slope is OLS on the means."""
    both = two_regions()
    result = fit(both)
    means = both.groupby("donor_id")[["contribution", "adnc"]].mean()
    sd = both["contribution"].std(ddof=1)
    expected = smf.ols("y ~ adnc", means.assign(y=means["contribution"] / sd)).fit()
    se, p, _ = larger_error(expected)
    assert (result["n_donors"], result["n_regions"]) == (40, 2)
    assert result["null"].startswith("mixed-model")
    assert result["beta"] == pytest.approx(expected.params["adnc"], rel=1e-3)
    assert result["se"] == pytest.approx(se, rel=1e-2)
    assert result["p"] == pytest.approx(p, rel=0.05)


def test_the_mixed_model_is_statsmodels_own():
    both = two_regions(seed=3).iloc[:-9]  # unbalanced
    result = fit(both, ["median_genes"])
    both["y"] = both["contribution"] / both["contribution"].std(ddof=1)
    model = smf.mixedlm("y ~ adnc + median_genes + C(region)", both, groups="donor_id").fit()
    assert result["beta"] == pytest.approx(model.params["adnc"], rel=1e-3)
    regions = both["region"].eq("MTG") * model.params["C(region)[T.MTG]"]
    means = both.assign(y=both["y"] - regions).groupby("donor_id")[["y", "adnc", "median_genes"]]
    hc3 = smf.ols("y ~ adnc + median_genes", means.mean()).fit().HC3_se["adnc"]
    assert result["se"] == pytest.approx(max(model.bse["adnc"], hc3), rel=1e-2)


def test_regions_are_not_counted_as_donors():
    p, naive = [], []
    for seed in range(30):
        both = two_regions(20, slope=0, seed=seed)
        p.append(fit(both)["p"])
        level = both["contribution"] - both.groupby("region")["contribution"].transform("mean")
        naive.append(linregress(both["adnc"], level).pvalue)
    assert kstest(p, "uniform").pvalue > 0.01
    # As if two regions were two people: too small by the square root of two.
    assert np.mean(np.array(naive) < np.array(p)) > 0.95


def test_one_region_per_donor_is_a_covariate():
    donors = make_donors(40).assign(region=["A9", "MTG"] * 20)
    result = fit(donors.assign(donor_id=[str(i) for i in range(40)]), ["median_genes"])
    assert result["covariates"] == "region+median_genes" and result["n_regions"] == 2


def test_a_mixed_model_that_fails_says_so(monkeypatch):
    def fails(*args, **kwargs):
        raise np.linalg.LinAlgError("Singular matrix")

    monkeypatch.setattr("statsmodels.api.MixedLM.fit", fails)
    result = fit(two_regions())
    assert result["status"] == "not converged" and "Singular matrix" in result["reason"]
    assert np.isnan(result["p"]) and np.isnan(result["beta"])
