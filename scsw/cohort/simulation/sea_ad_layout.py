"""Write a simulated cohort as a SEA-AD file of the 2024-02-13 release (h5ad)."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from scsw.cohort.simulation.expression import STATES
from scsw.cohort.simulation.simulated_cohort import SimulatedCohort
from scsw.files import whole

TITLE = "simulated cohort in the layout of SEA-AD (MTG, 2024-02-13), written by scsw; no real donor"

BRAAK_STAGES = (0, 2, 3, 4, 5, 6)  # SEA-AD has no Braak I
BRAAK = {0: "Braak 0", 2: "Braak II", 3: "Braak III", 4: "Braak IV", 5: "Braak V", 6: "Braak VI"}
CERAD = {0: "Absent", 1: "Sparse", 2: "Moderate", 3: "Frequent"}
ADNC = {0: "Not AD", 1: "Low", 2: "Intermediate", 3: "High"}
SUPERTYPE_PREFIX = {
    "Astrocyte": "Astro",
    "Oligodendrocyte": "Oligo",
    "Microglia-PVM": "Micro-PVM",
    "Endothelial": "Endo",
}
SEVERELY_AFFECTED_FROM = 0.92  # severity


def write(cohort: SimulatedCohort, path: Path) -> None:
    """Write the h5ad: ``X`` = ln(UP10K + 1), ``layers["UMIs"]`` = raw counts."""
    counts = cohort.nuclei.counts.astype(np.float32)
    data = ad.AnnData(
        X=_ln_up10k(counts),
        obs=_obs(cohort),
        var=pd.DataFrame(
            {"gene_ids": cohort.genes["ensembl_id"].to_numpy()},
            index=pd.Index(cohort.genes["symbol"].astype(str)).rename(None),
        ),
        layers={"UMIs": counts},
        uns={"X_normalization": "ln(UP10K+1)", "title": TITLE, "simulated": True},
    )
    with whole(path) as temporary:
        data.write_h5ad(temporary, compression="gzip")


def is_simulated(path: Path) -> bool:
    """Tell whether `path` is a file that `write` made."""
    if not path.is_file() or not h5py.is_hdf5(path):
        return False
    with h5py.File(path) as file:
        title = file.get("uns/title")
        return isinstance(title, h5py.Dataset) and b"simulated" in np.bytes_(title[()])


def _ln_up10k(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    per_nucleus = np.maximum(counts.sum(axis=1).A1, 1)
    scaled = counts.multiply(1e4 / per_nucleus[:, None]).tocsr()
    return scaled.log1p().astype(np.float32)


def _obs(cohort: SimulatedCohort) -> pd.DataFrame:
    """Build the annotation under SEA-AD's own names; index = exp_component_name."""
    donors = _donor_columns(cohort)
    obs = donors.iloc[cohort.nuclei.donor].reset_index(drop=True)
    counts, rng, n = cohort.nuclei.counts, cohort.rng, len(obs)
    total = counts.sum(axis=1).A1
    mito = counts[:, cohort.genes["symbol"].str.startswith("MT-").to_numpy()].sum(axis=1).A1
    obs["Number of UMIs"] = total.astype(float)
    obs["Genes detected"] = np.diff(counts.indptr)
    obs["Fraction mitochondrial UMIs"] = mito / np.maximum(total, 1)
    obs["Doublet score"] = cohort.nuclei.doublet_score.round(4)
    obs["Used in analysis"] = True
    obs["Class"] = cohort.of_type([t.sea_ad_class for t in cohort.types])
    obs["Subclass"] = cohort.of_type([t.name for t in cohort.types])
    obs["Supertype"] = cohort.of_state(_supertypes(cohort))
    for level, sharpness in (("Class", 200), ("Subclass", 60), ("Supertype", 20)):
        obs[f"{level} confidence"] = rng.beta(sharpness, 1, n).round(4)
    names = zip(cohort.barcodes(), obs["library_prep"], strict=True)
    obs.index = pd.Index([f"{barcode}-{library}" for barcode, library in names])
    obs.index.name = "exp_component_name"
    texts = obs.select_dtypes(["object", "string"]).columns
    return obs.astype(dict.fromkeys(texts, "category"))


def _supertypes(cohort: SimulatedCohort) -> list[str]:
    prefixes = [SUPERTYPE_PREFIX.get(t.name, t.name) for t in cohort.types]
    return [f"{prefix}_{state + 1}" for prefix in prefixes for state in range(STATES)]


def _donor_columns(cohort: SimulatedCohort) -> pd.DataFrame:
    """Return one row per donor; stages of reference donors read "Reference"."""
    donors, rng, n = cohort.donors, cohort.rng, len(cohort.donors)
    reference = donors["is_reference"].to_numpy()

    def stage(texts: pd.Series) -> np.ndarray:
        return np.where(reference, "Reference", texts.astype(object))

    demented = donors["cogdx"] >= 4
    genotype = donors["apoe"].str[0] + "/" + donors["apoe"].str[1]
    return pd.DataFrame(
        {
            "Donor ID": [
                f"{'H18.30' if is_reference else 'H20.33'}.{501 + i}"  # numbers no real donor has
                for i, is_reference in enumerate(reference)
            ],
            "Brain Region": "Human MTG",
            "Neurotypical reference": np.where(reference, "True", "False").astype(object),
            "Sex": np.where(donors["female"], "Female", "Male").astype(object),
            "Age at Death": donors["age_death"].astype(str),
            "PMI": donors["pmi"],
            "Years of education": donors["education"].astype(float),
            "Last MMSE Score": stage(donors["mmse"].astype(str)),
            "Overall AD neuropathological Change": stage(donors["adnc"].map(ADNC)),
            "Braak": stage(donors["braak"].map(BRAAK)),
            "Thal": stage("Thal " + donors["thal"].astype(str)),
            "CERAD score": stage(donors["cerad"].map(CERAD)),
            "Cognitive Status": stage(demented.map({True: "Dementia", False: "No dementia"})),
            "APOE Genotype": genotype,
            "LATE": stage(pd.Series(["Not Identified"] * n)),
            "Severely Affected Donor": np.where(
                donors["severity"] >= SEVERELY_AFFECTED_FROM, "Y", "N"
            ).astype(object),
            "Continuous Pseudo-progression Score": donors["cps"].mask(reference),
            "method": rng.choice(["10Xv3.1", "10xMulti"], n, p=[0.8, 0.2]).astype(object),
            "library_prep": [f"L8TX_SIM_{i + 1:03d}" for i in range(n)],
        }
    )
