import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy.stats import kstest, linregress

from scsw.biology.stage_slope import stage_slope

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


def test_slope_alone_is_that_of_linregress_in_standard_deviations():
    donors = make_donors(30)
    result = fit(donors)
    y = donors["contribution"] / donors["contribution"].std(ddof=1)
    expected = linregress(donors["adnc"], y)
    assert result["beta"] == pytest.approx(expected.slope)
    assert result["p"] == pytest.approx(expected.pvalue)
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
    assert result["p"] == pytest.approx(expected.pvalues["adnc"])
    interval = expected.conf_int().loc["adnc"]
    assert [result["beta_low"], result["beta_high"]] == pytest.approx(list(interval))


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
    donors["pmi"] = 2 * donors["median_genes"] - 3 * donors["adnc"]
    result = fit(donors, COVARIATES)
    assert result["covariates"] == "median_genes"
    assert result["n_donors"] == 80  # a covariate goes, not a donor
    for text in (
        "sex (missing for 2 donors)",
        "age_death (missing for 1 donors)",
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


@pytest.mark.parametrize(("per_term", "fewest"), [(10, 5), (5, 10)])
def test_too_few_donors_are_not_tested(per_term, fewest):
    donors = make_donors(9)
    result = fit(donors, donors_per_term=per_term, min_donors=fewest)
    assert result["status"] == "not tested"
    assert "9 donors" in result["reason"] and "10 are needed" in result["reason"]


def test_p_is_uniform_without_an_effect():
    p = [fit(make_donors(24, slope=0.0, seed=s), COVARIATES)["p"] for s in range(200)]
    assert kstest(p, "uniform").pvalue > 0.01
