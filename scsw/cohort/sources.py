"""Which files each source consists of.

No heavy import may stand here: the workflow asks for these names each time it is parsed.
"""

from __future__ import annotations

import os

from scsw.errors import ScswError

SOURCES = ("sea_ad", "rosmap", "cellxgene")

# The folder of Mathys 2019 (Synapse syn18485175).
ROSMAP_MATRIX = ("filtered_count_matrix.mtx", "filtered_count_matrix.mtx.gz")
ROSMAP_GENES = "filtered_gene_row_names.txt"
ROSMAP_ENSEMBL = "notfiltered_gene_row_names.txt"
ROSMAP_CELLS = "filtered_column_metadata.txt"
ROSMAP_CLINICAL = "ROSMAP_clinical.csv"


def check_source(source: str) -> None:
    """Raise a `ScswError` if `source` is not one that scsw reads."""
    if source not in SOURCES:
        raise ScswError(
            f"the source {source!r} is unknown", expected="one of " + ", ".join(SOURCES)
        )


def input_files(source: str, path: str, clinical: str | None = None) -> list[str]:
    """Name the files that reading a cohort opens, in a fixed order.

    A ROSMAP folder may hold the matrix plain or gzipped, with or without the table of Ensembl
    ids: what is there is named. Before the matrix exists (a cohort that is still to be
    simulated), the whole layout is named with the plain matrix.

    Parameters
    ----------
    source
        One of `SOURCES`.
    path
        The cohort's h5ad, or the ROSMAP folder.
    clinical
        ROSMAP's clinical table, if it is not in the folder.

    Raises
    ------
    ScswError
        If the source is unknown.
    """
    check_source(source)
    if source != "rosmap":
        return [str(path)]
    matrix = rosmap_matrix(path)
    ensembl = os.path.join(path, ROSMAP_ENSEMBL)
    names = [matrix, os.path.join(path, ROSMAP_GENES)]
    if os.path.exists(ensembl) or not os.path.exists(matrix):
        names.append(ensembl)
    names.append(os.path.join(path, ROSMAP_CELLS))
    names.append(str(clinical) if clinical else os.path.join(path, ROSMAP_CLINICAL))
    return names


def rosmap_matrix(folder: str) -> str:
    """Return the path of the count matrix in a ROSMAP folder; the plain name if there is none."""
    paths = [os.path.join(folder, name) for name in ROSMAP_MATRIX]
    return next((path for path in paths if os.path.exists(path)), paths[0])
