"""The peer of `scsw preprocess`: the same filters, in memory, as one writes them with scanpy.

    python -m benchmarks.preprocess_scanpy FILE OUT [--careful]

``--careful`` is for those who know that `X` is not needed, and that an AnnData is part of reference
cycles, so that its memory is not free before the garbage collector has run.
"""

from __future__ import annotations

import argparse
import gc
import json
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import scanpy as sc

from scsw.cohort.vocabulary import census_file

SPLITS = {"train": 0.4, "validation": 0.1, "discovery": 0.2, "test": 0.3}


def read(path: Path) -> ad.AnnData:
    adata = sc.read_h5ad(path)
    adata.X = adata.layers["UMIs"]
    del adata.layers["UMIs"]
    return adata


def read_without_x(path: Path) -> ad.AnnData:
    with h5py.File(path) as file:
        return ad.AnnData(
            X=ad.io.read_elem(file["layers/UMIs"]),
            obs=ad.io.read_elem(file["obs"]),
            var=ad.io.read_elem(file["var"]),
        )


def filtered(adata: ad.AnnData, careful: bool) -> ad.AnnData:
    """Apply the defaults of scsw's section `preprocess`."""
    adata.var["mt"] = adata.var_names.str.startswith("MT-")
    sc.pp.calculate_qc_metrics(adata, qc_vars=["mt"], percent_top=None, log1p=False, inplace=True)
    obs = adata.obs
    passing = (
        obs["Used in analysis"]
        & (obs["n_genes_by_counts"] >= 200)
        & (obs["total_counts"] >= 500)
        & (obs["pct_counts_mt"] <= 5)
        & (obs["Doublet score"] <= 0.3)
    )
    sizes = obs.loc[passing, "Subclass"].value_counts()
    passing &= obs["Subclass"].isin(sizes.index[sizes >= 20])
    adata = adata[passing].copy()
    if careful:
        gc.collect()
    expressed, _ = sc.pp.filter_genes(adata, min_cells=10, inplace=False)
    vocabulary = json.loads(census_file().read_text())
    adata = adata[:, expressed & adata.var_names.isin(vocabulary)].copy()
    if careful:
        gc.collect()
    return adata


def split_donors(adata: ad.AnnData) -> None:
    donors = np.random.default_rng(0).permutation(adata.obs["Donor ID"].unique())
    ends = np.round(np.cumsum([*SPLITS.values()]) * len(donors)).astype(int)
    parts = np.repeat([*SPLITS], np.diff(ends, prepend=0))
    part_of_donor = dict(zip(donors, parts, strict=True))
    adata.obs["split"] = adata.obs["Donor ID"].astype(str).map(part_of_donor).astype("category")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--careful", action="store_true")
    given = parser.parse_args()
    # The whole cohort gets no name here that would keep it while its filtered copy is made.
    adata = filtered((read_without_x if given.careful else read)(given.file), given.careful)
    split_donors(adata)
    adata.write_h5ad(given.out, compression="gzip")


if __name__ == "__main__":
    main()
