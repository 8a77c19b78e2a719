"""Groups of people to test in: each cell class of a cohort of nuclei, or blood of a bulk one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from anndata.io import read_elem, sparse_dataset
from scipy import sparse

from scsw.biology.external.diagnosis import BULK_RULE, donor_diagnosis, last_samples
from scsw.biology.stages.donor_facts import assay_shares
from scsw.cohort.h5ad import open_h5ad, read_columns
from scsw.cohort.read import cohort_facts
from scsw.errors import ScswError
from scsw.files import require

_BLOCK = 20_000  # cells whose counts are held at once
_DONOR = "adnc braak cognition is_reference age_death sex pmi".split()
_CELL = "donor_id cell_class n_genes pct_mito assay".split()
BULK_COVARIATES = ("age", "sex", "rin")


@dataclass(frozen=True)
class Group:
    """People of one external cohort, and what one tissue or cell class of theirs expresses.

    Attributes
    ----------
    external, tissue, cell_class
        Name of the cohort; ``single nuclei`` or ``bulk blood``; the class, or ``bulk``.
    expression
        People × genes, float64, log2.
    detection
        Share of cells that detect a gene; 1 for bulk; shape (genes,).
    genes
        Their symbols.
    people
        One row per person: ``donor_id``, ``diagnosis`` (1 case, 0 control, −1 neither) and the
        covariates.
    rule
        Who is a case and who a control, in words.
    covariates
        Columns of `people` that may be adjusted for, most needed first.
    """

    external: str
    tissue: str
    cell_class: str
    expression: np.ndarray
    detection: np.ndarray
    genes: np.ndarray
    people: pd.DataFrame
    rule: str
    covariates: tuple[str, ...]


def nuclei(
    path: str | Path, name: str, *, min_cells: int, covariates: tuple[str, ...]
) -> Iterator[Group]:
    """Yield the cell classes of a ``cohort.h5ad``, its counts added up by donor and class.

    Expression is log2(1 + counts per million) of the sum over a donor's cells of the class
    (pseudobulk); donors with fewer than `min_cells` of them are left out. The file is read in
    blocks.
    """
    cohort_facts(path)  # refuses what is no cohort
    with open_h5ad(path) as file:
        obs = read_columns(file, "obs", [*_CELL, *_DONOR])
        genes = read_columns(file, "var", ["symbol"])["symbol"].to_numpy(str)
        texts = obs[["donor_id", "cell_class"]].astype(str)
        place, keys = pd.factorize(pd.MultiIndex.from_frame(texts), sort=True)
        sums, detected = _added_up(sparse_dataset(file["X"]), place, len(keys))
    cells = np.bincount(place)
    obs = obs.assign(donor_id=texts["donor_id"].to_numpy())
    donors = obs.groupby("donor_id")[_DONOR].first()
    donors["diagnosis"], rule = donor_diagnosis(donors)
    depth = obs.groupby(place)[["n_genes", "pct_mito"]].median()
    people = keys.to_frame(index=False, name=list(texts.columns)).join(donors, on="donor_id")
    people = people.assign(
        assay_shares=obs.groupby(place)["assay"].agg(assay_shares).to_numpy(object),
        median_genes=depth["n_genes"].to_numpy(float),
        pct_mito=depth["pct_mito"].to_numpy(float),
    )
    for cell_class in sorted(people["cell_class"].unique()):
        of_class = people["cell_class"].eq(cell_class).to_numpy()
        own = np.flatnonzero(of_class & (cells >= min_cells))
        total = sums[own].sum(1, keepdims=True)
        rate = detected[own].sum(0) / max(cells[own].sum(), 1)
        mine = people.iloc[own].reset_index(drop=True)
        expression = np.log2(1 + sums[own] / np.maximum(total, 1) * 1e6)
        yield Group(
            name, "single nuclei", cell_class, expression, rate, genes, mine, rule, covariates
        )


def bulk(path: str | Path, name: str) -> Group:
    """Return the people of an ``external.h5ad``, one sample each.

    Raises
    ------
    ScswError
        If the file is none that `scsw preprocess` wrote from bulk expression.
    """
    with open_h5ad(path) as file:
        facts = read_elem(file["uns/scsw"]) if "uns/scsw" in file else {}
    if "diagnoses" not in facts:
        raise ScswError(
            f"{path} is no external cohort of bulk expression",
            expected="external.h5ad, as `scsw preprocess` writes it for ADNI",
            fix="run `scsw preprocess` on the source first",
        )
    data = ad.read_h5ad(require(path))
    diagnosis = last_samples(data.obs)
    chosen = data[diagnosis.index]
    people = chosen.obs.assign(diagnosis=diagnosis, donor_id=chosen.obs["donor_id"].astype(str))
    genes = chosen.var["symbol"].to_numpy(str)
    expression = np.asarray(chosen.X, np.float64)
    return Group(
        name, "bulk blood", "bulk", expression, np.ones(len(genes)), genes,
        people.reset_index(drop=True), BULK_RULE, BULK_COVARIATES,
    )  # fmt: skip


def _added_up(counts, group: np.ndarray, n_groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Return sums of counts and numbers of cells that detect a gene, each groups × genes."""
    n_cells, n_genes = counts.shape
    sums, detected = np.zeros((n_groups, n_genes)), np.zeros((n_groups, n_genes))
    for start in range(0, n_cells, _BLOCK):
        block = sparse.csr_matrix(counts[start : start + _BLOCK]).astype(np.float64)
        own = group[start : start + _BLOCK]
        ones = np.ones(len(own))
        member = sparse.csr_matrix((ones, (own, np.arange(len(own)))), (n_groups, len(own)))
        sums += (member @ block).toarray()
        detected += (member @ block.sign()).toarray()
    return sums, detected
