"""An h5ad of a study of its own, with usual column names, made up from nothing."""

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

from tests.cohort import layouts

TYPES = ("Excitatory neuron", "Astrocyte", "Microglia", "Endothelial")


def write(path: Path, edit=None) -> Path:
    """Write 8 donors; counts stand in a layer, symbols in the index of ``var``."""
    donor, types = layouts.cells(8, 16, TYPES)
    counts = layouts.counts(types, seed=7)
    obs = pd.DataFrame(
        {
            "Donor": [f"K{d}" for d in donor],
            "Cell Type": types,
            "Brain.Region": "entorhinal cortex",
            "Sex": np.where(donor % 2, "M", "F"),
            "Age at Death": np.where(donor == 7, "90+", (70 + donor).astype(str)),
            "PMI": 4.5,
            "APOE": np.array(["E3/E4", "33", "2/4", ""])[donor % 4],
            "Braak stage": np.array(["0", "Braak II", "IV", "Stage VI", "NA"])[donor % 5],
            "CERAD": np.array(["absent", "Sparse", "probable", "Frequent"])[donor % 4],
            "ADNC": np.array(["Not AD", "Low", "Intermediate", "High"])[donor % 4],
            "Cognitive_Status": np.array(["No dementia", "MCI", "Dementia"])[donor % 3],
            "orig.ident": [f"L{d}" for d in donor],
            "diagnosis": np.where(donor % 4, "AD", "Control"),
        },
        index=[f"cell{i}" for i in range(len(donor))],
    )
    obs["Braak stage"] = obs["Braak stage"].replace("Stage VI", "Braak stage VI")
    adata = ad.AnnData(
        X=counts.log1p(),
        obs=obs,
        var=pd.DataFrame({"gene_ids": list(layouts.GENES.values())}, index=list(layouts.GENES)),
        layers={"counts": counts},
    )
    if edit:
        edit(adata)
    adata.write_h5ad(path)
    return path


def stored_counts():
    """Return the counts of the file."""
    return layouts.counts(layouts.cells(8, 16, TYPES)[1], seed=7)
