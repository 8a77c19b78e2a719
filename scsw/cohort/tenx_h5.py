"""The HDF5 file that 10x Genomics' Cell Ranger writes, release 3 and later."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from scsw.cohort.count_matrix import CountMatrix, Reordered
from scsw.cohort.genes import gene_frame
from scsw.cohort.h5_matrix import CountsByCell, readable
from scsw.cohort.h5ad import open_h5ad
from scsw.errors import ScswError

_GROUP = "matrix"
_MEMBERS = ("barcodes", "data", "features", "indices", "indptr", "shape")
_FEATURES = ("id", "name", "feature_type")
_GENES = "Gene Expression"


@dataclass(frozen=True)
class TenX:
    """A file of Cell Ranger.

    Attributes
    ----------
    barcodes
        Names of the cells.
    genes
        The table of `scsw.cohort.genes.gene_frame`.
    counts
        Counts of the genes, cells × genes; features of other kinds are left out.
    """

    barcodes: pd.Index
    genes: pd.DataFrame
    counts: CountMatrix


def read_tenx(path: Path, advice: str) -> TenX:
    """Open a file of Cell Ranger; its counts stay on disk.

    It stores genes × cells column by column, which is cells × genes row by row.

    Parameters
    ----------
    path
        The file.
    advice
        Where this source keeps raw counts, for messages.

    Raises
    ------
    ScswError
        If the file does not have this layout, holds no genes, or its parts do not fit together.
    """
    with open_h5ad(path) as file, readable(path, _GROUP):
        group = _matrix(file)
        n_features, n_cells = (int(size) for size in group["shape"][:])
        barcodes = _texts(group["barcodes"])
        features = {name: _texts(group["features"][name]) for name in _FEATURES}
    sizes = {"barcodes": (len(barcodes), n_cells)}
    sizes |= {f"features/{name}": (len(column), n_features) for name, column in features.items()}
    for name, (size, expected) in sizes.items():
        if size != expected:
            raise ScswError(
                f"{_GROUP}/{name} of {path} holds {size} names where its shape tells {expected}",
                expected="a complete file",
                fix="download the file again and compare its size with the source's",
            )
    is_gene = features["feature_type"] == _GENES
    if not is_gene.any():
        raise ScswError(
            f"{path} holds no genes, but {', '.join(sorted(set(features['feature_type'])))}",
            expected=f"features of the type {_GENES!r}",
            fix="use the file of gene expression",
        )
    counts: CountMatrix = CountsByCell(path, _GROUP, f"{_GROUP} of {path}", advice, n_features)
    if not is_gene.all():
        counts = Reordered(counts, np.flatnonzero(is_gene))
    genes = gene_frame(
        pd.Index(features["name"][is_gene]), pd.Index(features["id"][is_gene]), str(path)
    )
    return TenX(pd.Index(barcodes), genes, counts)


def _matrix(file: h5py.File) -> h5py.Group:
    group = file.get(_GROUP)
    found = sorted(group) if isinstance(group, h5py.Group) else sorted(file)
    lacking = [name for name in _MEMBERS if name not in found]
    if not lacking:
        lacking = [f"features/{name}" for name in _FEATURES if name not in group["features"]]
    if lacking:
        raise ScswError(
            f"{file.filename} has no {_GROUP}/{lacking[0]}; it holds {', '.join(found)}",
            expected="an h5 file as Cell Ranger 3 or later writes it",
        )
    return group


def _texts(names: h5py.Dataset) -> np.ndarray:
    return names.asstr()[:].astype(object)
