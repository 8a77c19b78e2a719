"""Tiny cohorts written in the true layouts of their sources, made up from nothing.

Counts are Poisson with one marked group of genes per cell type. No row is a real participant's.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import io, sparse

from scsw.cohort.count_matrix import CountMatrix

GENES = {
    "APP": "ENSG00000142192",
    "APOE": "ENSG00000130203",
    "MAPT": "ENSG00000186868",
    "GFAP": "ENSG00000131095",
    "AQP4": "ENSG00000171885",
    "MBP": "ENSG00000197971",
    "PLP1": "ENSG00000123560",
    "CX3CR1": "ENSG00000168329",
    "CSF1R": "ENSG00000182578",
    "GAD1": "ENSG00000128683",
    "SLC17A7": "ENSG00000104888",
    "SNAP25": "ENSG00000132639",
    "SYT1": "ENSG00000067715",
    "CLU": "ENSG00000120885",
    "BIN1": "ENSG00000136717",
    "TREM2": "ENSG00000095970",
    "FLT1": "ENSG00000102755",
    "SST": "ENSG00000157005",
    "MT-ND1": "ENSG00000198888",
    "MT-CO1": "ENSG00000198804",
}
# Filters that such small cells pass, and a vocabulary that needs no file.
SETTINGS = {
    "min_genes": 3,
    "min_counts": 5,
    "max_pct_mito": 100,
    "min_cells_per_gene": 1,
    "min_cells_per_type": 2,
    "vocabulary": "cohort",
}
SEA_AD_TYPES = ("L2/3 IT", "Sst", "Astro", "Micro-PVM")
MATHYS_TYPES = ("Ex", "In", "Ast", "Mic")
AUTHOR_TYPES = ("astrocyte", "microglial cell", "sst GABAergic cortical interneuron")

Edit = Callable[[ad.AnnData], None]


def counts(types: np.ndarray, seed: int = 0) -> sparse.csr_matrix:
    """Return cells × genes, float32 whole numbers, one brighter block of genes per type."""
    random = np.random.default_rng(seed)
    rate = np.full((len(types), len(GENES)), 1.5)
    for place, name in enumerate(sorted(set(types))):
        rate[types == name, 4 * place : 4 * place + 4] = 6.0
    return sparse.csr_matrix(random.poisson(rate).astype(np.float32))


def cells(n_donors: int, per_donor: int, types: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the donor's number and the type of each cell; every donor has every type."""
    donor = np.repeat(np.arange(n_donors), per_donor)
    return donor, np.array(types)[np.arange(len(donor)) % per_donor % len(types)]


def read_counts(counts: CountMatrix, scratch: Path, limit: int = 1 << 20) -> sparse.csr_matrix:
    """Return all cells of a source's counts, as it gives them."""
    blocks = [sparse.csr_matrix(block) for block in counts.blocks(limit, scratch)]
    return sparse.vstack(blocks, format="csr")


def write_sea_ad(
    path: Path, n_donors: int = 10, per_donor: int = 12, edit: Edit | None = None
) -> Path:
    """Write an h5ad as the Allen Institute does; donors 0 and 1 are neurotypical references."""
    donor, types = cells(n_donors, per_donor, SEA_AD_TYPES)
    reference = donor < 2
    umis = counts(types)

    def staged(values: list[str]) -> np.ndarray:
        return np.where(reference, "Reference", np.array(values)[donor % len(values)])

    classes = {"L2/3 IT": "Neuronal: Glutamatergic", "Sst": "Neuronal: GABAergic"}
    obs = pd.DataFrame(
        {
            "Donor ID": [f"H20.33.{d:03d}" for d in donor],
            "Brain Region": "Human MTG",
            "Neurotypical reference": np.where(reference, "True", "False"),
            "Sex": np.where(donor % 2, "Male", "Female"),
            "Age at Death": np.where(donor % 3 == 0, "90+", (70 + donor).astype(str)),
            "PMI": np.where(reference, "Reference", (4.5 + donor).astype(str)),
            "Last MMSE Score": np.where(reference, "Reference", "28"),
            "Overall AD neuropathological Change": staged(
                ["Not AD", "Low", "Intermediate", "High"]
            ),
            "Braak": staged(["Braak 0", "Braak II", "Braak IV", "Braak VI"]),
            "Thal": staged(["Thal 0", "Thal 1", "Thal 3", "Thal 5"]),
            "CERAD score": staged(["Absent", "Sparse", "Moderate", "Frequent"]),
            "Cognitive Status": staged(["No dementia", "Dementia"]),
            "APOE Genotype": np.array(["3/3", "34", "E2/E4"])[donor % 3],
            "Severely Affected Donor": "N",
            "Used in analysis": "True",
            "Doublet score": 0.05,
            "Fraction mitochondrial UMIs": 0.01,
            "method": "10Xv3.1",
            "library_prep": [f"L{d:03d}" for d in donor],
            "Class": [classes.get(t, "Non-neuronal and Non-neural") for t in types],
            "Subclass": types,
            "Supertype": [f"{t}_1" for t in types],
            "Continuous Pseudo-progression Score": np.where(
                reference, np.nan, 0.2 + 0.7 * donor / n_donors
            ),
        },
        index=pd.Index([f"ACGT-{i:05d}-L{d:03d}" for i, d in enumerate(donor)]),
    )
    obs.index.name = "exp_component_name"
    var = pd.DataFrame({"gene_ids": list(GENES.values())}, index=list(GENES))
    depth = np.asarray(umis.sum(1))
    adata = ad.AnnData(
        X=sparse.csr_matrix(np.log1p(umis.toarray() / depth * 1e4)),
        obs=obs.astype({name: "category" for name in obs.select_dtypes(object)}),
        var=var,
        layers={"UMIs": umis},
        uns={"X_normalization": "ln(UP10K+1)"},
    )
    return _save(adata, path, edit)


def write_cellxgene(
    path: Path,
    form: str = "submission",
    n_donors: int = 6,
    per_donor: int = 12,
    edit: Edit | None = None,
) -> Path:
    """Write an h5ad in CELLxGENE layout: ``submission`` (ontology ids) or ``portal`` (names)."""
    donor, types = cells(n_donors, per_donor, AUTHOR_TYPES)
    raw = counts(types, seed=1)
    obs = pd.DataFrame(
        {
            "cell_type_ontology_term_id": np.select(
                [types == "astrocyte", types == "microglial cell"],
                ["CL:0000127", "CL:0000129"],
                "CL:0000617",
            ),
            "disease_ontology_term_id": "PATO:0000461",
            "assay_ontology_term_id": "EFO:0009922",
            "donor_id": [f"D{d}" for d in donor],
            "sex_ontology_term_id": np.where(donor % 2, "PATO:0000384", "PATO:0000383"),
            "tissue_ontology_term_id": "UBERON:0002771",
            "development_stage_ontology_term_id": "HsapDv:0000123",
            "suspension_type": "nucleus",
            "tissue_type": "tissue",
            "is_primary_data": True,
        },
        index=[f"c{i:04d}" for i in range(len(donor))],
    )
    var = pd.DataFrame({"feature_is_filtered": False}, index=list(GENES.values()))
    if form == "portal":
        obs["cell_type"] = types
        obs["sex"] = np.where(donor % 2, "male", "female")
        obs["assay"], obs["tissue"], obs["disease"] = "10x 3' v3", "middle temporal gyrus", "normal"
        obs["development_stage"] = np.where(
            donor % 2, "80 year-old and over stage", "64-year-old stage"
        )
        var["feature_name"] = list(GENES)
    else:
        obs["author_cell_type"] = types
    adata = ad.AnnData(X=raw.log1p(), obs=obs, var=var)
    adata.raw = ad.AnnData(X=raw, obs=obs, var=var.drop(columns="feature_is_filtered"))
    return _save(adata, path, edit)


def write_rosmap(folder: Path, n_donors: int = 8, per_donor: int = 12) -> Path:
    """Write the folder of Mathys 2019 with a clinical table; all values are made up."""
    folder.mkdir(parents=True, exist_ok=True)
    donor, types = cells(n_donors, per_donor, MATHYS_TYPES)
    projid = np.array([f"{90_100 + 11 * d:08d}" for d in range(n_donors)])
    matrix = sparse.coo_matrix(counts(types, seed=2).T.astype(np.int64))
    io.mmwrite(folder / "filtered_count_matrix.mtx", matrix)
    (folder / "filtered_gene_row_names.txt").write_text("\n".join(GENES) + "\n")
    (folder / "notfiltered_gene_row_names.txt").write_text(
        "".join(f"{number}\t{symbol}\n" for symbol, number in GENES.items())
    )
    pd.DataFrame(
        {
            "TAG": [f"AAAC{i:05d}.{d}" for i, d in enumerate(donor)],
            "projid": [str(int(name)) for name in projid[donor]],  # not padded here
            "tsne1": 0.5,
            "tsne2": -0.5,
            "pre.cluster": 1,
            "broad.cell.type": types,
            "Subcluster": [f"{t}0" for t in types],
        }
    ).to_csv(folder / "filtered_column_metadata.txt", sep="\t", index=False)
    n = np.arange(n_donors)
    pd.DataFrame(
        {
            "projid": projid,
            "Study": "MADEUP",
            "msex": n % 2,
            "educ": 16,
            "race": 1,
            "spanish": 2,
            "apoe_genotype": np.where(n % 4 == 3, "", "34"),
            "age_at_visit_max": 80,
            "age_first_ad_dx": "",
            "age_death": np.where(n % 3 == 0, "90+", (75 + n).astype(str)),
            "cts_mmse30_first_ad_dx": "",
            "cts_mmse30_lv": 25,
            "pmi": np.where(n == 1, "NA", "6.25"),
            "braaksc": n % 7,
            "ceradsc": n % 4 + 1,
            "cogdx": n % 6 + 1,
            "dcfdx_lv": 1,
            "individualID": [f"R{d:07d}" for d in n],
        }
    ).to_csv(folder / "ROSMAP_clinical.csv", index=False)
    return folder


def _save(adata: ad.AnnData, path: Path, edit: Edit | None) -> Path:
    if edit:
        edit(adata)
    adata.write_h5ad(path)
    return path
