import gseapy
import numpy as np
import pytest
from scipy.stats import hypergeom

from scsw.biology.enrich.over_representation import over_representation

pytestmark = pytest.mark.usefixtures("no_network")


@pytest.fixture
def example():
    rng = np.random.default_rng(0)
    genes = [f"GENE{i}" for i in range(400)]
    library = {f"SET{k}": sorted(rng.choice(genes[:300], 20, replace=False)) for k in range(15)}
    library["APART"] = genes[300:330]
    return genes[:60], genes, library


def test_p_is_the_hypergeometric_tail_for_every_set(example):
    query, background, library = example
    table = over_representation(query, background, {"lib": library}).set_index("gene_set")
    assert set(table.index) == set(library)
    for name, genes in library.items():
        hits = len(set(query) & set(genes))
        expected = hypergeom.sf(hits - 1, len(background), len(genes), len(query))
        assert table.loc[name, "p"] == pytest.approx(expected, rel=1e-12)
        assert table.loc[name, "n_overlap"] == hits
    assert table.loc["APART", "p"] == 1.0


def test_overlapping_sets_agree_with_gseapy(example):
    query, background, library = example
    theirs = gseapy.enrich(query, library, background=background, outdir=None).results
    theirs = theirs.set_index("Term")
    ours = over_representation(query, background, {"lib": library}).set_index("gene_set")
    assert set(theirs.index) == set(ours.index[ours["n_overlap"] > 0])
    np.testing.assert_allclose(ours.loc[theirs.index, "p"], theirs["P-value"])
    np.testing.assert_allclose(ours.loc[theirs.index, "statistic"], theirs["Odds Ratio"])
    for name in theirs.index:
        edge = ours.loc[name, "leading_edge"].split(";")
        assert set(edge) == set(theirs.loc[name, "Genes"].split(";"))
        assert edge == [gene for gene in query if gene in edge]  # strongest first


def test_without_any_overlap_every_set_is_still_tested():
    background = [f"GENE{i}" for i in range(100)]
    table = over_representation(background[:10], background, {"lib": {"A": background[50:70]}})
    assert table["p"].tolist() == [1.0]
    assert table["leading_edge"].tolist() == [""]
