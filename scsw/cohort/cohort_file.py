"""``cohort.h5ad``, written piece by piece: never more than a block of counts in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata.io import write_elem
from scipy import sparse

from scsw.cohort.harmonise import ORIGINAL
from scsw.cohort.hdf5_chunks import ChunkWriter, n_threads, write_together


class CohortFile:
    """An h5ad file that counts are appended to.

    The arrays of the matrix are written here and not through anndata, which makes ``indptr`` int32
    when it appends: SEA-AD's 1.4 million nuclei have more values than that can count.

    Parameters
    ----------
    file
        The open, empty file.
    n_genes
        Number of genes.
    pool
        Threads that compress.
    """

    def __init__(self, file: h5py.File, n_genes: int, pool: ThreadPoolExecutor) -> None:
        self._file, self._n_genes = file, n_genes
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        self._x = file.create_group("X")
        self._x.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
        self._values = [ChunkWriter(self._x, name, np.int32, pool) for name in ("data", "indices")]
        self._lengths: list[np.ndarray] = []

    def append(self, counts: sparse.csr_matrix) -> None:
        """Append cells: CSR with sorted indices, cells × genes."""
        write_together(self._values)  # the block before, compressed in the meantime
        for writer, values in zip(self._values, (counts.data, counts.indices), strict=True):
            writer.append(values.astype(np.int32, copy=False))
        self._lengths.append(np.diff(counts.indptr).astype(np.int64))

    def finish(
        self,
        obs: pd.DataFrame,
        var: pd.DataFrame,
        facts: Mapping[str, Any],
        coordinates: Mapping[str, np.ndarray],
    ) -> None:
        """Write all but the counts.

        Parameters
        ----------
        obs, var
            Annotation of the appended cells and of the genes.
        facts
            Goes to ``uns["scsw"]``.
        coordinates
            Goes to ``obsm``.
        """
        for writer in self._values:
            writer.pad()
        write_together(self._values)
        for writer in self._values:
            writer.close()
        lengths = np.concatenate([np.zeros(1, np.int64), *self._lengths])
        self._x.attrs["shape"] = np.array([len(lengths) - 1, self._n_genes], np.int64)
        self._x.create_dataset("indptr", data=np.cumsum(lengths), chunks=True, compression="gzip")
        packed = {"compression": "gzip"}
        write_elem(self._file, "obs", _stored(obs), dataset_kwargs=packed)
        write_elem(self._file, "var", var, dataset_kwargs=packed)
        write_elem(self._file, "uns", {"scsw": dict(facts)})
        write_elem(self._file, "obsm", dict(coordinates), dataset_kwargs=packed)
        for name in ("varm", "obsp", "varp", "layers"):
            write_elem(self._file, name, {})


@contextlib.contextmanager
def cohort_file(path: Path, n_genes: int) -> Iterator[CohortFile]:
    """Make an h5ad file to append counts to."""
    with ThreadPoolExecutor(n_threads()) as pool, h5py.File(path, "w") as file:
        yield CohortFile(file, n_genes, pool)


def _stored(obs: pd.DataFrame) -> pd.DataFrame:
    """Leave originals with as many texts as cells as plain text: codes would save nothing."""
    for name in obs.columns:
        column = obs[name]
        is_many = column.dtype == "category" and len(column.cat.categories) > len(column) // 2
        if name.startswith(ORIGINAL) and is_many:
            obs = obs.assign(**{name: column.astype(str).astype(object)})
    return obs
