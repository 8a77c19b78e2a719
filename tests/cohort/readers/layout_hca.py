"""Files of the Human Cell Atlas as they are written there, made up from nothing."""

from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd

from tests.cohort import layouts

# Names of the levels 1 to 4 for each kind of cell; level 5 is empty but for one kind.
LEVELS = {
    "microglia": ("Immune", "Myeloid", "Microglia", "Homeostatic microglia"),
    "T": ("Immune", "Lymphoid", "T cell", "None"),
    "astro": ("Neural", "Glia", "Astrocyte", "None"),
    "capillary": ("Endothelial", "Vessel", "Capillary", "None"),
    "odd": ("Neural", "Unclear", "None", "None"),
}
# `odd` is a tenth of the cells.
KINDS = ("microglia", "T", "astro", "capillary", "T", "astro", "capillary", "astro", "T", "odd")
LIBRARIES = ("0a1b", "2c3d", "4e5f", "6a7b", "8c9d", "ae0f")
N_DONORS, PER_DONOR = len(LIBRARIES), 20


def write_integration(path: Path, edit=None, counts_in: str = "raw") -> Path:
    """Write an integration file with its counts in ``raw``, a layer's name, or ``X``."""
    donor, kinds = layouts.cells(N_DONORS, PER_DONOR, KINDS)
    counts = layouts.counts(kinds, seed=5)
    obs = pd.DataFrame(
        {
            "sample": [f"S{d}" for d in donor],
            "study": np.where(donor < 3, "First_2020", "Second_2021"),
            "subject_ID": [f"P{d:02d}" for d in donor],
            "disease_condition": np.where(donor % 2, "Alzheimer disease", "Healthy"),
            "sex": np.where(donor % 2, "male", "female"),
            "age": 60.0 + donor,
            "tissue": "prefrontal cortex",
            **{f"ann_level_{n + 1}": [LEVELS[kind][n] for kind in kinds] for n in range(4)},
            "ann_level_5": np.where(kinds == "microglia", "Resting microglia", "None"),
        },
        index=[f"cell{i}" for i in range(len(donor))],
    )
    var = pd.DataFrame({"feature_name": list(layouts.GENES)}, index=list(layouts.GENES.values()))
    adata = ad.AnnData(X=counts if counts_in == "X" else counts.log1p(), obs=obs, var=var)
    if counts_in == "raw":
        adata.raw = ad.AnnData(X=counts, obs=obs, var=var[[]])
    elif counts_in != "X":
        adata.layers[counts_in] = counts
    if edit:
        edit(adata)
    adata.write_h5ad(path)
    return path


def write_loom(path: Path, version: int = 3) -> Path:
    """Write a project matrix of the Data Coordination Platform: neither donors nor types.

    ``cell_names`` are unique, each with its library's number; ``CellID`` is the plain barcode.
    Whole-file attributes stand in ``attrs`` in loom 3, on the file itself before.
    """
    library, kinds = layouts.cells(N_DONORS, PER_DONOR, KINDS)
    counts = layouts.counts(kinds, seed=6)
    barcodes = [f"ACGT{i % PER_DONOR:04d}" for i in range(len(library))]
    texts = h5py.string_dtype()
    whole_file = {
        "donor_organism.genus_species": "Homo sapiens",
        "specimen_from_organism.organ": "brain",
        "library_preparation_protocol.library_construction_approach": "10X v3 sequencing",
        "project.project_core.project_name": "MadeUpBrain",
        "input_id": ", ".join(LIBRARIES),
    }
    with h5py.File(path, "w") as file:
        file.create_dataset("matrix", data=counts.T.toarray(), chunks=(8, 64), compression="gzip")
        file.create_group("layers")
        rows, columns = file.create_group("row_attrs"), file.create_group("col_attrs")
        for name in ("Gene", "gene_names"):
            rows.create_dataset(name, data=list(layouts.GENES), dtype=texts)
        versions = [f"{name}.5" for name in layouts.GENES.values()]
        rows.create_dataset("ensembl_ids", data=versions, dtype=texts)
        names = [f"{name}-{n}" for name, n in zip(barcodes, library, strict=True)]
        columns.create_dataset("cell_names", data=names, dtype=texts)
        columns.create_dataset("CellID", data=barcodes, dtype=texts)
        of_cell = [LIBRARIES[n] for n in library]
        columns.create_dataset("input_id", data=of_cell, dtype=texts)
        columns.create_dataset("n_genes", data=np.diff(counts.indptr))
        is_cell = np.arange(len(library)) % PER_DONOR != 7
        columns.create_dataset("emptydrops_IsCell", data=is_cell.astype(np.uint8))
        columns.create_dataset("embedding", data=np.zeros((len(library), 2)))
        place = file.create_group("attrs") if version == 3 else file.attrs
        for name, value in whole_file.items():
            if version == 3:
                place.create_dataset(name, data=value, dtype=texts)
            else:
                place[name] = value
    return path


def kinds_of_cells() -> np.ndarray:
    """Return the kind of each cell of both files."""
    return layouts.cells(N_DONORS, PER_DONOR, KINDS)[1]


def write_labels(path: Path, separator: str = ",", barcode: str = "barcode") -> Path:
    """Write the authors' labels; the odd cells have none and are not in the table."""
    library, kinds = layouts.cells(N_DONORS, PER_DONOR, KINDS)
    table = pd.DataFrame(
        {
            barcode: [f"ACGT{i % PER_DONOR:04d}-{n}" for i, n in enumerate(library)],
            "cell_type": [LEVELS[kind][2] for kind in kinds],
            "Braak": [f"Braak {('II', 'IV', 'VI')[n % 3]}" for n in library],
        }
    )
    table = table[kinds != "odd"].sample(frac=1, random_state=0)
    table.to_csv(path, sep=separator, index=False)
    return path


def write_manifest(path: Path) -> Path:
    """Write the project's metadata manifest: a row per sequence file, two files a library."""
    n = np.repeat(np.arange(N_DONORS), 2)
    pd.DataFrame(
        {
            "file_name": [f"reads_{i}.fastq.gz" for i in range(len(n))],
            "sequencing_process.provenance.document_id": [LIBRARIES[d] for d in n],
            "donor_organism.biomaterial_core.biomaterial_id": [f"HD{d}" for d in n],
            "donor_organism.sex": np.where(n % 2, "male", "female"),
            "donor_organism.organism_age": np.array(["71", "8", "60-64", "75.5", "", "80"])[n],
            "donor_organism.organism_age_unit": np.where(n == 1, "week", "year"),
            "donor_organism.diseases": "Alzheimer disease",
            "specimen_from_organism.organ_part": "",
        }
    ).to_csv(path, sep="\t", index=False)
    return path
