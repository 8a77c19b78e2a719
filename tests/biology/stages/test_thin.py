import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse, stats

from scsw.biology.stages.thin import common_depth, thinned


@pytest.fixture
def cells():
    """Six donors of one class, each sequenced deeper than the one before, and a class of one."""
    rng = np.random.default_rng(0)
    rows, names = [], []
    for donor in range(6):
        for cell in range(30):
            rows.append(rng.poisson((1 + donor) * rng.gamma(5, 0.04) * rng.gamma(1, 1, 200)))
            names.append((f"d{donor}-{cell}", f"d{donor}", "excitatory"))
    for cell in range(4):
        rows.append(rng.poisson(0.2, 200))
        names.append((f"few-{cell}", "d0", "immune"))
    counts = sparse.csr_matrix(np.array(rows, np.int32))
    obs = pd.DataFrame(names, columns=["cell_id", "donor_id", "cell_class"]).set_index(
        "cell_id", drop=False
    )
    obs.index.name = None
    obs["n_genes"], obs["total_counts"] = counts.getnnz(1), np.asarray(counts.sum(1)).ravel()
    return AnnData(counts, obs=obs)


def medians(cells, column):
    own = cells.obs[cells.obs["cell_class"] == "excitatory"]
    return own.groupby("donor_id")[column].median()


def test_depth_no_longer_follows_the_donor(cells):
    thin = thinned(cells, min_cells=20)
    before, after = medians(cells, "total_counts"), medians(thin, "total_counts")
    assert before.max() / before.min() > 4
    assert after.max() / after.min() < 1.15
    genes = medians(thin, "n_genes")
    assert genes.max() / genes.min() < 1.2
    assert medians(cells, "n_genes").max() / medians(cells, "n_genes").min() > 2


def test_a_count_is_thinned_binomially(cells):
    depth = common_depth(cells.obs, cells.obs["total_counts"].to_numpy(), 20)
    assert depth.to_dict() == {"excitatory": np.floor(medians(cells, "total_counts").min())}
    thin = thinned(cells, min_cells=20)
    deep = cells.obs["donor_id"].eq("d5").to_numpy()
    share = depth["excitatory"] / cells.obs["total_counts"][deep]
    total = cells.X[deep].toarray().sum(1)
    left = thin.X[deep].toarray().sum(1)
    z = (left - total * share) / np.sqrt(total * share * (1 - share))
    assert stats.kstest(z, "norm").pvalue > 0.01
    assert (thin.X[deep].toarray() <= cells.X[deep].toarray()).all()


def test_a_cell_is_thinned_alike_whatever_cells_are_beside_it(cells):
    # The donors' medians, and so the depth, stay: d5 is not the shallowest.
    whole = thinned(cells, min_cells=20)
    part = thinned(cells[cells.obs["donor_id"].isin(["d0", "d5"])], min_cells=20)
    own = [name for name in whole.obs_names if name.startswith("d5")]
    assert (whole[own].X != part[own].X).nnz == 0


def test_a_class_in_which_no_donor_has_enough_cells_stays_as_it_is(cells):
    thin = thinned(cells, min_cells=20)
    few = [name for name in cells.obs_names if name.startswith("few")]
    assert (thin[few].X != cells[few].X).nnz == 0
    # and the cells given are not changed
    assert cells.obs["total_counts"].sum() == cells.X.sum()
