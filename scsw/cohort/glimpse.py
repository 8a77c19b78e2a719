"""A first look at a cohort's file or folder, enough to tell which source it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py

from scsw.cohort.h5_matrix import readable
from scsw.cohort.h5ad import column_names, members, open_h5ad, plain_text
from scsw.cohort.h5seurat import meta_data_columns
from scsw.errors import ScswError
from scsw.files import require

_HDF5_NAMES = (".h5ad", ".h5", ".hdf5", ".h5seurat", ".loom")


@dataclass(frozen=True)
class Glimpse:
    """What stands in a file or folder, without its counts.

    Attributes
    ----------
    path
        The file or folder.
    files
        Names of the files in the folder; empty for a file.
    keys
        What stands at the top of an HDF5 file, such as ``X``, ``layers`` or ``assays``.
    obs, var
        Column names of these tables of an h5ad file.
    layers, uns
        Names in these groups of an h5ad file.
    genes
        The first and the last names of ``var``'s index.
    """

    path: Path
    files: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    obs: frozenset[str] = frozenset()
    var: frozenset[str] = frozenset()
    layers: frozenset[str] = frozenset()
    uns: frozenset[str] = frozenset()
    genes: tuple[str, ...] = ()
    meta_data: frozenset[str] = frozenset()

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.path.is_dir()

    @property
    def is_h5ad(self) -> bool:
        """Whether it is an AnnData file; one of several modalities is not."""
        return {"obs", "var"} <= self.keys and "mod" not in self.keys

    def told(self) -> str:
        """Describe it in one clause, for messages."""
        if self.is_folder:
            return f"{self.path} is a folder with {_some(self.files)}"
        if self.is_h5ad:
            layers = f", layers {_some(self.layers)}" if self.layers else ""
            return f"{self.path} is an h5ad file with obs columns {_some(self.obs)}{layers}"
        if self.keys:
            return f"{self.path} is an HDF5 file with {_some(self.keys)}"
        return f"{self.path} is a file of another kind"

    def way_to_h5ad(self) -> str:
        """Say how a file of a common kind that no reader reads becomes an h5ad; "" for others."""
        name = self.path.name.casefold()
        if "mod" in self.keys:
            return "take the RNA out of it: mudata.read(...).mod['rna'].write_h5ad(...)"
        if self.files & {".zgroup", "zarr.json"}:
            return "write it as h5ad: anndata.read_zarr(...).write_h5ad(...)"
        if any(file.endswith(".h5ad") for file in self.files):
            return (
                "name one of the files, or put them together first: "
                "anndata.experimental.concat_on_disk([...], 'all.h5ad')"
            )
        if name.endswith((".h5ad.gz", ".h5.gz", ".zip", ".tar", ".tar.gz", ".tgz")):
            return "unpack it"
        if name.endswith((".rds", ".rda", ".rdata", ".qs", ".qs2")):
            return "read the object in R and write it as h5ad"
        if name.endswith((".h5", ".mtx", ".mtx.gz")) or any(
            file.endswith(("matrix.mtx", "matrix.mtx.gz")) for file in self.files
        ):
            return (
                "read it in Python (scanpy.read_10x_h5 or read_10x_mtx), add each cell's donor and "
                "type to obs, put the libraries together and write them as h5ad"
            )
        return ""


def glimpse(path: str | Path) -> Glimpse:
    """Look at a file or folder; no counts are read.

    Raises
    ------
    ScswError
        If it does not exist, or is a damaged HDF5 file.
    """
    path = require(path)
    if path.is_dir():
        return Glimpse(path, files=frozenset(f.name for f in path.iterdir() if f.is_file()))
    if not h5py.is_hdf5(path):
        if path.suffix.casefold() in _HDF5_NAMES:
            raise ScswError(
                f"{path} cannot be opened as HDF5: it does not begin as such a file",
                expected="a complete h5ad file",
                fix="download the file again and compare its size with the source's",
            )
        return Glimpse(path)
    with open_h5ad(path) as file, readable(path, "obs or var"):
        return _of_hdf5(path, file)


def _of_hdf5(path: Path, file: h5py.File) -> Glimpse:
    keys = frozenset(file)
    if not {"obs", "var"} <= keys:
        return Glimpse(path, keys=keys, meta_data=frozenset(meta_data_columns(file)))
    return Glimpse(
        path,
        keys=keys,
        obs=frozenset(column_names(file, "obs")),
        var=frozenset(column_names(file, "var")),
        layers=frozenset(members(file, "layers")),
        uns=frozenset(members(file, "uns")),
        genes=_some_genes(file["var"]),
    )


def _some_genes(var: h5py.Group) -> tuple[str, ...]:
    index = var[var.attrs.get("_index", "_index")]
    names = [*index[:5], *index[-5:]] if isinstance(index, h5py.Dataset) else ()
    return tuple(plain_text(name) for name in names)


def _some(names: frozenset[str], most: int = 30) -> str:
    shown = sorted(names)[:most]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(shown) or "nothing") + more
