import numpy as np
import pandas as pd
import pytest
from scipy.stats import mannwhitneyu
from statsmodels.stats.multitest import multipletests

from scsw.report.planted import planted_genes, planted_ranks


def ranks(orders):
    tables = [
        pd.DataFrame({"gene": genes, "combined_rank": np.arange(1, len(genes) + 1)}).assign(
            seed=0, candidate_id=f"c{i}"
        )
        for i, genes in enumerate(orders)
    ]
    return (
        pd.concat(tables)
        if tables
        else pd.DataFrame(columns=["seed", "candidate_id", "gene", "combined_rank"])
    )


def test_planted_genes_that_rank_first_are_recovered_and_a_random_order_is_not():
    planted = sorted(planted_genes())
    rng = np.random.default_rng(0)
    every = [*planted, *[f"X{i}" for i in range(300)]]
    noise = [list(rng.permutation(every)) for _ in range(5)]
    found = planted_ranks(ranks([every, *noise]), 0.05)
    assert found["n_planted"] == found["n_ranked"] == len(planted) and found["n_candidates"] == 6
    assert found["n_passed"] == 1 and found["largest"] == 1
    # Against scipy and statsmodels, by hand.
    p = []
    for order in [every, *noise]:
        place = pd.Series(range(len(order)), index=order)
        own, others = place[planted], place.drop(planted)
        p.append(mannwhitneyu(own, others, alternative="less").pvalue)
    assert (multipletests(p, method="fdr_bh")[1] <= 0.05).sum() == 1
    assert planted_ranks(ranks(noise), 0.05)["n_passed"] == 0


@pytest.mark.parametrize("orders", [[], [["X1", "X2"]]])
def test_nothing_ranked_is_told(orders):
    found = planted_ranks(ranks(orders), 0.05)
    assert (found["n_ranked"], found["n_candidates"], found["largest"]) == (0, 0, None)
