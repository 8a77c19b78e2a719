import gseapy
import numpy as np
import pytest
from scipy.stats import hypergeom

from scsw.biology.enrich.set_membership import (
    hypergeometric_tails,
    membership,
    over_representation_p,
)

pytestmark = pytest.mark.usefixtures("no_network")
GENES = [f"GENE{i:03d}" for i in range(300)]


@pytest.fixture
def sets():
    rng = np.random.default_rng(0)
    random = {f"S{k:02d}": sorted(rng.choice(GENES, 12 + k, replace=False)) for k in range(30)}
    return {"random": random, "made": {"FIRST": GENES[:20], "LAST": GENES[-15:]}}


def test_rows_are_the_sets_of_all_libraries_in_order(sets):
    names, matrix = membership(sets, GENES)
    assert names["library"].tolist() == ["random"] * 30 + ["made"] * 2
    for row, (library, name) in enumerate(names.itertuples(index=False)):
        assert [GENES[i] for i in matrix[row].indices] == sets[library][name]
    assert set(matrix.data) == {1}


def test_tails_are_scipys_for_every_combination():
    rng = np.random.default_rng(1)
    drawn, in_set = rng.integers(1, 40, (50, 1)), rng.integers(1, 60, (1, 30))
    overlap = rng.integers(0, 1 + np.minimum(drawn, in_set))
    found = hypergeometric_tails(overlap, 500, in_set, drawn)
    np.testing.assert_array_equal(found, hypergeom.sf(overlap - 1, 500, in_set, drawn))
    assert hypergeometric_tails(np.empty((0, 3)), 1, 1, 1).shape == (0, 3)


@pytest.fixture
def lists():
    """Scores with ties; the fourth list leads with few genes, the fifth scored half of them."""
    z = np.round(np.random.default_rng(2).normal(size=(7, 300)), 1)
    z[3, 5:] = -1
    z[4, ::2] = np.nan
    z[5] = np.nan
    return z


def test_p_is_gseapys_for_each_list_and_set(sets, lists):
    _, members = membership(sets, GENES)
    p = over_representation_p(lists, members, 40)
    every = {name: genes for library in sets.values() for name, genes in library.items()}
    for z, ours in zip(lists, p.T, strict=True):
        scored = [(-value, gene) for value, gene in zip(z, GENES, strict=True) if value == value]
        query = [gene for value, gene in sorted(scored)[:40] if value < 0]
        background = [gene for _, gene in scored]
        expected = dict.fromkeys(every, 1.0)  # gseapy leaves out sets without overlap
        if query:
            cut = {name: set(genes) & set(background) for name, genes in every.items()}
            theirs = gseapy.enrich(query, cut, background=background, outdir=None).results
            expected |= dict(zip(theirs["Term"], theirs["P-value"], strict=True))
        np.testing.assert_allclose(ours, list(expected.values()), rtol=1e-10)


def test_lists_in_several_batches_give_the_same(sets, lists, monkeypatch):
    _, members = membership(sets, GENES)
    whole = over_representation_p(lists, members, 40)
    monkeypatch.setattr("scsw.biology.enrich.set_membership._BATCH", 2)
    np.testing.assert_array_equal(over_representation_p(lists, members, 40), whole)
    assert over_representation_p(lists[:0], members, 40).shape == (32, 0)
