"""A tiny harmonised cohort and model, written straight to the contract of docs/outputs.md."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from scsw.files import sha256
from scsw.settings import section_settings

TYPES = ["Astrocyte", "Microglia-PVM", "Sst"]
SPLIT = {"train": 4, "validation": 1, "discovery": 2, "test": 12}
SIZES = {"embsize": 16, "nheads": 2, "d_hid": 24, "nlayers": 3, "max_seq_len": 24}
COMPUTE = section_settings("compute", {"device": "cpu", "batch_size": 8})


def model_settings(**changes) -> SimpleNamespace:
    return section_settings("model", {**SIZES, **changes})


def write_cohort(folder: Path, *, n_genes: int = 60, cells: int = 6, split=None) -> Path:
    """Write cohort.h5ad and vocab.json; each type expresses a third of the genes ten-fold."""
    rng = np.random.default_rng(0)
    split = split or SPLIT
    rows, counts = [], []
    own = np.arange(n_genes) % len(TYPES)
    for name, n_donors in split.items():
        for donor in range(n_donors):
            for cell in range(cells):
                kind = cell % len(TYPES)
                mean = np.where(own == kind, 6.0, 0.6)
                counts.append(rng.negative_binomial(2, 2 / (2 + mean)))
                rows.append((f"{name}{donor}-{cell}", f"{name}{donor}", TYPES[kind], name))
    counts = np.array(counts, np.int32)
    counts[:, 0] += 1  # no cell without a token
    return write_counts(folder, sparse.csr_matrix(counts), rows)


def write_counts(folder: Path, counts: sparse.csr_matrix, rows: list[tuple[str, ...]]) -> Path:
    """Write cohort.h5ad and vocab.json of given counts; `rows`: cell, donor, type and split."""
    folder.mkdir(parents=True, exist_ok=True)
    obs = pd.DataFrame(rows, columns=["cell_id", "donor_id", "cell_type", "split"])
    classes = dict(zip(TYPES, ["glia", "immune", "inhibitory"], strict=True))
    obs = obs.assign(
        cell_class=obs["cell_type"].map(classes),
        region="MTG",
        sex="female",
        age_death=80.0,
        age_censored=False,
        pmi=5.0,
        apoe_genotype="33",
        braak=3,
        thal=2,
        cerad=1,
        adnc=2,
        cognition=0,
        cps=0.5,
        is_reference=False,
        total_counts=np.asarray(counts.sum(1)).ravel(),
        n_genes=counts.getnnz(1),
        pct_mito=1.0,
        cohort="tiny",
        assay="10x",
        batch="1",
        supertype="",
        doublet_score=np.nan,
    )
    obs.index = pd.Index(obs["cell_id"].to_numpy(), name="cell")
    n_genes = counts.shape[1]
    symbols = [f"GENE{i:02d}" for i in range(n_genes)]
    vocabulary = {token: i for i, token in enumerate(["<pad>", "<cls>", "<eoc>", *symbols])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    var = pd.DataFrame(
        {"symbol": symbols, "ensembl_id": "", "token_id": np.arange(3, 3 + n_genes)}, index=symbols
    )
    facts = {
        "cohort": "tiny",
        "source": "sea_ad",
        "vocabulary_sha256": sha256(folder / "vocab.json"),
        "vocabulary_source": "cohort",
        "split_unit": "donor",
        "simulated": True,
        "warnings": np.array([], dtype=str),
        "n_donors": int(obs["donor_id"].nunique()),
    }
    adata = ad.AnnData(counts, obs=obs, var=var, uns={"scsw": facts})
    adata.write_h5ad(folder / "cohort.h5ad")
    return folder / "cohort.h5ad"
