"""A spatial file as the Allen Institute writes it, made up from nothing."""

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from tests.cohort import layouts

N_BLANK = 4  # 40 in the released file, behind 140 genes


def write(path: Path, edit=None, n_donors: int = 6, per_donor: int = 16) -> Path:
    """Write cells of one section per donor; donor 0 is a neurotypical reference."""
    donor, types = layouts.cells(n_donors, per_donor, layouts.SEA_AD_TYPES)
    random = np.random.default_rng(4)
    blank = random.poisson(0.5, (len(donor), N_BLANK)).astype(np.float32)
    probes = sparse.hstack([layouts.counts(types, seed=3), blank], format="csr")
    volume = random.uniform(500, 1500, len(donor))[:, None]
    cpm = probes.toarray() / np.maximum(np.asarray(probes.sum(1)), 1) * 1e6
    stage = np.array(["Braak II", "Braak IV", "Braak VI"])[donor % 3]
    obs = pd.DataFrame(
        {
            "Donor ID": [f"H20.33.{d:03d}" for d in donor],
            "Section": [f"H20.33.{d:03d}.Cx25.MTG.02.007" for d in donor],
            "Specimen Barcode": [f"{1_100_000 + d}" for d in donor],
            "Sex": np.where(donor % 2, "Male", "Female"),
            "Age at Death": np.where(donor == 1, "90+", (70 + donor).astype(str)),
            "Overall AD neuropathological Change": np.where(donor == 0, "Reference", "High"),
            "Braak": np.where(donor == 0, "Reference", stage),
            "Continuous Pseudo-progression Score": np.where(donor == 0, np.nan, 0.2 + donor / 10),
            "Class": np.where(types == "Sst", "Neuronal: GABAergic", "Non-neuronal and Non-neural"),
            "Subclass": types,
            "Supertype": [f"{name}_1" for name in types],
            "Used in analysis": np.where(np.arange(len(donor)) % 16 == 15, "False", "True"),
        },
        index=[f"{1000 + i}-H20.33.{d:03d}" for i, d in enumerate(donor)],
    )
    genes = [*layouts.GENES, *(f"Blank-{n}" for n in range(1, N_BLANK + 1))]
    places = random.uniform(0, 5000, (len(donor), 2))
    tiled = np.where((obs["Used in analysis"] == "True").to_numpy()[:, None], places, np.nan)
    adata = ad.AnnData(
        X=sparse.csr_matrix(np.log2(cpm / volume + 1)),
        obs=obs.astype({name: "category" for name in obs.select_dtypes(object)}),
        var=pd.DataFrame(index=genes),
        layers={"raw": probes},
        obsm={
            "spatial": places,
            "X_spatial_raw": np.column_stack([places, np.zeros(len(donor))]),
            "X_selected_cell_spatial_tiled": tiled,
        },
    )
    if edit:
        edit(adata)
    adata.write_h5ad(path)
    return path
