"""Write a large h5ad in the layout of SEA-AD, made up from nothing.

    python -m benchmarks.preprocess_files FILE NUCLEI

As in the public files: 36,601 genes, raw counts in ``layers["UMIs"]`` and ln(UP10K + 1) in ``X``
(both float32 CSR, gzip level 4, chunks as h5py cuts them), 133 columns of ``obs``, 89 donors and 24
subclasses. Some nuclei fail each filter.

Counts are drawn for at most 10,000 nuclei, and a larger file repeats them, each time with other
donors, doublet scores and flags. So one pass of gzip serves any size, memory does not grow with the
counts, and the reader's work is that of a file without repetition: gzip looks back 32 KiB only.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from scsw.cohort.cell_types import SEA_AD_CLASSES
from scsw.cohort.genes import GENE_TABLE, gene_frame
from scsw.cohort.vocabulary import census_file, match_genes
from scsw.files import read_json, whole
from scsw.resources import resource

N_GENES, N_OUTSIDE_VOCABULARY = 36_601, 3_601
N_COLUMNS = 133
POOL = 10_000  # nuclei whose counts differ
CHUNK = 42_725  # values; h5py's own choice for arrays of some 10⁸ values
SLICE = 250  # nuclei drawn at once
N_DONORS, N_REFERENCES = 84, 5

# Nuclei of each subclass in a thousand, about as in the middle temporal gyrus.
SHARES = {
    "L2/3 IT": 240, "L4 IT": 100, "L5 IT": 70, "L6 IT": 40, "L6 IT Car3": 20, "L5 ET": 4,
    "L6 CT": 20, "L6b": 20, "L5/6 NP": 15, "Lamp5 Lhx6": 10, "Lamp5": 40, "Pax6": 6, "Sncg": 20,
    "Vip": 70, "Sst Chodl": 3, "Sst": 45, "Pvalb": 55, "Chandelier": 8, "Astrocyte": 60,
    "Oligodendrocyte": 90, "OPC": 25, "Microglia-PVM": 30, "Endothelial": 4, "VLMC": 5,
}  # fmt: skip
DEPTHS = {"excitatory": 14_000, "inhibitory": 10_000}  # median counts of a nucleus
OTHER_DEPTH = 4_000
CLASSES = {"excitatory": "Neuronal: Glutamatergic", "inhibitory": "Neuronal: GABAergic"}
OTHER_CLASS = "Non-neuronal and Non-neural"


def write(path: Path, n: int) -> None:
    """Write a file of `n` nuclei: up to 10,000, or a multiple of it."""
    pool = min(n, POOL)
    if n % pool:
        raise SystemExit(f"{n} nuclei: up to {POOL}, or a multiple of it")
    rng = np.random.default_rng(0)
    genes = choose_genes()
    subclass = rng.choice(len(SHARES), pool, p=np.array([*SHARES.values()]) / sum(SHARES.values()))
    counts = whole_chunks(draw_counts(genes, subclass, rng), rng)
    annotation = ad.AnnData(
        obs=annotate(counts, genes, subclass, n, rng),
        var=pd.DataFrame({"gene_ids": genes["ensembl_id"].to_numpy()}, index=genes["symbol"]),
        uns={"X_normalization": "ln(UP10K+1)", "title": "made up for a benchmark; no real donor"},
        obsm={
            "X_scVI": rng.standard_normal((n, 20), np.float32),
            "X_umap": rng.standard_normal((n, 2), np.float32),
        },
    )
    annotation.var_names.name = None
    with whole(path) as part:
        annotation.write_h5ad(part, compression="gzip")
        with h5py.File(part, "a") as file:
            file.pop("X", None)
            repeat(file, "X", ln_up10k(counts), n // pool)
            repeat(file, "layers/UMIs", counts, n // pool)


def choose_genes() -> pd.DataFrame:
    """Return ``symbol, ensembl_id, is_coding`` of 36,601 genes in the order of the genome.

    scGPT's census list either has a gene's symbol or knows no other name of it. Looking up symbols,
    as a lab would, then finds the same genes as scsw, which also knows Ensembl ids and aliases.
    """
    names = ["ensembl_id", "symbol", "version", "length", "biotype"]
    table = pd.read_csv(resource(GENE_TABLE), header=None, names=names, keep_default_na=False)
    table = table[~table["biotype"].isin(["Mt_tRNA", "Mt_rRNA"])].drop_duplicates("symbol")
    ids = table.set_index("symbol")["ensembl_id"]
    way = match_genes(gene_frame(ids.index, ids, GENE_TABLE), read_json(census_file()))
    way = way["matched_by"].to_numpy()
    preference = table["biotype"].map({"protein_coding": 0, "lncRNA": 1}).fillna(2)
    ranked = table.assign(place=np.arange(len(table)), way=way).iloc[np.argsort(preference)]
    known = ranked[ranked["way"] == "symbol"].head(N_GENES - N_OUTSIDE_VOCABULARY)
    unknown = ranked[ranked["way"] == "unmatched"].head(N_OUTSIDE_VOCABULARY)
    chosen = pd.concat([known, unknown]).sort_values("place").reset_index(drop=True)
    assert len(chosen) == N_GENES
    return chosen.assign(is_coding=chosen["biotype"] == "protein_coding")


def draw_counts(
    genes: pd.DataFrame, subclass: np.ndarray, rng: np.random.Generator
) -> sparse.csr_matrix:
    """Draw Poisson counts; one nucleus in fifty has few, one in fifty is rich in mitochondria."""
    is_mito = genes["symbol"].str.startswith("MT-").to_numpy()
    level = rng.lognormal(0, 2.0, len(genes)) * np.where(genes["is_coding"], 1.0, 0.1)
    profile = level * rng.lognormal(0, 0.8, (len(SHARES), len(genes)))
    profile[:, is_mito] *= 0.005 / (profile[:, is_mito] / profile.sum(1, keepdims=True)).sum(
        1, keepdims=True
    )
    depth = np.array([DEPTHS.get(SEA_AD_CLASSES[name], OTHER_DEPTH) for name in SHARES])
    depth = depth[subclass] * rng.lognormal(0, 0.4, len(subclass))
    depth[rng.random(len(depth)) < 0.02] = 300.0
    mito_fold = np.where(rng.random(len(depth)) < 0.02, 20.0, 1.0)
    slices = []
    for start in range(0, len(subclass), SLICE):
        here = slice(start, start + SLICE)
        rate = profile[subclass[here]]
        rate[:, is_mito] *= mito_fold[here, None]
        rate *= (depth[here] / rate.sum(1))[:, None]
        slices.append(sparse.csr_matrix(rng.poisson(rate).astype(np.float32)))
    return sparse.vstack(slices, format="csr")


def whole_chunks(counts: sparse.csr_matrix, rng: np.random.Generator) -> sparse.csr_matrix:
    """Drop some values at random, fewer than one chunk, so that the others fill whole chunks."""
    counts = counts.copy()
    counts.data[rng.choice(counts.nnz, counts.nnz % CHUNK, replace=False)] = 0
    counts.eliminate_zeros()
    return counts


def ln_up10k(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    total = np.asarray(counts.sum(axis=1)).ravel()
    share = counts.data / np.repeat(total, np.diff(counts.indptr))
    values = np.log1p(1e4 * share).astype(np.float32)
    return sparse.csr_matrix((values, counts.indices, counts.indptr), shape=counts.shape)


def repeat(file: h5py.File, key: str, matrix: sparse.csr_matrix, times: int) -> None:
    """Write a matrix several times, one below another, as anndata would write the whole."""
    group = file.create_group(key)
    group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
    group.attrs["shape"] = np.array([times * matrix.shape[0], matrix.shape[1]])
    # scipy counts in int64 where int32 ends, in both arrays.
    counted = np.int32 if times * matrix.nnz < 2**31 else np.int64
    lengths = np.tile(np.diff(matrix.indptr), times)
    indptr = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(counted)
    group.create_dataset("indptr", data=indptr, maxshape=(None,), compression="gzip")
    for name, values in (("data", matrix.data), ("indices", matrix.indices.astype(counted))):
        dataset = group.create_dataset(
            name, (times * matrix.nnz,), values.dtype, maxshape=(None,), chunks=(CHUNK,),
            compression="gzip",
        )  # fmt: skip
        dataset[: matrix.nnz] = values
        dataset.flush()
        for start in range(matrix.nnz, times * matrix.nnz, CHUNK):
            mask, stored = dataset.id.read_direct_chunk((start % matrix.nnz,))
            dataset.id.write_direct_chunk((start,), stored, mask)


def annotate(
    counts: sparse.csr_matrix,
    genes: pd.DataFrame,
    subclass: np.ndarray,
    n: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Return ``obs``: measures of the repeated nuclei, and of each nucleus its donor and scores."""
    times = n // len(subclass)
    total = np.asarray(counts.sum(axis=1)).ravel()
    is_mito = genes["symbol"].str.startswith("MT-").to_numpy()
    mito = np.asarray(counts[:, is_mito].sum(axis=1)).ravel()
    names = np.array([*SHARES])[np.tile(subclass, times)]
    obs = donor_columns(rng).take(rng.integers(N_DONORS + N_REFERENCES, size=n))
    measures = {
        "Used in analysis": rng.random(n) < 0.99,
        "Doublet score": rng.beta(1.2, 14, n).round(4),  # one in a hundred is above 0.3
        "Fraction mitochondrial UMIs": np.tile(mito / total, times),
        "Number of UMIs": np.tile(total, times).astype(float),
        "Genes detected": np.tile(np.diff(counts.indptr), times),
        "method": pd.Categorical(rng.choice(["10Xv3.1", "10xMulti"], n, p=[0.8, 0.2])),
        "Class": pd.Categorical(
            [CLASSES.get(SEA_AD_CLASSES[name], OTHER_CLASS) for name in names]
        ),
        "Subclass": pd.Categorical(names),
        "Supertype": pd.Categorical(np.char.add(names, np.array(["_1", "_2", "_3"])[
            rng.integers(3, size=n)])),
    }  # fmt: skip
    for level in ("Class", "Subclass", "Supertype"):
        measures[f"{level} confidence"] = rng.beta(60, 1, n).round(4)
    libraries = obs["library_prep"].astype(str).to_numpy()
    obs = pd.concat([obs.reset_index(drop=True), pd.DataFrame(measures)], axis=1)
    obs.index = pd.Index([f"{i:012d}-{name}" for i, name in enumerate(libraries)])
    obs.index.name = "exp_component_name"
    assert obs.shape[1] == N_COLUMNS
    return obs


def donor_columns(rng: np.random.Generator) -> pd.DataFrame:
    """Return one row per donor, with as many further columns as the public files have."""
    n = N_DONORS + N_REFERENCES
    number = np.arange(n)
    reference = number >= N_DONORS

    def staged(values: list[str]) -> np.ndarray:
        return np.where(reference, "Reference", rng.choice(values, n))

    texts = {
        "Donor ID": [f"H20.33.{501 + i}" for i in number],  # numbers that no real donor has
        "Brain Region": np.repeat("Human MTG", n),
        "Neurotypical reference": reference.astype(str),
        "Sex": rng.choice(["Female", "Male"], n),
        "Age at Death": rng.integers(65, 102, n).astype(str),
        "Last MMSE Score": staged(["18", "23", "26", "28", "29"]),
        "Overall AD neuropathological Change": staged(["Not AD", "Low", "Intermediate", "High"]),
        "Braak": staged(["Braak 0", "Braak II", "Braak III", "Braak IV", "Braak V", "Braak VI"]),
        "Thal": staged([f"Thal {i}" for i in range(6)]),
        "CERAD score": staged(["Absent", "Sparse", "Moderate", "Frequent"]),
        "Cognitive Status": staged(["No dementia", "Dementia"]),
        "APOE Genotype": rng.choice(["2/3", "3/3", "3/4", "4/4"], n),
        "LATE": staged(["Not Identified", "LATE Stage 1", "LATE Stage 2"]),
        "Severely Affected Donor": rng.choice(["N", "Y"], n, p=[0.9, 0.1]),
        "library_prep": [f"L8TX_{i:03d}" for i in number],
    }
    values = {
        "PMI": rng.uniform(3, 12, n).round(2),
        "Years of education": rng.integers(12, 22, n).astype(float),
        "Continuous Pseudo-progression Score": np.where(
            reference, np.nan, rng.uniform(0.15, 0.929, n).round(4)
        ),
    }
    n_cell_columns = 12  # of `annotate`
    for i in range(N_COLUMNS - n_cell_columns - len(texts) - len(values)):
        if i % 2:
            values[f"Made-up measure {i}"] = rng.normal(size=n)
        else:
            texts[f"Made-up choice {i}"] = staged(["Checked", "Unchecked", "Unavailable"])
    return pd.DataFrame({**{k: pd.Categorical(v) for k, v in texts.items()}, **values})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("nuclei", type=int)
    given = parser.parse_args()
    write(given.file, given.nuclei)


if __name__ == "__main__":
    main()
