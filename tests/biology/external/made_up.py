"""A made-up second cohort of nuclei and gene scores, with or without an effect of diagnosis."""

import numpy as np
from anndata import AnnData
from scipy import sparse

GENES = [f"G{i:03d}" for i in range(120)]
CANDIDATE = "ffn_down.b1.r17.c41"


def scores(make_scores, *, leading=range(12)):
    """Gene scores of one candidate in which the genes `leading` lead."""
    z = np.full(len(GENES), -1.0)
    z[list(leading)] = 5.0
    return make_scores({CANDIDATE: {"read_in": z, "write_out": np.zeros(len(GENES))}}, GENES)


def write_cohort(path, *, effect=0.0, genes=range(12), n_donors=30, cells=12, seed=0, edit=None):
    """Write cohort.h5ad: half of the donors AD, in whose glia some genes are up by `effect` (ln).

    Genes share a factor that differs by donor, so that they correlate, and differ in level.
    """
    rng = np.random.default_rng(seed)
    donor = np.repeat(np.arange(n_donors), 2 * cells)
    glia = np.tile(np.repeat([True, False], cells), n_donors)
    adnc = np.tile([0, 3], n_donors // 2)
    factor = rng.normal(0, 0.15, (n_donors, 3)) @ rng.normal(0, 1, (3, len(GENES)))
    level = np.linspace(1.0, 3.0, len(GENES))[rng.permutation(len(GENES))] + factor[donor]
    is_up = np.isin(np.arange(len(GENES)), list(genes))
    level += effect * np.outer((adnc[donor] == 3) & glia, is_up)
    counts = sparse.csr_matrix(rng.poisson(np.exp(level)).astype(np.int32))
    names = np.array([f"D{d:02d}" for d in donor])
    obs = {
        "cell_id": [f"c{i}" for i in range(len(donor))],
        "donor_id": names,
        "cell_class": np.where(glia, "glia", "immune"),
        "adnc": adnc[donor],
        "braak": 2 * adnc[donor],
        "cognition": -1,
        "is_reference": False,
        "age_death": 80.0 + rng.normal(0, 5, n_donors)[donor],
        "sex": np.where(donor % 3, "female", "male"),
        "pmi": 5.0 + rng.random(n_donors)[donor],
        "n_genes": counts.getnnz(1),
        "pct_mito": rng.random(len(donor)),
        "assay": "10x",
    }
    adata = AnnData(counts)
    for name, values in obs.items():
        adata.obs[name] = values
    adata.obs_names = adata.obs["cell_id"].astype(str).to_numpy()
    adata.var_names = GENES
    adata.var["symbol"] = GENES
    adata.uns["scsw"] = {"simulated": True, "warnings": np.array([], str), "n_donors": n_donors}
    if edit:
        edit(adata)
    adata.write_h5ad(path)
    return path
