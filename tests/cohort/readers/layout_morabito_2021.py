"""The two files of GSE174367's RNA, as GEO has them; every row is made up."""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from tests.cohort import layouts

TYPES = ("EX", "INH", "ASC", "ODC", "OPC", "MG", "PER.END")
COUNTS = "GSE174367_snRNA-seq_filtered_feature_bc_matrix.h5"
CELLS = "GSE174367_snRNA-seq_cell_meta.csv.gz"
STAGES = ("Stage 1", "Stage 2", "Stage 5", "Stage 6")
PLAQUES = ("None", "Stage A", "Stage B", "Stage C")


def write(folder: Path, n_donors: int = 8, per_donor: int = 14) -> Path:
    """Write both files; the table lacks the last two cells of the counts, as GEO's lacks some."""
    folder.mkdir(parents=True, exist_ok=True)
    donor, types = layouts.cells(n_donors, per_donor, TYPES)
    barcodes = [f"ACGT{i:06d}-{d + 1}" for i, d in enumerate(donor)]
    ids = [f"{name}.7" for name in layouts.GENES.values()]  # GENCODE's, with versions
    write_h5(folder / COUNTS, counts_of(types), barcodes, list(layouts.GENES), ids)
    table = pd.DataFrame(
        {
            "Barcode": barcodes,
            "SampleID": [f"Sample-{100 + d}" for d in donor],
            "Diagnosis": np.where(donor % 4 < 2, "Control", "AD"),
            "Batch": donor % 3 + 1,
            "Cell.Type": types,
            "cluster": [f"{name}1" for name in types],
            "Age": 79 + donor,
            "Sex": np.where(donor % 2, "M", "F"),
            "PMI": np.where(donor == 5, "NA", (3.5 + donor).astype(str)),
            "Tangle.Stage": np.array(STAGES)[donor % 4],
            "Plaque.Stage": np.array(PLAQUES)[donor % 4],
            "RIN": 7.9,
        }
    )
    table[:-2].sample(frac=1, random_state=0).to_csv(folder / CELLS, index=False)
    return folder


def counts_of(types: np.ndarray) -> sparse.csr_matrix:
    return layouts.counts(types, seed=3).astype(np.int32)


def write_h5(
    path: Path,
    counts: sparse.csr_matrix,
    barcodes: list[str],
    names: list[str],
    ids: list[str],
    kinds: list[str] | None = None,
) -> None:
    """Write genes × cells, column by column, as Cell Ranger does."""
    stored = sparse.csc_matrix(counts.T)
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group["barcodes"] = np.array(barcodes, dtype="S")
        group["data"], group["indices"] = stored.data, stored.indices.astype(np.int64)
        group["indptr"], group["shape"] = stored.indptr.astype(np.int64), np.array(stored.shape)
        features = group.create_group("features")
        features["id"], features["name"] = np.array(ids, dtype="S"), np.array(names, dtype="S")
        features["feature_type"] = np.array(kinds or ["Gene Expression"] * len(ids), dtype="S")
        features["genome"] = np.array(["GRCh38"] * len(ids), dtype="S")
