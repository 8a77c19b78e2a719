"""Nuclei and tissue of one made-up brain: 40 genes tell the cell types, 20 tell nothing."""

import json

import numpy as np
import pandas as pd
from scipy import sparse

from scsw.cohort.genes import symbol_by_ensembl_id
from tests.cohort.readers import layout_sea_ad_merfish
from tests.tiny import SPLIT, TYPES, write_counts

N_GENES, INFORMATIVE = 60, 40
OWN = np.arange(N_GENES) % len(TYPES)
MARKERS = "GFAP CD68 SST VIM TYROBP GAD1 CD44 SPP1 GAD2 CHI3L1 LPL RELN".split()
# Human genes that are in no set of the Alzheimer's axes.
OTHERS = sorted(name for name in symbol_by_ensembl_id().values() if name.startswith("OR1"))
SYMBOLS = [*MARKERS, *OTHERS][:N_GENES]
NAMES = {f"GENE{i:02d}": name for i, name in enumerate(SYMBOLS)}
TELLING, DUMB = SYMBOLS[:20], SYMBOLS[INFORMATIVE:]  # two panels of 20 genes
TISSUE = {"Astro": "Astrocyte", "Micro-PVM": "Microglia-PVM", "Sst": "Sst"}


def mean_counts(kind: int) -> np.ndarray:
    own = np.where(kind == OWN, 6.0, 0.6)
    return np.where(np.arange(N_GENES) < INFORMATIVE, own, 2.0)


def write_nuclei(folder):
    """Write cohort.h5ad and vocab.json with the symbols of this module."""
    rng = np.random.default_rng(0)
    rows, counts = [], []
    for split, n_donors in SPLIT.items():
        for donor in range(n_donors):
            for cell in range(9):
                kind = cell % len(TYPES)
                counts.append(rng.negative_binomial(2, 2 / (2 + mean_counts(kind))))
                rows.append((f"{split}{donor}-{cell}", f"{split}{donor}", TYPES[kind], split))
    path = write_counts(folder, sparse.csr_matrix(np.array(counts, np.int32)), rows)
    return renamed(path)


def renamed(path):
    """Give the genes of a cohort, and its vocabulary, the symbols of this module."""
    import anndata as ad

    from scsw.files import sha256

    vocabulary = json.loads((path.parent / "vocab.json").read_text())
    vocabulary = {NAMES.get(token, token): place for token, place in vocabulary.items()}
    (path.parent / "vocab.json").write_text(json.dumps(vocabulary))
    adata = ad.read_h5ad(path)
    adata.var["symbol"] = adata.var_names = SYMBOLS
    adata.uns["scsw"]["vocabulary_sha256"] = sha256(path.parent / "vocab.json")
    adata.write_h5ad(path)
    return path


def write_tissue(path, *, panel=TELLING, n_donors=12, depth=True):
    """Write a spatial file in SEA-AD's layout whose cells express as the nuclei do."""
    kinds = {source: TYPES.index(name) for source, name in TISSUE.items()}
    columns = [SYMBOLS.index(gene) if gene in SYMBOLS else 0 for gene in panel]

    def edit(adata):
        rng = np.random.default_rng(7)
        source = adata.obs["Subclass"].astype(str)
        means = np.array([mean_counts(kinds.get(name, 0))[columns] for name in source])
        n_blank = adata.n_vars - len(panel)
        probes = np.hstack([rng.poisson(means), rng.poisson(0.5, (adata.n_obs, n_blank))])
        adata.layers["raw"] = sparse.csr_matrix(probes.astype(np.float32))
        adata.var_names = [*panel, *adata.var_names[len(panel) :]]
        donor = adata.obs["Donor ID"].astype(str).str[-3:].astype(int)
        score = np.where(donor == 0, np.nan, (donor + 1) / (n_donors + 2))
        adata.obs["Continuous Pseudo-progression Score"] = score
        if depth:
            place = rng.random(adata.n_obs)
            place[::10] = np.nan
            adata.obs["Normalized depth from pia"] = pd.Series(place, adata.obs_names)

    return layout_sea_ad_merfish.write(path, edit, n_donors=n_donors, per_donor=48)
