import gseapy
import numpy as np
import pandas as pd
import pytest

from scsw.biology.enrich.enrichment_scores import enrichment_scores
from scsw.biology.enrich.set_membership import membership

pytestmark = pytest.mark.usefixtures("no_network")
GENES = [f"GENE{i:03d}" for i in range(400)]


@pytest.fixture
def library():
    rng = np.random.default_rng(0)
    sets = {f"S{k:02d}": sorted(rng.choice(GENES, 5 + 9 * k, replace=False)) for k in range(20)}
    return sets | {"ONE": GENES[:1]}


@pytest.mark.parametrize("decimals", [8, 1])  # without and with ties
def test_scores_are_gseapys(library, decimals):
    z = np.round(np.random.default_rng(1).normal(size=(3, 400)), decimals)
    _, members = membership({"lib": library}, GENES)
    ours = enrichment_scores(z, members)
    for ranking, scores in zip(z, ours.T, strict=True):
        # gseapy sorts without a rule for ties, so it is given the order.
        order = np.argsort(-ranking, kind="stable")
        given = pd.Series(ranking[order], index=np.array(GENES)[order])
        theirs = gseapy.prerank(
            given, library, outdir=None, min_size=1, max_size=400, threads=1,
            permutation_num=1, seed=0, verbose=False,
        ).res2d.set_index("Term")["ES"]  # fmt: skip
        np.testing.assert_allclose(scores, theirs[list(library)].astype(float), atol=1e-9)


def test_a_reversed_ranking_has_the_opposite_scores(library):
    z = np.random.default_rng(2).normal(size=(1, 400))
    _, members = membership({"lib": library}, GENES)
    np.testing.assert_allclose(
        enrichment_scores(z, members), -enrichment_scores(-z, members), atol=1e-9
    )


def test_genes_without_a_score_are_outside_the_ranking(library):
    z = np.random.default_rng(3).normal(size=400)
    kept = np.arange(400) % 3 > 0
    genes = [gene for gene, keep in zip(GENES, kept, strict=True) if keep]
    cut = {name: [gene for gene in own if gene in genes] for name, own in library.items()}
    _, members = membership({"lib": library}, GENES)
    _, members_cut = membership({"lib": cut}, genes)
    np.testing.assert_array_equal(
        enrichment_scores(np.where(kept, z, np.nan)[None], members),
        enrichment_scores(z[kept][None], members_cut),
    )


def test_a_set_that_cannot_be_scored_is_missing():
    _, members = membership({"lib": {"ALL": GENES, "SOME": GENES[:5]}}, GENES)
    z = np.zeros((1, 400))
    assert np.isnan(enrichment_scores(z, members)).all()
    z[0, 10:] = 1
    assert np.isnan(enrichment_scores(z, members)).all()  # SOME has zero weight
    z[0, 0] = 3
    scores = enrichment_scores(z, members)[:, 0]
    assert np.isnan(scores[0]) and np.isfinite(scores[1])
    assert np.isnan(enrichment_scores(np.full((1, 400), np.nan), members)).all()
