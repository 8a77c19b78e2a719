"""Tiny ROSMAP cohorts in the layouts of Mathys 2023 and Green 2024; every row is made up."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from tests.cohort import layouts

N_DONORS, PER_DONOR = 8, 12
PROJID = [f"{70_300 + 13 * d:08d}" for d in range(N_DONORS)]
INDIVIDUAL = [f"R{9_100_000 + 7 * d}" for d in range(N_DONORS)]
SUBJECT = [f"ROSMAP-{5_000 + d}" for d in range(N_DONORS)]

MATHYS_TYPES = ("Exc", "Inh", "Ast", "Mic")
GREEN_TYPES = ("Excitatory Neurons", "Inhibitory Neurons", "Astrocyte", "OPCs")
GREEN_SUBSETS = {
    "Excitatory Neurons": "CUX2+",
    "Inhibitory Neurons": "Inhibitory",
    "Astrocyte": "Astrocytes",
    "OPCs": "OPCs",
}
GREEN_STATES = {
    "Excitatory Neurons": "Exc.3",
    "Inhibitory Neurons": "Inh.16",
    "Astrocyte": "Ast.10",
    "OPCs": "OPC.1",
}
# R's missing integer.
R_NA = np.iinfo(np.int32).min


def write_clinical(folder: Path) -> Path:
    """Write ROSMAP_clinical.csv, with one participant more than have nuclei."""
    n = np.arange(N_DONORS + 1)
    pd.DataFrame(
        {
            "projid": [*PROJID, "00000042"],
            "Study": np.where(n % 2, "MAP", "ROS"),
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
            "braaksc": np.where(n == 7, "", (n % 7).astype(str)),
            "ceradsc": n % 4 + 1,
            "cogdx": n % 6 + 1,
            "dcfdx_lv": 1,
            "individualID": [*INDIVIDUAL, "R0000042"],
        }
    ).to_csv(folder / "ROSMAP_clinical.csv", index=False)
    return folder / "ROSMAP_clinical.csv"


def mathys_counts() -> sparse.csr_matrix:
    """Return the counts that `write_mathys_2023` writes."""
    return layouts.counts(layouts.cells(N_DONORS, PER_DONOR, MATHYS_TYPES)[1], seed=5)


def write_mathys_2023(folder: Path, unlabelled: Sequence[int] = (0, 50)) -> Path:
    """Write the h5ad with its three tables; the cells in `unlabelled` are not in meta.tsv."""
    folder.mkdir(parents=True, exist_ok=True)
    donor, types = layouts.cells(N_DONORS, PER_DONOR, MATHYS_TYPES)
    names = [f"SM_{d}_ACGT{i:05d}-1" for i, d in enumerate(donor)]
    obs = pd.DataFrame(
        {
            "bc": [f"ACGT{i:05d}" for i in range(len(donor))],
            "batch": [f"SM_{d}" for d in donor],
            "individual_ID": [f"id{d}" for d in donor],
        },
        index=names,
    )
    var = pd.DataFrame(index=list(layouts.GENES))
    counts = mathys_counts().astype(np.float64)
    ad.AnnData(X=counts, obs=obs, var=var).write_h5ad(folder / "PFC427_raw_data.h5ad")
    meta = pd.DataFrame(
        {
            "cellName": names,
            "Dataset": "PFC427",
            "pmi": "0.5",  # no measure of the donor: the clinical table stands
            "Major_Cell_Type": types,
            "Cell_Type": [f"{t} L2-3" for t in types],
            "Individual": np.array(SUBJECT)[donor],
        }
    ).drop(index=list(unlabelled))
    # In another order than the counts, and with a cell that they do not have.
    extra = meta.iloc[:1].assign(cellName="SM_99_ACGT-1", Individual="ROSMAP-none")
    table = pd.concat([meta.iloc[::-1], extra])
    table.to_csv(folder / "meta.tsv", sep="\t", index=False)
    individuals = pd.DataFrame(
        {
            "individualID": [*INDIVIDUAL, *INDIVIDUAL, "R0000042", ""],
            "individualIdSource": "ROSMAP",
            "sex": "female",
            "subject": [*SUBJECT, *SUBJECT, "", "ROSMAP-unknown"],
        }
    )
    individuals.to_csv(folder / "MIT_ROSMAP_Multiomics_individual_metadata.csv", index=False)
    write_clinical(folder)
    return folder


def green_counts() -> sparse.csr_matrix:
    """Return the counts that the writers of Green 2024 write, all cells × `layouts.GENES`."""
    return layouts.counts(layouts.cells(N_DONORS, PER_DONOR, GREEN_TYPES)[1], seed=6)


def green_cells() -> pd.DataFrame:
    """Return the annotation of the cells, in the words of cell-annotation.csv; index = barcode."""
    donor, types = layouts.cells(N_DONORS, PER_DONOR, GREEN_TYPES)
    sequence = [f"TTTG{i:05d}-1" for i in range(len(donor))]
    library = [f"190403-B{d}-A" for d in donor]
    barcode = [f"{batch}_{name}" for batch, name in zip(library, sequence, strict=True)]
    return pd.DataFrame(
        {
            "individualID": np.array(INDIVIDUAL)[donor],
            "projid": np.array(PROJID)[donor],
            "cell.type": types,
            "state": [GREEN_STATES[name] for name in types],
            "cellBarcode": sequence,
            "libraryBatch": library,
        },
        index=pd.Index(barcode, name="barcode"),
    )


def write_annotation(path: Path, cells: pd.DataFrame | None = None) -> Path:
    """Write cell-annotation.csv, in another order than the counts."""
    table = (green_cells() if cells is None else cells).drop(columns=["projid", "state"])
    table.iloc[::-1].to_csv(path)
    return path


def write_green_h5ad(path: Path, projid: object = None, edit: layouts.Edit | None = None) -> Path:
    """Write p400_qced_shareable.h5ad: raw counts in X with unsorted indices, and its table."""
    cells = green_cells()
    adata = ad.AnnData(
        X=_unsorted(green_counts()),
        obs=pd.DataFrame(
            {
                "projid": cells["projid"].astype(int) if projid is None else projid,
                "subset": cells["cell.type"].map(GREEN_SUBSETS).astype("category"),
                "state": cells["state"].astype("category"),
                "cell.type": "Exc",  # a first guess
                "cell.type.prob": 0.97,
                "is.doublet.df": np.arange(len(cells)) == 5,
                "batch": cells["libraryBatch"].str.removesuffix("-A"),
                "pmi": 0.5,  # no measure of the donor: the clinical table stands
            },
            index=cells.index,
        ),
        var=pd.DataFrame(index=list(layouts.GENES)),
    )
    if edit:
        edit(adata)
    adata.write_h5ad(path)
    write_clinical(path.parent)
    return path


def write_h5seurat(
    path: Path,
    types: Sequence[str] = GREEN_TYPES,
    genes: Sequence[str] = tuple(layouts.GENES),
    dims: bool = True,
) -> Path:
    """Write an h5Seurat file as SeuratDisk does, with the cells of some types and some genes."""
    cells = green_cells()
    rows = np.flatnonzero(cells["cell.type"].isin(types))
    columns = [list(layouts.GENES).index(name) for name in genes]
    counts = green_counts()[rows][:, columns]
    cells = cells.iloc[rows]
    with h5py.File(path, "w") as file:
        file.attrs.update({"project": "ROSMAP", "active.assay": "RNA", "version": "3.1.5.9900"})
        _texts(file, "cell.names", cells.index)
        assay = file.create_group("assays/RNA")
        assay.attrs["key"] = "rna_"
        _texts(assay, "features", genes)
        for name in ("counts", "data"):
            matrix = counts if name == "counts" else counts.log1p()
            stored = assay.create_group(name)
            stored["data"] = matrix.data.astype(np.float64)
            stored["indices"] = matrix.indices.astype(np.int32)
            stored["indptr"] = matrix.indptr.astype(np.int32)
            if dims:
                stored.attrs["dims"] = np.array([len(genes), len(cells)], np.int32)
        _write_meta_data(file.create_group("meta.data"), cells)
    write_clinical(path.parent)
    return path


def _write_meta_data(table: h5py.Group, cells: pd.DataFrame) -> None:
    """Write texts, factors, numbers and truth values, each in its form."""
    _texts(table, "individualID", cells["individualID"])
    _factor(table, "state", cells["state"])
    _factor(table, "cell.type", cells["cell.type"])
    _texts(table, "subset", cells["cell.type"].map(GREEN_SUBSETS))
    _factor(table, "batch", cells["libraryBatch"])
    table["projid"] = cells["projid"].astype(float).to_numpy()
    table["nCount_RNA"] = np.full(len(cells), 40.0)
    table["doublet.score"] = np.full(len(cells), 0.125)
    table["is.doublet.df"] = np.zeros(len(cells), np.int32)
    table["is.doublet.df"].attrs["s3class"] = "logical"
    table.attrs["logicals"] = np.array(["is.doublet.df"], h5py.string_dtype())
    table.attrs["_index"] = "_index"
    _texts(table, "_index", cells.index)


def _factor(group: h5py.Group, name: str, values: pd.Series) -> None:
    factor = pd.Categorical(values)
    stored = group.create_group(name)
    stored["values"] = np.where(factor.codes < 0, R_NA, factor.codes + 1).astype(np.int32)
    _texts(stored, "levels", factor.categories)


def _texts(group: h5py.Group, name: str, values: Sequence[str]) -> None:
    group.create_dataset(name, data=list(values), dtype=h5py.string_dtype())


def _unsorted(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return the matrix with the genes of each cell from last to first."""
    rows = itertools.pairwise(matrix.indptr)
    order = np.concatenate([np.arange(first, stop)[::-1] for first, stop in rows])
    parts = (matrix.data[order], matrix.indices[order], matrix.indptr)
    turned = sparse.csr_matrix(parts, shape=matrix.shape)
    assert not turned.has_sorted_indices
    return turned
